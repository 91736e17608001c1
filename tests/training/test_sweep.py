"""Speaker-disjoint folds; several folds or seeds in one experiment."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.locking import only_run_in
from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.training.ensemble import read_answers
from emotion.training.setup import build_initial_model, build_task
from emotion.training.sweep import _pooled, check_name, members
from emotion.training.table import table
from tests.features import make_features
from tests.training.runs import options_of, refused, run_of

# -- folds ----------------------------------------------------------------------------------------


def test_a_run_on_folds_is_speaker_disjoint_and_scored_on_test(folded, tmp_path, capsys):
    folder = run_of(folded, tmp_path, n_epoch=2, n_folds=4, fold=4)
    result = json.loads((folder / "result.json").read_text())
    assert result["test"]["clips"] == result["valid"]["clips"] == 6
    speakers = json.loads((folder / "config.json").read_text())["resolved"]["speakers"]
    assert sum(len(part) for part in speakers.values()) == 4
    assert len(set().union(*speakers.values())) == 4
    done = capsys.readouterr().out.splitlines()[-1]
    assert f"test_ua: {result['test']['unweighted_average_recall']:.4f}" in done


def test_folds_of_a_file_are_taken_as_they_are(folded, tmp_path):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"folds": [["03"], ["00"], ["01", "02"]]}))
    options = options_of(folded, tmp_path, n_folds=str(path), fold=1)
    parts = build_task(options).parts
    found = [{e.record.speaker for e in part} for part in parts]
    assert found == [{"01", "02"}, {"00"}, {"03"}]  # train, val (the next fold), test


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({}, "--n_folds"),
        ({"n_folds": 2}, "--n_folds"),
        ({"n_folds": 4, "fold": 5}, "--fold"),
        ({"n_folds": 9}, "speaker"),
        ({"n_folds": "/nowhere.json"}, "--n_folds /nowhere.json"),
    ],
)
def test_folds_that_do_not_fit_are_refused(folded, tmp_path, flags, part):
    assert part in refused(folded, tmp_path, **flags)


def test_a_fold_without_some_class_is_refused(tmp_path):
    make_features(tmp_path / "features", clips={"all": 12}, n_classes=3, speakers=3)
    message = refused(tmp_path / "features", tmp_path / "logs", n_folds=3)
    assert "train part has no clip of class" in message


def test_leaving_one_speaker_out(tmp_path, capsys):
    """As many folds as speakers: each is tested alone, over the classes that are there."""
    made = {"clips": {"all": 30}, "n_classes": 3, "speakers": 5}
    store = make_features(tmp_path / "features", **made)
    records = store.read_manifest("all")
    lost = {"00": "hap", "01": "ang"}
    store.write_manifest("all", [r for r in records if lost.get(r.speaker) != r.integrated])
    folder = run_of(tmp_path / "features", tmp_path / "logs", n_epoch=1, n_folds=5, fold=0)
    tested = []
    for run in sorted(folder.glob("fold_*")):
        speakers = json.loads((run / "config.json").read_text())["resolved"]["speakers"]
        tested += speakers["test"]
        result = json.loads((run / "result.json").read_text())
        assert 0 <= result["test"]["unweighted_average_recall"] <= 1
        assert 0 <= result["test"]["macro_f1"] <= 1
    assert sorted(tested) == ["00", "01", "02", "03", "04"]
    assert re.search(r"no clip of hap \([^)]*\) in its test part", capsys.readouterr().err)
    assert "ensemble" not in json.loads((folder / "summary.json").read_text())


def test_folds_are_refused_where_there_are_official_splits(features, tmp_path):
    assert "leave out --n_folds" in refused(features, tmp_path, n_folds=3)


# -- several folds or seeds -----------------------------------------------------------------------


def test_all_folds_are_run_one_after_another_and_summed_up(folded, tmp_path, capsys):
    folder = run_of(folded, tmp_path, n_epoch=1, n_folds=4, fold=0)
    runs = [f"fold_{number}" for number in (1, 2, 3, 4)]
    results = [json.loads((folder / run / "result.json").read_text()) for run in runs]
    scores = [result["test"]["unweighted_average_recall"] for result in results]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["runs"] == runs
    pooled = summary["test"]["unweighted_average_recall"]
    assert pooled["values"] == scores
    assert pooled["mean"] == pytest.approx(np.mean(scores))
    assert pooled["std"] == pytest.approx(np.std(scores, ddof=1))
    assert f"test_ua: {pooled['mean']:.4f} +- {pooled['std']:.4f}" in capsys.readouterr().out
    assert "speech" not in table(tmp_path)
    assert f"text/run (4 runs)  {results[0]['parameters']:,}" in table(tmp_path)
    folds = [json.loads((folder / run / "folds.json").read_text())["folds"] for run in runs]
    assert sorted(folds[0]) == [["00"], ["01"], ["02"], ["03"]]
    assert folds == 4 * [folds[0]]


def test_runs_of_one_fold_with_different_validating_folds_answer_together(folded, tmp_path, capsys):
    folder = run_of(folded, tmp_path, n_epoch=1, n_folds=4, fold=0, valid_fold=[1, 3])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["runs"] == [f"fold_{f}_valid_fold_{v}" for f in (1, 2, 3, 4) for v in (1, 3)]
    fold_2 = [folder / f"fold_2_valid_fold_{number}" for number in (1, 3)]
    speakers = [json.loads((run / "config.json").read_text())["resolved"] for run in fold_2]
    folds = json.loads((fold_2[0] / "folds.json").read_text())["folds"]
    assert [one["speakers"]["val"] for one in speakers] == [folds[2], folds[0]]
    assert [one["speakers"]["test"] for one in speakers] == 2 * [folds[1]]
    both = [read_answers(run / "predictions_test.csv", "integrated") for run in fold_2]
    shares = (both[0].probabilities + both[1].probabilities) / 2
    names = np.array(both[0].class_names)
    right = names[shares.argmax(axis=1)] == np.array(both[0].labels)
    found = summary["ensemble"]["test"]["accuracy"]
    assert found["values"][1] == pytest.approx(right.mean())
    assert "valid" not in summary["ensemble"]  # every run has other clips there
    assert f"ensemble_test_acc: {found['mean']:.4f}" in capsys.readouterr().out


def test_a_fold_can_not_validate_itself(folded, tmp_path):
    message = refused(folded, tmp_path, n_folds=4, fold=1, valid_fold=4)
    assert "--valid_fold 4: of 4 folds one is tested; give 1 to 3" in message


def test_validating_folds_are_checked_before_the_first_run(folded, tmp_path):
    message = refused(folded, tmp_path, n_folds=4, fold=1, valid_fold=[1, 4])
    assert "--valid_fold 4: all but one of --n_folds 4 can validate" in message
    assert not list(tmp_path.iterdir())  # no run has begun
    assert "--n_folds 0 can validate" in refused(folded, tmp_path, valid_fold=[1])


def test_processes_share_the_runs_of_one_experiment(features, tmp_path, capsys):
    flags = {"n_epoch": 1, "seed": [3, 5], "resume": True}
    folder = tmp_path / "text" / "run"
    with only_run_in(folder / "seed_3"):  # as another process would
        run_of(features, tmp_path, **flags)
    said = capsys.readouterr()
    assert "note: left to another process" in said.err
    assert "the last one sums up" in said.out
    assert (folder / "seed_5" / "result.json").is_file()
    assert not (folder / "seed_3" / "result.json").exists()
    assert not (folder / "summary.json").exists()
    run_of(features, tmp_path, **flags)
    assert json.loads((folder / "summary.json").read_text())["runs"] == ["seed_3", "seed_5"]


def test_scores_of_no_clips_are_not_averaged_and_one_number_has_no_spread():
    def result(clips, recall):
        return {"per_class": {"sad": {"recall": recall, "clips": clips}}, "loss": 0.5}

    pooled = _pooled([result(4, 1.0), result(0, 0.0), result(2, 0.5)])
    assert pooled["per_class"]["sad"]["recall"]["values"] == [1.0, 0.5]
    assert pooled["loss"]["std"] == 0.0
    assert _pooled([result(4, 1.0)])["loss"] == {"mean": 0.5, "std": None, "values": [0.5]}


def test_seeds_are_runs_that_go_on_where_they_were_left(features, tmp_path, capsys):
    flags = {"n_epoch": 1, "seed": [3, 5], "resume": True}
    folder = run_of(features, tmp_path, **flags)
    first, second = (folder / name / "result.json" for name in ("seed_3", "seed_5"))
    alone = run_of(features, tmp_path / "alone", n_epoch=1, seed=5) / "result.json"
    scores = [json.loads(path.read_text())["valid"] for path in (second, alone)]
    assert scores[0] == scores[1]
    second.unlink()
    written = first.stat().st_mtime_ns
    run_of(features, tmp_path, **flags)
    assert second.is_file()
    assert first.stat().st_mtime_ns == written
    assert "done before" in capsys.readouterr().out


def test_a_name_is_of_one_run_or_of_several(features, tmp_path):
    """Mixed in one folder, all of them would answer together."""
    several = run_of(features, tmp_path, n_epoch=1, seed=[3, 5])
    said = refused(features, tmp_path, n_epoch=1, seed=3)
    assert f"{several}: holds an experiment of several runs (seed_3, seed_5)" in said
    run_of(features, tmp_path / "other", n_epoch=1, refit=True)
    said = refused(features, tmp_path / "other", n_epoch=1, seed=[3, 5])
    assert "holds a single run; give another --exp_name" in said


def test_the_runs_of_a_name_vary_the_same_flags(tmp_path):
    for name in ("fold_1", "fold_2", "backup"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.pth").touch()
    check_name(tmp_path, ["fold_2", "fold_3"])
    for runs in ([], ["seed_0", "seed_1"], ["fold_1_seed_0", "fold_1_seed_1"]):
        with pytest.raises(UserError, match=r"of several runs \(fold_1, fold_2\); give another"):
            check_name(tmp_path, runs)
    check_name(tmp_path / "backup", [])


@pytest.fixture(scope="module")
def single(folded, tmp_path_factory):
    """A text run of each of four folds; nobody changes them."""
    logs = tmp_path_factory.mktemp("single")
    return run_of(folded, logs, "text", fold=0, n_epoch=1, n_folds=4)


def test_a_fused_run_of_all_folds_takes_the_encoder_of_its_own_fold(folded, single, tmp_path):
    settings = {"n_epoch": 1, "n_folds": 4}
    fused = run_of(
        folded, tmp_path, "multimodal", fold=2, text_load_weights=str(single / "fold_2"), **settings
    )
    assert (fused / "result.json").is_file()
    message = refused(
        folded,
        tmp_path / "other",
        "multimodal",
        fold=3,
        text_load_weights=str(single / "fold_2"),
        **settings,
    )
    assert "whom this run validates or tests on" in message
    sweep = options_of(
        folded, tmp_path, "multimodal", fold=0, text_load_weights=str(single), **settings
    )
    for number, member in enumerate(members(sweep), 1):
        task = build_task(member)
        encoder = build_initial_model(member, task).encoders["text"].state_dict()
        own = load_checkpoint(best_checkpoint(single / f"fold_{number}")).model
        assert all(torch.equal(own[f"encoder.{name}"], value) for name, value in encoder.items())
    varied = {"seed": [7, 8], "valid_fold": [1], "text_load_weights": str(single), **settings}
    run = members(options_of(folded, tmp_path, "multimodal", fold=4, **varied))[-1]
    assert run.exp_name.endswith("/valid_fold_1_seed_8")  # no folder of the experiment's
    encoder = build_initial_model(run, build_task(run)).encoders["text"].state_dict()
    assert all(torch.equal(own[f"encoder.{name}"], value) for name, value in encoder.items())


def test_an_experiment_without_a_run_like_this_one_names_its_runs(folded, single, tmp_path):
    settings = {"n_epoch": 1, "n_folds": 4}
    single = shutil.copytree(single, tmp_path / "single")
    flags = {"text_load_weights": str(single), "seed": [1]} | settings
    fused = run_of(folded, tmp_path, "multimodal", fold=3, **flags)
    assert (fused / "summary.json").is_file()
    (single / "fold_3").rename(single / "away")
    message = refused(folded, tmp_path / "other", "multimodal", fold=3, **flags)
    assert "holds the runs away, fold_1, fold_2, fold_4; name one" in message


def test_all_folds_of_none_are_refused(features, tmp_path):
    assert "give --n_folds" in refused(features, tmp_path, fold=0)
