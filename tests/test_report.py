"""Scores with intervals, comparison, calibration, and the report made of them."""

import base64
import csv
import json
import re

import cv2
import numpy as np
import pytest
import torch
from scipy.special import softmax

from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.metrics import score
from emotion.paths import HOME
from emotion.prediction.attention import attention_over_time
from emotion.prediction.calibration import calibration_path, fit_temperature, read_temperature
from emotion.prediction.inputs import find_items
from emotion.prediction.members import load_members
from emotion.prediction.predictor import Ensemble
from emotion.prediction.reading import Reading
from emotion.prediction.report import SHOWN
from emotion.prediction.run import predict
from emotion.prediction.scores import (
    INTERVALS,
    Cells,
    System,
    bootstrap_intervals,
    compare,
    confusion_scores,
    holm,
    reliability,
)
from emotion.training.options import TrainOptions
from emotion.training.run import train
from tests.features import SETTINGS, make_features
from tests.prediction import (
    TEXT_DIM,
    answers_of,
    make_checkpoint,
    options_of,
    probabilities_of,
    report_of,
    rows_of,
)
from tests.slim import slim

CPU = torch.device("cpu")
PICTURE = re.compile(r'src="data:image/png;base64,([^"]+)"')


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    make_features(
        folder, clips={"train": 14, "val": 14, "test": 21}, text_dim=TEXT_DIM,
        absent={"text": {20}, "embedding": {19}}, noise=1.5,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def run_folder(features, tmp_path_factory):
    """A finished run on text: it knows something, and not all."""
    logs = tmp_path_factory.mktemp("logs")
    options = TrainOptions(
        mode="text", exp_name="run", features_dir=str(features), logs_dir=str(logs), n_epoch=3,
        batch_size=7, num_workers=0,
    )  # fmt: skip
    assert train(options) == 0
    return logs / "text" / "run"


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        slim(patch)
        yield make_checkpoint(tmp_path_factory.mktemp("fused"), "multimodal")


@pytest.fixture(scope="module")
def report(features, run_folder, fused, tmp_path_factory):
    """A report on two models: its folder, the numbers, the page and the CSV's rows."""
    folder = tmp_path_factory.mktemp("report")
    flags = {"features_dir": str(features), "split": "test", "probabilities": True}
    report = report_of([run_folder, fused], folder, **flags)
    return *report, rows_of(folder / "answers.csv")


# -- numbers ---------------------------------------------------------------------------------------


def drawn_answers(clips=400, n_classes=4, right=0.6, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(n_classes, size=clips)
    wrong = (labels + generator.integers(1, n_classes, size=clips)) % n_classes
    return labels, np.where(generator.random(clips) < right, labels, wrong)


@pytest.mark.parametrize("seed", range(3))
def test_confusion_scores_are_those_of_the_metrics(seed):
    labels, answers = drawn_answers(30, 4, seed=seed)
    labels[labels == 3] = 0  # a class that nobody has
    names = tuple("abcd")
    wanted = score(np.eye(4)[answers], labels, names)
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (labels, answers), 1)
    assert confusion_scores(confusion) == pytest.approx([wanted[name] for name in INTERVALS])


def test_intervals_are_as_wide_as_theory_says():
    labels, answers = drawn_answers()
    share = (labels == answers).mean()
    cells = Cells(labels, answers, np.arange(len(labels)), 4)
    low, high = bootstrap_intervals(cells, 4000)["accuracy"]
    half = 1.96 * np.sqrt(share * (1 - share) / len(labels))
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.006)


def test_one_clip_has_no_interval():
    cells = Cells(np.array([1]), np.array([1]), np.array([0]), 3)
    intervals = bootstrap_intervals(cells, 100)
    assert all(np.isnan(value) for pair in intervals.values() for value in pair)


def system(name, answers, labels, n_classes=4, speakers=None):
    speakers = np.array([""] * len(labels)) if speakers is None else speakers
    return System(name, np.eye(n_classes)[answers] * 0.6 + 0.1, labels, speakers)


def test_clips_of_one_speaker_are_drawn_together():
    """Each of 20 speakers is right in all of 20 clips or in none: evidence of 20, not of 400."""
    labels = np.arange(400) % 4
    speakers = np.repeat([f"{number:02d}" for number in range(20)], 20)
    answers = np.where(np.repeat(np.arange(20) % 2, 20) == 0, labels, (labels + 1) % 4)
    known = system("known", answers, labels, speakers=speakers).score(tuple("abcd"), 2000)
    unknown = system("unknown", answers, labels).score(tuple("abcd"), 2000)
    assert (known["drawn"], known["units"]) == ("speakers", 20)
    assert (unknown["drawn"], unknown["units"]) == ("clips", 400)
    wide, narrow = (np.ptp(one["intervals"]["accuracy"]) for one in (known, unknown))
    assert wide == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 20), abs=0.1)
    assert wide > 3.5 * narrow


def test_a_difference_that_one_speaker_makes_is_none():
    labels = np.arange(80) % 4
    speakers = np.repeat(list("abcdefgh"), 10)
    right = labels.copy()
    worse = np.where(speakers == "a", (labels + 1) % 4, labels)
    pair = [system("right", right, labels, speakers=speakers)]
    pair.append(system("worse", worse, labels, speakers=speakers))
    (by_speaker,) = compare(pair)
    assert (by_speaker["drawn"], by_speaker["units"], by_speaker["p"]) == ("speakers", 8, 1.0)
    assert by_speaker["difference"] == pytest.approx(10 / 80)
    (by_clip,) = compare([system("right", right, labels), system("worse", worse, labels)])
    assert by_clip["p"] < 0.01


def test_holms_correction_is_his():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_signs_are_flipped_exactly_where_there_are_few():
    labels = np.zeros(20, int)
    first, second = labels.copy(), labels.copy()
    first[:1] = 1
    second[1:10] = 1
    (pair,) = compare([system("first", first, labels), system("second", second, labels)])
    assert pair["clips"] == 20
    assert pair["difference"] == pytest.approx(8 / 20)
    assert pair["p"] == pytest.approx(2 * (1 + 10) / 2**10)  # both tails of ten even coins


def test_systems_without_clips_in_common_or_that_say_the_same_are_not_compared():
    labels, answers = drawn_answers(50)
    one, other = (system(name, answers, labels) for name in ("one", "other"))
    assert compare([one, other]) == []
    other.probabilities[:] = np.roll(other.probabilities, 1, axis=1)
    assert len(compare([one, other])) == 1
    one.probabilities[25:] = np.nan
    other.probabilities[:25] = np.nan
    assert compare([one, other]) == []


def test_clips_without_an_answer_do_not_count():
    labels, answers = drawn_answers(50)
    gaps = system("gaps", answers, labels)
    gaps.probabilities[:10] = np.nan
    scores = gaps.score(tuple("abcd"), 100)
    assert (scores["clips"], scores["unanswered"]) == (40, 10)
    assert scores["accuracy"] == (labels == answers)[10:].mean()
    other = system("whole", (answers + 1) % 4, labels)
    (pair,) = compare([gaps, other])
    assert pair["clips"] == 40


def test_reliability_bins_hold_every_clip():
    generator = np.random.default_rng(0)
    probabilities = softmax(2 * generator.standard_normal((300, 3)), axis=1)
    labels = generator.integers(3, size=300)
    bins = reliability(System("drawn", probabilities, labels, np.array([""] * 300)))
    assert sum(row["clips"] for row in bins) == 300
    right = sum(row["accuracy"] * row["clips"] for row in bins)
    assert right == pytest.approx((probabilities.argmax(axis=1) == labels).sum())
    gap = sum(abs(row["accuracy"] - row["confidence"]) * row["clips"] for row in bins) / 300
    wanted = score(np.log(probabilities), labels, tuple("abc"))["calibration_error"]
    assert gap == pytest.approx(wanted)


# -- temperature -----------------------------------------------------------------------------------


def test_the_temperature_that_was_hidden_is_found():
    generator = np.random.default_rng(0)
    true = 1.5 * generator.standard_normal((4000, 5))
    labels = np.array([generator.choice(5, p=row) for row in softmax(true, axis=1)])
    fitted = fit_temperature(3.0 * true, labels)
    assert fitted.temperature == pytest.approx(3.0, rel=0.08)
    assert fitted.loss_after < fitted.loss_before
    assert fitted.calibration_error_after < 0.03 < fitted.calibration_error_before


def test_calibration_is_stored_beside_the_checkpoint_and_used(features, tmp_path, capsys):
    weights = make_checkpoint(tmp_path, "text")
    flags = {"features_dir": str(features), "probabilities": True}
    before = answers_of(weights, tmp_path, split="test", **flags)
    assert predict(options_of(weights, tmp_path, calibrate=True, **flags)) == 0
    temperature = read_temperature(weights)
    assert f"temperature {temperature:.4f}, on 14 clips" in capsys.readouterr().out
    after = answers_of(weights, tmp_path, split="test", **flags)
    for old, new in zip(before[:-1], after[:-1], strict=True):
        expected = softmax(np.log(probabilities_of(old)) / temperature)
        assert probabilities_of(new) == pytest.approx(expected, abs=1e-5)
    calibration_path(weights).write_text("{}", "utf-8")
    with pytest.raises(UserError, match=r"temperature\.json: damaged"):
        read_temperature(weights)


# -- the report ------------------------------------------------------------------------------------


def accuracy_of(rows, features):
    with (features / "test" / "manifest.csv").open(newline="") as file:
        labels = {row["id"]: row["integrated"] for row in csv.DictReader(file)}
    return sum(row["Emotion"] == labels[row["FileID"]] for row in rows) / len(rows)


def test_the_csv_scores_what_the_report_says(report, features):
    _, numbers, _, rows = report
    assert accuracy_of(rows, features) == numbers["scores"]["accuracy"]
    assert numbers["scores"]["clips"] == 21
    assert np.sum(numbers["scores"]["confusion"]) == 21
    for name in INTERVALS:
        low, high = numbers["scores"]["intervals"][name]
        assert low <= numbers["scores"][name] <= high


def test_models_stand_side_by_side(report, run_folder, features, tmp_path):
    _, numbers, page, _ = report
    assert list(numbers["systems"]) == ["mean of 2", "text/run", "multimodal/run0"]
    assert numbers["systems"]["text/run"]["unanswered"] == 1
    assert len(numbers["comparisons"]) == 3
    alone = answers_of(run_folder, tmp_path, features_dir=str(features), split="test")
    answered = [row for row in alone if row["Emotion"]]
    assert accuracy_of(answered, features) == numbers["systems"]["text/run"]["accuracy"]
    assert "text/run / multimodal/run0" in page


def test_each_modality_is_removed_in_turn(report):
    _, numbers, page, _ = report
    assert set(numbers["without"]) == {"speech", "face", "text"}
    assert "With a modality removed" in page


def test_mistakes_are_wrong_and_the_surest_first(report):
    _, numbers, _, rows = report
    answers = {row["FileID"]: row for row in rows}
    assert 1 <= len(numbers["mistakes"]) <= SHOWN
    confidence = [mistake["confidence"] for mistake in numbers["mistakes"]]
    assert confidence == sorted(confidence, reverse=True)
    for mistake in numbers["mistakes"]:
        assert mistake["answer"] != mistake["label"]
        row = answers[mistake["id"]]
        assert row["Emotion"] == mistake["answer"]
        assert float(row[mistake["label"]]) == pytest.approx(mistake["label_probability"], abs=1e-7)


def test_the_page_is_whole_by_itself(report):
    folder, numbers, page, _ = report
    assert not re.search(r"https?://|<script|<link|url\(", page)
    coded = PICTURE.findall(page)
    assert page.count("<img") == len(coded)
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(c), np.uint8), 1) for c in coded]
    assert all(picture is not None and picture.std() > 5 for picture in pictures)
    shown = len(numbers["mistakes"])
    kinds = [path.name.split("_")[0] for path in (folder / "pictures").glob("*.png")]
    assert kinds.count("mistake") == shown
    assert kinds.count("attention") >= 1
    assert kinds.count("curves") == 1  # one of the two is a finished run
    assert len(coded) == len(kinds)


def test_clips_without_labels_cannot_be_scored(features, tmp_path):
    unlabelled = tmp_path / "features"
    every = {name: set(range(3)) for name in ("integrated", "face", "speech")}
    make_features(unlabelled, clips={"test": 3}, text_dim=TEXT_DIM, unlabelled=every)
    weights = make_checkpoint(tmp_path, "text")
    flags = {"features_dir": str(unlabelled), "split": "test", "report": str(tmp_path / "out")}
    with pytest.raises(UserError, match="none of the 3 clips has the integrated label"):
        predict(options_of(weights, tmp_path, **flags))
    labels = tmp_path / "labels.csv"
    labels.write_text("FileID,Emotion\ntest000,hap\ntest002,sad\n", "utf-8")
    assert predict(options_of(weights, tmp_path, labels=str(labels), **flags)) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["clips"] == 2
    for content, reason in (("a,b\n1,2\n", "FileID,Emotion"), ("FileID,Emotion\n1,joy\n", "'joy'")):
        labels.write_text(content, "utf-8")
        with pytest.raises(UserError, match=reason):
            predict(options_of(weights, tmp_path, labels=str(labels), **flags))


def test_a_fold_is_found_in_the_folder_of_its_run(tmp_path):
    folder = tmp_path / "features"
    make_features(folder, clips={"all": 42}, text_dim=TEXT_DIM, speakers=6, n_classes=4)
    names = EMOTIONS[:4]
    weights = make_checkpoint(tmp_path, "text", class_names=names)
    flags = {"features_dir": str(folder)}
    with pytest.raises(UserError, match="does not say which folds"):
        predict(options_of(weights, tmp_path, split="test", **flags))
    chosen = {"n_folds": 3, "fold": 2}
    (weights.parent / "config.json").write_text(json.dumps({"options": chosen}), "utf-8")
    members = load_members([str(weights)], CPU)
    parts = {
        name: {item.clip.speaker for item in find_items([], name, str(folder), members)}
        for name in ("train", "val", "test")
    }
    assert [len(parts[name]) for name in ("train", "val", "test")] == [2, 2, 2]
    assert set.union(*parts.values()) == {f"{number:02d}" for number in range(6)}
    assert len(answers_of(weights, tmp_path, split="all", **flags)) == 42


@pytest.mark.parametrize("fusion", ["aligned", "decoder", "concat"])
def test_attention_sums_to_one_over_each_modality(features, tmp_path, monkeypatch, fusion):
    slim(monkeypatch)
    weights = make_checkpoint(tmp_path, "multimodal", fusion=fusion)
    members = load_members([str(weights)], CPU)
    items = find_items([], "test", str(features), members)
    reader = Ensemble(members, CPU).reader(items)
    reading = Reading.of(members[0])
    clip, _ = reader.features(0, reading)
    sample = reader.sample(0, clip, reading)
    attention = attention_over_time(members[0], sample, CPU)
    assert set(attention) == {"speech", "face", "text"}
    for name, one in attention.items():
        assert one.weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert (one.time is None) == (name == "text")
        if one.time is not None:
            assert len(one.time) == len(one.weights)


def test_golden_features_are_those_of_the_tests():
    """The golden checkpoint was made for the settings that the made-up features have."""
    path = HOME / "tests" / "golden" / "text" / "golden" / "3_best_1.0000.pth"
    (member,) = load_members([str(path)], CPU)
    words = {name: value for name, value in SETTINGS.items() if name != "audio"}
    words |= {"denoise": "none"}  # an earlier version's; what a model does not read counts nothing
    assert member.checkpoint.features == {"corpus": "qia2020", **words}
