"""From flags to what a run works with: clips, loaders, model."""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from emotion import distributed, registry
from emotion.clock import whole_steps
from emotion.command_line import nearest
from emotion.data.dataset import FeatureDataset, collate, readers_of_corpora
from emotion.data.examples import TARGETS, Example, Parts, load_parts
from emotion.data.faults import Ledger
from emotion.data.folds import Folds, fold_count
from emotion.data.sampling import EvalBatches, SharedBatches, TrainBatches
from emotion.errors import UserError
from emotion.inputs.feature import agree
from emotion.inputs.memory import Memory
from emotion.inputs.store import FeatureStore
from emotion.machine import local_processes
from emotion.models.checkpoint import ABOUT, Checkpoint, find_checkpoint, load_checkpoint
from emotion.models.devices import loader_workers
from emotion.models.evaluate import to_device
from emotion.networks.model import (
    MultimodalModel,
    SingleModel,
    build_model,
    load_encoder,
    load_published,
)
from emotion.paths import HOME
from emotion.processes import end_with_parent
from emotion.recipe import Part, Recipe
from emotion.records import Batch
from emotion.telling import note
from emotion.training.choice import choose_recipe
from emotion.training.further import drawn, groups_of, with_further
from emotion.training.options import TrainOptions
from emotion.training.sweep import run_names

MOST_SPEECH_FRAMES = 256  # 4.1 s
MODALITY_DROPOUT = 0.1  # chance that a modality is hidden in training


@dataclass
class Task:
    """The data of a run and the options of its model."""

    store: FeatureStore
    description: dict[str, Any]  # features.json
    class_names: tuple[str, ...]
    parts: Parts
    recipe: Recipe
    targets: dict[str, str]  # head -> label
    folds: Folds | None = None

    @property
    def main_head(self) -> str:
        """The head whose loss on validation chooses the best epoch."""
        return next(iter(self.targets))

    @property
    def feature_settings(self) -> dict[str, Any]:
        """What a checkpoint stores of the features."""
        known = {name: self.description[name] for name in ABOUT if name in self.description}
        return known | self.description["settings"]


def build_task(options: TrainOptions) -> Task:
    """Find the features and resolve what the flags leave open.

    Raises:
        UserError: no features, or none of the kind that the mode reads; or the folds do not fit;
            or weights that are to be loaded are not there.
    """
    for modality in registry.modalities():
        if options.mode != registry.FUSED and getattr(options, f"{modality}_load_weights"):
            raise UserError(f"--{modality}_load_weights goes with --mode {registry.FUSED}")
    store = FeatureStore(Path(options.features_dir or HOME / "features"))
    description = store.read_description()
    if description is None or not store.splits():
        state = "holds no features" if store.root.is_dir() else "no such folder"
        raise UserError(f"{store.root}: {state}; run preprocess.py first or give --features_dir")
    class_names = kept_classes(description["class_names"], options.drop_classes)
    folds = _folds(options)
    recipe = choose_recipe(options, store, len(class_names))
    needed = f"{options.mode} features of that kind (see the state columns of manifest.csv)"
    dropped = options.drop_classes
    parts = load_parts(store, class_names, recipe.usable, needed, folds, dropped=dropped)
    parts = with_further(options, store, class_names, recipe, parts)
    recipe = _fitted(options, recipe, parts)
    targets = _targets(options, recipe, parts)
    heads = tuple(head for head in targets if head in recipe.modalities and recipe.fusion)
    return Task(
        store, description, class_names, parts, replace(recipe, heads=heads), targets, folds
    )


def kept_classes(class_names: Sequence[str], dropped: Sequence[str]) -> tuple[str, ...]:
    """The classes of a corpus without those of ``--drop_classes``.

    Raises:
        UserError: it has no such class, or fewer than two are left.
    """
    for name in dropped:
        if name not in class_names:
            raise UserError(
                f"--drop_classes {name}: is not one of {' '.join(class_names)}"
                f"{nearest(name, class_names)}"
            )
    kept = tuple(name for name in class_names if name not in dropped)
    if dropped and len(kept) < 2:
        raise UserError(f"--drop_classes: leaves {len(kept)} classes to tell apart; drop fewer")
    return kept


def build_initial_model(options: TrainOptions, task: Task) -> SingleModel | MultimodalModel:
    """A model with published or given encoder weights, where there are any.

    Raises:
        UserError: given weights do not exist or do not fit.
    """
    torch.manual_seed(options.seed)
    model = build_model(task.recipe)
    given = {name: getattr(options, f"{name}_load_weights") for name in task.recipe.modalities}
    others = tuple(part for part in task.recipe.parts if not given[part.modality])
    model.started = load_published(model, replace(task.recipe, parts=others), options.pretrained)
    for modality in (name for name in given if given[name]):
        checkpoint = _given(options, modality)
        check_encoder(checkpoint, modality, task)
        load_encoder(model, modality, checkpoint.model)
        model.started.append(modality)
    if isinstance(model, MultimodalModel):
        model.modality_dropout = MODALITY_DROPOUT
    if options.freeze_backbone:
        if not isinstance(model, MultimodalModel):
            raise UserError(
                f"--freeze_backbone True holds the encoders of --mode {registry.FUSED}; leave it "
                "out"
            )
        model.freeze()
        drawn_ones = [
            name
            for name, encoder in model.encoders.items()
            if name not in model.started and any(True for _ in encoder.parameters())
        ]
        if drawn_ones and distributed.is_main():
            note(
                f"--freeze_backbone: {' '.join(drawn_ones)} starts from random weights and keeps "
                f"them; give --{drawn_ones[0]}_load_weights"
            )
    if not model.started and options.backbone_lr != 1.0:
        raise UserError(
            "--backbone_lr is for parts that start from weights, and none does; leave it out"
        )
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
    part = task.recipe.part(modality)
    if misfit := part.fits(checkpoint.recipe.part(modality)):
        raise UserError(f"{flag}: has {misfit}; make them agree")
    judged = speakers_of(task.parts.val + task.parts.test)
    heard = checkpoint.trained_on(judged, task.description["corpus"])
    if heard:
        raise UserError(
            f"{flag}: was trained on speaker {min(heard)}, whom this run validates or tests on; "
            "give the weights of the same fold"
        )
    for name in registry.feature(part.feature).settings:
        found, wanted = checkpoint.features.get(name), task.feature_settings.get(name)
        if not agree(found, wanted):
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
        self.memory = Memory.of_run(self.workers * local_processes())
        self.readers = readers_of_corpora(self.task.recipe, self.task.store, self.task.parts.train)
        training = self.dataset(self.task.parts.train, training=True)
        self.train_batches = self._train_batches()
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
            task.recipe,
            training,
            seed=self.options.seed,
            ledger=self.ledger,
            readers=self.readers,
            memory=self.memory,
        )

    def evaluation(self, examples: list[Example], shared: bool = True) -> DataLoader:
        """Batches of equal padded length; ``shared`` out among the ranks, or all on each."""
        dataset = self.dataset(examples)
        ranks = (distributed.rank(), distributed.world_size()) if shared else (0, 1)
        lengths = [dataset.length(index) for index in range(len(dataset))]
        size = min(self.options.batch_size, self.at_once)
        return self._loader(dataset, EvalBatches(lengths, size, *ranks))

    def clean_training_batches(self, count: int) -> Iterator[Batch]:
        """Some ``count`` training clips without augmentation, each corpus among them as often as
        in a batch; the same on every rank and in each epoch.
        """
        train, shares = self.task.parts.train, self.options.corpus_share
        examples = [train[row] for row in drawn(train, shares, count, self.options.seed)]
        for labelled in self.evaluation(examples, shared=False):
            yield to_device(labelled.inputs, self.device)

    def _train_batches(self) -> TrainBatches:
        options, train = self.options, self.task.parts.train
        rest = (options.batch_size, options.seed, distributed.rank(), distributed.world_size())
        if not options.corpus_share:
            return TrainBatches(len(train), *rest)
        batches = SharedBatches(groups_of(train, options.corpus_share), *rest)
        if batches.uneven and distributed.is_main():
            note(f"--corpus_share: {batches.uneven}; a larger --batch_size can be more exact")
        return batches

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


def _start_worker(_: int) -> None:
    end_with_parent()
    gc.freeze()  # a decoder that the parent left to collect has threads that are not here
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


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
    return sorted({example.person for example in examples} - {""})


def _folds(options: TrainOptions) -> Folds | None:
    if not options.n_folds:
        return None
    count = fold_count(options.n_folds)
    if count < 3 or options.fold > count:
        raise UserError("--n_folds wants 3 or more (test, validation, train), --fold one of them")
    if options.valid_fold >= count:
        raise UserError(
            f"--valid_fold {options.valid_fold}: of {count} folds one is tested; give 1 to "
            f"{count - 1}"
        )
    return Folds(options.n_folds, options.fold, options.valid_fold)


def _fitted(options: TrainOptions, recipe: Recipe, parts: Parts) -> Recipe:
    """With the width of a training crop, where a spectrogram is read: that of the weights that the
    run starts from, or such that one training clip in 20 is cut to it.
    """
    return replace(
        recipe,
        parts=tuple(
            replace(part, reading=replace(part.reading, speech_frames=_crop(options, part, parts)))
            if part.kind == registry.SPECTROGRAM
            else part
            for part in recipe.parts
        ),
    )


def _crop(options: TrainOptions, part: Part, parts: Parts) -> int:
    if getattr(options, f"{part.modality}_load_weights"):
        given = _given(options, part.modality).recipe
        if part.modality in given.modalities:  # else the weights do not fit, as will be said
            return given.part(part.modality).reading.speech_frames
    frames = np.percentile([example.record.fact("frames") for example in parts.train], 95)
    return min(whole_steps(int(frames)), MOST_SPEECH_FRAMES)


def _targets(options: TrainOptions, recipe: Recipe, parts: Parts) -> dict[str, str]:
    """Which label each head learns; integrated where the corpus has no label of its own."""
    own = {
        name: name if _labelled(parts.train, name) and _labelled(parts.val, name) else "integrated"
        for name in recipe.modalities
        if name in TARGETS
    }
    if recipe.fusion:
        return {"integrated": "integrated", **(own if options.lam > 0 else {})}
    return {options.mode: own.get(options.mode, "integrated")}


def _labelled(examples: list[Example], label: str) -> bool:
    return any(getattr(example, label) >= 0 for example in examples)
