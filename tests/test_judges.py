"""Which models answer which clips: none is judged on what it was trained on."""

import json

import numpy as np
import pytest
import torch

from emotion.corpora.qia2020 import EMOTIONS
from emotion.data.examples import load_examples
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.models.met import Met, Standing, mark
from emotion.prediction.inputs import find_items
from emotion.prediction.judges import judges_of, own_validation_clips
from emotion.prediction.members import load_members
from emotion.prediction.run import predict
from tests.features import make_features
from tests.prediction import answers_of, options_of, report_of, rows_of
from tests.training.runs import run_of

CPU = torch.device("cpu")
FOLDS, CLIPS, SPEAKERS = 4, 72, 8


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Features of one split, and every fold of it with two validating folds: eight runs."""
    root = tmp_path_factory.mktemp("judges")
    features = root / "features"
    make_features(features, clips={"all": CLIPS}, text_dim=12, speakers=SPEAKERS, n_classes=3)
    flags = {"n_folds": FOLDS, "fold": 0, "valid_fold": [1, 2], "n_epoch": 1}
    return features, run_of(features, root / "logs", **flags)


def flags_of(experiment, **flags):
    return {"features_dir": str(experiment[0]), "split": "test", **flags}


def numbers_of(experiment, weights, tmp_path, **flags):
    """Of the report on some models."""
    return report_of(weights, tmp_path, **flags_of(experiment) | flags)[1]


def test_a_checkpoint_knows_its_clips_and_speakers(experiment):
    features, folder = experiment
    run = folder / "fold_1_valid_fold_1"
    met = load_checkpoint(best_checkpoint(run)).met
    part = json.loads((run / "config.json").read_text())["resolved"]["speakers"]
    assert met.speakers == set(part["train"])
    assert met.validated_speakers == set(part["val"])
    examples = load_examples(FeatureStore(features), "all", EMOTIONS[:3])
    for example in examples:
        name, speaker = f"all/{example.record.stem}", example.record.speaker
        told = met.standing([name], "")
        wanted = "NEW" if speaker in part["test"] else None
        wanted = wanted or ("TRAINED" if speaker in part["train"] else "VALIDATED")
        assert told is Standing[wanted] is met.standing(["all/another"], speaker)


def test_every_clip_is_answered_by_the_models_of_its_own_fold(experiment, tmp_path, capsys):
    """The published case: each tested fold answered by its own models, all in one command."""
    report = numbers_of(experiment, [experiment[1]], tmp_path)
    assert report["clips"] == CLIPS
    assert report["scores"]["unanswered"] == 0
    assert len(report["models"]) == 8
    assert [row["asked"] for row in report["models"]] == [CLIPS // FOLDS] * 8
    assert "(2 of 8)" in capsys.readouterr().err
    together = rows_of(options_of("x", tmp_path).output)
    assert len(together) == CLIPS
    for fold in range(1, FOLDS + 1):
        own = [experiment[1] / f"fold_{fold}_valid_fold_{valid}" for valid in (1, 2)]
        alone = answers_of(own, tmp_path, **flags_of(experiment))
        assert len(alone) == CLIPS // FOLDS
        joined = {row["FileID"]: row["Emotion"] for row in together}
        assert all(joined[row["FileID"]] == row["Emotion"] for row in alone)


def test_two_experiments_are_compared_as_two_models(experiment, tmp_path):
    """Each with its own folds together, over all clips; and not fold by fold."""
    features, folder = experiment
    flags = {"n_folds": FOLDS, "fold": 0, "n_epoch": 1, "seed": 1, "exp_name": "other"}
    other = run_of(features, tmp_path / "logs", **flags)
    report = numbers_of(experiment, [folder, other], tmp_path)
    assert list(report["systems"]) == [f"mean of {8 + FOLDS}", "text/run", "text/other"]
    assert {scores["clips"] for scores in report["systems"].values()} == {CLIPS}
    pairs = {(p["first"], p["second"]): p for p in report["comparisons"]}
    assert pairs["text/run", "text/other"]["units"] == SPEAKERS
    alone = numbers_of(experiment, [other], tmp_path)
    assert report["systems"]["text/other"]["accuracy"] == alone["scores"]["accuracy"]


def test_a_model_is_not_scored_on_its_training_speakers(experiment, tmp_path, capsys):
    """`--split all --report` scored the training clips; now they are left out, and it is said."""
    run = experiment[1] / "fold_2_valid_fold_1"
    report = numbers_of(experiment, [run], tmp_path, split="all")
    met = load_checkpoint(best_checkpoint(run)).met
    assert report["clips"] == 2 * CLIPS // FOLDS  # its test fold and the one that validated
    assert report["models"][0]["trained_on"] == 0
    assert report["left_out"] == CLIPS // 2
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert f"{CLIPS // 2} further clips are left out" in page
    assert report["models"][0]["validated_on"] == len(met.validated)
    said = capsys.readouterr().err
    assert f"{CLIPS // 2} of {CLIPS} clips are left out: the model was trained on them" in said
    assert "chose the epoch" in said
    with pytest.raises(UserError, match="nothing to score"):
        numbers_of(experiment, [run], tmp_path, split="train")


def test_an_answer_to_a_training_clip_comes_with_a_note(experiment, tmp_path, capsys):
    run = experiment[1] / "fold_2_valid_fold_1"
    rows = answers_of(run, tmp_path, **flags_of(experiment, split="train"))
    assert all(row["Emotion"] for row in rows)
    assert "answered better than new ones would be" in capsys.readouterr().err


def test_a_temperature_is_fitted_on_each_models_own_validation_clips(experiment, tmp_path, capsys):
    runs = [experiment[1] / f"fold_{fold}_valid_fold_1" for fold in (1, 3)]
    flags = flags_of(experiment, calibrate=True)
    for split in ("val", "all", ""):
        predict(options_of([str(run) for run in runs], tmp_path, **flags | {"split": split}))
        assert capsys.readouterr().out.count(f"on {CLIPS // FOLDS} clips") == 2
    with pytest.raises(UserError, match="answers none of the clips that it was not trained on"):
        predict(options_of(str(runs[0]), tmp_path, **flags | {"split": "train"}))
    for run in runs:
        best_checkpoint(run).with_suffix(".temperature.json").unlink()


def test_whom_to_ask(experiment):
    features, folder = experiment
    weights = [str(folder / f"fold_{fold}_valid_fold_1") for fold in (1, 2)]
    members = load_members(weights, CPU, temperature=False)
    items = find_items([], "all", str(features), members)
    judges = judges_of(items, members, scored=True)
    standing = judges.standing
    assert np.array_equal(judges.may.any(axis=1), standing.min(axis=1) < Standing.TRAINED)
    assert not judges.may[standing == Standing.TRAINED].any()
    chosen = (standing == Standing.VALIDATED) & (standing.min(axis=1) == Standing.NEW)[:, None]
    assert chosen.any()
    assert not judges.may[chosen].any()
    assert np.array_equal(own_validation_clips(items, members), standing == Standing.VALIDATED)


def test_refits_are_another_model_than_their_experiment(experiment):
    (member,) = load_members([str(experiment[1] / "fold_1_valid_fold_1")], CPU, temperature=False)
    path = member.checkpoint.path
    refit = member.checkpoint.__class__(
        **vars(member.checkpoint) | {"path": path.parent / "refit" / path.name}
    )
    again = member.__class__(**vars(member) | {"checkpoint": refit})
    assert member.experiment == experiment[1].resolve()
    assert again.experiment == member.experiment / "refit"


def knowing(folder, *places):
    """A model that was trained on these clips of a table."""
    member = load_members([str(folder / "fold_1_valid_fold_1")], CPU, temperature=False)[0]
    met = Met(frozenset(map(mark, places)), frozenset(), frozenset(), frozenset())
    changes = {"met": met, "features": member.checkpoint.features | {"corpus": "table"}}
    checkpoint = member.checkpoint.__class__(**vars(member.checkpoint) | changes)
    return [member.__class__(**vars(member) | {"checkpoint": checkpoint})]


def test_a_file_of_a_table_is_known_by_its_path(experiment, tmp_path):
    """A table without ids calls ``mine/clips/a.wav`` clips__a: the file by itself is that clip."""
    marks = ("all/clips__a", "train/mine__clips__b", "val/d", "all/clips__e_x")
    members = knowing(experiment[1], *marks)
    folder = tmp_path / "mine" / "clips"
    folder.mkdir(parents=True)
    paths = [folder / f"{name}.wav" for name in ("a", "b", "c", "d", "e..x")]
    for path in paths:
        path.touch()
    items = find_items([str(path) for path in paths], "", "", members)
    standing = judges_of(items, members, scored=False).standing[:, 0]
    assert (standing == Standing.TRAINED).tolist() == [True, True, False, True, True]


def test_rows_of_a_table_are_known_by_their_split(experiment, tmp_path):
    rows = ["path,id,label,split,transcript", "a.wav,,ang,train,", "b.wav,,ang,test,"]
    rows += [",c,ang,train,well", ",d,ang,test,well"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    for name in "ab":
        (tmp_path / f"{name}.wav").touch()
    members = knowing(experiment[1], "train/a", "train/c")
    items = find_items([str(tmp_path / "table.csv")], "", "", members)
    standing = judges_of(items, members, scored=False).standing[:, 0]
    assert (standing == Standing.TRAINED).tolist() == [True, False, True, False]


def test_another_corpus_has_other_speakers(experiment):
    """Speaker 03 of one corpus is nobody of another's."""
    features, folder = experiment
    members = load_members([str(folder / "fold_1_valid_fold_1")], CPU, temperature=False)
    items = [i._replace(corpus="emodb") for i in find_items([], "all", str(features), members)]
    assert (judges_of(items, members, True).standing == Standing.NEW).all()


def test_an_older_checkpoint_does_not_say(experiment):
    features, folder = experiment
    members = load_members([str(folder / "fold_1_valid_fold_1")], CPU, temperature=False)
    items = find_items([], "all", str(features), members)
    silent = [m.__class__(**vars(m) | {"checkpoint": without_met(m.checkpoint)}) for m in members]
    judges = judges_of(items, silent, True)
    assert judges.may.all()
    assert not judges.rows(silent)[0]["told"]


def without_met(checkpoint):
    return checkpoint.__class__(**vars(checkpoint) | {"met": None})


def test_a_raw_ravdess_file_says_whose_it_is(tmp_path):
    from emotion.prediction.inputs import _parse_name  # the form of one name

    identifier, speaker, labels, sex = _parse_name("03-01-05-01-02-01-07", "ravdess")
    told = (identifier, speaker, labels.integrated, sex)
    assert told == ("03-01-05-01-02-01-07", "07", 4, "male")
