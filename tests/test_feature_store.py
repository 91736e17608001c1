"""The layout of features/: round trips, whole files or none, nothing pickled."""

import json
import multiprocessing
import os
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion.errors import UserError
from emotion.files import remove_partial_files, write_atomic
from emotion.inputs.crop_vectors import read_clock
from emotion.inputs.faces import FaceTrack, encode_jpeg
from emotion.inputs.store import FORMAT, Failure, FeatureStore, StoredClip
from emotion.inputs.vectors import Vectors, without_times
from emotion.inputs.words import TextError, read_word_embeddings
from emotion.records import Record
from tests.media import portrait

RECORD = Record(
    id="007",
    stem="007-hap-ang-sad",
    speaker="",
    integrated="hap",
    face="ang",
    speech="",
    duration=2.5,
    states={"speech": "ok", "video": "no_face", "embedding": "absent", "text": "failed"},
    facts={
        "start": 0.304,
        "end": 2.1,
        "frames": 113,
        "face_frames": 15,
        "face_coverage": 0.9333,
        "words": 4,
        "peak_db": None,
    },
)
DESCRIPTION = {"corpus": "qia2020", "class_names": ["행복", "ang"], "settings": {"face_stride": 8}}


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


def face_track(crops=2, rows=3):
    picture = portrait(188)[:160, :160]
    return FaceTrack(
        jpeg=[encode_jpeg(np.roll(picture, 20 * number, 1), 90) for number in range(crops)],
        crop=np.minimum(np.arange(rows), crops - 1).astype(np.int32),
        time=np.arange(rows, dtype=np.float32) * 0.128,
        box=np.arange(rows * 4, dtype=np.float32).reshape(rows, 4),
        probability=np.linspace(0.95, 1, rows, dtype=np.float32),
        found=np.arange(rows) < crops,
    )


def read(store, split, feature, name):
    return StoredClip(store, split, RECORD._replace(id=name, stem=name)).read(feature)


def clock_of(store, split, stem):
    clip = StoredClip(store, split, RECORD._replace(stem=stem))
    clock = clip.read_with("video", read_clock)
    return clock["time"], clock["found"]


def assert_same_track(first, second):
    assert first.jpeg == second.jpeg
    for name in FaceTrack._fields[1:]:
        wanted, got = getattr(first, name), getattr(second, name)
        assert wanted.dtype == got.dtype
        np.testing.assert_array_equal(wanted, got)


# -- places --------------------------------------------------------------------------------------


def test_every_feature_lies_where_the_design_says(store):
    places = {
        feature: store.path("val", feature, "7-hap", "7").relative_to(store.root).as_posix()
        for feature in ("speech", "video", "embedding", "text")
    }
    assert places == {
        "speech": "val/speech/7-hap.npy",
        "video": "val/video/7-hap.npz",
        "embedding": "val/video_embedding/7-hap.npy",
        "text": "val/text/7.npz",
    }


def test_files_can_be_read_without_this_program(store):
    store.write("train", "speech", "7", np.ones((128, 5), np.float16))
    embedded = np.ones((3, 512), np.float16)
    store.write("train", "embedding", "7", without_times(embedded))
    store.write("train", "text", "7", without_times(np.ones((4, 200), np.float32)))
    assert np.load(store.root / "train/speech/7.npy", allow_pickle=False).shape == (128, 5)
    stored = np.load(store.root / "train/video_embedding/7.npy", allow_pickle=False)
    np.testing.assert_array_equal(stored, embedded)
    with np.load(store.root / "train/text/7.npz", allow_pickle=False) as archive:
        assert archive.files == ["word_embed"]
        assert archive["word_embed"].shape == (4, 200)


# -- round trips ---------------------------------------------------------------------------------


def test_arrays_come_back_as_they_were(store):
    values = np.random.default_rng(0).random((128, 9)).astype(np.float16)
    store.write("train", "speech", "a b-ä", values)
    got = read(store, "train", "speech", "a b-ä")
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, values)


def test_embeddings_come_back_as_they_were_with_the_times_of_the_crops(store):
    track = face_track(crops=2, rows=4)
    values = np.random.default_rng(0).random((4, 9)).astype(np.float16)
    store.write("train", "video", "a b-ä", track)
    store.write("train", "embedding", "a b-ä", Vectors(values, track.time, track.found))
    got = read(store, "train", "embedding", "a b-ä")
    assert got.values.dtype == np.float16
    for part, wanted in zip(got, (values, track.time, track.found), strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_words_come_back_as_they_were(store):
    words = np.random.default_rng(0).random((3, 20)).astype(np.float32)
    store.write("test", "text", "007-hap", without_times(words), "007")
    got = StoredClip(store, "test", RECORD).read("text")
    np.testing.assert_array_equal(got.values, words)
    assert np.isnan(got.time).all()
    assert got.found.all()


def test_words_keep_the_times_that_are_known(store):
    words = np.random.default_rng(0).random((3, 20)).astype(np.float32)
    times = np.array([0.1, np.nan, 0.7], np.float32)
    store.write("test", "text", "007", Vectors(words, times, np.ones(3, bool)))
    got = read(store, "test", "text", "007")
    np.testing.assert_array_equal(got.time, times)
    np.testing.assert_array_equal(got.values, words)


@pytest.mark.parametrize(("crops", "rows"), [(2, 3), (1, 1), (3, 3), (0, 4)])
def test_face_tracks_come_back_as_they_were(store, crops, rows):
    track = face_track(crops, rows)
    store.write("all", "video", "7", track)
    assert_same_track(track, read(store, "all", "video", "7"))
    time, found = clock_of(store, "all", "7")
    np.testing.assert_array_equal(time, track.time)
    np.testing.assert_array_equal(found, track.found)


def test_the_manifest_comes_back_as_it_was(store):
    other = RECORD._replace(id="8", stem='8-"x", y', speaker="12")
    records = [RECORD, other._replace(facts=RECORD.facts | {"end": 1e-4, "peak_db": -3.25})]
    store.write_manifest("train", records)
    assert store.read_manifest("train") == records
    assert store.splits() == ["train"]
    assert store.read_manifest("val") == []


def test_columns_of_other_features_are_passed_over_and_missing_ones_mean_that_nobody_looked(store):
    states = {"speech": "ok", "smell": "ok"}
    record = RECORD._replace(states=states, facts={"frames": 3, "peak_db": -1.5, "strength": 9})
    store.write_manifest("train", [record])
    (found,) = store.read_manifest("train")
    assert found.facts == {"frames": 3, "peak_db": -1.5}
    assert [found.state(name) for name in ("speech", "video")] == ["ok", "missing"]
    assert (found.fact("words"), found.fact("end", 2.0)) == (0.0, 2.0)


@settings(max_examples=30)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20),
    st.floats(0, 1e5),
)
def test_any_name_and_number_survives_the_manifest(tmp_path_factory, text, number):
    store = FeatureStore(tmp_path_factory.mktemp("store"))
    record = RECORD._replace(stem=text, speaker=text, duration=number)
    store.write_manifest("all", [record])
    assert store.read_manifest("all") == [record]


def test_failures_come_back_as_they_were(store):
    failures = [Failure("7", "open", "not readable, sorry"), Failure("7", "text", 'no "x"')]
    store.write_failures("val", failures)
    assert store.read_failures("val") == failures
    store.write_failures("val", [])
    assert store.read_failures("val") == []


def test_the_description_comes_back_with_the_format(store):
    assert store.read_description() is None
    store.write_description(DESCRIPTION)
    assert store.read_description() == {"format": FORMAT, **DESCRIPTION}


# -- whole or not at all -------------------------------------------------------------------------


def killed_while_writing(target):
    """What a child process does that dies by SIGKILL between the writing and the renaming."""
    os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    write_atomic(target, lambda file: file.write(b"new" * 1000))


@pytest.mark.parametrize("before", [None, b"old"], ids=["nothing", "an older file"])
def test_a_kill_during_a_write_leaves_what_was_there(tmp_path, before):
    target = tmp_path / "train" / "speech" / "7.npy"
    target.parent.mkdir(parents=True)
    if before is not None:
        target.write_bytes(before)
    child = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=[target])
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (target.read_bytes() if target.exists() else None) == before
    assert len(list(target.parent.iterdir())) == 1 + (before is not None)  # the partial file
    remove_partial_files(tmp_path)
    assert list(target.parent.iterdir()) == ([] if before is None else [target])


def test_the_content_is_on_disk_before_the_name_is_there(tmp_path, monkeypatch):
    target, seen = tmp_path / "a", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(target.exists()), fsync(file)))
    write_atomic(target, lambda file: file.write(b"content"))
    assert seen == [False]
    assert target.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch, error):
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def fail(file):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        write_atomic(target, lambda file: file.write(b"new"))
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"old"


def test_a_name_as_long_as_a_file_may_have_is_written(tmp_path):
    path = tmp_path / ("a" * 251 + ".csv")
    write_atomic(path, lambda file: file.write(b"content"))
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_only_partial_files_are_swept_away(tmp_path):
    for name in ("a/.7.npy.12.partial", "a/7.npy", "b/.hidden", "b/partial"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    remove_partial_files(tmp_path / "nowhere")
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["a/7.npy", "b/.hidden", "b/partial"]


# -- damaged and hostile files -------------------------------------------------------------------


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


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
def test_pickled_objects_are_refused_and_run_nothing(store, tmp_path, reader):
    path, canary = feature_path(store, reader), tmp_path / "canary"
    bomb = np.array([Bomb(canary)], dtype=object)
    if path.suffix == ".npy":
        np.save(path, bomb, allow_pickle=True)
    else:
        names = ("word_embed", *FaceTrack._fields, "jpeg_bytes")
        np.savez(path, **dict.fromkeys(names, bomb))
    with pytest.raises(UserError, match="damaged"):
        READERS[reader](store)
    assert not canary.exists()


def test_a_plain_pickle_in_place_of_an_array_runs_nothing(store, tmp_path):
    path, canary = feature_path(store, "speech"), tmp_path / "canary"
    bomb = np.array([Bomb(canary)], dtype=object)
    path.write_bytes(bomb.dumps())
    with pytest.raises(UserError, match="damaged"):
        READERS["speech"](store)
    assert not canary.exists()


def test_word_embeddings_of_the_user_run_nothing_either(tmp_path):
    canary = tmp_path / "canary"
    np.savez(tmp_path / "7.npz", word_embed=np.array([Bomb(canary)], dtype=object))
    with pytest.raises(TextError, match=r"^not a readable npz: [^\n]+$"):
        read_word_embeddings(tmp_path / "7.npz")
    assert not canary.exists()


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
