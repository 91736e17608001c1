"""What somebody's own corpus or features may get wrong costs a line, and no traceback."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from emotion import registry
from emotion.corpora.loading import load_corpus
from emotion.errors import UserError
from emotion.inputs.extraction import Extractor
from emotion.inputs.media import Media
from emotion.inputs.speech_states import feature
from emotion.inputs.vectors import VectorFeature, without_times
from emotion.prediction.inputs import _parse_name
from emotion.records import Clip, Corpus, Labels, Named
from tests.media import tone, write_clip


@pytest.fixture
def mine(monkeypatch):
    """A corpus whose module a test fills."""
    module = ModuleType("corpus_of_mine")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.CORPORA, "mine", module.__name__)
    return module


def clip(path=None, label=0):
    return Clip("a", "a", path, "all", None, Labels(label), None)


@pytest.mark.parametrize(
    ("clips", "reason"),
    [
        ([], "holds no clips of the corpus mine"),
        ([clip(label=2)], "a: its label 2 is none of the corpus's 2 classes"),
        ([clip(label="calm")], "a: its label 'calm' is none"),
    ],
)
def test_a_corpus_is_checked(mine, tmp_path, clips, reason):
    mine.load = lambda folder: Corpus("mine", ("calm", "tense"), clips)
    with pytest.raises(UserError, match=reason):
        load_corpus("mine", tmp_path)


def test_a_name_of_another_form_is_nobodys(mine):
    mine.parse_name = lambda stem: Named(stem.split("_")[1], None, Labels())
    assert _parse_name("x_y", "mine").id == "y"
    assert _parse_name("new", "mine") == Named("new", None, Labels())


class Loud(VectorFeature):
    """Of the speech, without saying so."""

    name, folder = "loud", "loud"

    def extract(self, media, settings, tools):
        return without_times(np.abs(media.spoken()).max(keepdims=True)[None])


def loud_extractor():
    extractor = Extractor({"audio": "percentile"}, None, features=["speech"])
    extractor.features, extractor._tools = {"loud": Loud()}, {"loud": None}
    return extractor


def test_features_of_the_speech_have_to_say_so(tmp_path):
    path = write_clip(tmp_path / "a.wav", None, tone(0.6, 300))
    extractor = loud_extractor()
    with pytest.raises(UserError, match=r"needs = \('speech',\)"):
        extractor.take(Media(clip(path)))


def test_a_failure_names_the_line_of_an_extension(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_extended", [__file__])
    monkeypatch.setattr(Loud, "extract", lambda *_: 1 / 0)
    path = write_clip(tmp_path / "a.wav", None, tone(0.6, 300))
    extractor = loud_extractor()
    ((name, reason),) = extractor.take(Media(clip(path))).failures
    assert (name, reason.partition(" (")[0]) == ("loud", "ZeroDivisionError: division by zero")
    assert reason.rpartition(" (")[2].startswith(Path(__file__).name)


def test_features_of_an_extension_that_is_not_here_are_a_line():
    with pytest.raises(UserError, match=r"'speech:mine' here that --speech_encoder makes; give"):
        feature("speech:mine").open({"speech:mine": "librosa"}, None, "cpu")
