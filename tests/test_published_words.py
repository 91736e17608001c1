"""A published model of words: who answers a transcript, and where its encoder is now."""

import pytest
import torch

from emotion.errors import UserError
from emotion.inputs.transcripts import EMBEDDER, moved_to
from emotion.models.checkpoint import load_checkpoint
from emotion.prediction import published
from emotion.prediction.options import PredictOptions
from emotion.prediction.publish import publish
from emotion.prediction.run import predict
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from tests.encoders import make_bert, make_whisper
from tests.prediction import make_checkpoint, rows_of
from tests.slim import slim
from tests.training.runs import run_of

HUB = "someone/tiny-bert"
TEXTS = {
    "what": "A model of words.",
    "taught": "Taught by ten sentences.",
    "limits": "It knows no people.",
    "licence": "CC0",
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("encoders") / "tiny-bert")


@pytest.fixture(scope="module")
def run(bert, tmp_path_factory):
    """A head over a frozen encoder of text, trained on sentences alone."""
    home = tmp_path_factory.mktemp("home")
    rows = ["id,path,label,split,transcript"]
    for number in range(20):
        said = ("I am so happy!", "unhappy, so sad")[number % 2]
        split = ("train", "val")[number % 5 == 4]
        rows.append(f'{number},,{("good", "bad")[number % 2]},{split},"{said}"')
    (home / "table.csv").write_text("\n".join(rows) + "\n")
    options = PreprocessOptions(
        corpus="table",
        data_dir=str(home),
        features_dir=str(home / "features"),
        text_encoder=str(bert),
        vggface_weights="none",
        num_workers=0,
    )
    assert preprocess(options) == 0
    flags = {"text_model": "mlp", "n_epoch": 20, "learning_rate": 1e-2}
    return run_of(home / "features", home / "logs", "text", **flags)


@pytest.fixture
def weights(run, tmp_path, monkeypatch):
    """weights/ with that run behind a model of sound, which is taken first."""
    slim(monkeypatch)
    root = tmp_path / "weights"
    publish(str(run), root / "words", [HUB], **TEXTS, rank=2)
    publish(str(make_checkpoint(tmp_path / "logs", "speech")), root / "voice", **TEXTS, rank=1)
    monkeypatch.setattr(published, "WEIGHTS", root)
    return root


def answers(folder, **flags):
    options = PredictOptions(output=str(folder / "answers.csv"), num_workers=0, **flags)
    assert predict(options) == 0
    return rows_of(options.output)


def test_a_transcript_alone_is_answered_by_the_model_that_reads_words(
    weights, bert, tmp_path, capsys
):
    (tmp_path / "said.csv").write_text("FileID,transcript\na,I am happy\nb,sad\n")
    given = {"transcripts": [str(tmp_path / "said.csv")]}
    found = answers(tmp_path, encoders=[str(bert)], **given)
    assert [(row["FileID"], row["modalities"]) for row in found] == [("a", "text"), ("b", "text")]
    assert [row["Emotion"] for row in found] == ["good", "bad"]
    assert "note: weights/words: A model of words." in capsys.readouterr().err
    named = answers(tmp_path, weights=[str(weights / "words")], encoders=[str(bert)], **given)
    assert named == found


def test_a_recording_is_not_answered_by_a_model_of_words_alone(weights, tmp_path):
    (weights / "voice" / "card.json").unlink()
    with pytest.raises(UserError, match="holds none for this"):
        published.members_of(PredictOptions(input=["a.wav"]), torch.device("cpu"))


def test_with_a_file_to_hear_the_first_model_is_asked_as_ever(weights, tmp_path):
    (tmp_path / "said.csv").write_text("FileID,transcript\na,sad\n")
    options = PredictOptions(input=["a.wav"], transcripts=[str(tmp_path / "said.csv")])
    assert published.members_of(options, torch.device("cpu"))[0].mode == "speech"


def test_the_card_names_the_encoder_and_no_folder_of_a_machine(weights, bert):
    assert published.read_card(weights / "words")["encoders"] == {EMBEDDER: HUB}
    stored = load_checkpoint(weights / "words" / "model.pth").features
    assert stored[EMBEDDER]["source"] == HUB
    assert str(bert.parent) not in str(stored)


def test_no_model_of_words_is_a_line(tmp_path, monkeypatch):
    slim(monkeypatch)
    publish(str(make_checkpoint(tmp_path / "logs", "speech")), tmp_path / "w" / "voice", **TEXTS)
    monkeypatch.setattr(published, "WEIGHTS", tmp_path / "w")
    (tmp_path / "said.csv").write_text("FileID,transcript\na,sad\n")
    with pytest.raises(UserError, match="holds none for this; give a checkpoint"):
        published.members_of(
            PredictOptions(transcripts=[str(tmp_path / "said.csv")]), torch.device("cpu")
        )


def test_of_several_folders_the_one_that_reads_text_is_taken(bert, tmp_path):
    settings = {EMBEDDER: {"source": HUB}}
    whisper = make_whisper(tmp_path / "whisper")
    other = make_bert(tmp_path / "other")
    assert moved_to(settings, [str(other), str(bert), whisper]) == str(bert)
    assert moved_to(settings, [whisper, str(other)]) == str(other)
    assert moved_to(settings, [whisper]) == moved_to(settings, []) == ""
