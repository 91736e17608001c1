"""Emotion recognition from a face, a voice and words in short video clips.

``from emotion import Predictor`` is all that it takes to use a trained model::

    predictor = Predictor("weights/voice")
    print(predictor.predict("talk.mp4").emotion)
"""

from typing import Any

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """``Predictor``, imported when it is first asked for: it takes torch along."""
    if name != "Predictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from emotion.api import Predictor

    return Predictor
