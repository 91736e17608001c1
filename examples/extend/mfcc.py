"""Features of the voice in one file: mel-frequency cepstral coefficients over time, by librosa.

python preprocess.py --extend examples/extend/mfcc.py ...
python train.py --extend examples/extend/mfcc.py --mode speech --features mfcc ...
python predict.py --extend examples/extend/mfcc.py --weights ... --input CLIP ...
"""

from typing import Any

import librosa
import numpy as np

from emotion.clock import HOP_LENGTH, SAMPLE_RATE
from emotion.inputs.media import Media
from emotion.inputs.vectors import Options as Options  # --normalise speaker
from emotion.inputs.vectors import Vectors, VoiceVectors
from emotion.registry import VECTORS, FeatureLine

FEATURES = {"mfcc": FeatureLine("speech", VECTORS, __name__)}
COUNT = 20
HOP = 4 * HOP_LENGTH  # samples between two steps: 64 ms


class Mfcc(VoiceVectors):
    """20 coefficients a step (Davis & Mermelstein 1980)."""

    name, folder = "mfcc", "mfcc"

    def describe(self, options: Any) -> dict[str, Any]:
        """Features made otherwise are others, and refused."""
        return {self.name: f"librosa {librosa.__version__}, {COUNT} every {HOP}"}

    def extract(self, media: Media, settings: dict[str, Any], tools: None) -> Vectors:
        """Of the trimmed speech; the times are the clip's."""
        made = librosa.feature.mfcc(y=media.spoken(), sr=SAMPLE_RATE, n_mfcc=COUNT, hop_length=HOP)
        values = made.T.astype(np.float32)
        time = media.speech.start + np.arange(len(values)) * HOP / SAMPLE_RATE
        return Vectors(values, time.astype(np.float32), np.ones(len(values), bool))


FEATURE = Mfcc()
