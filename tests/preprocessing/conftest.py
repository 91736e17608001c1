"""A small corpus with every kind of clip, and its features."""

import shutil

import pytest

from emotion.inputs.store import FeatureStore
from emotion.preprocessing.run import preprocess
from tests.media import silence, write_clip
from tests.preprocessing.clips import (
    BAD_TEXT,
    BROKEN,
    NO_FACE,
    NO_PICTURE,
    NO_SOUND,
    NO_TEXT,
    NO_WORDS,
    NORMAL,
    SILENT,
    VOICE,
    faces,
    nothing,
    options,
    words,
)


@pytest.fixture(scope="package")
def corpus(tmp_path_factory):
    """Every kind of clip that there is; nobody changes it."""
    root = tmp_path_factory.mktemp("corpus")
    train, val, test = (root / split for split in ("train", "val", "test"))
    for folder in (train, val, test):
        folder.mkdir()
    write_clip(train / f"{NORMAL}.mp4", faces(), VOICE, fps=10)
    write_clip(train / f"{NO_FACE}.mp4", nothing(), VOICE, fps=10)
    write_clip(train / f"{SILENT}.mp4", faces(), silence(1.2), fps=10)
    write_clip(train / f"{NO_SOUND}.mp4", faces(), fps=10)
    write_clip(train / f"{NO_PICTURE}.m4a", sound=VOICE)
    (train / f"{BROKEN}.mp4").write_bytes(b"no film at all" * 20)
    for stem in (BAD_TEXT, NO_TEXT, NO_WORDS):
        shutil.copy(train / f"{NORMAL}.mp4", train / f"{stem}.mp4")
    for stem in (NORMAL, NO_FACE, SILENT, NO_SOUND, NO_PICTURE, BROKEN):
        words(train, stem[:3])
    (train / f"{BAD_TEXT[:3]}.npz").write_bytes(b"no archive")
    words(train, NO_WORDS[:3], count=0)
    shutil.copy(train / f"{NORMAL}.mp4", val / "101-take2.mp4")
    (root / "val.csv").write_text("FileID,Emotion\n101,neu\n")
    write_clip(test / "201.mp4", faces(), VOICE[: round(0.8 * 16_000)], fps=10, sound_start=0.2)
    return root


@pytest.fixture(scope="package")
def done(corpus, tmp_path_factory):
    """Features of the corpus, made once; nobody changes them."""
    root = tmp_path_factory.mktemp("done") / "features"
    assert preprocess(options(corpus, root)) == 0
    return FeatureStore(root)


@pytest.fixture
def own(corpus, tmp_path, done):
    """A copy of the corpus and of its features, to be changed: (corpus, store)."""
    shutil.copytree(corpus, tmp_path / "corpus")
    shutil.copytree(done.root, tmp_path / "features")
    return tmp_path / "corpus", FeatureStore(tmp_path / "features")
