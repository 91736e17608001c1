"""Clips that are heard by a transcriber of ours, and a model of what they say."""

import pytest

from emotion.frozen import transcriber
from tests.media import silence, tone, write_clip
from tests.prediction import make_checkpoint
from tests.words.spoken import CLASSES, VECTORS, Heard, run


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    monkeypatch.setattr(transcriber, "Transcriber", Heard)
    monkeypatch.setattr(Heard, "calls", 0)
    return Heard


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["id,path,label,split,transcript", "a,a.wav,good,train,", "b,b.wav,bad,train,"]
    rows += ["c,c.wav,bad,train,", "d,d.wav,good,train,sad yes"]
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    (folder / "vectors.txt").write_text(VECTORS)
    for name, sound in zip("acd", (tone(3.2), silence(2.0), tone(1.0)), strict=True):
        write_clip(folder / f"{name}.wav", sound=sound)
    (folder / "b.wav").write_bytes(b"nothing")
    return folder


@pytest.fixture
def model(corpus, tmp_path):
    """A model of text that remembers how its words were made."""
    settings = run(corpus).read_description()["settings"]
    return make_checkpoint(
        tmp_path / "logs", "text", class_names=CLASSES, features=settings, text_dim=3
    )
