"""Clips that are odd, broken or badly named: each costs itself at most, and the lists say why."""

import os
import shutil
from collections import Counter

import numpy as np
import pytest

from emotion.inputs.store import FeatureStore, StoredClip
from emotion.preprocessing.run import PreprocessOptions, preprocess
from tests.faults.media import NAMES, flipped, long_sound, odd_clips, tenths

CUT = ("usual", "hevc", "wave", "no_picture", "1x1")
WITHOUT_FAILURE = {  # of the whole but odd clips: speech state, whether there is a picture
    **dict.fromkeys(("usual", "50_ms", "uneven", "late", "turned"), ("ok", True)),
    **dict.fromkeys(("no_sound", "one_frame", "1x1", "3x4001", "4001x3"), ("absent", True)),
    **dict.fromkeys(("10_bit", "hevc", "grey"), ("absent", True)),
    **dict.fromkeys(("no_picture", "wave", "8khz", "96khz", "6_channels"), ("ok", False)),
    **dict.fromkeys(("one_sample", "partly_nan", "huge"), ("ok", False)),
    **dict.fromkeys(("nan", "infinite"), ("silent", False)),
    "zeros": ("silent", True),
    "12_channels": ("ok", False),
}
REASONS = ("not readable as media: ", "audio stream broken: ", "video stream broken: ", "its name")


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """name -> path of a whole clip."""
    return odd_clips(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def train(tmp_path):
    folder = tmp_path / "corpus" / "train"
    folder.mkdir(parents=True)
    return folder


def extract(folder, workers=0, **flags):
    """(exit code, records, failures) of the clips in a split's folder."""
    root = folder.parent.parent / "features"
    options = PreprocessOptions(
        data_dir=str(folder.parent),
        features_dir=str(root),
        vggface_weights="none",
        num_workers=workers,
        max_failures=100.0,
        **flags,
    )
    assert preprocess(options) == 0
    store = FeatureStore(root)
    records = {record.stem: record for record in store.read_manifest("train")}
    return store, records, store.read_failures("train")


def unexplained(store, records, failures):
    """Clips with a state or an array that nothing explains."""
    reasons = {failure.stem: failure.reason for failure in failures}
    wrong = []
    for stem, record in records.items():
        explained = reasons.get(stem, REASONS[0]).startswith(REASONS)
        failed = "failed" in (record.state("speech"), record.state("video"))
        if failed != (stem in reasons) or not explained or not _sound_is_whole(store, record):
            wrong.append((stem, reasons.get(stem)))
    return wrong


def _sound_is_whole(store, record):
    if record.state("speech") != "ok":
        return True
    log_mel = StoredClip(store, "train", record).read("speech")  # refuses what is not finite
    return (
        log_mel.shape == (128, record.fact("frames")) and 0 <= log_mel.min() <= log_mel.max() <= 1
    )


def broken(folder, odd, seed, flips):
    """Write cut, flipped, empty and foreign files; how many."""
    rng = np.random.default_rng(seed)
    for name in CUT:
        content, ending = odd[name].read_bytes(), odd[name].suffix
        variants = [*tenths(content), *flipped(content, rng, flips)]
        for number, variant in enumerate(variants):
            (folder / f"{name}_{number}{ending}").write_bytes(variant)
    (folder / "zeros.mp4").write_bytes(bytes(5000))
    (folder / "picture.mp4").write_bytes(
        odd["wave"].read_bytes()
    )  # wrong ending: read all the same
    (folder / "text.wav").write_text("no sound")
    (folder / "folder.mp4").mkdir()
    return len(list(folder.iterdir()))


def test_odd_clips_give_what_they_hold(odd, train, tally):
    for path in odd.values():
        shutil.copy(path, train)
    store, records, failures = extract(train)
    found = {n: (r.state("speech"), r.state("video") == "no_face") for n, r in records.items()}
    wrong = {name for name in WITHOUT_FAILURE if found[name] != WITHOUT_FAILURE[name]}
    wrong |= {name for name, _ in unexplained(store, records, failures)}
    tally("odd clips", len(found), len(wrong))
    assert found == WITHOUT_FAILURE
    assert not wrong


def test_names_of_any_kind_stay_in_the_folder(odd, train, tally):
    for name in NAMES:
        shutil.copy(odd["usual"], train / f"{name}.mp4")
    shutil.copy(odd["usual"], os.fsencode(train) + b"/\xff.mp4")
    store, records, failures = extract(train)
    long = NAMES[-1]
    tally("names", len(NAMES) + 1)
    assert records.keys() == {*NAMES}
    assert [failure.stem for failure in failures] == [long]
    written = {path.stem for path in (store.root / "train" / "speech").iterdir()}
    assert written == {*NAMES} - {long}
    assert not list(train.parent.parent.rglob("canary"))


def test_broken_clips_are_listed_with_the_reason_and_no_other_is(odd, train, tally):
    check_broken(odd, train, tally, seed=0, flips=10, workers=0)


@pytest.mark.torture
def test_hundreds_of_broken_clips(odd, train, tally):
    check_broken(odd, train, tally, seed=1, flips=120, workers=1, clip_timeout=60.0)


def check_broken(odd, train, tally, seed, flips, **running):
    count = broken(train, odd, seed, flips)
    shutil.copy(odd["usual"], train / "whole.mp4")
    store, records, failures = extract(train, **running)
    wrong = unexplained(store, records, failures)
    outcomes = Counter(failure.reason.split(":")[0] for failure in failures)
    print({"ok": count + 1 - len({failure.stem for failure in failures}), **outcomes})
    tally("broken clips", count, len(wrong))
    assert len(records) == count + 1
    assert records["whole"].state("speech") == "ok"
    assert records["picture"].state("speech") == "ok"
    assert not wrong


@pytest.mark.torture
def test_a_clip_that_never_ends_and_one_that_kills_its_worker_cost_themselves(odd, train, tally):
    long_sound(train / "endless.wav")
    shutil.copy(odd["usual"], train / "whole.mp4")
    shutil.copy(odd["usual"], train / "zlast.mp4")
    _, records, failures = extract(train, workers=2, clip_timeout=10.0)
    tally("hanging clips")
    assert [failure.stem for failure in failures] == ["endless"]
    assert failures[0].reason == "took longer than 10 s (--clip_timeout)"
    assert {records[stem].state("speech") for stem in ("whole", "zlast")} == {"ok"}
