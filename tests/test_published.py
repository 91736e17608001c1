"""``weights/``: a run becomes a folder of it, and answers where no weights are named."""

import huggingface_hub
import numpy as np
import pytest
import torch

from emotion import Predictor
from emotion.errors import UserError
from emotion.models.checkpoint import load_checkpoint
from emotion.prediction import published
from emotion.prediction.calibration import calibration_path
from emotion.prediction.publish import publish
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from tests.encoders import make_whisper
from tests.media import noise, tone, write_clip
from tests.training.runs import run_of

TEXTS = {
    "what": "A voice model.",
    "taught": "Trained on two tones.",
    "limits": "It knows no people.",
    "licence": "CC0",
}
HUB = "someone/tiny-whisper"


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return make_whisper(tmp_path_factory.mktemp("encoders") / "tiny-whisper")


@pytest.fixture(scope="module")
def run(whisper, tmp_path_factory):
    """A head over a frozen encoder, trained for three epochs on ten sounds."""
    home = tmp_path_factory.mktemp("home")
    for number in range(10):
        label = ("hap", "sad")[number % 2]
        path = (
            home
            / "qia"
            / ("train", "val")[number % 5 == 4]
            / f"{number}-{label}-{label}-{label}.wav"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, None, tone(1.0, 200 + 150 * (number % 2)) + noise(1.0))
    options = PreprocessOptions(
        data_dir=str(home / "qia"),
        features_dir=str(home / "features"),
        speech_encoder=[whisper],
        vggface_weights="none",
        num_workers=0,
    )
    assert preprocess(options) == 0
    flags = {"features": ["speech:tiny-whisper"], "speech_model": "mlp"}
    return run_of(home / "features", home / "logs", "speech", **flags)


@pytest.fixture
def weights(run, tmp_path, monkeypatch):
    """weights/ with that run."""
    publish(str(run), tmp_path / "weights" / "voice", [HUB], **TEXTS, rank=1)
    monkeypatch.setattr(published, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def sound(tmp_path):
    return write_clip(tmp_path / "a.wav", None, tone(1.1, 260) + noise(1.1))


def test_half_as_large_and_of_the_same_answers(run, weights, whisper, sound):
    first = load_checkpoint(next(run.glob("*_best_*.pth")))
    path = weights / "voice" / "model.pth"
    second = load_checkpoint(path)
    assert path.stat().st_size < 0.65 * first.path.stat().st_size
    halves = {name for name, value in second.model.items() if value.dtype == torch.float16}
    assert halves == {name for name, _ in first.build().named_parameters()}
    answers = [
        Predictor(place, device="cpu", encoders=[whisper]).predict(sound)
        for place in (run, weights / "voice")
    ]
    moved = np.abs(np.subtract(*(list(answer.probabilities.values()) for answer in answers)))
    assert moved.max() < 2e-3


def test_without_weights_the_best_there_is_answers_and_says_what_it_is(
    run, weights, whisper, sound, capsys
):
    publish(str(run), weights / "another", [HUB], **TEXTS | {"what": "Another model."})
    predictor = Predictor(device="cpu", encoders=[whisper])
    line = next(x for x in capsys.readouterr().err.splitlines() if x.startswith("note: weights/"))
    assert line == "note: weights/voice: A voice model. Trained on two tones. It knows no people."
    assert predictor.predict(sound).modalities == ("speech",)
    card = published.read_card(weights / "voice")
    assert card["encoders"] == {"speech:tiny-whisper": HUB}
    assert card["facts"]["training_clips"] == 8
    assert card["facts"]["valid"]["clips"] == 2
    stored = load_checkpoint(weights / "voice" / "model.pth").features["speech:tiny-whisper"]
    assert stored["source"] == HUB  # and no folder of the machine that trained it


def test_a_model_that_takes_the_place_of_another_has_its_own_temperature(run, weights):
    fitted = calibration_path(weights / "voice" / "model.pth")
    fitted.write_text('{"temperature": 3.0}')
    publish(str(run), weights / "voice", [HUB], **TEXTS)
    assert not fitted.exists()


def test_an_encoder_that_cannot_be_fetched_is_a_line_that_says_how_to_give_it(weights, monkeypatch):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    with pytest.raises(UserError, match=rf"{HUB}: no such .* by --encoders FOLDER"):
        Predictor(device="cpu")


def test_no_weights_and_a_card_that_says_too_little_are_lines(run, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "WEIGHTS", tmp_path / "none")
    with pytest.raises(UserError, match="none given"):
        Predictor()
    with pytest.raises(UserError, match="lacks --limits"):
        publish(str(run), tmp_path / "voice", [HUB], **TEXTS | {"limits": ""})
    with pytest.raises(UserError, match="a folder of this machine; give its public name"):
        publish(str(run), tmp_path / "voice", **TEXTS)
