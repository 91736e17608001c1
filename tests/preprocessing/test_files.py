"""The whole of preprocess.py on tiny real clips: what it writes and says."""

import json
import shutil
from importlib.metadata import version

import numpy as np
import pytest

from emotion.clock import FRAME_SECONDS
from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.inputs.faces import overlap
from emotion.inputs.store import FeatureStore
from emotion.preprocessing.run import preprocess
from tests.media import face_box
from tests.preprocessing.clips import (
    BAD_TEXT,
    BROKEN,
    FACE,
    LATE,
    NO_FACE,
    NO_PICTURE,
    NO_SOUND,
    NO_TEXT,
    NO_WORDS,
    NORMAL,
    SILENT,
    feature_times,
    options,
    records,
    stored,
    summary,
    without_failures,
)
from tests.trees import contents

# -- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "speech", "video", "embedding", "text"),
    [
        (NORMAL, "ok", "ok", "skipped", "ok"),
        (NO_FACE, "ok", "no_face", "absent", "ok"),
        (SILENT, "silent", "ok", "skipped", "ok"),
        (NO_SOUND, "absent", "ok", "skipped", "ok"),
        (NO_PICTURE, "ok", "absent", "absent", "ok"),
        (BROKEN, "failed", "failed", "failed", "ok"),
        (BAD_TEXT, "ok", "ok", "skipped", "failed"),
        (NO_TEXT, "ok", "ok", "skipped", "absent"),
        (NO_WORDS, "ok", "ok", "skipped", "empty"),
    ],
)
def test_a_clip_keeps_what_it_has_and_the_manifest_says_why_not_more(
    done, stem, speech, video, embedding, text
):
    record = records(done)[stem]
    modalities = ("speech", "video", "embedding", "text")
    assert [record.state(m) for m in modalities] == [speech, video, embedding, text]
    for modality in modalities:
        exists = done.path("train", modality, stem, record.id).is_file()
        assert exists == (record.state(modality) in ("ok", "no_face"))


def test_the_manifest_holds_labels_and_ids_in_the_order_of_the_corpus(done):
    rows = done.read_manifest("train")
    assert [row.stem for row in rows] == sorted(row.stem for row in rows)
    assert len(rows) == 9
    row = rows[0]
    assert (row.id, row.speaker) == ("001", "")
    assert (row.integrated, row.face, row.speech) == ("hap", "ang", "sad")
    (row,) = done.read_manifest("val")
    assert (row.id, row.stem) == ("101", "101-take2")
    assert (row.integrated, row.face, row.speech) == ("neu", "", "")
    (row,) = done.read_manifest("test")
    assert (row.integrated, row.face, row.speech) == ("", "", "")
    assert done.splits() == ["train", "val", "test"]


def test_failures_are_listed_with_stage_and_reason(done):
    failures = {f.stem: (f.stage, f.reason) for f in done.read_failures("train")}
    assert set(failures) == {BROKEN, BAD_TEXT}
    assert failures[BROKEN][0] == "open"
    assert failures[BROKEN][1].startswith("not readable as media")
    assert failures[BAD_TEXT][0] == "text"
    assert failures[BAD_TEXT][1].startswith("not a readable npz")
    assert done.read_failures("val") == []


def test_speech_is_float16_from_zero_to_one_of_the_trimmed_interval(done):
    record = records(done)[NORMAL]
    log_mel = stored(done, NORMAL).read("speech")
    assert log_mel.dtype == np.float16
    assert log_mel.shape == (128, record.fact("frames"))
    assert (log_mel.min(), log_mel.max()) == (0, 1)
    start, end = record.fact("start"), record.fact("end")
    assert start == pytest.approx(LATE, abs=0.085)
    assert end == pytest.approx(LATE + 0.5, abs=0.085)
    assert record.duration == pytest.approx(1.2, abs=0.06)
    assert record.fact("frames") == 1 + int((end - start) * 16_000 + 0.5) // 256
    assert record.fact("peak_db") == pytest.approx(0, abs=30)


def frames_of(record):
    return 1 + int(record.duration * 16_000 + 0.5) // 256


def test_faces_are_sampled_over_all_of_the_clip_from_its_start(done):
    record, track = records(done)[NORMAL], stored(done, NORMAL).read("video")
    assert track.time[0] == 0
    np.testing.assert_allclose(np.diff(track.time), 8 * FRAME_SECONDS, atol=1e-5)
    assert len(track.time) == record.fact("face_frames") == -(-frames_of(record) // 8)
    assert record.duration - 8 * FRAME_SECONDS <= track.time[-1] <= record.duration


def test_late_sound_moves_the_speech_on_the_clock_that_the_faces_share(done):
    record, track = records(done, "test")["201"], stored(done, "201", "test").read("video")
    assert record.fact("start") == pytest.approx(0.2 + LATE, abs=0.085)
    assert track.time[0] == 0
    assert track.time[-1] > record.fact("start")


@pytest.mark.parametrize("stem", [SILENT, NO_SOUND])
def test_a_clip_without_a_voice_keeps_its_whole_length(done, stem):
    record, track = records(done)[stem], stored(done, stem).read("video")
    assert record.fact("start") == 0
    assert record.fact("end") == record.duration == pytest.approx(1.2, abs=0.06)
    assert record.fact("frames") == frames_of(record)
    assert record.facts["peak_db"] is None
    assert track.time[0] == 0
    assert len(track.time) == record.fact("face_frames") == -(-record.fact("frames") // 8)


def test_face_crops_are_160_pixels_of_the_face(done):
    record, track = records(done)[NORMAL], stored(done, NORMAL).read("video")
    assert record.fact("face_coverage") == 1.0
    assert track.found.all()
    assert track.decode().shape == (record.fact("face_frames"), 160, 160, 3)
    assert all(overlap(box, face_box(*FACE)) > 0.8 for box in track.box)
    assert (track.probability >= 0.95).all()
    dtypes = {name: getattr(track, name).dtype for name in ("time", "box", "probability", "found")}
    assert dtypes == {"time": "f4", "box": "f4", "probability": "f4", "found": "?"}
    assert done.path("train", "video", NORMAL).stat().st_size < 100_000


def test_a_clip_without_a_face_has_times_and_no_crops(done):
    record, track = records(done)[NO_FACE], stored(done, NO_FACE).read("video")
    assert record.fact("face_coverage") == 0
    assert record.fact("face_frames") == len(track.time) > 3
    assert not track.found.any()
    assert track.jpeg == []


def test_words_are_float32_under_the_file_id(done):
    embedding = stored(done, NORMAL).read("text").values
    assert done.path("train", "text", NORMAL, "001").name == "001.npz"
    assert embedding.dtype == np.float32
    assert embedding.shape == (records(done)[NORMAL].fact("words"), 6) == (4, 6)
    assert (embedding == 1).all()


def test_the_description_names_corpus_classes_settings_and_versions(done):
    description = json.loads((done.root / "features.json").read_text("utf-8"))
    assert description["corpus"] == "qia2020"
    assert description["class_names"] == list(EMOTIONS)
    assert description["settings"] == {
        "audio": "percentile",
        "face_stride": 8,
        "face_clock": "clip",
        "face_align": False,
        "vggface": None,
        "text": None,
    }
    assert description["versions"]["av"] == version("av")


def test_only_what_the_design_names_lies_in_the_folder(done):
    top = {path.relative_to(done.root).parts[0] for path in done.root.rglob("*")}
    assert top == {"train", "val", "test", "features.json"}
    inside = {path.name for path in (done.root / "train").iterdir()}
    lists = {"manifest.csv", "failures.csv", "contact.png"}
    assert inside == {"speech", "video", "text", *lists}


# -- what is said ---------------------------------------------------------------------------------


def test_one_line_sums_the_run_up_and_too_many_failures_are_exit_code_1(corpus, tmp_path, capsys):
    features = tmp_path / "features"
    assert preprocess(options(corpus, features, max_failures=18.0)) == 1  # 2 of 11: 18.2 %
    captured = capsys.readouterr()
    assert captured.out == (
        f"qia2020: 11 clips, 11 extracted now, 2 failed (see {features}/*/failures.csv); "
        f"with speech 8, video 8, embedding 0, text 6; features in {features}\n"
    )
    assert "error: more than 18 % of the clips failed\n" in captured.err


# -- settings -------------------------------------------------------------------------------------


def one_clip(tmp_path, corpus):
    folder = tmp_path / "one" / "train"
    folder.mkdir(parents=True)
    shutil.copy(corpus / "train" / f"{NORMAL}.mp4", folder)
    return folder.parent


def test_stride_and_alignment_do_what_they_say(corpus, done, tmp_path):
    given = {"face_stride": 4, "align": True}
    preprocess(options(one_clip(tmp_path, corpus), tmp_path / "features", **given))
    store = FeatureStore(tmp_path / "features")
    fine, coarse = (stored(s, NORMAL).read("video") for s in (store, done))
    np.testing.assert_allclose(np.diff(fine.time), 4 * FRAME_SECONDS, atol=1e-5)
    assert fine.jpeg[0] != coarse.jpeg[0]
    settings = store.read_description()["settings"]
    fixed = {"vggface": None, "text": None, "audio": "percentile", "face_clock": "clip"}
    assert settings == fixed | {"face_stride": 4, "face_align": True}


# -- embeddings -----------------------------------------------------------------------------------


def test_embeddings_are_added_by_a_later_run_and_stay(own, vggface_weights, capsys):
    corpus, store = own
    without_failures(corpus)
    preprocess(options(corpus, store.root))
    times = feature_times(store.root)
    (corpus / "val.csv").write_text("FileID,Emotion\n101,sur\n")  # a correction at the same time
    capsys.readouterr()
    preprocess(options(corpus, store.root, vggface_weights=str(vggface_weights)))
    assert "embedding 8" in summary(capsys)
    track = stored(store, NORMAL).read("video")
    embedding = np.load(store.path("train", "embedding", NORMAL))
    assert embedding.shape == (len(track.time), 512)
    assert embedding.dtype == np.float16
    norms = np.linalg.norm(embedding.astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)
    states = {stem: record.state("embedding") for stem, record in records(store).items()}
    assert states[NORMAL] == states[SILENT] == "ok"
    assert states[NO_FACE] == states[NO_PICTURE] == "absent"
    assert records(store, "val")["101-take2"].integrated == "sur"
    assert {
        path: when for path, when in feature_times(store.root).items() if path in times
    } == times
    with_embeddings = contents(store.root)
    preprocess(options(corpus, store.root))  # without weights again
    assert ", 0 extracted now" in summary(capsys)
    assert contents(store.root) == with_embeddings


def test_embeddings_of_the_first_run_equal_those_of_a_later_one(corpus, tmp_path, vggface_weights):
    data = one_clip(tmp_path, corpus)
    at_once, later = tmp_path / "a", tmp_path / "b"
    preprocess(options(data, at_once, vggface_weights=str(vggface_weights)))
    preprocess(options(data, later))
    preprocess(options(data, later, vggface_weights=str(vggface_weights)))
    assert contents(at_once) == contents(later)


def test_weights_that_are_none_are_refused_before_anything_is_written(corpus, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"weights\.pt: not a VGG-Face checkpoint"):
        preprocess(options(corpus, tmp_path / "f", vggface_weights=str(tmp_path / "weights.pt")))
    assert not (tmp_path / "f").exists()
