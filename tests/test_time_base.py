"""The time base of speech against video, for any interval, stride and crop. It is the clip's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emotion.clock import FRAME_SECONDS
from emotion.inputs.crops import sampled_times
from emotion.inputs.feature import Window
from emotion.inputs.media import Interval
from emotion.inputs.sampling import rows_within

INTERVALS = st.builds(
    lambda start, frames: Interval(start, start + frames * FRAME_SECONDS, frames),
    st.floats(0, 600),
    st.integers(1, 3000),
)


@given(st.floats(0.0, 600.0), st.integers(1, 64))
def test_face_f_is_at_frame_f_times_the_stride_of_the_clip(duration, stride):
    times = sampled_times(duration, stride)
    np.testing.assert_allclose(times / FRAME_SECONDS, np.arange(len(times)) * stride, atol=1e-6)
    assert 0.0 == times[0] <= times[-1] < max(duration, 1e-9)
    assert times[-1] + stride * FRAME_SECONDS >= duration - 1e-6


@given(INTERVALS, st.integers(1, 64), st.integers(0, 500), st.data())
def test_a_crop_of_the_speech_takes_the_faces_of_its_own_time(interval, stride, after, data):
    first = data.draw(st.integers(0, interval.frames - 1))
    length = data.draw(st.integers(1, interval.frames - first))
    times = sampled_times(interval.end + after * FRAME_SECONDS, stride).astype(np.float32)
    start = interval.start + first * FRAME_SECONDS
    end = start + length * FRAME_SECONDS
    rows = rows_within(times, Window(start, end))
    slack = 1e-3  # float32 seconds
    sure = np.flatnonzero((times > start + slack) & (times < end - slack))
    assert set(sure) <= set(rows)
    if len(sure):
        assert ((times[rows] > start - slack) & (times[rows] < end + slack)).all()
    else:  # a step has a face even so: the nearest one
        distance = np.abs(times - (start + end) / 2)
        assert distance[rows].max() <= distance.min() + length * FRAME_SECONDS + slack
