"""Emotion recognition from a face, a voice and words in short video clips.

``from emotion import Predictor`` is all that it takes to use a trained model::

    predictor = Predictor("weights/voice")
    print(predictor.predict("talk.mp4").emotion)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion.api import Prediction, Predictions, Predictor

__all__ = ["Prediction", "Predictions", "Predictor"]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: it takes torch along."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from emotion import api

    return getattr(api, name)
