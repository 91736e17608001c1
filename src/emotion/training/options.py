"""The flags of train.py."""

from dataclasses import dataclass, make_dataclass

from emotion import registry
from emotion.command_line import flag

ALL_FOLDS = 0


def number_or_all(text: str) -> int:
    """A fold's number; ``ALL_FOLDS`` for "all"."""
    return ALL_FOLDS if text == "all" else int(text)


def number_or_file(text: str) -> int | str:
    """A number of folds, or a file that lists them."""
    return int(text) if text.isdecimal() else text


@dataclass
class General:
    """One field is one flag; groups are those of ``--help``."""

    mode: str = flag(
        "", "what to train", "what", (*registry.modalities(), registry.FUSED), required=True
    )
    exp_name: str = flag("default", "name of the run: logs/<mode>/<exp_name>/", "what")
    extend: list[str] = flag(  # noqa: RUF009
        [], "Python files of one's own that bring features, encoders or fusions", "what", type=str
    )
    features_dir: str = flag("", "made by preprocess.py; features/ beside the script", "data")
    logs_dir: str = flag("", "where runs go; logs/ beside the script", "data")
    also_train: list[str] = flag(  # noqa: RUF009
        [],
        "features of further corpora, which are added to training whole; validation and test stay "
        "those of --features_dir",
        "data",
        type=str,
    )
    corpus_share: list[float] = flag(  # noqa: RUF009
        [],
        "share of each batch that --also_train has: one number, or one for each of its corpora; "
        "without, as many as they have clips",
        "data",
        type=float,
        low=0.0,
        high=0.99,
    )
    class_map: str = flag(
        "",
        "CSV with the columns other,this: what classes of --also_train are called here, nothing "
        "for those that are left out (recipes/maps/)",
        "data",
    )
    drop_classes: list[str] = flag(  # noqa: RUF009
        [], "classes whose clips are left out, such as one of too few speakers", "data", type=str
    )
    n_folds: int | str = flag(
        0,
        "folds of a corpus without official splits, balanced by clips; or a JSON file that lists "
        'them: {"folds": [[speakers], ...]}; 0 for none',
        "data",
        type=number_or_file,
    )
    fold: int = flag(
        1,
        "from 1: test on this one, validate on another, train on the rest; all: one after another",
        "data",
        type=number_or_all,
        low=0,
    )
    valid_fold: int = flag(
        1,
        "which fold validates, counted on from the tested one: 1 is the next; several numbers are "
        "as many runs",
        "data",
        low=1,
        several=True,
    )
    num_workers: int = flag(
        16, "loader processes per rank, at most one per core", "data", low=0, high=1024
    )

    features: list[str] = flag(  # noqa: RUF009
        [],
        "which features, where a modality has several, such as speech:whisper-base; the first that "
        "its network can read without",
        "model",
        type=str,
    )
    fusion: str = flag("aligned", "how modalities are joined", "model", tuple(registry.FUSIONS))
    pretrained: str = flag(
        "auto",
        "published weights: auto warns where they can't be had",
        "model",
        ("auto", "true", "false"),
        type=str.lower,
    )
    freeze_backbone: bool = flag(False, "hold the encoders of the fused model", "model")
    backbone_lr: float = flag(
        1.0, "learning rate of encoders that start from weights, over that of the rest", "model",
        low=0.0,
    )  # fmt: skip
    lam: float = flag(
        0.5,
        "weight of the speech and face heads beside the integrated one; 0 is "
        "transfer learning, more is multitask",
        "model",
        low=0.0,
    )

    mixup_prob: float = flag(
        1.0, "share of batches that are mixed", "augmentation", low=0.0, high=1.0
    )
    mixup_alpha: float = flag(
        0.5, "of the Beta distribution; 0 is no mixup", "augmentation", low=0.0
    )
    label_smoothing: float = flag(
        0.1, "share given to all classes", "augmentation", low=0.0, high=0.99
    )
    class_weights: str = flag(
        "none",
        "weigh clips by how rare their class is in training: balanced gives every class the same "
        "share in the loss, sqrt is halfway",
        "optimization",
        ("none", "sqrt", "balanced"),
    )

    learning_rate: float = flag(4e-3, "at the end of the warmup", "optimization", low=0.0)
    batch_size: int = flag(32, "clips per step and rank", "optimization", low=1, high=1_000_000)
    micro_batch: str = flag(
        "auto", "clips in memory at once: a number, or auto to fit", "optimization"
    )
    n_epoch: int = flag(100, "epochs, counted from 0", "optimization", low=1, high=1_000_000)
    optim: str = flag("adamw", "optimizer", "optimization", ("adamw", "sgd"))
    warmup: float = flag(1.0, "epochs of linear warmup before the cosine", "optimization", low=0.0)
    weight_decay: float = flag(1e-5, "not of norms and biases", "optimization", low=0.0)
    amp: bool = flag(False, "mixed precision: bf16 where there is, else fp16", "optimization")
    seed: int = flag(
        0,
        "of everything random; several numbers are as many runs",
        "running",
        low=0,
        high=2**32 - 1,
        several=True,
    )
    device: str = flag(
        "auto", "auto takes CUDA where there is one", "running", ("auto", "cpu", "cuda")
    )
    refit: bool = flag(
        False,
        "when the best epoch is known, train once more on training and validation clips together "
        "for as many epochs, into refit/ of the run's folder",
        "running",
    )
    resume: bool = flag(False, "go on from last.pth, or start where there is none", "running")


def _of_modalities() -> type:
    """The general flags, and two for each modality: its network, and weights to start from."""
    fields = []
    for name in registry.modalities():
        choices = ("auto", *registry.encoders_of(name))
        model = flag(
            "auto", "network; auto takes the first whose features are there", "model", choices
        )
        weights = flag("", "checkpoint or run folder (its best)", "model")
        fields += [(f"{name}_model", str, model), (f"{name}_load_weights", str, weights)]
    made = make_dataclass("General", fields, bases=(General,))
    made.__module__, made.__doc__ = __name__, General.__doc__
    return made


TrainOptions = registry.joined(
    "TrainOptions",
    _of_modalities(),
    [
        *(line.module for line in registry.FEATURES.values()),
        *(line.module for line in registry.ENCODERS.values()),
        *registry.FUSIONS.values(),
    ],
)
