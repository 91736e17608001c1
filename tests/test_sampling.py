"""Which steps of a clip are read."""

import numpy as np

from emotion.clock import whole_steps
from emotion.inputs.feature import Window
from emotion.inputs.sampling import jittered_rows, rows_within, spread_rows


def test_helpers_of_time():
    rng = np.random.default_rng(0)
    assert [whole_steps(n) for n in (1, 32, 33, 64)] == [32, 32, 64, 64]
    assert spread_rows(9, 3, None).tolist() == [1, 4, 7]
    assert spread_rows(2, 4, None).tolist() == [0, 0, 1, 1]
    for count in (1, 5, 40):
        rows = spread_rows(count, 4, rng)
        assert (np.diff(rows) >= 0).all()
        assert rows.min() >= 0
        assert rows.max() < count
        kept = jittered_rows(count, rng)
        assert len(kept) >= 0.8 * count
        assert (np.diff(kept) == 1).all()
    times = np.arange(10) * 0.1
    assert rows_within(times, Window(0.2, 0.36)).tolist() == [2, 3]
    assert rows_within(times, Window(5.0, 5.16)).tolist() == [9]
