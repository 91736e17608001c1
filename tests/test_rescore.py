"""Stored answers are scored as the runs that gave them were."""

import json

import pytest

from benchmarks.rescore import read_answers, read_labels, scores, store_answers, together
from emotion.command_line import parse
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.training.options import TrainOptions
from emotion.training.run import train
from tests.features import make_features

MAIN = ("accuracy", "unweighted_average_recall")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A sweep of two seeds over clips with an official test split."""
    root = tmp_path_factory.mktemp("rescore")
    store = make_features(root / "features", clips={"train": 14, "val": 9, "test": 21})
    flags = f"--mode text --features_dir {store.root} --logs_dir {root / 'logs'} --seed 0 1"
    flags += " --n_epoch 2 --batch_size 8 --num_workers 0"
    train(parse(TrainOptions, "", flags.split()))
    runs = root / "logs/text/default"
    store_answers(runs, root / "answers.csv")
    answers, class_names = read_answers(root / "answers.csv")
    return json.loads((runs / "summary.json").read_text()), answers, class_names, store


def test_each_run_scores_as_its_summary_says(experiment):
    summary, answers, _, store = experiment
    labels = read_labels(store, "integrated")
    for number, name in enumerate(("seed_0", "seed_1")):
        wa, ua, macro, weighted = scores(answers[name].predictions, labels) / 100
        expected = [summary["test"][key]["values"][number] for key in MAIN]
        assert [wa, ua] == pytest.approx(expected)
        assert macro == pytest.approx(summary["test"]["macro_f1"]["values"][number])
        assert weighted == pytest.approx(summary["test"]["weighted_f1"]["values"][number])


def test_runs_answer_together_as_the_summary_says(experiment):
    summary, answers, class_names, store = experiment
    votes = together(answers, class_names)
    assert list(votes) == ["seed_0 and 1 more"]
    wa, ua, *_ = scores(votes["seed_0 and 1 more"], read_labels(store, "integrated")) / 100
    expected = [summary["ensemble"]["test"][key]["mean"] for key in MAIN]
    assert [wa, ua] == pytest.approx(expected)


def test_a_name_used_by_several_splits_means_the_test_clip(experiment, tmp_path):
    """MELD's dia0_utt0 is there three times."""
    record = experiment[-1].read_manifest("test")[0]
    repeated = FeatureStore(tmp_path)
    for split, emotion in (("test", "happy"), ("val", "sad"), ("all", "angry")):
        repeated.write_manifest(split, [record._replace(integrated=emotion)])
    assert read_labels(repeated, "integrated") == {record.stem: "happy"}


def test_answers_of_another_corpus_are_refused(experiment):
    labels = read_labels(experiment[-1], "integrated")
    with pytest.raises(UserError, match=r"1 of 1 answers.*dia9_utt9"):
        scores({"dia9_utt9": "happy"}, labels)
