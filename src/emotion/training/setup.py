"""From flags to what a run works with: clips, loaders, model."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from emotion import distributed, machine
from emotion.data.dataset import FeatureDataset, Inputs, collate
from emotion.data.examples import Example, Folds, Parts, load_parts
from emotion.data.faults import Ledger
from emotion.data.sampling import EvalBatches, TrainBatches
from emotion.data.speakers import SpeakerNorms
from emotion.data.transforms import padded_length
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from emotion.networks import (
    ModelOptions,
    build_model,
    freeze_backbone,
    load_encoder,
    load_imagenet,
    load_kinetics,
)
from emotion.paths import HOME
from emotion.processes import end_with_parent
from emotion.records import Batch
from emotion.telling import note
from emotion.training.loop import to_device
from emotion.training.options import TrainOptions
from emotion.training.sweep import run_names

MOST_SPEECH_FRAMES = 256  # 4.1 s
MODALITIES = ("speech", "face", "text")
ENCODER_OPTIONS = {  # what must agree for an encoder's weights to fit
    "speech": ("coeff", "speech_norm", "speech_level", "speech_pool", "speech_stride"),
    "face": ("face_model", "face_dim", "hidden", "sequence_length", "face_frames", "face_size"),
    "text": ("text_model", "text_dim", "hidden", "sequence_length"),
}


FEATURE_SETTINGS = {  # what its features were made with
    "speech": ("denoise", "audio"),
    "face": ("face_stride", "vggface"),
    "text": ("text",),
}


@dataclass
class Task:
    """The data of a run and the options of its model."""

    store: FeatureStore
    description: dict[str, Any]  # features.json
    class_names: tuple[str, ...]
    parts: Parts
    model_options: ModelOptions
    targets: dict[str, str]  # head -> label
    folds: Folds | None = None

    @property
    def inputs(self) -> Inputs:
        """What the model reads."""
        return inputs_of(self.model_options)

    @property
    def main_head(self) -> str:
        """The head whose loss on validation chooses the best epoch."""
        return next(iter(self.targets))

    @property
    def feature_settings(self) -> dict[str, Any]:
        """What a checkpoint stores of the features."""
        return {"corpus": self.description["corpus"], **self.description["settings"]}


def build_task(options: TrainOptions) -> Task:
    """Find the features and resolve what the flags leave open.

    Raises:
        UserError: no features, or none of the kind that the mode reads; or the folds do not fit;
            or weights that are to be loaded are not there.
    """
    for modality in MODALITIES:
        if options.mode != "multimodal" and getattr(options, f"{modality}_load_weights"):
            raise UserError(f"--{modality}_load_weights goes with --mode multimodal")
    store = FeatureStore(Path(options.features_dir or HOME / "features"))
    description = store.read_description()
    if description is None or not store.splits():
        state = "holds no features" if store.root.is_dir() else "no such folder"
        raise UserError(f"{store.root}: {state}; run preprocess.py first or give --features_dir")
    class_names = tuple(description["class_names"])
    model_options = _model_options(options, store, len(class_names))
    usable = inputs_of(model_options).usable
    folds = _folds(options)
    needed = f"{options.mode} features of that kind (see the state columns of manifest.csv)"
    parts = load_parts(store, class_names, usable, needed, folds)
    model_options = replace(model_options, speech_frames=_speech_frames(options, parts))
    targets = _targets(options, parts)
    return Task(store, description, class_names, parts, model_options, targets, folds)


def inputs_of(options: ModelOptions) -> Inputs:
    """What the model of ``options`` reads."""
    every = options.mode == "multimodal"
    face = "video" if options.face_model == "resnet3d" else "embedding"
    return Inputs(
        speech=every or options.mode == "speech",
        face=face if every or options.mode == "face" else "",
        text=every or options.mode == "text",
        speech_frames=options.speech_frames,
        speech_norm=options.speech_norm,
        speech_level=options.speech_level,
        face_frames=options.face_frames,
        face_size=options.face_size,
        text_dim=options.text_dim,
    )


def build_initial_model(options: TrainOptions, task: Task) -> nn.Module:
    """A model with published or given encoder weights, where there are any.

    Raises:
        UserError: given weights do not exist or do not fit.
    """
    torch.manual_seed(options.seed)
    model = build_model(task.model_options)
    for modality in MODALITIES:
        given = getattr(options, f"{modality}_load_weights")
        if options.mode != "multimodal":
            if modality == options.mode:
                _load_published(model.encoder, modality, options)
        elif given:
            checkpoint = _given(options, modality)
            check_encoder(checkpoint, modality, task)
            load_encoder(model, modality, checkpoint.model)
        else:
            _load_published(model.encoders[modality], modality, options)
    if options.freeze_backbone:
        freeze_backbone(model)
    return model


def check_encoder(checkpoint: Checkpoint, modality: str, task: Task) -> None:
    """Refuse weights of another mode, other classes, another model or other features.

    Raises:
        UserError: says what the checkpoint is, and the mend.
    """
    flag = f"--{modality}_load_weights {checkpoint.path}"
    if checkpoint.mode != modality:
        raise UserError(f"{flag}: is a {checkpoint.mode} model; give a {modality} one")
    if checkpoint.class_names != task.class_names:
        raise UserError(
            f"{flag}: knows the classes {' '.join(checkpoint.class_names)}, the features have "
            f"{' '.join(task.class_names)}; give one trained on this corpus's classes"
        )
    for name in ENCODER_OPTIONS[modality]:
        found, wanted = getattr(checkpoint.options, name), getattr(task.model_options, name)
        if found != wanted:
            raise UserError(f"{flag}: has --{name} {found}, this run {wanted}; make them agree")
    known = checkpoint.met.speakers if checkpoint.met else frozenset()
    heard = known & set(speakers_of(task.parts.val + task.parts.test))
    if heard:
        raise UserError(
            f"{flag}: was trained on speaker {min(heard)}, whom this run validates or tests on; "
            "give the weights of the same fold"
        )
    for name in FEATURE_SETTINGS[modality]:
        found, wanted = checkpoint.features.get(name), task.feature_settings.get(name)
        if found != wanted:
            raise UserError(f"{flag}: trained on features of {name} {found}, these have {wanted}")


@dataclass
class Loaders:
    """Batches of a run's clips."""

    task: Task
    options: TrainOptions
    device: torch.device
    at_once: int = 1 << 30  # clips of an evaluated batch at most: as many as fit in training

    def __post_init__(self) -> None:
        self.workers = loader_workers(self.options.num_workers)
        self.ledger = Ledger(self.workers)
        inputs = self.task.inputs
        by_speaker = inputs.by_speaker
        self.norms = SpeakerNorms(self.task.store, inputs.speech_level) if by_speaker else None
        training = self.dataset(self.task.parts.train, training=True)
        self.train_batches = TrainBatches(
            len(training),
            self.options.batch_size,
            self.options.seed,
            distributed.rank(),
            distributed.world_size(),
        )
        self.train = self._loader(training, self.train_batches)

    @cached_property
    def val(self) -> DataLoader:
        """Batches of the clips that validate."""
        return self.evaluation(self.task.parts.val)

    def dataset(self, examples: list[Example], training: bool = False) -> FeatureDataset:
        """Clips of a part."""
        task = self.task
        return FeatureDataset(
            task.store,
            examples,
            task.inputs,
            training,
            self.options.seed,
            self.ledger,
            self.norms,
            self.options.brightness,
        )

    def evaluation(self, examples: list[Example], shared: bool = True) -> DataLoader:
        """Batches of equal padded length; ``shared`` out among the ranks, or all on each."""
        dataset = self.dataset(examples)
        ranks = (distributed.rank(), distributed.world_size()) if shared else (0, 1)
        lengths = [dataset.length(index) for index in range(len(dataset))]
        size = min(self.options.batch_size, self.at_once)
        return self._loader(dataset, EvalBatches(lengths, size, *ranks))

    def clean_training_batches(self, count: int) -> Iterator[Batch]:
        """``count`` training clips without augmentation, the same on every rank and in each epoch.

        They are drawn: a stride through a sorted list can meet one speaker or one sex alone.
        """
        train = self.task.parts.train
        generator = np.random.default_rng((self.options.seed, len(train)))
        rows = generator.permutation(len(train))[:count]
        examples = [train[row] for row in np.sort(rows)]
        for labelled in self.evaluation(examples, shared=False):
            yield to_device(labelled.inputs, self.device)

    def _loader(self, dataset: FeatureDataset, batches: Any) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
            persistent_workers=self.workers > 0,
            worker_init_fn=_start_worker,
            # of its own: an iterator that starts draws a number, one that goes on does not, and
            # dropout would depend on the number of workers and on being resumed
            generator=torch.Generator(),
        )


def loader_workers(wanted: int) -> int:
    """At most one worker a core and rank, with a note where that is fewer than wanted."""
    most = machine.cores()
    if wanted > most and distributed.is_main():
        note(f"--num_workers {wanted}: {most} are started, one a core")
    return min(wanted, most)


def _start_worker(_: int) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _load_published(encoder: nn.Module, modality: str, options: TrainOptions) -> None:
    if modality == "speech":
        load_imagenet(encoder, options.coeff, options.pretrained)
    elif modality == "face" and hasattr(encoder, "network"):
        load_kinetics(encoder, options.pretrained)


def _given(options: TrainOptions, modality: str) -> Checkpoint:
    """What ``--<modality>_load_weights`` names."""
    logs = Path(options.logs_dir or HOME / "logs")
    flag = f"{modality}_load_weights"
    given = getattr(options, flag)
    return load_checkpoint(
        find_checkpoint(f"--{flag}", given, logs, [modality], run_names(options))
    )


def speakers_of(examples: list[Example]) -> list[str]:
    """Their names, sorted, each once."""
    return sorted({example.record.speaker for example in examples} - {""})


def _folds(options: TrainOptions) -> Folds | None:
    if not options.n_folds:
        return None
    if options.n_folds < 3 or options.fold > options.n_folds:
        raise UserError("--n_folds wants 3 or more (test, validation, train), --fold one of them")
    if options.valid_fold >= options.n_folds:
        raise UserError(
            f"--valid_fold {options.valid_fold}: of {options.n_folds} folds one is tested; give 1 "
            f"to {options.n_folds - 1}"
        )
    return Folds(options.n_folds, options.fold, options.folds_file, options.valid_fold)


def _model_options(options: TrainOptions, store: FeatureStore, n_classes: int) -> ModelOptions:
    """The flags that shape a model; ``speech_frames`` waits for the clips."""
    return ModelOptions(
        mode=options.mode,
        n_classes=n_classes,
        coeff=options.coeff,
        speech_model=options.speech_model,
        speech_norm=options.speech_norm,
        speech_level=options.speech_level,
        speech_pool=options.speech_pool,
        speech_stride=options.speech_stride,
        face_model=_face_model(options, store),
        text_model=options.text_model,
        face_frames=options.face_frames,
        face_size=options.face_size,
        text_dim=_text_dim(options, store),
        sequence_length=options.sequence_length,
        hidden=options.hidden,
        dropout=options.dropout,
        fusion=options.fusion,
        modality_dropout=options.modality_dropout,
        multitask=options.mode == "multimodal" and options.lam > 0,
    )


def _face_model(options: TrainOptions, store: FeatureStore) -> str:
    if options.face_model != "auto" or options.mode not in ("face", "multimodal"):
        return "attention_lstm" if options.face_model == "auto" else options.face_model
    embedded = any(
        record.embedding_state == "ok" for s in store.splits() for record in store.read_manifest(s)
    )
    choice = "attention_lstm" if embedded else "resnet3d"
    if distributed.is_main():
        reason = "embeddings are present" if embedded else "there are no embeddings"
        note(f"--face_model auto: {choice}, because {reason}")
    return choice


def _speech_frames(options: TrainOptions, parts: Parts) -> int:
    """Width of a training crop: as given, or that of the speech weights that the run starts from,
    or such that one training clip in 20 is cut to it.
    """
    if options.speech_frames:
        return padded_length(options.speech_frames)
    if options.speech_load_weights:
        return _given(options, "speech").options.speech_frames
    frames = np.percentile([example.record.frames for example in parts.train], 95)
    return min(padded_length(int(frames)), MOST_SPEECH_FRAMES)


def _text_dim(options: TrainOptions, store: FeatureStore) -> int:
    """Width of the word embeddings; the default where there are none or no text is read."""
    if options.mode in ("text", "multimodal"):
        for split in store.splits():
            for record in store.read_manifest(split):
                if record.text_state == "ok":
                    return store.read_text(split, record.id).shape[1]
    return Inputs.text_dim


def _targets(options: TrainOptions, parts: Parts) -> dict[str, str]:
    """Which label each head learns; integrated where the corpus has no label of its own."""
    own = {
        name: name if _labelled(parts.train, name) and _labelled(parts.val, name) else "integrated"
        for name in ("speech", "face")
    }
    if options.mode == "multimodal":
        return {"integrated": "integrated", **(own if options.lam > 0 else {})}
    if options.target == "integrated" or options.mode == "text":
        return {options.mode: "integrated"}
    return {options.mode: own[options.mode]}


def _labelled(examples: list[Example], label: str) -> bool:
    return any(getattr(example, label) >= 0 for example in examples)
