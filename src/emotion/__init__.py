"""Emotion recognition from a face, a voice and words in short video clips.

``from emotion import Predictor`` is all that it takes to use a trained model::

    predictor = Predictor.load("logs/multimodal/default")
    for answer in predictor.predict("clips/"):
        print(answer.item.name, predictor.class_names[answer.probabilities.argmax()])
"""

from typing import Any

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """``Predictor``, imported when it is first asked for: it takes torch along."""
    if name != "Predictor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from emotion.prediction.predictor import Predictor

    return Predictor
