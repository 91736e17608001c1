"""A fused run that takes its encoders from other runs."""

import csv

import numpy as np
import pytest
import torch

from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.training.setup import build_task
from tests.training.runs import options_of, refused, run_of, weights_of


@pytest.fixture(scope="module")
def singles(few, tmp_path_factory):
    """Logs with a speech, a face and a text run of one epoch."""
    logs = tmp_path_factory.mktemp("singles")
    for mode in ("speech", "face", "text"):
        run_of(few, logs, mode, n_epoch=1)
    return logs


def load_flags(singles, **changes):
    given = {f"{mode}_load_weights": str(singles / mode / "run") for mode in ("face", "text")}
    given["speech_load_weights"] = str(best_checkpoint(singles / "speech" / "run"))
    return {"n_epoch": 1, **given, **changes}


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_a_frozen_backbone_keeps_weights_and_batch_norms_bit_for_bit(few, singles, tmp_path, lam):
    flags = load_flags(singles, freeze_backbone=True, lam=lam)
    folder = run_of(few, tmp_path, "multimodal", **flags)
    for path in (folder / "last.pth", best_checkpoint(folder)):
        fused = weights_of(path)
        for modality in ("speech", "face", "text"):
            single = weights_of(best_checkpoint(singles / modality / "run"))
            kept = {k: v for k, v in single.items() if k.startswith("encoder.")}
            assert kept
            assert modality != "speech" or any("running_mean" in name for name in kept)
            for name, value in kept.items():
                found = fused[name.replace("encoder.", f"encoders.{modality}.", 1)]
                assert torch.equal(found, value), name


def test_loaded_encoders_train_on_where_they_are_not_frozen(few, singles, tmp_path):
    folder = run_of(few, tmp_path, "multimodal", **load_flags(singles), learning_rate=1e-4)
    name = "encoder.lstm.forward_lstm.weight_hh_l0"
    single = weights_of(best_checkpoint(singles / "text" / "run"))
    name = next(key for key in single if key.endswith("weight_hh_l0"))
    fused = weights_of(folder / "last.pth")[name.replace("encoder.", "encoders.text.", 1)]
    assert not torch.equal(fused, single[name])
    torch.testing.assert_close(fused, single[name], rtol=0, atol=1e-3)


def test_a_missing_path_names_the_checkpoints_there_are(features, singles):
    message = refused(features, singles, "multimodal", speech_load_weights="./logs/speech/no.pth")
    assert "./logs/speech/no.pth: no such checkpoint" in message
    assert str(best_checkpoint(singles / "speech" / "run")) in message
    assert str(singles / "face") not in message


def test_where_there_is_no_run_at_all_training_one_is_the_mend(features, tmp_path):
    message = refused(features, tmp_path, "multimodal", face_load_weights="nothing")
    assert "train.py --mode face" in message


def changed_checkpoint(singles, tmp_path, change):
    """The speech checkpoint with something else in it."""
    content = torch.load(best_checkpoint(singles / "speech" / "run"), weights_only=True)
    change(content)
    path = tmp_path / "0_best_1.0000.pth"
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda c: c["class_names"].__setitem__(0, "joy"), "knows the classes joy ang"),
        (lambda c: c["recipe"]["parts"][0]["network"].update(coeff=4), "has --coeff 4, this run 0"),
        (lambda c: c["features"].pop("audio"), "trained on features of audio None"),
        (lambda c: c.update(format=7), "of format 7"),
        (lambda c: c.pop("class_names"), "not a checkpoint of this program"),
    ],
    ids=["classes", "coeff", "audio", "format", "foreign"],
)
def test_weights_that_do_not_fit_are_refused_with_what_they_are(
    features, singles, tmp_path, change, part
):
    path = changed_checkpoint(singles, tmp_path, change)
    message = refused(features, tmp_path, "multimodal", speech_load_weights=path)
    assert part in message
    assert path in message


def test_another_face_network_matters_to_the_face_alone(few, singles, tmp_path):
    def change(content):
        content["features"]["vggface"] = "other"

    path = changed_checkpoint(singles, tmp_path, change)
    run_of(few, tmp_path, "multimodal", n_epoch=1, speech_load_weights=path)


def test_a_checkpoint_of_another_mode_is_refused(features, singles, tmp_path):
    path = str(singles / "face" / "run")
    message = refused(features, tmp_path, "multimodal", speech_load_weights=path)
    assert "is a face model; give a speech one" in message


@pytest.mark.parametrize("flag", ["speech_load_weights", "text_load_weights"])
def test_weights_flags_go_with_the_fused_model(features, singles, tmp_path, flag):
    assert "--mode multimodal" in refused(features, tmp_path, **{flag: str(singles)})


def test_encoders_that_stay_random_are_told(features, singles, tmp_path, capsys):
    flags = load_flags(singles, freeze_backbone=True, text_load_weights="")
    run_of(features, tmp_path, "multimodal", **flags)
    said = capsys.readouterr().err
    assert "--freeze_backbone: text starts from random weights and keeps them" in said


def test_a_single_mode_has_no_backbone_to_freeze(features, tmp_path):
    assert "--freeze_backbone" in refused(features, tmp_path, freeze_backbone=True)


def test_speech_frames_fit_the_clips_or_come_from_the_weights_that_are_loaded(
    features, few, singles, tmp_path
):
    frames = [int(row["frames"]) for row in manifest_rows(features, "train")]
    fitted = crop(build_task(options_of(features, tmp_path, "speech")))
    assert fitted % 32 == 0
    assert fitted - 32 < np.percentile(frames, 95) <= fitted
    loaded = crop(load_checkpoint(best_checkpoint(singles / "speech" / "run")))
    assert loaded != fitted
    weights = {"speech_load_weights": str(singles / "speech" / "run")}
    fused = build_task(options_of(features, tmp_path, "multimodal", **weights))
    assert crop(fused) == loaded


def crop(described):
    """Frames of a training crop, as a task or a checkpoint says."""
    return described.recipe.part("speech").reading.speech_frames


def manifest_rows(features, split):
    with (features / split / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))
