"""Many processes on one corpus: they share it out, keep out of each other's way, and merge."""

import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.paths import HOME
from emotion.preprocessing import pool
from emotion.preprocessing.journal import Journal, read_known
from emotion.preprocessing.merge import folder_lock, merge
from emotion.preprocessing.run import PreprocessOptions, preprocess
from emotion.preprocessing.shards import Shard, choose_shard
from emotion.records import Clip, Corpus, Labels
from tests.media import face_frame, tone, write_clip
from tests.trees import contents

TAKES = ["001", "002-a", "002-b", "003", "004", "005", "006"]  # two of them share their words


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Seven clips to train and one to validate on; one of them is broken."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "train").mkdir()
    (root / "val").mkdir()
    first = write_clip(root / "train" / f"{TAKES[0]}.mp4", [face_frame()] * 5, tone(0.5), fps=10)
    for take in TAKES[1:]:
        shutil.copy(first, root / "train" / f"{take}.mp4")
    shutil.copy(first, root / "val" / "101.mp4")
    (root / "train" / "004.mp4").write_bytes(b"no film at all" * 20)
    np.savez(root / "train" / "002.npz", word_embed=np.ones((3, 6)))
    (root / "train.csv").write_text("FileID,Emotion\n" + "".join(f"{t[:3]},hap\n" for t in TAKES))
    return root


def options(data, features, **changes):
    given = {
        "data_dir": str(data),
        "features_dir": str(features),
        "vggface_weights": "none",
        "num_workers": 0,
        "max_failures": 20.0,
    }
    return PreprocessOptions(**given | changes)


@pytest.fixture(scope="module")
def done(corpus, tmp_path_factory):
    """What one process makes of it."""
    root = tmp_path_factory.mktemp("done") / "features"
    assert preprocess(options(corpus, root)) == 0
    return contents(root)


def clips(*names):
    """A corpus of clips by ``<split>/<FileID>-<take>``."""
    parts = [name.partition("/") for name in names]
    return Corpus(
        "qia2020",
        EMOTIONS,
        [Clip(s.split("-")[0], s, None, split, None, Labels(), None) for split, _, s in parts],
    )


# -- shares --------------------------------------------------------------------------------------


def test_shares_are_disjoint_complete_and_of_equal_size():
    corpus = clips(*(f"train/{number:03}" for number in range(10)), "val/001", "val/002")
    shares = [Shard(number, 5).of(corpus).clips for number in range(1, 6)]
    assert sorted(clip for share in shares for clip in share) == sorted(corpus.clips)
    assert {len(share) for share in shares} == {2, 3}


def test_clips_with_one_text_file_are_in_one_share():
    corpus = clips("train/1-a", "train/2", "train/1-b", "train/3", "train/1-c")
    stems = [[clip.stem for clip in Shard(number, 3).of(corpus).clips] for number in (1, 2, 3)]
    assert stems == [["1-a", "1-b", "1-c"], ["2"], ["3"]]


def test_more_shares_than_clips_leave_some_empty():
    assert [len(Shard(number, 3).of(clips("train/1")).clips) for number in (1, 2, 3)] == [1, 0, 0]


def test_the_shard_is_the_one_that_is_named_or_everything():
    assert choose_shard("2/16") == Shard(2, 16)
    assert choose_shard("16/16") == Shard(16, 16)
    assert choose_shard("") == Shard(1, 1)


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "2/", "a/b", "1/0", "-1/4", "1/4/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(UserError, match=rf"^--shard {text}: give K/N, from 1/N to N/N"):
        choose_shard(text)


def test_torchruns_rank_is_the_shard(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert choose_shard("") == Shard(4, 4)
    with pytest.raises(UserError, match="leave --shard out"):
        choose_shard("1/2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert choose_shard("1/2") == Shard(1, 2)


def test_workers_are_dealt_to_the_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(pool.torch.cuda, "device_count", lambda: 0)
    assert pool.device_of(3, 4) == "cpu"
    monkeypatch.setattr(pool.torch.cuda, "device_count", lambda: 2)
    assert [pool.device_of(worker, 3) for worker in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [pool.device_of(worker, 3) for worker in range(3)] == ["cuda:1", "cuda:0", "cuda:1"]
    assert pool.device_of(0, 0) == "cuda:1"


# -- runs ----------------------------------------------------------------------------------------


def test_ranks_of_torchrun_write_the_bytes_of_one_process(corpus, done, tmp_path):
    features = tmp_path / "features"
    flags = {k: v for k, v in vars(options(corpus, features)).items() if k != "max_failures"}
    subprocess.run(  # which ends with 1, by the rank that merges: a clip of eight fails
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", "preprocess.py"),
            *(f"--{name}={value}" for name, value in flags.items() if value not in ("", [])),
        ],
        cwd=HOME,
        capture_output=True,
    )
    assert contents(features) == done


def test_the_shard_that_finishes_last_merges(corpus, done, tmp_path, capsys):
    features = tmp_path / "features"
    lists = features / "train" / "manifest.csv"
    assert preprocess(options(corpus, features, shard="3/3")) == 0
    assert preprocess(options(corpus, features, shard="1/3")) == 0
    assert not lists.exists()
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"qia2020: shard 3/3, 2 clips extracted now, 0 failed; 6 clips of other shards are still "
        f"to come; features in {features}"
    )
    assert second.startswith("qia2020: shard 1/3, 3 clips extracted now, 1 failed; 3 clips")
    assert preprocess(options(corpus, features, shard="2/3")) == 0
    assert capsys.readouterr().out.startswith("qia2020: 8 clips, 3 extracted now, 1 failed")
    assert contents(features) == done


def test_another_number_of_shards_goes_on_where_the_first_stopped(corpus, done, tmp_path, capsys):
    features = tmp_path / "features"
    preprocess(options(corpus, features, shard="1/3"))
    capsys.readouterr()
    assert preprocess(options(corpus, features)) == 0
    out = capsys.readouterr().out
    assert out.startswith("qia2020: 8 clips, 6 extracted now, 1 failed")  # the broken one again
    assert contents(features) == done


def test_too_many_failures_are_told_by_the_last_shard_alone(corpus, tmp_path):
    """Torchrun ends all ranks as soon as one exits with 1."""
    given = {"max_failures": 1.0}
    codes = [
        preprocess(options(corpus, tmp_path / "features", shard=f"{number}/2", **given))
        for number in (1, 2)
    ]
    assert codes == [0, 1]


def test_merging_alone_writes_the_lists_of_what_is_there(corpus, done, tmp_path, capsys):
    features = tmp_path / "features"
    preprocess(options(corpus, features, shard="1/2"))
    capsys.readouterr()
    assert preprocess(options(corpus, features, shard="merge")) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("qia2020: 4 clips, 0 extracted now, ")
    assert "note: 4 clips are not extracted yet\n" in captured.err
    assert len(FeatureStore(features).read_manifest("train")) == 3
    journals = list(features.glob(".journal*"))
    assert len(journals) == 1
    preprocess(options(corpus, features, shard="2/2"))
    assert contents(features) == done


def test_merging_alone_merges_what_shards_left_apart(corpus, done, tmp_path, monkeypatch):
    features = tmp_path / "features"
    monkeypatch.setattr("emotion.preprocessing.run.merge", lambda *a, **k: {})  # killed before it
    for number in (1, 2):
        preprocess(options(corpus, features, shard=f"{number}/2"))
    monkeypatch.undo()
    assert not (features / "train" / "manifest.csv").exists()
    assert preprocess(options(corpus, features, shard="merge")) == 0
    assert contents(features) == done


def test_what_another_process_is_writing_is_left_alone(corpus, tmp_path):
    speech = tmp_path / "features" / "train" / "speech"
    speech.mkdir(parents=True)
    own, others = speech / ".001.npy.7.partial", speech / ".003.npy.7.partial"
    own.touch()
    others.touch()
    preprocess(options(corpus, tmp_path / "features", shard="1/4"))
    assert not own.exists()
    assert others.exists()


def test_what_is_merged_under_a_running_process_stays_known(corpus, tmp_path):
    """Embeddings are added by several shards to a folder in which every clip is known."""
    store = FeatureStore(tmp_path / "features")
    preprocess(options(corpus, store.root))
    before = read_known(store)
    journal = Journal(store, "1-of-2")
    where = ("train", "001")
    record = before[where].record
    record = record._replace(states=record.states | {"embedding": "ok"})
    embedded = before[where]._replace(record=record)
    journal.work(iter([embedded]), dict(before), total=1, show=False)
    assert read_known(store)[where] == embedded
    journal.path.unlink()  # by the other shard, which had read it a moment too early
    everyone = clips(*("/".join(key) for key in before))
    merge(store, everyone, journal.done, even_if_incomplete=False)
    assert read_known(store)[where].record.state("embedding") == "ok"


def test_the_last_word_on_a_clip_is_taken(corpus, tmp_path):
    store = FeatureStore(tmp_path / "features")
    preprocess(options(corpus, store.root))
    outcome = read_known(store)["train", "001"]
    for age, (name, words) in enumerate([("", 1), ("1-of-2", 2)]):
        journal = Journal(store, name)
        record = outcome.record._replace(facts=outcome.record.facts | {"words": words})
        journal.work(iter([outcome._replace(record=record)]), {}, total=1, show=False)
        os.utime(journal.path, (age, age))
    assert read_known(store)["train", "001"].record.fact("words") == 2


def _count(root, times):
    for _ in range(times):
        with folder_lock(FeatureStore(root)):
            number = root / "number"
            number.write_text(str(int(number.read_text()) + 1))


def test_one_process_at_a_time_holds_the_folder(tmp_path):
    (tmp_path / "number").write_text("0")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_count, args=(tmp_path, 100)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "400"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["number"]
