"""200 epochs of a tiny run: memory and open files stay where they were."""

import os

import psutil
import pytest

from emotion.training import logbook, run
from tests.features import make_features
from tests.training.runs import options_of

pytestmark = pytest.mark.torture

EPOCHS = 200
SETTLED = 50  # epochs after which caches and allocators are full
GROWTH = 16 * 2**20  # bytes over the other 150: a leak of one batch an epoch is far more


def test_200_epochs_keep_memory_and_open_files(tmp_path, tally, monkeypatch):
    for name in ("draw_curves", "draw_confusion"):
        monkeypatch.setattr(logbook, name, lambda *_: None)
    make_features(tmp_path / "f", clips={"train": 8, "val": 3}, frames=(20, 32))
    write, seen = logbook.Logbook.write_epoch, []

    def look(book, history):
        write(book, history)
        seen.append((psutil.Process().memory_info().rss, len(os.listdir("/proc/self/fd"))))

    monkeypatch.setattr(logbook.Logbook, "write_epoch", look)
    assert run.train(options_of(tmp_path / "f", tmp_path, n_epoch=EPOCHS, num_workers=1)) == 0
    memory, files = zip(*seen[SETTLED:], strict=True)
    tally("epochs of one run", EPOCHS)
    assert len(seen) == EPOCHS
    assert min(files[-10:]) == min(files[:10])  # a worker of the loader comes and goes
    assert memory[-1] - memory[0] < GROWTH
