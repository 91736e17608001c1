"""preprocess.py once more over the same features, and after a kill."""

import csv
import shutil
import signal
import subprocess
import sys
import time

import pytest

from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.paths import HOME
from emotion.preprocessing.run import preprocess
from tests.media import tone, write_clip
from tests.preprocessing.clips import (
    BAD_TEXT,
    BROKEN,
    NO_FACE,
    NO_TEXT,
    NORMAL,
    SILENT,
    VOICE,
    feature_times,
    options,
    records,
    summary,
    without_failures,
    words,
)
from tests.trees import contents

# -- a second run ---------------------------------------------------------------------------------


def test_a_second_run_does_nothing(own, capsys):
    corpus, store = own
    without_failures(corpus)
    preprocess(options(corpus, store.root))
    before, times = contents(store.root), feature_times(store.root)
    capsys.readouterr()
    assert preprocess(options(corpus, store.root)) == 0
    assert ": 10 clips, 0 extracted now, 0 failed; with" in summary(capsys)
    assert contents(store.root) == before
    assert feature_times(store.root) == times


def test_failed_clips_are_tried_again_and_leave_the_list_when_mended(own, capsys):
    corpus, store = own
    shutil.copy(corpus / "train" / f"{NORMAL}.mp4", corpus / "train" / f"{BROKEN}.mp4")
    assert preprocess(options(corpus, store.root)) == 0
    assert ", 2 extracted now, 1 failed" in summary(capsys)
    assert [f.stem for f in store.read_failures("train")] == [BAD_TEXT]
    assert records(store)[BROKEN].state("speech") == "ok"


@pytest.mark.parametrize("modality", ["speech", "video", "text"])
def test_a_deleted_file_is_made_again_and_no_other(own, capsys, modality):
    corpus, store = own
    without_failures(corpus)
    preprocess(options(corpus, store.root))
    before, times = contents(store.root), feature_times(store.root)
    deleted = store.path("train", modality, NORMAL, "001")
    deleted.unlink()
    capsys.readouterr()
    assert preprocess(options(corpus, store.root)) == 0
    assert ", 1 extracted now, 0 failed" in summary(capsys)
    assert contents(store.root) == before
    changed = {path for path, when in feature_times(store.root).items() if when != times[path]}
    assert changed == {deleted}


def test_corrected_labels_are_picked_up_without_extraction(own, capsys):
    corpus, store = own
    times = feature_times(store.root / "val")
    (corpus / "val.csv").write_text("FileID,Emotion\n101,sur\n")
    (corpus / "val_face.csv").write_text("FileID,Emotion\n101,dis\n")
    preprocess(options(corpus, store.root))
    (record,) = store.read_manifest("val")
    assert (record.integrated, record.face, record.speech) == ("sur", "dis", "")
    assert feature_times(store.root / "val") == times


def test_a_corrected_speaker_is_picked_up_without_extraction(tmp_path, capsys):
    write_clip(tmp_path / "a.wav", None, tone(0.6, 300))
    store = FeatureStore(tmp_path / "f")
    for speaker, extracted in (("01", 1), ("ased_01", 0)):
        (tmp_path / "table.csv").write_text(f"path,label,speaker\na.wav,angry,{speaker}\n")
        assert preprocess(options(tmp_path, store.root, corpus="table")) == 0
        assert f" {extracted} extracted now" in summary(capsys)
        assert [record.speaker for record in store.read_manifest("all")] == [speaker]


def test_words_that_are_put_there_later_are_picked_up(own):
    corpus, store = own
    words(corpus / "train", NO_TEXT[:3], count=2)
    preprocess(options(corpus, store.root))
    record = records(store)[NO_TEXT]
    assert (record.state("text"), record.fact("words")) == ("ok", 2)


def test_clips_that_are_gone_or_new_leave_and_join_the_manifest(own, capsys):
    corpus, store = own
    without_failures(corpus)
    video = corpus / "train" / f"{NO_FACE}.mp4"
    video.rename(video.with_name("010-hap-hap-hap.mp4"))
    preprocess(options(corpus, store.root))
    stems = list(records(store))
    assert NO_FACE not in stems
    assert stems[-1] == "010-hap-hap-hap"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"face_stride": 4}, "face_stride 8, now it is 4"),
        ({"align": True}, "face_align False, now it is True"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(own, changes, reason):
    corpus, store = own
    before = contents(store.root)
    with pytest.raises(UserError, match=rf"{reason}; give another --features_dir"):
        preprocess(options(corpus, store.root, **changes))
    assert contents(store.root) == before


def test_another_corpus_is_refused(own, tmp_path):
    _, store = own
    write_clip(tmp_path / "03-01-05-01-01-01-07.wav", sound=VOICE)
    with pytest.raises(UserError, match="corpus qia2020, now it is ravdess"):
        preprocess(options(tmp_path, store.root, corpus="ravdess"))


def test_ravdess_becomes_one_split_with_speakers(tmp_path):
    write_clip(tmp_path / "data.wav", sound=VOICE)
    data = tmp_path / "data" / "Actor_07"
    data.mkdir(parents=True)
    (tmp_path / "data.wav").rename(data / "03-01-05-01-01-01-07.wav")
    features = tmp_path / "features"
    assert preprocess(options(tmp_path / "data", features, corpus="ravdess")) == 0
    store = FeatureStore(features)
    assert store.splits() == ["all"]
    (record,) = store.read_manifest("all")
    assert (record.speaker, record.integrated, record.speech) == ("07", "angry", "angry")
    assert record.state("video") == "absent"


# -- workers and kills ----------------------------------------------------------------------------


def test_workers_write_the_same_bytes_as_none(corpus, done, tmp_path):
    features = tmp_path / "features"
    assert preprocess(options(corpus, features, num_workers=2)) == 0
    assert contents(features) == contents(done.root)


WAITING = """
import sys, time
sys.path.insert(0, "src")
from emotion.preprocessing.journal import Journal
from emotion.scripts import preprocess
write, seen = Journal._append, []
def append(journal, outcome):
    write(journal, outcome)
    seen.append(outcome)
    if len(seen) == 2:
        time.sleep(600)
Journal._append = append
preprocess()
"""


def test_a_killed_run_is_gone_on_with(corpus, done, tmp_path, capsys):
    """The run waits after its second clip, where it is killed."""
    data, features = tmp_path / "corpus", tmp_path / "features"
    shutil.copytree(corpus, data)
    given = options(data, features)
    named = {name: str(value) for name, value in vars(given).items() if value != []}
    del named["max_failures"]  # is no flag
    flags = [word for name, value in named.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *flags], cwd=HOME, stderr=subprocess.DEVNULL
    )
    journal = features / ".journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count("\n") == 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with journal.open("a") as file:
        file.write('["train", ["003", "003-d')  # a line that a kill cuts short
    (features / "train" / "speech" / f".{SILENT}.npy.1.partial").touch()
    times = feature_times(features)
    assert len(times) == 6  # of two clips

    assert preprocess(given) == 0
    assert "11 clips, 9 extracted now" in summary(capsys)
    assert {path: when for path, when in feature_times(features).items() if path in times} == times
    assert contents(features) == contents(done.root)


def test_the_lists_are_plain_csv(done):
    with (done.root / "train" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["integrated"] == "hap"
    assert float(rows[0]["face_coverage"]) == 1.0
