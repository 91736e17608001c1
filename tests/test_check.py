"""What preprocess.py --check says of a folder."""

from emotion.inputs.store import FeatureStore
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from tests.features import make_features


def test_classes_folds_and_what_is_missing(tmp_path, capsys):
    shape = {"clips": {"all": 24}, "speakers": 6, "n_classes": 2}
    make_features(tmp_path, **shape, absent={"speech": {0, 2}})
    store = FeatureStore(tmp_path)
    rows = [
        r._replace(integrated="dis") if r.speaker in ("00", "02") and r.integrated == "hap" else r
        for r in store.read_manifest("all")
    ]
    store.write_manifest("all", rows)
    names = ["hap", "ang", "dis"]
    store.write_description(store.read_description() | {"class_names": names})
    assert preprocess(PreprocessOptions(features_dir=str(tmp_path), check=True)) == 0
    said = capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:] for line in said.splitlines() if "(" in line}
    assert table["dis"] == ["8", "(2)", "6", "(2)", "8", "(2)", "8", "(2)"]
    assert "--n_folds 3: not every fold has every class" in said
    assert "hap in 1 (only speakers 04 have it)" in said
    assert "leaves out what cannot be trained" in said
    assert "without speech: 2 of 24 clips (silent 2)" in said
    assert "level of the speech, of 22 clips" in said
    assert "light of the faces, of 24 clips" in said
