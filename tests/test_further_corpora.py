"""Several corpora in one run: who is trained on, whose names are whose, what is refused."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.data.class_map import class_indices
from emotion.data.examples import Example, Source
from emotion.data.sampling import SharedBatches
from emotion.inputs.store import FeatureStore
from emotion.models.checkpoint import best_checkpoint, load_checkpoint
from emotion.models.met import Standing
from emotion.paths import HOME
from emotion.prediction.inputs import find_items
from emotion.prediction.judges import judges_of
from emotion.prediction.members import load_members
from emotion.records import Labels
from emotion.training.further import drawn, frequencies
from emotion.training.losses import class_weights
from tests.features import SETTINGS, make_features
from tests.prediction import make_checkpoint
from tests.training.runs import refused, run_of

NAMES = {"hap": "joy", "ang": "rage", "dis": "boredom"}  # of the further corpus
MAP = "other,this\njoy,hap\nrage,ang\nboredom,\n"


def corpus(root, name, *, renamed=None, settings=None, **options):
    """A corpus without official splits, its classes renamed."""
    given = {"clips": {"all": 24}, "speakers": 4, "n_classes": 3, "modalities": ("text",)}
    store = make_features(root, **given | options)
    renamed = renamed or {}

    def name_of(label):
        return renamed.get(label, label)

    rows = [
        r._replace(integrated=name_of(r.integrated), face="", speech="")
        for r in store.read_manifest("all")
    ]
    store.write_manifest("all", rows)
    description = store.read_description()
    names = [name_of(label) for label in description["class_names"]]
    changed = {"corpus": name, "class_names": names, "settings": settings or SETTINGS}
    store.write_description(description | changed)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The run's own corpus, another one whose classes have other names, and the map."""
    root = tmp_path_factory.mktemp("corpora")
    own = corpus(root / "own", "own")
    other = corpus(root / "other", "other", renamed=NAMES, seed=1)
    (root / "map.csv").write_text(MAP)
    return own, other, root / "map.csv"


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    own, other, path = folders
    flags = {"n_folds": 4, "n_epoch": 1, "also_train": [str(other)], "corpus_share": [0.5]}
    return run_of(own, tmp_path_factory.mktemp("logs"), class_map=str(path), **flags)


def test_training_has_both_corpora_and_the_rest_is_of_one(folders, run):
    config = json.loads((run / "config.json").read_text())["resolved"]
    assert config["clips"] == {"train": 12 + 16, "val": 6, "test": 6}  # boredom is left out
    speakers = config["speakers"]
    assert [s for s in speakers["train"] if s.startswith("other//")] == [
        f"other//{n:02d}" for n in range(4)
    ]
    assert len(speakers["train"]) == 6
    assert not any("//" in s for s in speakers["val"] + speakers["test"])


def test_speakers_of_two_corpora_are_never_taken_for_one(folders, run):
    """Both have speakers 00 to 03; who is tested here was trained on there, as somebody else."""
    own, other, _ = folders
    checkpoint = load_checkpoint(best_checkpoint(run))
    members = load_members([str(run)], "cpu", temperature=False)
    tested = json.loads((run / "config.json").read_text())["resolved"]["speakers"]["test"]
    assert not checkpoint.trained_on(tested, "own")
    assert checkpoint.trained_on(["00", "99"], "other") == {"00"}
    standing = judges_of(find_items([], "all", str(other), members), members, True).standing
    assert (standing == Standing.TRAINED).all()
    home = judges_of(find_items([], "all", str(own), members), members, True).standing
    assert Counter(home[:, 0].tolist()) == {0: 6, 1: 6, 2: 12}


def test_each_corpus_has_its_share_of_every_batch():
    groups = [(range(10), 0.5), (range(10, 13), 0.25), (range(20, 80), 0.25)]
    batches = SharedBatches(groups, 8, seed=0)
    seen = []
    for batch in batches:
        rows = np.array([index for _, index in batch])
        shares = [np.isin(rows, list(group)).sum() for group, _ in groups]
        assert shares == [4, 2, 2]
        seen += rows.tolist()
    assert len(batches) == 2
    assert len({row for row in seen if row < 10}) == 8  # one pass, the last part left out
    ranks = [[*SharedBatches(groups, 4, 0, rank, 2)] for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == [*batches]
    batches.epoch = 1
    assert [index for batch in batches for _, index in batch] != seen


def test_classes_that_are_dropped_are_left_out(folders, tmp_path):
    folder = run_of(folders[0], tmp_path, n_folds=4, n_epoch=1, drop_classes=["dis"])
    config = json.loads((folder / "config.json").read_text())["resolved"]
    assert config["class_names"] == ["hap", "ang"]
    assert sum(config["clips"].values()) == 16
    stored = load_checkpoint(best_checkpoint(folder))
    assert (stored.class_names, stored.features["class_names"]) == (
        ("hap", "ang"), ["hap", "ang", "dis"],
    )  # fmt: skip


def test_the_name_of_a_file_says_a_class_by_its_name_and_not_by_its_number(tmp_path):
    """A model without the corpus's first class counts the others from 0."""
    known = tuple(name for name in EMOTIONS if name not in ("hap", "sad"))
    features = SETTINGS | {"corpus": "qia2020", "class_names": list(EMOTIONS)}
    weights = make_checkpoint(tmp_path, "speech", class_names=known, features=features)
    for name in EMOTIONS:
        (tmp_path / f"001-{name}-{name}-sad.wav").touch()
    members = load_members([str(weights)], "cpu", temperature=False)
    items = find_items([str(tmp_path)], "", "", members)
    found = {item.clip.stem.split("-")[1]: item.clip.labels for item in items}
    for name in EMOTIONS:
        label = known.index(name) if name in known else None
        assert found[name] == Labels(label, label, None)


# -- what is estimated on clips that training meets so often --------------------------------------


def both(own, other):
    """Clips of a run: so many of its own, so many of a further corpus; labels in turn 0 and 1."""
    clips = [Example("all", None, row % 2, -1, -1) for row in range(own)]
    source = Source(FeatureStore(Path("other")), "other", "")
    return clips + [Example("all", None, 0, -1, -1, source=source) for _ in range(other)]


@pytest.mark.parametrize(("count", "own"), [(40, 30), (1000, 60)])
def test_statistics_hear_each_corpus_as_often_as_a_batch_does(count, own):
    rows = drawn(both(60, 900), [0.25], count, seed=0)
    assert ((rows < 60).sum(), (rows >= 60).sum()) == (own, own // 3)
    assert len(set(rows)) == len(rows)


def test_class_weights_count_a_corpus_by_its_share():
    clips = both(60, 900)
    often = frequencies(clips, [0.5])
    weights = class_weights("balanced", {"text": "integrated"}, clips, 2, often)["text"]
    np.testing.assert_allclose(weights, [1 / 1.5, 1 / 0.5], rtol=1e-6)  # 75 % are of class 0
    assert frequencies(clips, []) is None


def test_a_share_that_whole_clips_cannot_give_is_told():
    groups = [(range(60), 0.98), (range(60, 90), 0.01), (range(90, 120), 0.01)]
    assert "3.1% and not 1.0%" in SharedBatches(groups, 32, seed=0).uneven
    assert SharedBatches([(range(60), 0.75), (range(60, 90), 0.25)], 32, seed=0).uneven == ""
    nothing = SharedBatches([(range(60), 1.0), (range(60, 90), 0.0)], 32, seed=0)
    assert max(index for batch in nothing for _, index in batch) < 60


# -- what ends in one line -----------------------------------------------------------------------


def refusal(folders, tmp_path, **flags):
    own, other, path = folders
    given = {"n_folds": 4, "also_train": [str(other)], "class_map": str(path)}
    return refused(own, tmp_path, **given | flags)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("other,this\njoy,happ\n", "joy is 'happ', which is not one of hap ang dis (did you mean"),
        ("other,this\njoy,hap\nrage,ang\n", "has no line for the class 'boredom'"),
        ("a,b\nx,y\n", "give a CSV with the columns other,this"),
        ("other,this\njoy,hap\njoy,ang\n", "maps 'joy' twice"),
        ("other,this\njoy,\nrage,\nboredom,\n", "shares no class with hap ang dis"),
    ],
    ids=["to nowhere", "incomplete", "other columns", "twice", "nothing shared"],
)
def test_a_wrong_class_map(folders, tmp_path, content, reason):
    path = tmp_path / "map.csv"
    path.write_text(content)
    assert reason in refusal(folders, tmp_path, class_map=str(path))


def test_two_corpora_of_different_settings(folders, tmp_path):
    text = {"encoder": "another"}
    other = corpus(tmp_path / "o", "other", renamed=NAMES, settings=SETTINGS | {"text": text})
    said = refusal(folders, tmp_path, also_train=[str(other)])
    assert "its features were made with text" in said
    assert "make them with the same flags" in said


def test_a_speaker_in_two_corpora(folders, tmp_path):
    """Two corpora of one name are of the same people."""
    other = corpus(tmp_path / "o", "own", renamed=NAMES, seed=1)
    said = refusal(folders, tmp_path, also_train=[str(other)])
    assert "is one whom this run validates or tests on" in said


def test_other_things_that_do_not_fit(folders, tmp_path):
    assert "is the folder of --features_dir" in refusal(
        folders, tmp_path, also_train=[str(folders[0])]
    )
    assert "holds no features" in refusal(folders, tmp_path, also_train=[str(tmp_path)])
    assert "one for all" in refusal(folders, tmp_path, corpus_share=[0.1, 0.2])
    assert "leaves nothing" in refusal(
        folders, tmp_path, also_train=["a", "b"], corpus_share=[0.5, 0.5]
    )
    assert "goes with --also_train" in refusal(folders, tmp_path, also_train=[])
    assert "did you mean ang" in refusal(folders, tmp_path, drop_classes=["angr"])


def test_the_maps_of_the_recipes_fit_the_corpora_that_are_read():
    from emotion.corpora import cremad, emodb, meld, qia2020, ravdess

    classes = {
        "qia2020": tuple(qia2020.EMOTIONS),
        "ravdess": ravdess.CLASS_NAMES,
        "cremad": tuple(cremad.EMOTIONS.values()),
        "emodb": tuple(emodb.EMOTIONS.values()),
        "meld": meld.CLASS_NAMES,
    }
    for name, own in classes.items():
        path = HOME / "recipes" / "maps" / f"{name}.csv"
        for other, names in classes.items():
            index = class_indices(str(path), names, own, other)
            assert len({number for number in index.values() if number >= 0}) >= 5
            if other == name:
                assert list(index.values()) == list(range(len(own)))
