"""Speech normalised by speaker: statistics, training, prediction from features."""

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.data.dataset import FeatureDataset
from emotion.data.examples import load_examples
from emotion.errors import UserError
from emotion.inputs.audio import at_its_level
from emotion.inputs.log_mel import LEAST_DEVIATION, bands_of
from emotion.inputs.speaker_norms import SpeakerNorms
from emotion.inputs.store import StoredClip
from emotion.prediction.run import predict
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from tests.features import make_features
from tests.media import noise, write_clip
from tests.prediction import answers_of, make_checkpoint, options_of, probabilities_of, rows_of
from tests.recipes import recipe_of
from tests.slim import slim
from tests.training.runs import run_of
from tests.warm import run_script

N_SPEAKERS = 5


def speech_of(store, split, record):
    return StoredClip(store, split, record).read("speech").astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Speakers with voices of their own: each is shifted and scaled."""
    root = tmp_path_factory.mktemp("features")
    store = make_features(
        root,
        clips={"all": 56},
        n_classes=2,
        modalities=("speech",),
        speakers=N_SPEAKERS,
        absent={"speech": {5}},
        frames=(20, 90),
    )
    for record in store.read_manifest("all"):
        if record.state("speech") == "ok":
            values = speech_of(store, "all", record)
            voice = 0.1 * int(record.speaker) + (0.9 - 0.1 * int(record.speaker)) * values
            store.write("all", "speech", record.stem, voice.astype(np.float16))
    return store


def norms_of(store):
    return SpeakerNorms(store, "speech", bands_of, LEAST_DEVIATION)


def test_every_band_of_every_speaker_has_the_same_mean_and_spread(store):
    norms, of = norms_of(store), {}
    for record in store.read_manifest("all"):
        if record.state("speech") == "ok":
            values = bands_of(StoredClip(store, "all", record))
            of.setdefault(record.speaker, []).append(norms.apply(values, record.speaker))
    assert len(of) == N_SPEAKERS
    for clips in of.values():
        values = np.concatenate(clips)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=5e-3)
        np.testing.assert_allclose(values.std(axis=0), 1.0, atol=5e-3)


def test_the_loader_normalises_and_silence_stays(store):
    examples = load_examples(store, "all", EMOTIONS[:2])
    norms = norms_of(store)
    plain = FeatureDataset(store, examples, recipe_of("speech"))
    dataset = FeatureDataset(store, examples, recipe_of("speech", normalise="speaker"))
    for index, example in enumerate(examples):
        values = plain[0, index].steps["speech"].values
        if example.record.state("speech") == "ok":
            values = at_its_level(values, example.record.fact("peak_db"))
            values = norms.apply(values, example.record.speaker)
        np.testing.assert_array_equal(dataset[0, index].steps["speech"].values, values)


def test_a_band_without_any_spread_is_finite(tmp_path):
    store = make_features(tmp_path, clips={"all": 1}, modalities=("speech",), speakers=1)
    (record,) = store.read_manifest("all")
    store.write("all", "speech", record.stem, np.full((128, 40), 0.5, np.float16))
    normed = norms_of(store).apply(bands_of(StoredClip(store, "all", record)), "00")
    np.testing.assert_allclose(normed, np.zeros((40, 128), np.float32), atol=1e-4)


def test_clips_without_a_speaker_are_the_users_to_mend(tmp_path):
    store = make_features(tmp_path, clips={"train": 2}, modalities=("speech",))
    with pytest.raises(UserError, match="names no speaker for train000"):
        norms_of(store)


def test_a_trained_model_answers_from_features_as_it_was_validated(store, tmp_path, monkeypatch):
    slim(monkeypatch)
    run = run_of(store.root, tmp_path, "speech", n_folds=5, fold=2, normalise="speaker", n_epoch=2)
    wanted = {row["clip"]: row["prediction"] for row in rows_of(run / "predictions_test.csv")}
    assert len(wanted) >= 5
    for row in answers_of(run, tmp_path, features_dir=str(store.root), split="test"):
        assert row["Emotion"] == wanted[row["FileID"]]


def test_a_microphone_that_is_turned_up_changes_no_answer(tmp_path, monkeypatch):
    slim(monkeypatch)
    folders = []
    for name, louder in (("one", 0.0), ("other", 10.0)):
        made = make_features(tmp_path / name, clips={"test": 6}, modalities=("speech",), speakers=2)
        changed = [  # within the scale's 0 to 1, beyond which it ends
            record._replace(facts=record.facts | {"peak_db": louder + number})
            for number, record in enumerate(made.read_manifest("test"))
        ]
        made.write_manifest("test", changed)
        folders.append(made.root)
    weights = make_checkpoint(tmp_path, "speech", normalise="speaker")
    flags = {"split": "test", "probabilities": True}
    first, second = (answers_of(weights, tmp_path, features_dir=str(f), **flags) for f in folders)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(probabilities_of(one), probabilities_of(other), atol=1e-4)


def test_the_onnx_example_refuses_what_it_cannot_normalise(tmp_path, monkeypatch):
    slim(monkeypatch)
    weights = make_checkpoint(tmp_path, "speech", normalise="speaker")
    made_up = tmp_path / "model.onnx"
    predict(options_of(weights, tmp_path, export=str(made_up)))
    done = run_script("examples/onnx_predict.py", made_up, "any.wav")
    assert done.returncode == 2
    assert "a file does not say whose it is; give --features FOLDER" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_media_file_is_refused_with_the_mend(tmp_path, monkeypatch):
    slim(monkeypatch)
    weights = make_checkpoint(tmp_path, "speech", normalise="speaker")
    clip = write_clip(tmp_path / "a.wav", sound=noise(0.5))
    with pytest.raises(UserError, match="does not say whose it is"):
        answers_of(weights, tmp_path, input=[str(clip)])


@pytest.fixture
def corpus(tmp_path):
    """Files of two people, one far from the microphone; features of both, and of one unlabelled."""
    (tmp_path / "clips").mkdir()
    rows = ["path,label,speaker"]
    for number, (speaker, level) in enumerate([("anna", 0.3), ("bert", 0.02)] * 3):
        sound = level * noise(0.8, seed=number)
        write_clip(tmp_path / "clips" / f"c{number}.wav", sound=sound)
        rows.append(f"c{number}.wav,{'angry' if number < 3 else 'sad'},{speaker}")
    unlabelled = [row.replace("angry", "").replace("sad", "") for row in rows[1::2]]
    for name, kept in (("both", rows), ("anna", [rows[0], *unlabelled])):
        (tmp_path / "clips" / "table.csv").write_text("\n".join(kept) + "\n")
        flags = {"corpus": "table", "data_dir": str(tmp_path / "clips"), "vggface_weights": "none"}
        preprocess(PreprocessOptions(features_dir=str(tmp_path / name), num_workers=0, **flags))
    return tmp_path


def test_an_enrolled_persons_file_is_answered_as_their_features_are(corpus, monkeypatch):
    slim(monkeypatch)
    weights = make_checkpoint(corpus, "speech", normalise="speaker")
    flags = {"features_dir": str(corpus / "anna"), "probabilities": True}
    stored = answers_of(weights, corpus, split="all", **flags)
    files = [str(corpus / "clips" / f"{row['FileID']}.wav") for row in stored]
    for one, other in zip(answers_of(weights, corpus, input=files, **flags), stored, strict=True):
        np.testing.assert_allclose(probabilities_of(one), probabilities_of(other), atol=1e-3)


def test_a_file_of_one_of_several_speakers_is_nobodys(corpus, monkeypatch):
    slim(monkeypatch)
    weights = make_checkpoint(corpus, "speech", normalise="speaker")
    file = str(corpus / "clips" / "c0.wav")
    with pytest.raises(UserError, match=r"may be of any of its speakers.*knows anna bert"):
        answers_of(weights, corpus, input=[file], features_dir=str(corpus / "both"))
    with pytest.raises(UserError, match="holds no features"):
        answers_of(weights, corpus, input=[file], features_dir=str(corpus))


def test_a_table_names_its_speakers_and_only_enrolled_ones_are_answered(corpus, monkeypatch):
    slim(monkeypatch)
    weights = make_checkpoint(corpus, "speech", normalise="speaker")
    (corpus / "clips" / "new.csv").write_text("path,label,speaker\nc0.wav,,anna\nc1.wav,,bert\n")
    table = [str(corpus / "clips" / "new.csv")]
    assert len(answers_of(weights, corpus, input=table, features_dir=str(corpus / "both"))) == 2
    with pytest.raises(UserError, match="is of speaker bert"):
        answers_of(weights, corpus, input=table, features_dir=str(corpus / "anna"))
