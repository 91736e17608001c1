"""How often a face must be found for a clip to have one."""

import numpy as np
import pytest

from emotion.inputs.crops import shows_face
from emotion.inputs.extraction import FeatureSettings
from emotion.inputs.face_track import FaceTrack
from emotion.prediction.recording import Recording, Span


def found_in(count, of):
    return np.arange(of) < count


@pytest.mark.parametrize(
    ("count", "of", "shown"), [(0, 0, False), (1, 75, False), (7, 75, False), (8, 75, True)]
)
def test_a_tenth_of_the_sampled_times(count, of, shown):
    assert shows_face(found_in(count, of)) == shown


@pytest.mark.parametrize(("count", "state"), [(1, "no_face"), (8, "ok")])
def test_a_window_obeys_the_same_rule(count, state):
    found = found_in(count, 75)
    track = FaceTrack(
        jpeg=[b"crop"] * count,
        crop=np.minimum(np.arange(75), count - 1).astype(np.int32),
        time=(np.arange(75) * 0.128).astype(np.float32),
        box=np.zeros((75, 4), np.float32),
        probability=found.astype(np.float32),
        found=found,
    )
    recording = Recording(9.6, FeatureSettings(), None, -np.inf, track, None)
    assert recording.window(Span(0.0, 9.6)).record.video_state == state
