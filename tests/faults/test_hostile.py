"""Files made by an enemy: no code in them is run, and no name in them leads out of the folder."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from emotion import registry
from emotion.corpora.loading import load_corpus
from emotion.data.dataset import FeatureDataset
from emotion.data.examples import Example
from emotion.errors import UserError
from emotion.frozen.vggface import FaceEmbedder
from emotion.inputs.crop_vectors import read_clock
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.inputs.words import TextError, read_word_embeddings
from emotion.models.checkpoint import FORMAT, KEYS, load_checkpoint
from emotion.records import Record
from tests.features import make_features
from tests.recipes import recipe_of


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.fixture
def bomb(tmp_path):
    """One that goes off where pickles are trusted, which is tried at the end of each test."""
    yield Bomb(tmp_path / "canary")
    assert not (tmp_path / "canary").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "canary")))
    assert (tmp_path / "canary").is_dir()


def plain(path, content):
    path.write_bytes(pickle.dumps(content))


def old(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def inside(path, content):
    """Among everything that a checkpoint of this program holds."""
    torch.save({**dict.fromkeys(KEYS, ""), "format": FORMAT, "metrics": content}, path)


def several_pickles(path, content):
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) * 3)
    with path.open("ab") as file:
        pickle.dump(content, file)


CHECKPOINTS = (plain, old, inside, several_pickles, lambda path, content: torch.save(content, path))


@pytest.mark.parametrize("write", CHECKPOINTS)
@pytest.mark.parametrize("load", [load_checkpoint, FaceEmbedder], ids=["train", "vggface"])
def test_checkpoints_run_nothing(tmp_path, bomb, tally, write, load):
    path = tmp_path / "hostile.pth"
    write(path, {"logits.weight": bomb})
    tally("pickle bombs")
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def objects(path, bomb):
    """An array of objects, under the names that this program reads."""
    names = ("word_embed", "time", "found", "jpeg", "jpeg_bytes", "crop", "box", "probability")
    array = np.array([[bomb]], object)
    with path.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=True, **dict.fromkeys(names, array))
        else:
            np.save(file, array, allow_pickle=True)


RECORD = Record(
    "clip", "clip", "", "", "", "", 1.0, dict.fromkeys(registry.feature_names(), "ok"), {}
)
READERS = {
    **{name: lambda clip, name=name: clip.read(name) for name in registry.feature_names()},
    "clock": lambda clip: clip.read_with("video", read_clock),
}


@pytest.mark.parametrize("write", [plain, objects])
@pytest.mark.parametrize("reader", READERS)
def test_features_run_nothing(tmp_path, bomb, tally, write, reader):
    store = FeatureStore(tmp_path / "features")
    path = store.path("train", "video" if reader == "clock" else reader, "clip")
    path.parent.mkdir(parents=True)
    write(path, bomb)
    tally("pickle bombs")
    with pytest.raises(UserError, match="damaged"):
        READERS[reader](StoredClip(store, "train", RECORD))


@pytest.mark.parametrize("write", [plain, objects])
def test_word_embeddings_of_a_corpus_run_nothing(tmp_path, bomb, tally, write):
    write(tmp_path / "001.npz", bomb)
    tally("pickle bombs")
    with pytest.raises(TextError, match="not a readable npz"):
        read_word_embeddings(tmp_path / "001.npz")


# -- names that lead elsewhere --------------------------------------------------------------------


def test_members_of_an_archive_are_not_unpacked(tmp_path, tally):
    path = tmp_path / "in" / "001.npz"
    path.parent.mkdir()
    np.savez(path, word_embed=np.ones((2, 3)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped.npy", b"")
        archive.writestr(str(tmp_path / "absolute.npy"), b"")
    tally("names")
    assert read_word_embeddings(path).shape == (2, 3)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["001.npz", "in"]


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", "nul\0"])
def test_clip_names_cannot_leave_the_features(tmp_path, tally, name):
    store = FeatureStore(tmp_path / "features")
    tally("names")
    with pytest.raises(UserError, match="no file name"):
        store.write("train", "speech", name, np.zeros((128, 3), np.float16))
    with pytest.raises(UserError, match="no file name"):
        StoredClip(store, "train", RECORD._replace(id=name)).read("text")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "row", ["../../up.wav,,hap", "/abs/olute.wav,,hap", "clip.wav,../../up,hap", "clip.wav,..,hap"]
)
def test_rows_of_a_table_name_files_inside_the_features(tmp_path, tally, row):
    (tmp_path / "clip.wav").touch()
    (tmp_path / "table.csv").write_text(f"path,id,label\n{row}\nclip.wav,other,sad\n")
    store = FeatureStore(tmp_path / "features")
    tally("names")
    clip = load_corpus("table", tmp_path).clips[0]
    path = store.path("all", "speech", clip.stem)
    assert path.resolve().parent == (store.root / "all" / "speech").resolve()


def test_a_manifest_cannot_make_training_read_elsewhere(tmp_path, tally):
    store = make_features(tmp_path / "features", clips={"train": 1}, modalities=("text",))
    record = store.read_manifest("train")[0]._replace(id="../../../secret")
    tally("names")
    dataset = FeatureDataset(store, [Example("train", record, 0, 0, 0)], recipe_of("text"))
    with pytest.raises(UserError, match="no file name"):
        dataset[0, 0]
