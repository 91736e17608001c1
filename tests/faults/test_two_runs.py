"""Two runs at once: shares of a corpus side by side, anything else one after the other."""

import pytest

from emotion.errors import UserError
from emotion.inputs.store import FeatureStore
from emotion.locking import only_run_in
from emotion.preprocessing.run import PreprocessOptions, alone, preprocess
from emotion.preprocessing.shards import Shard

WHOLE, FIRST, SECOND = Shard(), Shard(1, 2), Shard(2, 2)


@pytest.mark.parametrize(
    ("held", "wanted"), [(WHOLE, WHOLE), (FIRST, FIRST), (WHOLE, FIRST), (FIRST, WHOLE)]
)
def test_the_same_share_is_refused(tmp_path, tally, held, wanted):
    store = FeatureStore(tmp_path)
    tally("two runs")
    with alone(store, held):
        refused = pytest.raises(UserError, match=r"process \d+ on .* is at work there")
        with refused, alone(store, wanted):
            pass
    with alone(store, wanted):
        pass


def test_shares_work_side_by_side_and_leave_nothing(tmp_path, tally):
    store = FeatureStore(tmp_path)
    tally("two runs")
    with alone(store, FIRST):
        with alone(store, SECOND):
            pass
        with pytest.raises(UserError), alone(store, WHOLE):
            pass
    assert not list(tmp_path.iterdir())


def test_preprocess_is_refused_while_another_is_at_work(tmp_path, tally):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "001.wav").touch()
    options = PreprocessOptions(
        data_dir=str(tmp_path / "data"),
        features_dir=str(tmp_path / "features"),
        vggface_weights="none",
        num_workers=0,
    )
    tally("two runs")
    with only_run_in(tmp_path / "features", ".run.lock"):
        with pytest.raises(UserError, match="is at work there"):
            preprocess(options)
        assert [path.name for path in (tmp_path / "features").iterdir()] == [".run.lock"]
