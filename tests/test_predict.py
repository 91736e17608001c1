"""predict.py: from checkpoints and clips to the CSV that is handed in."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from emotion.corpora.qia2020 import EMOTIONS
from emotion.errors import UserError
from emotion.frozen.vggface import fingerprint
from emotion.inputs.store import FeatureStore
from emotion.metrics import join
from emotion.prediction.inputs import find_items
from emotion.prediction.members import load_members
from emotion.prediction.predictor import Ensemble
from emotion.prediction.run import predict
from emotion.preprocessing.run import PreprocessOptions, preprocess
from tests.features import make_features
from tests.media import face_frame, noise, plain, tone, write_clip
from tests.prediction import (
    PLAIN,
    TEXT_DIM,
    answers_of,
    make_checkpoint,
    options_of,
    probabilities_of,
)
from tests.slim import slim
from tests.warm import run_script

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def slim_speech(monkeypatch):
    """Speech models of one layer: what EfficientNet says is tested elsewhere."""
    slim(monkeypatch)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """14 clips to answer; some lack a modality, one all of them."""
    folder = tmp_path_factory.mktemp("features")
    absent = {"speech": {1, 5}, "embedding": {2, 5}, "video": {2, 5}, "text": {3, 5}}
    make_features(folder, clips={"test": 14}, text_dim=TEXT_DIM, absent=absent, frames=(20, 90))
    return folder


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A test split as the corpus has it, of every kind of trouble. Built once: it is only read."""
    folder = tmp_path_factory.mktemp("qia2020") / "test"
    folder.mkdir()
    words = np.random.default_rng(0).standard_normal((4, TEXT_DIM))
    sound = np.concatenate(
        [noise(0.3, amplitude=0.001), tone(1.2, 300), noise(0.2, amplitude=0.001)]
    )
    faces = [face_frame(left=20 + step) for step in range(17)]
    write_clip(folder / "00001.mp4", faces, sound, fps=10)
    write_clip(folder / "00002.mp4", [plain(60)] * 10, tone(1.0, 900), fps=10)
    write_clip(folder / "00003.mp4", faces, None, fps=10)
    write_clip(folder / "00005.wav", None, tone(0.8, 500) + noise(0.8))
    (folder / "00004.mp4").write_bytes(b"not a video at all" * 100)
    for name in ("00001", "00003", "00005"):
        np.savez(folder / f"{name}.npz", word_embed=words)
    return folder


# -- the CSV ---------------------------------------------------------------------------------------


def test_a_split_is_answered_in_the_corpus_own_form_and_order(features, tmp_path):
    weights = make_checkpoint(tmp_path, "text")
    rows = answers_of(weights, tmp_path, features_dir=str(features), split="test")
    assert list(rows[0]) == ["FileID", "Emotion", "modalities"]
    assert [row["FileID"] for row in rows] == [f"test{number:03d}" for number in range(14)]
    silent = [number for number, row in enumerate(rows) if not row["Emotion"]]
    assert silent == [3, 5]
    assert {row["Emotion"] for row in rows} - {""} <= set(EMOTIONS)


def test_probabilities_and_modalities(features, tmp_path):
    weights = make_checkpoint(tmp_path, "multimodal")
    rows = answers_of(
        weights, tmp_path, features_dir=str(features), split="test", probabilities=True
    )
    assert list(rows[0]) == ["FileID", "Emotion", *EMOTIONS, "modalities"]
    for number, row in enumerate(rows):
        if number == 5:
            assert set(row.values()) == {"test005", ""}
            continue
        probabilities = probabilities_of(row)
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-6)
        assert row["Emotion"] == EMOTIONS[int(np.argmax(probabilities))]
    shown = [row["modalities"] for row in rows]
    assert shown[:4] == ["speech face text", "face text", "speech text", "speech face"]


def test_a_folder_of_features_is_a_split(features, tmp_path):
    weights = make_checkpoint(tmp_path, "face")
    by_flag = answers_of(weights, tmp_path, features_dir=str(features), split="test")
    assert answers_of(weights, tmp_path, input=[str(features / "test")]) == by_flag


def test_the_file_id_is_the_corpus_own(media, tmp_path):
    weights = make_checkpoint(tmp_path, "text", features=PLAIN)
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("00007-hap-neu-sad.mp4", "00006-3.mp4", "00008.mp4"):
        shutil.copy(media / "00002.mp4", folder / name)
    members = load_members([str(weights)], CPU)
    items = find_items([str(folder)], "", "", members)
    assert [item.clip.id for item in items] == ["00006", "00007", "00008"]
    assert items[1].clip.labels == (0, 5, 4)
    shutil.copy(media / "00002.mp4", folder / "00006-4.mp4")
    items = find_items([str(folder)], "", "", members)
    assert [item.clip.id for item in items] == ["00006-3", "00006-4", "00007", "00008"]


def test_a_ravdess_name_is_its_own_id_and_label(media, tmp_path):
    names = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    corpus = {**PLAIN, "corpus": "ravdess"}
    weights = make_checkpoint(tmp_path, "speech", class_names=names, features=corpus)
    path = tmp_path / "03-01-05-01-02-01-07.wav"
    shutil.copy(media / "00005.wav", path)
    members = load_members([str(weights)], CPU)
    (item,) = find_items([str(path)], "", "", members)
    assert (item.clip.id, item.clip.labels.integrated) == (path.stem, 4)


# -- media files -----------------------------------------------------------------------------------


def test_features_and_files_give_the_same_answers(media, tmp_path, capsys):
    corpus = tmp_path / "qia2020"
    shutil.copytree(media, corpus / "test", ignore=shutil.ignore_patterns("00004*"))
    options = PreprocessOptions(
        data_dir=str(corpus), features_dir=str(tmp_path / "features"), vggface_weights="none",
        num_workers=0,
    )  # fmt: skip
    assert preprocess(options) == 0
    weights = make_checkpoint(
        tmp_path, "multimodal", features=PLAIN, face_model="resnet3d", face_frames=4, face_size=32
    )
    stored = answers_of(
        weights, tmp_path, input=[str(tmp_path / "features" / "test")], probabilities=True
    )
    direct = answers_of(weights, tmp_path, input=[str(corpus / "test")], probabilities=True)
    assert [row["FileID"] for row in direct] == ["00001", "00002", "00003", "00005"]
    assert [row["modalities"] for row in direct] == [
        "speech face text", "speech", "face text", "speech text",
    ]  # fmt: skip
    for first, second in zip(stored, direct, strict=True):
        assert first["modalities"] == second["modalities"]
        assert probabilities_of(first) == pytest.approx(probabilities_of(second), abs=1e-5)
    assert len({row["hap"] for row in direct}) == 4  # they are not all one answer


def test_bad_files_are_a_line_and_an_empty_row(media, tmp_path, capsys):
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    rows = answers_of(weights, tmp_path, input=[str(media)])
    assert [bool(row["Emotion"]) for row in rows] == [True, True, False, False, True]
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "00003.mp4: has no audio; its row is empty" in warnings[0]
    assert "00004.mp4: open: not readable as media" in warnings[1]


def test_a_fused_model_takes_what_is_there(media, tmp_path, capsys):
    weights = make_checkpoint(tmp_path, "multimodal", features=PLAIN)
    rows = answers_of(weights, tmp_path, input=[str(media)], probabilities=True)
    assert [row["modalities"] for row in rows] == [
        "speech text", "speech", "text", "", "speech text",
    ]  # fmt: skip
    assert "00004.mp4" in capsys.readouterr().err


def test_words_of_another_width_are_left_out(media, tmp_path, capsys):
    weights = make_checkpoint(tmp_path, "multimodal", features=PLAIN, text_dim=5)
    path = str(media / "00005.wav")
    (row,) = answers_of(weights, tmp_path, input=[path], probabilities=True)
    assert row["modalities"] == "speech"
    assert "12 numbers each, the model reads 5" in capsys.readouterr().err


def test_processes_that_read_change_nothing(media, tmp_path):
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    flags = {"input": [str(media)], "probabilities": True, "batch_size": 2}
    alone = answers_of(weights, tmp_path, num_workers=0, **flags)
    assert answers_of(weights, tmp_path, num_workers=2, **flags) == alone


def test_embeddings_are_made_by_the_weights_of_the_training(
    media, vggface_weights, tmp_path, monkeypatch
):
    marked = {**PLAIN, "vggface": fingerprint(vggface_weights)}
    weights = make_checkpoint(tmp_path, "face", features=marked)
    flags = {"input": [str(media / "00001.mp4")], "probabilities": True}
    (row,) = answers_of(weights, tmp_path, encoders=[str(vggface_weights)], **flags)
    assert row["modalities"] == "face"
    other = make_checkpoint(tmp_path, "face", seed=1, features={**PLAIN, "vggface": "00ff"})
    with pytest.raises(UserError, match="is not the file that"):
        answers_of(other, tmp_path, encoders=[str(vggface_weights)], **flags)
    monkeypatch.setattr("emotion.frozen.vggface.find_weights", lambda _: None)
    with pytest.raises(UserError, match="reads VGG-Face embeddings; give its weights: --encoders"):
        answers_of(other, tmp_path, **flags)


# -- the same answer, however it is asked ----------------------------------------------------------


def test_the_same_answer_alone_together_and_in_any_order(features, tmp_path):
    weights = make_checkpoint(tmp_path, "multimodal", fusion="aligned")
    members = load_members([str(weights)], CPU)
    items = find_items([], "test", str(features), members)
    predictor = Ensemble(members, CPU)

    def ask(items, batch_size):
        answers = predictor.answers(items, batch_size, 0)
        return {answer.item.clip.id: answer.probabilities for answer in answers}

    together = ask(items, 32)
    for other in (ask(items, 1), ask(items[::-1], 5), ask(items[4:5], 32)):
        for name, probabilities in other.items():
            np.testing.assert_allclose(probabilities, together[name], atol=1e-5)
    assert list(ask(items[::-1], 5)) == [item.clip.id for item in items[::-1]]


# -- several models --------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_what_its_models_say(features, tmp_path):
    weights = [make_checkpoint(tmp_path, mode) for mode in ("text", "face", "multimodal")]
    flags = {"features_dir": str(features), "split": "test", "probabilities": True}
    joined = answers_of(weights, tmp_path, **flags)
    single = [answers_of(path, tmp_path, **flags) for path in weights]
    for number, row in enumerate(joined):
        answers = [probabilities_of(rows[number]) for rows in single if rows[number]["Emotion"]]
        if not answers:
            assert row["Emotion"] == ""
            continue
        expected = np.mean(answers, axis=0)
        assert probabilities_of(row) == pytest.approx(expected, abs=1e-6)
    assert joined[3]["Emotion"]  # without words the other two still answer


def test_join_leaves_out_who_has_no_answer():
    answers = np.array([[[0.8, 0.2], [np.nan, np.nan]], [[0.4, 0.6], [np.nan, np.nan]]])
    np.testing.assert_allclose(join(answers), [[0.6, 0.4], [np.nan, np.nan]])


def test_models_of_other_classes_are_refused(tmp_path):
    first = make_checkpoint(tmp_path, "text")
    second = make_checkpoint(tmp_path, "text", seed=1, class_names=EMOTIONS[:5])
    with pytest.raises(UserError, match="an ensemble wants one list"):
        load_members([str(first), str(second)], CPU)


# -- views ----------------------------------------------------------------------------------------


def test_tta_averages_the_views(features, tmp_path):
    weights = make_checkpoint(tmp_path, "speech", speech_frames=32)
    members = load_members([str(weights)], CPU)
    items = find_items([], "test", str(features), members)
    items = [i for i in items if i.record.state("speech") == "ok" and i.record.fact("frames") > 40][
        :3
    ]
    several = Ensemble(members, CPU, n_views=4)
    one = Ensemble(members, CPU)
    for number, answer in enumerate(several.answers(items, 2, 0)):
        views = several.reader(items)[number].samples[0]
        assert len(views) == 4
        found = one._probabilities(members[0], views, "")
        np.testing.assert_allclose(answer.probabilities, found.mean(axis=0), atol=1e-6)
        assert np.abs(found[1:] - found[0]).max() > 1e-4


# -- what is refused -------------------------------------------------------------------------------


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def refusal(weights, tmp_path, **flags):
    with pytest.raises(UserError) as caught:
        predict(options_of(weights, tmp_path, **flags))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_checkpoints_that_are_none_are_refused(features, tmp_path):
    flags = {"features_dir": str(features), "split": "test"}
    mark = tmp_path / "mark"
    hostile = tmp_path / "hostile.pth"
    torch.save({"model": Hostile(mark)}, hostile)
    assert "not readable as a checkpoint" in refusal(hostile, tmp_path, **flags)
    hostile.write_bytes(pickle.dumps(Hostile(mark)))
    assert "not readable as a checkpoint" in refusal(hostile, tmp_path, **flags)
    assert not mark.exists()
    whole = make_checkpoint(tmp_path, "text")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[:3000])
    assert "cut.pth: not readable as a checkpoint" in refusal(cut, tmp_path, **flags)
    foreign = tmp_path / "foreign.pth"
    torch.save({"state_dict": {}}, foreign)
    assert "not a checkpoint of this program" in refusal(foreign, tmp_path, **flags)
    content = torch.load(whole, weights_only=True)
    content["model"].popitem()
    torch.save(content, foreign)
    assert "foreign.pth: damaged" in refusal(foreign, tmp_path, **flags)
    assert not (tmp_path / "answers.csv").exists()


def test_the_script_says_it_in_one_line(tmp_path):
    (tmp_path / "junk.pth").write_bytes(b"junk")
    done = run_script("predict.py", "--weights", tmp_path / "junk.pth", "--split", "test")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_inputs_that_are_none_are_refused(features, media, tmp_path, monkeypatch):
    weights = make_checkpoint(tmp_path, "text")
    assert "no such file or folder" in refusal(weights, tmp_path, input=["nowhere"])
    assert "nothing to answer" in refusal(weights, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no video or audio" in refusal(weights, tmp_path, input=[str(empty)])
    flags = {"features_dir": str(features), "split": "val"}
    assert "has no split val, only test" in refusal(weights, tmp_path, **flags)
    assert "holds no features" in refusal(weights, tmp_path, split="test", features_dir=str(empty))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "logs").symlink_to(tmp_path)
    monkeypatch.setattr("emotion.prediction.members.HOME", tmp_path / "home")
    missing = refusal("logs/speech/nowhere", tmp_path, split="test")
    assert "no such checkpoint or run folder" in missing
    assert str(weights.relative_to(tmp_path)) in missing
    several = refusal(str(weights.parent.parent), tmp_path, split="test")
    assert f"holds the runs {weights.parent.name}; name one" in several


def test_features_made_otherwise_are_refused(features, tmp_path):
    flags = {"features_dir": str(features), "split": "test"}
    other = {"audio": "of old", "face_stride": 8, "vggface": "0123abcd"}
    speech = make_checkpoint(tmp_path, "speech", features=other)
    assert "made with audio" in refusal(speech, tmp_path, **flags)
    text = make_checkpoint(tmp_path, "text", features=other)
    assert len(answers_of(text, tmp_path, **flags)) == 14  # how speech is cut is nothing to words


def test_a_damaged_feature_is_an_empty_row(features, tmp_path, capsys):
    copy = tmp_path / "features"
    shutil.copytree(features, copy)
    FeatureStore(copy).path("test", "text", "test004").write_bytes(b"PK")
    weights = make_checkpoint(tmp_path, "text")
    rows = answers_of(weights, tmp_path, features_dir=str(copy), split="test")
    assert rows[4] == {"FileID": "test004", "Emotion": "", "modalities": ""}
    assert rows[6]["Emotion"]
    assert "test004.npz: damaged" in capsys.readouterr().err
