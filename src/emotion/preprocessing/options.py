"""The flags of preprocess.py."""

from dataclasses import dataclass

from emotion.command_line import flag
from emotion.corpora import CORPORA
from emotion.machine import cores


@dataclass
class PreprocessOptions:
    """One field is one flag; groups are those of ``--help``."""

    corpus: str = flag("qia2020", "which corpus to read", "data", tuple(CORPORA))
    data_dir: str = flag("", "its folder; qia2020/ beside the script where none is given", "data")
    features_dir: str = flag("", "where features go; features/ beside the script", "data")
    denoise: str = flag("none", "denoising of the speech", "features", ("none", "wiener"))
    face_stride: int = flag(8, "mel frames (16 ms) between two face crops", "features", low=1)
    jpeg_quality: int = flag(88, "of the stored face crops", "features", low=1, high=100)
    vggface_weights: str = flag(
        "auto", "VGG-Face weights: a file, auto (download) or none (no embeddings)", "features"
    )
    text_encoder: str = flag(
        "",
        "embeds transcripts in context: a Hugging Face encoder, by folder or name "
        "(pip install -r requirements-text.txt)",
        "features",
    )
    text_layers: int = flag(
        1, "of the text encoder, from the last, whose mean a word is", "features", low=1
    )
    word_vectors: str = flag(
        "",
        "embeds transcripts word by word: a text file of word2vec, GloVe or fastText, .gz too",
        "features",
    )
    num_workers: int = flag(cores(), "processes; 0 works in this one", "running", low=0, high=1024)
    clip_timeout: float = flag(
        600.0,
        "seconds a clip may take before it is given up as failed; 0 waits for ever, and so do "
        "0 workers",
        "running",
        low=0,
    )
    shard: str = flag(
        "",
        "K/N: do the K-th of N shares of the clips, from 1/N to N/N, beside the others",
        "running",
    )
    merge_only: bool = flag(
        False, "extract nothing: write the manifest of what all shards did", "running"
    )
    max_failures: float = flag(
        5.0, "percent of clips that may fail before the exit code is 1", "running", low=0, high=100
    )
