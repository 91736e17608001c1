"""Encoders that start from weights: their own learning rate; a second training with validation."""

import json

import pytest
import torch

from emotion.models.checkpoint import REFIT, best_checkpoint, load_checkpoint
from tests.training.runs import Stop, metrics_of, options_of, refused, run_of, train, weights_of

FUSED = {"n_epoch": 2, "batch_size": 4, "face_model": "attention_lstm"}


@pytest.fixture(scope="module")
def words(few, tmp_path_factory):
    """A run of the words alone."""
    return run_of(few, tmp_path_factory.mktemp("words"), "text", n_epoch=1)


def encoder_of(path, prefix="encoders.text."):
    weights = weights_of(path)
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def moved(few, tmp_path, words, **flags):
    """How far the words' encoder has moved from where it started, and how far the fusion has."""
    flags = FUSED | flags
    run = run_of(few, tmp_path, "multimodal", text_load_weights=str(words), **flags)
    before = encoder_of(best_checkpoint(words), "encoder.")
    after = encoder_of(run / "last.pth")
    assert before.keys() == after.keys()
    return max(float((after[name] - before[name]).abs().max()) for name in before)


def test_a_backbone_learns_at_its_own_rate(few, words, tmp_path):
    whole = moved(few, tmp_path / "whole", words, n_epoch=1, warmup=0.0)
    tenth = moved(few, tmp_path / "tenth", words, n_epoch=1, warmup=0.0, backbone_lr=0.1)
    none = moved(few, tmp_path / "none", words, n_epoch=1, warmup=0.0, backbone_lr=0.0)
    assert none == 0.0
    assert tenth == pytest.approx(whole / 10, rel=0.2)  # Adam's first steps have the rate's size


def test_without_weights_there_is_no_backbone(few, tmp_path):
    assert "parts that start from weights" in refused(few, tmp_path, backbone_lr=0.1)


# -- refit ----------------------------------------------------------------------------------------

REFITTED = {"n_epoch": 3, "learning_rate": 1e-2, "refit": True, "n_folds": 4, "fold": 1}


def test_a_refit_learns_validation_too_for_the_epochs_that_it_chose(folded, tmp_path):
    run = run_of(folded, tmp_path, **REFITTED)
    result = json.loads((run / "result.json").read_text())
    assert set(result[REFIT]) >= {"test", "best_epoch", "best_checkpoint"}
    assert "valid" not in result[REFIT]
    first, second = (load_checkpoint(best_checkpoint(place)) for place in (run, run / REFIT))
    assert second.epoch == first.epoch == result["best_epoch"]
    assert len(metrics_of(run / REFIT)) == first.epoch + 1
    assert second.met.trained == first.met.trained | first.met.validated
    assert first.met.validated
    assert result[REFIT]["test"]["clips"] == result["test"]["clips"]


def test_a_refit_that_was_stopped_goes_on(folded, tmp_path, monkeypatch):
    whole = run_of(folded, tmp_path / "whole", **REFITTED)
    steps = sum(len(metrics_of(place)) for place in (whole, whole / REFIT))
    with monkeypatch.context() as patch:
        Stop(patch, 3 * 3 + 1)
        with pytest.raises(KeyboardInterrupt):
            train(options_of(folded, tmp_path / "again", **REFITTED))
    assert steps > 3
    again = tmp_path / "again" / "text" / "run"
    assert not (again / "result.json").exists()
    run_of(folded, tmp_path / "again", **REFITTED, resume=True)
    for place in ("", REFIT):
        a, b = (best_checkpoint(run / place) for run in (whole, again))
        for name, value in weights_of(a).items():
            assert torch.equal(value, weights_of(b)[name]), name
