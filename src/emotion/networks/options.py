"""What a model is built from: plain values that a checkpoint stores and rebuilds a model with."""

from dataclasses import dataclass

from emotion.errors import UserError

CHOICES = {
    "mode": ("speech", "face", "text", "multimodal"),
    "speech_model": ("attention", "vanilla", "statistics"),
    "face_model": ("attention_lstm", "resnet3d", "mlstm_fcn"),
    "text_model": ("attention_lstm", "mlstm_fcn"),
    "fusion": ("aligned", "concat"),
    "speech_norm": ("none", "speaker"),
    "speech_pool": (1, 2, 4),
    "speech_stride": (8, 16, 32),
}


@dataclass(frozen=True)
class ModelOptions:
    """Options of every mode; a mode reads its own and ignores the others.

    All values are str, int, float or bool: ``ModelOptions(**dataclasses.asdict(options))`` is the
    same record, so ``build_model(ModelOptions(**stored))`` rebuilds a stored model.

    Raises:
        UserError: a value is not one of the choices, or out of range.
    """

    mode: str
    n_classes: int
    coeff: int = 0  # EfficientNet-B0..B7
    speech_model: str = "attention"
    speech_frames: int = 32  # shorter spectrograms are padded to it
    speech_norm: str = "none"  # or "speaker": what the loader does to spectrograms
    speech_level: bool = False  # whether spectrograms keep the level of the recording
    speech_stride: int = 32  # columns of the spectrogram that EfficientNet makes one of: 32, 16, 8
    speech_pool: int = 1  # bands and frames that the network sees as one: 1, 2 or 4
    face_model: str = "attention_lstm"
    text_model: str = "attention_lstm"
    face_dim: int = 512  # width of a face embedding
    face_frames: int = 16  # crops a clip, resnet3d
    face_size: int = 112  # pixels a side of a crop, resnet3d
    text_dim: int = 200  # width of a word embedding
    sequence_length: int = 64  # steps, the fixed length of MLSTM-FCN
    hidden: int = 128  # LSTM width a direction
    dropout: float = 0.3  # face, text and fusion; EfficientNet keeps its published rates
    fusion: str = "aligned"
    modality_dropout: float = 0.0  # probability per clip and modality, in training
    multitask: bool = False  # heads "speech" and "face" beside "integrated"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                known = " ".join(map(str, choices))
                raise UserError(f"{name} {value!r} is not one of {known}; give one of them")
        ranges = {"coeff": (0, 7), "modality_dropout": (0, 1), "dropout": (0, 1)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name} {value} is outside {low}..{high}; give a value within")
