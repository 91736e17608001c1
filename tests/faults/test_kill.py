"""``kill -9`` at random moments: what goes on from there ends as an undisturbed run.

A process is forked from one that has imported everything (forkserver), so that the moments fall
into the work and not into the start of Python.
"""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.media import SMALL, VOICE
from tests.features import make_features
from tests.media import write_clip
from tests.training.runs import assert_same_runs, options_of
from tests.trees import contents

pytestmark = pytest.mark.torture

PREPROCESS_KILLS = {0: 35, 2: 15}  # by worker processes: starting two takes most of such a run
TRAIN_KILLS = 30
CLIPS = 12


@pytest.fixture(scope="module")
def server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["emotion.preprocessing.run", "emotion.training.run", "tests.faults.warm", __name__]
    )
    return context


def extract(corpus, features, workers):
    from emotion.preprocessing.run import PreprocessOptions, preprocess

    flags = {"vggface_weights": "none", "num_workers": workers}
    preprocess(PreprocessOptions(data_dir=str(corpus), features_dir=str(features), **flags))


def train_text(features, logs):
    from emotion.training.run import train

    train(options_of(features, logs, resume=True, n_epoch=5, num_workers=1, batch_size=2))


def run_to_end(server, main, *arguments):
    """The seconds that it took."""
    started = time.monotonic()
    process = server.Process(target=main, args=arguments)
    process.start()
    process.join(600)
    assert process.exitcode == 0
    return time.monotonic() - started


def kill_after(server, seconds, main, *arguments):
    """Whether it was still at work; no process of it is left."""
    process = server.Process(target=main, args=arguments)
    process.start()
    process.join(seconds)
    alive = process.is_alive()
    children = psutil.Process(process.pid).children(recursive=True) if alive else []
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    return alive


def whole(root):
    """Every file under its final name is complete: what is there equals the undisturbed run's."""
    found = contents(root) if root.is_dir() else {}
    return {name: mark for name, mark in found.items() if not Path(name).name.startswith(".")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    (root / "train").mkdir()
    first = write_clip(root / "train" / "000.mp4", SMALL, VOICE, fps=10)
    for number in range(1, CLIPS):
        shutil.copy(first, root / "train" / f"{number:03}.mp4")
    return root


@pytest.mark.parametrize("workers", PREPROCESS_KILLS)
def test_preprocess_killed_at_random_moments(server, corpus, tmp_path, tally, workers):
    # the first run is slower: nothing is in memory yet
    run_to_end(server, extract, corpus, tmp_path / "first", workers)
    duration = run_to_end(server, extract, corpus, tmp_path / "straight", workers)
    straight, random_ = whole(tmp_path / "straight"), random.Random(0)
    features, kills, lost = tmp_path / "features", 0, 0
    while kills < PREPROCESS_KILLS[workers]:
        moment = random_.random() * duration
        kills += kill_after(server, moment, extract, corpus, features, workers)
        found = whole(features)
        lost += any(straight[name] != mark for name, mark in found.items())
        if "train/manifest.csv" in found:
            if "train/contact.png" not in found:  # comes last: the next run draws it
                run_to_end(server, extract, corpus, features, workers)
            lost += contents(features) != contents(tmp_path / "straight")
            shutil.rmtree(features)
    run_to_end(server, extract, corpus, features, workers)
    lost += contents(features) != contents(tmp_path / "straight")
    tally(f"kill -9, preprocess, {workers} workers", kills, lost)
    assert lost == 0


def test_train_killed_at_random_moments(server, tmp_path, tally):
    make_features(tmp_path / "f", clips={"train": 8, "val": 3}, modalities=("text",))
    run_to_end(server, train_text, tmp_path / "f", tmp_path / "first")
    duration = run_to_end(server, train_text, tmp_path / "f", tmp_path / "straight")
    straight, random_ = tmp_path / "straight" / "text" / "run", random.Random(0)
    logs, kills = tmp_path / "logs", 0
    while kills < TRAIN_KILLS:
        kills += kill_after(server, random_.random() * duration, train_text, tmp_path / "f", logs)
        if (logs / "text" / "run" / "result.json").is_file():
            assert_same_runs(logs / "text" / "run", straight)
            shutil.rmtree(logs)
    run_to_end(server, train_text, tmp_path / "f", logs)
    tally("kill -9, train", kills)
    assert_same_runs(logs / "text" / "run", straight)
