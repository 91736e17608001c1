"""Which clips are trained on, validated on and tested on."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion.data.examples import load_examples, load_parts
from emotion.data.folds import Folds, assign_folds
from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.paths import HOME
from emotion.records import Record

CLASSES = ("hap", "ang")
SPEAKERS = ("01", "02", "03", "04", "05", "06")


def record(stem, label="hap", speaker="", **changes):
    values = {
        "id": stem,
        "stem": stem,
        "speaker": speaker,
        "integrated": label,
        "face": label,
        "speech": label,
        "duration": 2.0,
        "states": {"speech": "ok", "video": "ok", "embedding": "skipped", "text": "ok"},
        "facts": {"start": 0.0, "end": 2.0, "frames": 126, "words": 3},
    }
    states = {k.removesuffix("_state"): v for k, v in changes.items() if k.endswith("_state")}
    changes = {k: v for k, v in changes.items() if not k.endswith("_state")}
    return Record(**values | {"states": values["states"] | states} | changes)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path)


def parts_of(store, folds=None, modality="speech"):
    return load_parts(
        store, CLASSES, lambda r: r.state(modality) == "ok", f"{modality} features", folds
    )


def stems(examples):
    return [example.record.stem for example in examples]


def all_speakers(store, speakers=SPEAKERS):
    """A corpus without official splits: one clip of each class and speaker."""
    records = [record(f"{name}-{label}", label, name) for name in speakers for label in CLASSES]
    store.write_manifest("all", records)


def folds_file(tmp_path, content):
    path = tmp_path / "folds.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


# -- assignment ----------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([f"{n:02d}" for n in range(1, 13)]), min_size=1, max_size=80),
    st.integers(2, 6),
)
def test_every_speaker_is_in_exactly_one_fold_and_no_fold_is_empty(speakers, n_folds):
    if len(set(speakers)) < n_folds:
        with pytest.raises(UserError, match=rf"--n_folds {n_folds}: .* only"):
            assign_folds(speakers, Folds(n_folds, 1))
        return
    assigned = assign_folds(speakers, Folds(n_folds, 1))
    assert set(assigned) == set(speakers)
    assert set(assigned.values()) == set(range(1, n_folds + 1))
    assert assigned == assign_folds(speakers, Folds(n_folds, 2))  # whichever fold is tested


def test_folds_are_balanced_by_the_number_of_clips():
    clips = [name for number in range(24) for name in [f"{number:02d}"] * (10 + number % 3)]
    assigned = assign_folds(clips, Folds(6, 1))
    sizes = Counter(assigned[name] for name in clips)
    assert max(sizes.values()) - min(sizes.values()) <= 3


@pytest.mark.parametrize("speakers", [[], ["", ""], ["01", "", "02"]])
def test_clips_without_a_speaker_cannot_be_folded(speakers):
    with pytest.raises(UserError, match="no speaker"):
        assign_folds(speakers, Folds(2, 1))


@pytest.mark.parametrize("wrap", [lambda lists: lists, lambda lists: {"folds": lists, "seed": 1}])
def test_a_file_says_who_is_in_which_fold(tmp_path, wrap):
    file = folds_file(tmp_path, wrap([["03"], ["01", "04"], ["02", "99"]]))
    assigned = assign_folds(["01", "02", "03", "04", "01"], Folds(file, 1))
    assert assigned == {"03": 1, "01": 2, "04": 2, "02": 3}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "or JSON like"),
        ("3", "or JSON like"),
        ({"parts": []}, "or JSON like"),
        ([1, 2, 3], "or JSON like"),
        ([["01"], ["02"], ["03", "01"]], "speaker in two folds"),
        ([["01"], ["02"], ["04"]], "no fold for speaker 03"),
        (["01", "02", "03"], "or JSON like"),
        ({"folds": {"a": ["01"], "b": ["02"], "c": ["03"]}}, "or JSON like"),
    ],
    ids=[
        "no JSON",
        "a number",
        "no folds",
        "numbers",
        "twice",
        "one left out",
        "words in place of lists",
        "names in place of lists",
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, content, reason):
    file = folds_file(tmp_path, content)
    with pytest.raises(UserError, match=reason) as caught:
        assign_folds(["01", "02", "03"], Folds(file, 1))
    assert file in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"--n_folds nowhere\.json: no such file"):
        assign_folds(["01", "02", "03"], Folds("nowhere.json", 1))


# -- parts of a corpus without official splits ---------------------------------------------------


@pytest.mark.parametrize(("fold", "val_fold"), [(1, 2), (2, 3), (3, 1)])
def test_fold_k_is_test_the_next_validation_the_rest_training(store, tmp_path, fold, val_fold):
    all_speakers(store)
    groups = [["01", "02"], ["03", "04"], ["05", "06"]]
    file = folds_file(tmp_path, {"folds": groups})
    parts = parts_of(store, Folds(file, fold))
    speakers = [sorted({example.record.speaker for example in part}) for part in parts]
    rest = ({1, 2, 3} - {fold, val_fold}).pop()
    assert speakers == [groups[rest - 1], groups[val_fold - 1], groups[fold - 1]]


def test_every_other_fold_validates_in_its_turn(store):
    all_speakers(store)
    for fold in range(1, 5):
        turns = [Folds(4, fold, valid_fold=turn) for turn in (1, 2, 3)]
        assert {one.validating for one in turns} == {1, 2, 3, 4} - {fold}
        parts = [parts_of(store, one) for one in turns]
        validating = [set(stems(one.val)) for one in parts]
        assert not validating[0] & validating[1]
        assert not validating[1] & validating[2]
        assert all(stems(one.test) == stems(parts[0].test) for one in parts)


def test_every_clip_is_in_one_part_and_tested_in_one_fold(store):
    all_speakers(store)
    tested = []
    for fold in range(1, 5):
        parts = parts_of(store, Folds(4, fold))
        everything = [stem for part in parts for stem in stems(part)]
        assert len(everything) == len(set(everything)) == 12
        voices = [{example.record.speaker for example in part} for part in parts]
        assert not voices[0] & voices[1]
        assert not voices[0] & voices[2]
        assert not voices[1] & voices[2]
        tested += stems(parts.test)
    assert len(tested) == len(set(tested)) == 12


@pytest.mark.parametrize(
    ("speaker", "part"), [("01", "test"), ("03", "val")], ids=["test", "validation"]
)
def test_a_part_that_lacks_a_class_is_scored_over_the_others_with_a_note(
    store, tmp_path, capsys, speaker, part
):
    all_speakers(store)
    kept = [r for r in store.read_manifest("all") if (r.speaker, r.integrated) != (speaker, "ang")]
    store.write_manifest("all", kept)
    file = folds_file(tmp_path, [["01"], ["03"], ["02", "04", "05", "06"]])
    parts = parts_of(store, Folds(file, 1))
    assert len(getattr(parts, part))
    assert f"note: --fold 1: no clip of ang in its {part} part" in capsys.readouterr().err
    kept = [r for r in kept if r.integrated != "ang" or r.speaker in ("01", "03")]
    store.write_manifest("all", kept)
    with pytest.raises(UserError, match="--fold 1: its train part has no clip of class ang"):
        parts_of(store, Folds(file, 1))


def test_a_corpus_without_splits_needs_folds(store):
    all_speakers(store)
    with pytest.raises(UserError, match="no official splits; give --n_folds N --fold K"):
        parts_of(store)


# -- parts of a corpus with official splits ------------------------------------------------------


def official(store, train=None, val=None, test=None):
    given = {"train": train, "val": val, "test": test}
    for split, records in given.items():
        if records is not None:
            store.write_manifest(split, records)


def test_parts_are_the_official_splits_in_the_order_of_their_manifests(store):
    official(
        store,
        [record("2", "ang"), record("1", "hap")],
        [record("3", "hap")],
        [record("4", "ang"), record("5", "")],
    )
    parts = parts_of(store)
    assert [stems(part) for part in parts] == [["2", "1"], ["3"], ["4"]]
    assert [example.integrated for example in parts.train] == [1, 0]
    assert {example.split for example in parts.val} == {"val"}


def test_folds_do_not_go_with_official_splits(store):
    official(store, [record("1")], [record("2")])
    with pytest.raises(UserError, match="official splits train val; leave out --n_folds"):
        parts_of(store, Folds(3, 1))


def test_only_clips_with_a_label_and_the_features_are_used(store):
    train = [
        record("1"),
        record("2", speech_state="silent"),
        record("3", ""),
        record("4", text_state="absent"),
    ]
    official(store, train, [record("5")])
    assert stems(parts_of(store).train) == ["1", "4"]
    assert stems(parts_of(store, modality="text").train) == ["1", "2"]
    assert parts_of(store).test == []


@pytest.mark.parametrize(
    ("val", "reason"),
    [
        ([], r"val: holds no clips"),
        ([record("2", ""), record("3", "")], r"val: none of its 2 clips is labelled"),
        (
            [record("2", speech_state="silent"), record("3", "")],
            r"val: none of its 1 labelled clips has speech features",
        ),
        (None, r"val: no manifest\.csv; run preprocess\.py"),
    ],
    ids=["empty", "unlabelled", "without the features", "missing"],
)
def test_a_split_of_no_use_is_refused_with_the_reason(store, val, reason):
    official(store, [record("1")], val)
    with pytest.raises(UserError, match=reason):
        parts_of(store)


def test_labels_become_class_indices_and_missing_ones_minus_1(store):
    official(store, [record("1", "ang", face="", speech="hap")])
    (example,) = load_examples(store, "train", CLASSES)
    assert (example.integrated, example.face, example.speech) == (1, -1, 0)


def test_a_label_of_another_corpus_is_refused_with_clip_and_file(store):
    official(store, [record("1"), record("2", speech="angry")])
    with pytest.raises(UserError, match=r"train/manifest\.csv: 2 has the speech label 'angry'"):
        load_examples(store, "train", CLASSES)


@pytest.mark.parametrize(
    ("name", "n_folds"), [("ravdess_emobox_6.json", 6), ("ravdess_luna_jimenez_5.json", 5)]
)
def test_published_folds_of_ravdess_hold_each_of_its_24_actors_once(name, n_folds):
    path = HOME / "recipes" / "folds" / name
    actors = [f"{number:02d}" for number in range(1, 25)]
    assigned = assign_folds(actors, Folds(str(path), 1))
    assert sorted(assigned) == actors
    assert set(assigned.values()) == set(range(1, n_folds + 1))
