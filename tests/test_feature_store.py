"""The layout of features/: places and round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion.inputs.faces import FaceTrack
from emotion.inputs.store import FORMAT, Failure, FeatureStore, StoredClip
from emotion.inputs.vectors import Vectors, without_times
from tests.stored import DESCRIPTION, RECORD, clock_of, face_track, read


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


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
