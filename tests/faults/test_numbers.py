"""Numbers that are none, and sets of clips too small for comfort."""

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.inputs.store import StoredClip
from emotion.inputs.vectors import without_times
from emotion.models.checkpoint import load_checkpoint
from emotion.training import run
from emotion.training.loop import train_one_epoch
from tests.features import make_features
from tests.slim import slim
from tests.training.conftest import quickly  # noqa: F401
from tests.training.engine import Linear, engine_of, labelled, words_of
from tests.training.runs import metrics_of, options_of, run_of


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    make_features(folder, clips={"train": 3, "val": 2}, frames=(20, 32))
    return folder


@pytest.fixture
def slim_networks(monkeypatch):
    """For tests that end before anything is learned."""
    slim(monkeypatch)


def test_weights_that_are_lost_do_not_replace_those_that_are_not(
    features, tmp_path, tally, monkeypatch
):
    """The last step of an epoch ruins them: there is no further loss that would show it."""

    def ruin(engine, *others):
        loss = train_one_epoch(engine, *others)
        next(engine.model.parameters()).data.fill_(np.nan)
        return loss

    monkeypatch.setattr(run, "train_one_epoch", ruin)
    tally("numbers")
    with pytest.raises(UserError, match=r"not finite after epoch 0.*--learning_rate"):
        run.train(options_of(features, tmp_path))
    checkpoint = load_checkpoint(tmp_path / "text" / "run" / "last.pth")
    assert checkpoint.epoch == -1
    assert all(torch.isfinite(values).all() for values in checkpoint.model.values())


@pytest.mark.usefixtures("slim_networks")
@pytest.mark.parametrize("modality", ["speech", "embedding", "text"])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(tmp_path, tally, modality, split, value):
    store = make_features(tmp_path / "f", clips={"train": 2, "val": 1}, frames=(20, 24))
    mode = {"embedding": "face"}.get(modality, modality)
    path = store.path(split, modality, f"{split}000")
    if modality == "text":
        words = without_times(np.full((2, 12), value, np.float32))
        store.write(split, "text", f"{split}000", words)
    else:
        np.save(path, np.full_like(np.load(path), value, np.float16))
    tally("numbers")
    with pytest.raises(UserError, match="not finite") as caught:
        run.train(options_of(tmp_path / "f", tmp_path / "logs", mode, n_epoch=1))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_one_line_with_and_without_loader_processes(tmp_path, tally, workers):
    store = make_features(tmp_path / "f", clips={"train": 2, "val": 1}, modalities=("text",))
    path = store.path("train", "text", "train001")
    path.write_bytes(path.read_bytes()[:-30])
    tally("features", 1)
    with pytest.raises(UserError) as caught:
        run.train(options_of(tmp_path / "f", tmp_path / "logs", n_epoch=1, num_workers=workers))
    assert str(caught.value).startswith(f"{path}: damaged (")
    assert "Traceback" not in str(caught.value)


DAMAGE = {
    "cut short": ("speech", lambda a: a[:, :0]),
    "of 64 bands": ("speech", lambda a: a[:64]),
    "flat": ("speech", lambda a: a.ravel()),
    "whole numbers": ("speech", lambda a: a.astype(np.int64)),
    "complex": ("speech", lambda a: a.astype(np.complex64)),
    "text": ("speech", lambda a: a.astype("U3")),
    "too few rows": ("embedding", lambda a: a[:-1]),
    "narrow": ("embedding", lambda a: a[:, :100]),
}


@pytest.mark.usefixtures("slim_networks")
@pytest.mark.parametrize("damage", DAMAGE)
def test_arrays_of_another_kind_are_named(tmp_path, tally, damage):
    modality, change = DAMAGE[damage]
    store = make_features(tmp_path / "f", clips={"train": 2, "val": 1}, frames=(20, 24))
    path = store.path("train", modality, "train001")
    np.save(path, change(np.load(path)))
    tally("features")
    mode = "face" if modality == "embedding" else modality
    with pytest.raises(UserError) as caught:
        run.train(options_of(tmp_path / "f", tmp_path / "logs", mode, n_epoch=1))
    assert str(caught.value).startswith(f"{path}: damaged")


def test_words_of_another_width_are_named(tmp_path, tally):
    store = make_features(tmp_path / "f", clips={"train": 2, "val": 1}, modalities=("text",))
    store.write("train", "text", "train001", without_times(np.zeros((2, 7), np.float32)))
    tally("features")
    with pytest.raises(UserError, match=r"train001.npz: damaged, or of other features"):
        run.train(options_of(tmp_path / "f", tmp_path / "logs", n_epoch=1))


@pytest.mark.usefixtures("slim_networks")
def test_crops_that_are_no_pictures_are_named(tmp_path, tally):
    store = make_features(tmp_path / "f", clips={"train": 2, "val": 1}, frames=(20, 24))
    record = store.read_manifest("train")[1]
    track = StoredClip(store, "train", record).read("video")
    no_pictures = track._replace(jpeg=[b"none"] * len(track.jpeg))
    store.write("train", "video", record.stem, no_pictures)
    tally("features")
    flags = {"face_model": "resnet3d", "face_size": 32}
    with pytest.raises(UserError, match=r"train001.npz: damaged"):
        run.train(options_of(tmp_path / "f", tmp_path / "logs", "face", n_epoch=1, **flags))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_gradients_that_overflow_are_left_out_and_counted(tally):
    data = labelled(6)
    words_of(data).mul_(100)
    engine = engine_of(Linear(), scaler=torch.amp.GradScaler("cpu", init_scale=2.0**127))
    tally("numbers")
    train_one_epoch(engine, [data, data], 2, 0)
    assert engine.skipped_steps == 2


SMALL = {
    "one clip a batch": ("text", {"batch_size": 1, "text_model": "mlstm_fcn"}),
    "one clip a batch, speech": ("speech", {"batch_size": 1}),
    "one step an epoch": ("text", {"batch_size": 64}),
}


@pytest.mark.parametrize("case", SMALL)
def test_small_sets_train(features, tmp_path, tally, case):
    """Validation has 2 clips of 2 classes of 7, fewer than a batch."""
    mode, flags = SMALL[case]
    tally("small sets")
    sizes = {"n_epoch": 2}
    rows = metrics_of(run_of(features, tmp_path, mode, **sizes | flags))
    assert len(rows) == 2
    for name in ("train_loss", "valid_loss", "valid_acc", "valid_ua", "valid_macro_f1"):
        assert all(np.isfinite(float(row[name])) for row in rows)


@pytest.mark.usefixtures("slim_networks")
def test_labels_that_only_training_has_are_not_what_a_mode_learns(tmp_path, tally):
    """Validation loss would be that of no clips at all."""
    make_features(
        tmp_path / "f", clips={"train": 4, "val": 2}, modalities=("speech",), frames=(20, 24)
    )
    manifest = tmp_path / "f" / "val" / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    column = header.split(",").index("speech")
    cells = [row.split(",") for row in rows]
    for row in cells:
        row[column] = ""
    manifest.write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n")
    tally("small sets")
    rows = metrics_of(run_of(tmp_path / "f", tmp_path / "logs", "speech", n_epoch=1))
    assert np.isfinite(float(rows[0]["valid_loss"]))
