"""Vectors of the user's own, and functionals: read, kept, trained on, fused and answered."""

import csv

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.inputs.extraction import Extractor
from emotion.inputs.own_vectors import VectorsError, read_vectors
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from emotion.records import Clip, Labels
from tests.media import noise, tone, write_clip
from tests.prediction import answers_of
from tests.training.runs import run_of

HEADING = ["id", "path", "label", "split", "speech_vectors", "face_vectors", "text_vectors"]
OPENFACE = """frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r, AU01_c
1, 0, 0.000, 0.98, 1, 0.5, 1.25, 1.0
2, 0, 0.040, 0.10, 0, 0.5, 0.00, 0.0
"""


def test_openfaces_csv_as_it_is(tmp_path):
    path = tmp_path / "film.csv"
    path.write_text(OPENFACE)
    vectors = read_vectors(path)
    np.testing.assert_array_equal(vectors.values, [[1.25, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(vectors.time, [0.0, 0.04])
    np.testing.assert_array_equal(vectors.found, [True, False])


def test_a_file_in_which_nothing_was_found_is_no_face(tmp_path):
    path = tmp_path / "film.csv"
    path.write_text(OPENFACE.replace("0.98, 1", "0.10, 0"))
    clip = Clip("a", "a", None, "all", None, Labels(), None, vectors={"face:vectors": path})
    found = Extractor({"face:vectors": 1}, None, features=["face:vectors"]).extract(clip)
    assert found.states == {"face:vectors": "not_found"}


def test_any_csv_npy_and_npz(tmp_path):
    (tmp_path / "a.csv").write_text("time,x,y\n0.5,1,2\n")
    np.testing.assert_array_equal(read_vectors(tmp_path / "a.csv").values, [[1.0, 2.0]])
    assert read_vectors(tmp_path / "a.csv").time == [0.5]
    np.save(tmp_path / "b.npy", np.arange(3))
    one = read_vectors(tmp_path / "b.npy")
    assert one.values.shape == (1, 3)
    assert np.isnan(one.time).all()
    np.savez(tmp_path / "c.npz", values=np.ones((2, 3)), time=[0.0, 1.0], found=[1, 0])
    three = read_vectors(tmp_path / "c.npz")
    np.testing.assert_array_equal(three.found, [True, False])
    np.savez(tmp_path / "d.npz", anything=np.ones((2, 3)))
    assert read_vectors(tmp_path / "d.npz").values.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", np.array([{"a": 1}], object)),
        ("b.npy", np.array([[np.nan, 1.0]])),
        ("c.npy", np.zeros((0, 4))),
        ("d.npy", np.zeros((2, 3, 4))),
        ("e.npy", np.array([["x"]])),
    ],
)
def test_what_is_no_vector_is_told_in_a_line(name, content, tmp_path):
    np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(VectorsError, match=f"^{name}: no usable vectors: .+"):
        read_vectors(tmp_path / name)


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", values=np.ones((2, 3)), time=[0.0])
    for name, content in (("b.csv", "x,y\n1\n"), ("c.csv", ""), ("d.csv", "x\nword\n")):
        (tmp_path / name).write_text(content)
    (tmp_path / "e.pkl").write_bytes(b"")
    for name in ("a.npz", "b.csv", "c.csv", "d.csv", "e.pkl", "missing.npy"):
        with pytest.raises(VectorsError, match=f"^{name}: "):
            read_vectors(tmp_path / name)


@pytest.fixture
def folder(tmp_path):
    """Twelve clips: sound and vectors for most of them, one without vectors, one with bad ones."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        split, label = ("train", "train", "val", "test")[number % 4], ("hap", "sad")[number // 6]
        name = f"{number:02d}"
        write_clip(tmp_path / f"{name}.wav", None, tone(0.6, 200) + noise(0.6))
        np.save(tmp_path / f"{name}_a.npy", rng.normal(size=(4, 5)) + number // 6)
        np.savez(
            tmp_path / f"{name}_v.npz",
            values=rng.normal(size=(3, 7)) + number // 6,
            time=[0.1, 0.2, 0.3],
        )
        np.save(tmp_path / f"{name}_t.npy", rng.normal(size=6))
        files = [f"{name}_a.npy", f"{name}_v.npz", f"{name}_t.npy"]
        rows.append([name, f"{name}.wav" if number else "", label, split, *files])
    rows[0][4:] = ["", *rows[0][5:]]
    (tmp_path / "04_v.npz").write_bytes(b"nothing")
    write_table(tmp_path, rows)
    return tmp_path


def write_table(folder, rows):
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADING, *rows])


def preprocessed(folder, **flags):
    flags = {"num_workers": 0, "vggface_weights": "none", "max_failures": 50.0, **flags}
    options = PreprocessOptions(
        corpus="table", data_dir=str(folder), features_dir=str(folder / "features"), **flags
    )
    assert preprocess(options) == 0
    return FeatureStore(folder / "features")


def states(store, feature):
    records = [r for split in store.splits() for r in store.read_manifest(split)]
    return {record.stem: record.state(feature) for record in records}


def test_vectors_are_kept_missing_ones_are_absent_and_bad_ones_fail(folder):
    store = preprocessed(folder)
    assert states(store, "speech:vectors")["00"] == "absent"
    assert states(store, "face:vectors")["04"] == "failed"
    (failure,) = store.read_failures("train")
    assert failure.reason.startswith("04_v.npz: no usable vectors")
    record = next(r for r in store.read_manifest("train") if r.stem == "01")
    kept = StoredClip(store, "train", record).read("face:vectors")
    np.testing.assert_allclose(kept.values, np.load(folder / "01_v.npz")["values"], rtol=1e-6)
    np.testing.assert_allclose(kept.time, [0.1, 0.2, 0.3], rtol=1e-6)


def test_what_is_added_to_the_table_is_taken_up_later(folder):
    preprocessed(folder)
    with (folder / "table.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    rows[0][4] = "00_a.npy"
    write_table(folder, rows)
    assert states(preprocessed(folder, num_workers=1), "speech:vectors")["00"] == "ok"


@pytest.mark.parametrize("fusion", ["concat", "aligned", "decoder"])
def test_three_modalities_of_own_vectors_are_fused_and_answered(fusion, folder, tmp_path):
    store = preprocessed(folder)
    given = {"features": ["vectors"]}
    given |= {"speech_model": "mlp", "face_model": "attention_lstm", "text_model": "linear"}
    run = run_of(store.root, tmp_path, "multimodal", n_epoch=1, fusion=fusion, lam=0.0, **given)
    answers = answers_of(run, tmp_path, features_dir=str(store.root), split="test")
    assert [row["modalities"] for row in answers] == ["speech face text"] * 3


def test_a_row_of_nothing_is_refused(tmp_path):
    write_table(tmp_path, [["00", "", "hap", "train", "", "", ""]])
    with pytest.raises(UserError, match="neither path nor transcript nor vectors"):
        preprocessed(tmp_path)


def test_functionals_are_one_vector_a_clip(folder, tmp_path):
    opensmile = pytest.importorskip("opensmile")
    store = preprocessed(folder, functionals=["eGeMAPSv02"])
    name = "speech:eGeMAPSv02"
    assert states(store, name)["01"] == "ok"
    assert states(store, name)["00"] == "absent"  # vectors alone, without a sound
    record = next(r for r in store.read_manifest("train") if r.stem == "01")
    kept = StoredClip(store, "train", record).read(name)
    assert kept.values.shape == (1, 88)
    assert np.isnan(kept.time).all()
    settings = store.read_description()["settings"]
    assert settings[name] == f"opensmile {opensmile.__version__}"
    run = run_of(
        store.root, tmp_path, "speech", n_epoch=1, features=["eGeMAPSv02"],
        speech_model="linear",
    )  # fmt: skip
    from_features = answers_of(run, tmp_path, features_dir=str(store.root), split="test")
    sound = str(folder / "03.wav")
    (of_file,) = answers_of(run, tmp_path, input=[sound], probabilities=True)
    assert of_file["Emotion"] == from_features[0]["Emotion"]


def test_without_opensmile_a_line_names_the_mend(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opensmile", None)
    with pytest.raises(UserError, match=r"--functionals: .* requirements-functionals.txt"):
        preprocessed(folder, functionals=["eGeMAPSv02"])
