"""Stored features and lists that are damaged, each told in a line that names the file.

Those that an enemy made are in ``tests/faults/test_hostile.py``.
"""

import json
from contextlib import suppress

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.inputs.store import FORMAT, Failure, FeatureStore
from emotion.inputs.vectors import Vectors, without_times
from tests.stored import DESCRIPTION, RECORD, clock_of, face_track, read


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


READERS = {
    "speech": lambda store: read(store, "train", "speech", "7"),
    "embedding": lambda store: read(store, "train", "embedding", "7"),
    "video": lambda store: read(store, "train", "video", "7"),
    "clock": lambda store: clock_of(store, "train", "7"),
    "text": lambda store: read(store, "train", "text", "7"),
}


def feature_path(store, reader):
    path = store.path("train", "video" if reader == "clock" else reader, "7")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_file_says_so(store, reader):
    with pytest.raises(UserError, match=r"train/.*7\.np[yz]: missing; run preprocess\.py again"):
        READERS[reader](store)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", [b"", b"rubbish" * 9, b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_says_so_in_one_line(store, reader, content):
    feature_path(store, reader).write_bytes(content)
    with pytest.raises(UserError, match=r"^[^\n]*7\.np[yz]: damaged [^\n]*remove it[^\n]*$"):
        READERS[reader](store)


@pytest.mark.parametrize("reader", READERS)
def test_an_array_in_place_of_an_archive_and_the_reverse_are_damaged(store, reader):
    path = feature_path(store, reader)
    with path.open("wb") as file:
        if path.suffix == ".npy":
            np.savez(file, a=np.zeros(3))
        else:
            np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="damaged"):
        READERS[reader](store)


def test_face_crops_with_a_missing_part_are_damaged(store):
    path = feature_path(store, "video")
    np.savez(path, jpeg=np.zeros(3, np.uint8), jpeg_bytes=np.array([3]), time=np.zeros(1))
    with pytest.raises(UserError, match="damaged"):
        read(store, "train", "video", "7")


@pytest.mark.parametrize("times", [np.zeros(3), np.zeros((2, 1)), np.array(["0", "1"])])
def test_words_whose_times_do_not_fit_are_damaged(store, times):
    path = feature_path(store, "text")
    np.savez(path, word_embed=np.ones((2, 4), np.float32), word_time=times)
    with pytest.raises(UserError, match=r"7\.npz: damaged .*remove it"):
        read(store, "train", "text", "7")


def test_an_embedding_of_other_crops_is_damaged(store):
    track = face_track(crops=1, rows=2)
    store.write("train", "video", "7", track)
    store.write("train", "embedding", "7", without_times(np.ones((3, 512), np.float16)))
    with pytest.raises(UserError, match=r"video_embedding/7\.npy: damaged .*remove it"):
        read(store, "train", "embedding", "7")


def test_damage_anywhere_in_a_file_is_found_or_harmless(store):
    """No byte that is changed makes another error than the one a user is meant to see."""
    track = face_track(crops=1, rows=2)
    store.write("train", "video", "7", track)
    store.write("train", "speech", "7", np.zeros((128, 2), np.float16))
    embedded = np.zeros((2, 512), np.float16)
    store.write("train", "embedding", "7", Vectors(embedded, track.time, track.found))
    store.write("train", "text", "7", without_times(np.ones((2, 4), np.float32)))
    generator = np.random.default_rng(0)
    for reader, path in [(name, feature_path(store, name)) for name in READERS]:
        whole = path.read_bytes()
        for place in generator.integers(0, len(whole), 150):
            changed = bytearray(whole)
            changed[place] ^= int(generator.integers(1, 256))
            path.write_bytes(changed[: None if place % 3 else place])
            with suppress(UserError):
                READERS[reader](store)
        path.write_bytes(whole)


# -- damaged lists -------------------------------------------------------------------------------


def damage_manifest(store, change):
    store.write_manifest("train", [RECORD, RECORD._replace(stem="8")])
    path = store.root / "train" / "manifest.csv"
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"0.304", b"soon"),
        lambda text: text[: text.rindex(b",absent")],
        lambda text: text.rstrip(b"\n") + b",more\n",
        lambda text: text.replace(b"duration,", b"seconds,"),
        lambda text: b"",
    ],
    ids=["no number", "cut short", "one more", "other column", "empty"],
)
def test_a_damaged_manifest_is_named_with_the_mend(store, change):
    damage_manifest(store, change)
    with pytest.raises(UserError, match=r"train/manifest\.csv: .*preprocess\.py again"):
        store.read_manifest("train")


def test_a_damaged_list_of_failures_is_named(store):
    store.write_failures("train", [Failure("7", "open", "broken")])
    path = store.root / "train" / "failures.csv"
    path.write_text(path.read_text() + "8\n")
    with pytest.raises(UserError, match=r"train/failures\.csv: damaged row"):
        store.read_failures("train")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"format": FORMAT})])
def test_a_damaged_description_is_named_with_the_mend(store, content):
    store.root.mkdir()
    (store.root / "features.json").write_text(content)
    with pytest.raises(UserError, match=r"features\.json: damaged; remove the folder"):
        store.read_description()


def test_features_of_another_format_are_refused(store):
    store.write_description(DESCRIPTION | {"format": FORMAT + 1})
    with pytest.raises(UserError, match=rf"format {FORMAT + 1}.*reads {FORMAT}.*--features_dir"):
        store.read_description()
