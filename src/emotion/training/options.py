"""The flags of train.py."""

from dataclasses import dataclass

from emotion.command_line import flag
from emotion.machine import cores

ALL_FOLDS = 0
MODES = ("speech", "text", "face", "multimodal")


def number_or_all(text: str) -> int:
    """A fold's number; ``ALL_FOLDS`` for "all"."""
    return ALL_FOLDS if text == "all" else int(text)


@dataclass
class TrainOptions:
    """One field is one flag; groups are those of ``--help``."""

    mode: str = flag("", "what to train", "what", MODES, required=True)
    exp_name: str = flag("default", "name of the run: logs/<mode>/<exp_name>/", "what")
    target: str = flag(
        "own",
        "label that a single mode learns: its own (the speech label for speech, the face label for "
        "face, integrated for text) or the integrated one",
        "what",
        ("own", "integrated"),
    )

    features_dir: str = flag("", "made by preprocess.py; features/ beside the script", "data")
    logs_dir: str = flag("", "where runs go; logs/ beside the script", "data")
    n_folds: int = flag(0, "folds of a corpus without official splits; 0 for none", "data", low=0)
    fold: int = flag(
        1,
        "from 1: test on this one, validate on another, train on the rest; all: one after another",
        "data",
        type=number_or_all,
        low=0,
    )
    valid_fold: int = flag(
        1, "which fold validates, counted on from the tested one: 1 is the next", "data", low=1
    )
    valid_folds: list[int] = flag(  # noqa: RUF009
        [], "several runs, one a validating fold", "data", type=int, low=1
    )
    folds_file: str = flag("", 'JSON {"folds": [[speakers], ...]}; balanced folds without', "data")
    num_workers: int = flag(
        16, "loader processes a rank, at most one a core", "data", low=0, high=1024
    )

    coeff: int = flag(0, "EfficientNet-B0..B7", "model", low=0, high=7)
    speech_model: str = flag(
        "attention",
        "pooling of the speech model: by attention, vanilla (mean), or mean and deviation",
        "model",
        ("attention", "vanilla", "statistics"),
    )
    speech_norm: str = flag(
        "none",
        "speaker: every mel band against its mean and spread over all clips of that speaker, his "
        "unlabelled ones too",
        "model",
        ("none", "speaker"),
    )
    speech_level: bool = flag(
        False,
        "show the speech model how loud a clip is: without, each is scaled to its own level",
        "model",
    )
    speech_pool: int = flag(
        1,
        "the network sees means of so many bands and frames: 2 is a quarter of the work",
        "model",
        (1, 2, 4),
        type=int,
    )
    speech_stride: int = flag(
        32,
        "below 32 EfficientNet ends before it halves its map further: more places of a short clip "
        "to learn from, fewer parameters",
        "model",
        (8, 16, 32),
        type=int,
    )
    face_model: str = flag(
        "auto",
        "auto: attention_lstm where embeddings are present, else resnet3d",
        "model",
        ("auto", "attention_lstm", "resnet3d", "mlstm_fcn"),
    )
    text_model: str = flag("attention_lstm", "text model", "model", ("attention_lstm", "mlstm_fcn"))
    fusion: str = flag("aligned", "how modalities are joined", "model", ("aligned", "concat"))
    hidden: int = flag(128, "LSTM width a direction", "model", low=1, high=8192)
    dropout: float = flag(0.3, "of face, text and fusion", "model", low=0.0, high=1.0)
    sequence_length: int = flag(64, "fixed length of MLSTM-FCN", "model", low=8, high=4096)
    face_frames: int = flag(16, "crops a clip for resnet3d", "model", low=1, high=1024)
    face_size: int = flag(112, "pixels of a crop for resnet3d", "model", low=16, high=160)
    pretrained: str = flag(
        "auto",
        "published weights: auto warns where they can't be had",
        "model",
        ("auto", "true", "false"),
        type=str.lower,
    )
    speech_load_weights: str = flag("", "checkpoint or run folder (its best)", "model")
    text_load_weights: str = flag("", "checkpoint or run folder (its best)", "model")
    face_load_weights: str = flag("", "checkpoint or run folder (its best)", "model")
    freeze_backbone: bool = flag(False, "hold the encoders of the fused model", "model")
    lam: float = flag(
        0.5,
        "weight of the speech and face heads beside the integrated one; 0 is "
        "transfer learning, more is multitask",
        "model",
        low=0.0,
    )
    modality_dropout: float = flag(
        0.1, "chance that a modality is hidden in training", "model", low=0.0, high=1.0
    )

    speech_frames: int = flag(
        0,
        "frames (16 ms) of a training crop, and what shorter clips are padded to; 0 takes "
        "them from --speech_load_weights, or fits them: the 95th percentile of the training clips, "
        "at most 256",
        "augmentation",
        low=0,
    )
    mixup_prob: float = flag(
        1.0, "share of batches that are mixed", "augmentation", low=0.0, high=1.0
    )
    mixup_alpha: float = flag(
        0.5, "of the Beta distribution; 0 is no mixup", "augmentation", low=0.0
    )
    spec_augment: bool = flag(True, "time warp, frequency and time masks", "augmentation")
    brightness: float = flag(
        0.2,
        "largest change of a spectrogram's brightness and contrast, in half of the clips; 0 where "
        "loudness tells",
        "augmentation",
        low=0.0,
        high=1.0,
    )
    vtlp: float = flag(
        0.0,
        "largest change of a speaker's vocal tract length, such as 0.1; 0 is none",
        "augmentation",
        low=0.0,
        high=0.5,
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
    batch_size: int = flag(32, "clips a step and rank", "optimization", low=1, high=1_000_000)
    micro_batch: str = flag(
        "auto", "clips in memory at once: a number, or auto to fit", "optimization"
    )
    accumulate: int = flag(1, "batches a step", "optimization", low=1, high=1_000_000)
    n_epoch: int = flag(100, "epochs, counted from 0", "optimization", low=1, high=1_000_000)
    optim: str = flag("adamw", "optimizer", "optimization", ("adamw", "sgd"))
    warmup: float = flag(1.0, "epochs of linear warmup before the cosine", "optimization", low=0.0)
    weight_decay: float = flag(1e-5, "not of norms and biases", "optimization", low=0.0)
    clip_norm: float = flag(5.0, "largest gradient norm; 0 is no limit", "optimization", low=0.0)
    ema: float = flag(
        0.0,
        "decay of averaged weights, such as 0.999; 0 is none",
        "optimization",
        low=0.0,
        high=0.99999,
    )
    bn_samples: int = flag(
        256,
        "training clips that batch-norm statistics are estimated on before "
        "each validation; 0 keeps the running ones",
        "optimization",
        low=0,
    )
    amp: bool = flag(False, "mixed precision: bf16 where there is, else fp16", "optimization")
    compile: bool = flag(
        False,
        "torch.compile the training steps: a minute or two at the start, then a third more clips/s "
        "for EfficientNet on a CPU; on one device, wants a C++ compiler",
        "optimization",
    )
    monitor: str = flag(
        "loss",
        "what chooses the best epoch on validation: the lowest loss, or the highest UA",
        "optimization",
        ("loss", "ua"),
    )
    patience: int = flag(
        0, "stop after so many epochs without a better one; 0 never", "optimization", low=0
    )
    seed: int = flag(0, "of everything random", "running", low=0, high=2**32 - 1)
    seeds: list[int] = flag(  # noqa: RUF009
        [], "several runs, one a seed", "running", type=int, low=0, high=2**32 - 1
    )
    device: str = flag(
        "auto", "auto takes CUDA where there is one", "running", ("auto", "cpu", "cuda")
    )
    threads: int = flag(cores(), "CPU threads", "running", low=1, high=1024)
    resume: bool = flag(False, "go on from last.pth, or start where there is none", "running")
    overwrite: bool = flag(False, "replace a run of the same name", "running")
    keep: int = flag(3, "best checkpoints kept", "running", low=1, high=1_000_000)
