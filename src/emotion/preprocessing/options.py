"""The flags of preprocess.py."""

from dataclasses import dataclass

from emotion import registry
from emotion.command_line import flag
from emotion.machine import cores


@dataclass
class General:
    """One field is one flag; groups are those of ``--help``."""

    corpus: str = flag("qia2020", "which corpus to read", "data", tuple(registry.CORPORA))
    extend: list[str] = flag(  # noqa: RUF009
        [], "Python files of one's own that bring a corpus or features", "data", type=str
    )
    data_dir: str = flag("", "its folder; that of its name (qia2020/) by the script", "data")
    features_dir: str = flag("", "where features go; features/ beside the script", "data")
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
        "K/N: do the K-th of N shares of the clips, from 1/N to N/N, beside the others; merge: "
        "extract nothing, write the manifest of what all shards did",
        "running",
    )
    check: bool = flag(
        False,
        "extract nothing: print what --features_dir holds by class, modality and speaker, which "
        "folds it allows, what clips lack, how loud and how dark they are",
        "running",
    )
    max_failures: float = 5.0  # percent of clips before the exit code is 1; others from Python


PreprocessOptions = registry.joined(
    "PreprocessOptions",
    General,
    [line.module for line in registry.FEATURES.values()],
    "Extraction",
)
