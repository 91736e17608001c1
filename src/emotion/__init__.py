"""Emotion recognition from a face, a voice and words in short video clips.

``from emotion import Predictor`` is all that it takes to use a trained model::

    predictor = Predictor("weights/voice")
    answer = predictor.predict("talk.mp4")
    print(answer.emotion, answer.probabilities[answer.emotion])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion.prediction.api import Answer, Answers, Predictor

__all__ = ["Answer", "Answers", "Predictor"]


def __getattr__(name: str) -> Any:
    """A name of the public ones, imported when it is first asked for: it takes torch along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from emotion.prediction import api

    return getattr(api, name)
