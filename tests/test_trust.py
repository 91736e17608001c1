"""How far answers can be trusted: groups, coverage, thresholds, and what stress does to them."""

import json
import wave

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.files import write_csv
from emotion.inputs.extraction import Extractor
from emotion.inputs.feature import Absent
from emotion.inputs.media import Media
from emotion.prediction import stress
from emotion.prediction.abstain import choose_threshold, left_open, outcome
from emotion.prediction.members import load_members
from emotion.prediction.run import predict
from emotion.prediction.scores import System
from emotion.prediction.trust import by_group, calibration_by_class, risk_by_coverage
from emotion.records import Clip, Labels
from tests.features import make_features
from tests.prediction import PLAIN, answers_of, make_checkpoint, options_of
from tests.slim import slim
from tests.training.runs import run_of

NAMES = ("hap", "ang")


def system(confidence, right, speakers=None):
    """Two classes; each answer is of the confidence that is given."""
    labels = np.arange(len(right)) % 2
    answers = np.where(right, labels, 1 - labels)
    probabilities = np.zeros((len(right), 2))
    rows = np.arange(len(right))
    probabilities[rows, answers] = confidence
    probabilities[rows, 1 - answers] = 1 - np.asarray(confidence)
    return System("one", probabilities, labels, np.array(speakers or [""] * len(right)))


def test_a_weak_group_is_told_apart():
    right = [True] * 8 + [True, False] * 4
    speakers = ["a"] * 4 + ["b"] * 4 + ["c"] * 4 + ["d"] * 4
    one = system([0.9] * 16, right, speakers)
    sexes = by_group(one, ["female"] * 8 + ["male"] * 8, NAMES)
    assert sexes["female"]["accuracy"] == 1.0
    assert sexes["male"]["accuracy"] == 0.5
    assert sexes["male"]["recall"] == {"hap": 1.0, "ang": 0.0}
    assert sexes["male"]["drawn"] == "speakers"
    assert by_group(one, speakers, NAMES)["c"]["drawn"] == "clips"
    assert by_group(one, [""] * 16, NAMES) == {}


def test_accuracy_rises_where_only_sure_answers_are_given():
    one = system([0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.55, 0.52], [True] * 4 + [True, False] * 2)
    risk = risk_by_coverage(one)
    assert risk["points"][-1] == {"coverage": 1.0, "confidence": 0.52, "accuracy": 0.75}
    assert next(p for p in risk["points"] if p["coverage"] == 0.5)["accuracy"] == 1.0
    assert risk["area"] == pytest.approx(np.mean([0, 0, 0, 0, 0, 1 / 6, 1 / 7, 2 / 8]))
    calibration = calibration_by_class(one, NAMES)
    assert sum(row["answers"] for row in calibration.values()) == 8


# -- answers that stay open ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("trust")
    shape = {"clips": {"all": 48}, "speakers": 8, "n_classes": 3, "modalities": ("text",)}
    make_features(root / "features", **shape, noise=4.0)
    return root / "features", run_of(root / "features", root / "logs", n_folds=4, n_epoch=2)


def with_answers(run, confidence, right):
    """Another history: the validation answers of a model, as a test wants them."""
    names = ("hap", "ang", "dis")
    rows = []
    for number, (sure, good) in enumerate(zip(confidence, right, strict=True)):
        label, answer = number % 3, number % 3 if good else (number + 1) % 3
        shares = [(1 - sure) / 2] * 3
        shares[answer] = sure
        rows.append([f"c{number}", *[names[label]] * 3, names[answer], *shares])
    header = ["clip", "integrated", "face", "speech", "prediction", *names]
    write_csv(run / "predictions_valid.csv", header, rows)


def test_the_threshold_is_chosen_on_validation_clips(run, tmp_path, capsys):
    features, folder = run
    before = (folder / "predictions_valid.csv").read_bytes()
    with_answers(folder, np.linspace(0.99, 0.4, 40), [True] * 20 + [False] * 20)
    flags = {"features_dir": str(features), "split": "test", "abstain": 0.8}
    rows = answers_of(folder, tmp_path, probabilities=True, **flags)
    said = capsys.readouterr().out
    assert "chosen on 40 validation clips, where 62.5 % are answered and 80.0 %" in said
    lowest = np.linspace(0.99, 0.4, 40)[24]
    for row in rows:
        sure = max(float(row[name]) for name in ("hap", "ang", "dis"))
        assert bool(row["Emotion"]) == (sure >= lowest)
    predict(options_of(folder, tmp_path, report=str(tmp_path / "report"), **flags))
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["abstain"]["threshold"]["coverage"] == 0.625
    assert "With --abstain 0.8" in (tmp_path / "report" / "report.html").read_text()
    with_answers(folder, [0.9] * 40, [False] * 40)
    with pytest.raises(UserError, match="no threshold gives that, the best gives"):
        answers_of(folder, tmp_path, **flags)
    (folder / "predictions_valid.csv").unlink()
    with pytest.raises(UserError, match=r"predictions_valid\.csv: no such file; --abstain wants"):
        answers_of(folder, tmp_path, **flags)
    (folder / "predictions_valid.csv").write_bytes(before)


def test_stress_wants_media_files_and_a_report(run, tmp_path):
    features, folder = run
    flags = {"features_dir": str(features), "split": "test", "stress": True}
    with pytest.raises(UserError, match="told in the report"):
        answers_of(folder, tmp_path, **flags)
    with pytest.raises(UserError, match="alters media files"):
        answers_of(folder, tmp_path, report=str(tmp_path / "r"), **flags)


# -- what gets worse -----------------------------------------------------------------------------

RATE = 16000
SOUND = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32) * 0.3


def test_pictures_are_dark_blurred_and_late(monkeypatch):
    picture = np.full((120, 160, 3), 200, np.uint8)
    picture[:, 80:] = 0
    assert stress.darkened(picture).max() == 50
    assert len(np.unique(stress.blurred(picture))) > 4
    asked = []
    monkeypatch.setattr(Media, "frames", lambda self, times: asked.append(times) or iter([None]))
    late = next(one for one in stress.CONDITIONS if one.late)
    media = stress.WorseMedia(Clip("a", "a", None, "input", None, Labels(), None), None, late, [])
    assert list(media.frames(np.array([0.0, 1.0]))) == [None]
    assert asked[0].tolist() == [-0.5, 0.5]


def test_each_condition_has_its_own_answers_and_no_change_is_none(tmp_path, monkeypatch, capsys):
    """Through predict.py: a condition that changes nothing answers as the clips as they are."""
    slim(monkeypatch)
    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    for number in range(4):
        pitch = 200 * (number + 1)
        tone = SOUND * np.sin(2 * np.pi * pitch * np.arange(len(SOUND)) / RATE)
        with wave.open(str(tmp_path / "clips" / f"c{number}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            tone = tone + 0.01 * rng.standard_normal(len(tone))
            file.writeframes((tone * 20000).astype("<i2").tobytes())
    write_csv(
        tmp_path / "labels.csv",
        ["FileID", "Emotion"],
        [[f"c{n}", label] for n, label in enumerate(("hap", "ang", "hap", "ang"))],
    )
    same = stress.Condition("nothing", "speech", lambda sound, *_: sound)
    monkeypatch.setattr(stress, "CONDITIONS", (same, *stress.CONDITIONS))
    kept = {}
    real = stress.stressed
    monkeypatch.setattr(
        "emotion.prediction.run.stressed", lambda *given: kept.update(real(*given)) or kept
    )
    weights = make_checkpoint(tmp_path / "logs", "speech", features=PLAIN)
    flags = {"input": [str(tmp_path / "clips")], "labels": str(tmp_path / "labels.csv")}
    rows = answers_of(
        weights, tmp_path, stress=True, report=str(tmp_path / "r"), probabilities=True, **flags
    )
    assert "dark picture" not in kept  # a voice sees nothing
    plain = np.array([[float(v) for v in list(row.values())[2:-1]] for row in rows])
    assert np.allclose(kept["nothing"], plain, atol=1e-7)
    others = [np.abs(own - plain).max() for name, own in kept.items() if name != "nothing"]
    assert len({round(float(value), 9) for value in others}) == len(others) == 8
    told = json.loads((tmp_path / "r" / "report.json").read_text())["stress"]
    assert list(told)[:2] == ["as they are", "nothing"]
    assert "Under stress" in (tmp_path / "r" / "report.html").read_text()


HEARD = {"text:transcript": {"fingerprint": "0"}}


@pytest.mark.parametrize(
    ("settings", "features", "expected"),
    [
        ({}, ["speech"], ["speech"]),
        ({}, ["speech", "text"], ["speech"]),  # the words were given
        (HEARD, ["text"], ["text:transcript", "text"]),
        (HEARD, ["video", "speech", "text"], ["speech", "text:transcript", "text"]),
    ],
)
def test_worse_sound_is_heard_and_what_is_heard_is_embedded_anew(settings, features, expected):
    extractor = Extractor(settings, None, features=features)
    assert sorted(stress.touched(stress.CONDITIONS[0], extractor)) == sorted(expected)


def test_a_clip_that_is_silent_when_quieter_is_heard_by_nobody(tmp_path):
    """-52 dB below full scale, made 20 dB quieter: no encoder of its speech hears it either."""
    path = tmp_path / "quiet.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((SOUND / 0.3 * 2**0.5 * 10 ** (-52 / 20) * 32767).astype("<i2").tobytes())
    clip = Clip("quiet", "quiet", path, "input", None, Labels(), None)
    extractor = Extractor({"audio": "percentile"}, None, features=["speech"])
    clean = extractor.extract(clip).clip(clip)
    assert clean.record.state("speech") == "ok"
    quiet = next(one for one in stress.CONDITIONS if one.name == "level -20 dB")
    media = stress.WorseMedia(clip, clean, quiet, [])
    assert stress.changed(extractor, media).record.state("speech") == "silent"
    with pytest.raises(Absent):
        media.spoken()


def test_a_threshold_leaves_open_what_is_below_it(run):
    members = load_members([str(run[1])], "cpu", temperature=False)
    chosen = choose_threshold(0.0, members, "integrated")
    assert chosen.coverage == 1.0
    sure = chosen._replace(confidence=0.7)
    assert left_open(np.array([0.6, 0.4]), sure)
    assert not left_open(np.array([0.6, 0.4]), None)
    told = outcome(sure, np.array([[0.6, 0.4], [0.9, 0.1]]), np.array([1, 0]))
    assert (told["coverage"], told["accuracy"]) == (0.5, 1.0)
