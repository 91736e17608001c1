"""How often a face must be found for a clip to have one."""

import numpy as np
import pytest

from emotion.inputs.crops import shows_face
from emotion.inputs.extraction import Extractor
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.media import Media
from emotion.prediction.recording import Recording, Span
from emotion.records import Clip, Labels


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
    media = Media(Clip("7", "7", None, "input", None, Labels(), None))
    extractor = Extractor({"face_stride": 8}, None, features=("video",))
    window = Recording(media, {"video": track}, extractor).window(Span(0.0, 9.6))
    assert window.record.state("video") == state
