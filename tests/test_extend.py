"""The examples of docs/EXTENDING.md: each is one file, and no other is edited."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch

from emotion.paths import HOME
from tests.encoders import make_onnx
from tests.media import face_frame, noise, tone, write_clip
from tests.warm import run_script

EXTEND = HOME / "examples" / "extend"
FILES = [str(EXTEND / f"{name}.py") for name in ("pose", "encoder", "fusion")]
CHECK = HOME / "src" / "emotion" / "prediction" / "promises.py"
CLASSES = ("hap", "sad")


def run(script, *flags, extend=FILES, code=0):
    """A script in a process of its own, as a user starts it; what it says."""
    done = run_script(script, *(["--extend", *extend] if extend else []), *flags)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten clips of one to two seconds, each with a pose file, and with words."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(10):
        split = ("train", "val")[number % 5 == 4]
        label = CLASSES[number % 2]
        stem = folder / split / f"{number:03d}-{label}-{label}-{label}"
        stem.parent.mkdir(exist_ok=True)
        film = [face_frame(left=20 + 2 * step) for step in range(10)]
        seconds = 1 + number % 3 / 2
        write_clip(stem.with_suffix(".mp4"), film, tone(seconds, 300) + noise(seconds), fps=10)
        rng = np.random.default_rng(number)
        np.savez(
            stem.with_suffix(".pose.npz"),
            pose=rng.normal(size=(6 + number % 4, 6)) + number % 2,
            time=np.linspace(0, 1, 6 + number % 4)[::-1],
        )
        np.savez(stem.parent / f"{number:03d}.npz", word_embed=rng.normal(size=(2 + number % 3, 5)))
    return folder


@pytest.fixture(scope="module")
def features(corpus, tmp_path_factory):
    """Made without the pose first, which is then added, by a worker process."""
    folder = tmp_path_factory.mktemp("features")
    network = make_onnx(tmp_path_factory.mktemp("network") / "tiny.onnx")
    flags = ["--data_dir", corpus, "--features_dir", folder, "--vggface_weights", "none"]
    flags += ["--face_encoder", network]
    run("preprocess.py", *flags, "--num_workers", 0, extend=())
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/video/*.npz")}
    said = run("preprocess.py", *flags, "--num_workers", 1)
    assert re.search(r"10 clips, 10 extracted now, 0 failed; .*pose 10", said)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/video/*.npz")} == before
    return folder


@pytest.fixture(scope="module")
def logs(features, tmp_path_factory):
    """A run of the pose alone, and a fused one of everything that the examples bring."""
    logs = tmp_path_factory.mktemp("logs")
    flags = ["--features_dir", features, "--logs_dir", logs, "--n_epoch", 2, "--batch_size", 4]
    run("train.py", "--mode", "pose", *flags, "--num_workers", 1)
    fused = ["--mode", "multimodal", "--fusion", "gated", "--speech_model", "conv1d"]
    fused += ["--features", "tiny"]  # resnet3d over the crops would be most of the work
    run("train.py", *fused, "--channels", 8, *flags, "--num_workers", 1)
    return logs


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_features_of_the_voice_are_made_trained_and_answered(corpus, tmp_path):
    mine = [str(EXTEND / "mfcc.py")]
    made, logs = tmp_path / "f", tmp_path / "logs"
    (tmp_path / "data").mkdir()
    for split in ("train", "val"):
        shutil.copytree(corpus / split, tmp_path / "data" / split)
    flags = ["--data_dir", tmp_path / "data", "--features_dir", made, "--num_workers", 0]
    said = run("preprocess.py", *flags, "--vggface_weights", "none", extend=mine)
    assert re.search(r"10 clips, 10 extracted now, 0 failed; .*mfcc 10", said)
    flags = ["--features_dir", made, "--logs_dir", logs, "--n_epoch", 1, "--num_workers", 0]
    run("train.py", "--mode", "speech", "--features", "mfcc", *flags, extend=mine)
    answers = []
    for source in (["--input", corpus / "val"], ["--split", "val", "--features_dir", made]):
        output = tmp_path / f"{len(answers)}.csv"
        flags = ["--weights", logs / "speech" / "default", *source, "--output", output]
        run("predict.py", *flags, "--num_workers", 0, "--probabilities", extend=mine)
        answers.append([float(row["sad"]) for row in rows_of(output)])
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)
    (clip,) = (corpus / "val").glob("004*.mp4")
    flags = ["--weights", logs / "speech" / "default", "--input", clip, "--timeline"]
    flags += ["--output", tmp_path / "t.csv", "--num_workers", 0]
    run("predict.py", *flags, extend=mine)
    assert {row["modalities"] for row in rows_of(tmp_path / "t.csv")} == {"speech"}


OPTIONAL = """
from emotion.inputs.vectors import VoiceVectors
from emotion.registry import VECTORS, FeatureLine
FEATURES = {"speech:mine": FeatureLine("speech", VECTORS, __name__)}
class Mine(VoiceVectors):
    name, folder = "speech:mine", "speech_mine"
    def describe(self, options):
        return {"mine": 1}
FEATURE = Mine()
"""


def test_features_that_no_describe_names_are_told(corpus, tmp_path):
    (tmp_path / "mine.py").write_text(OPTIONAL)
    flags = ["--data_dir", corpus, "--features_dir", tmp_path / "f", "--num_workers", "0"]
    flags += ["--vggface_weights", "none", "--extend", tmp_path / "mine.py"]
    assert (
        "note: speech:mine is not made: no describe()" in run_script("preprocess.py", *flags).stderr
    )


def test_old_features_stay_and_new_ones_join_the_manifest(features):
    (row,) = [row for row in rows_of(features / "train" / "manifest.csv") if row["id"] == "000"]
    assert (row["pose_state"], row["speech_state"], row["video_state"]) == ("ok", "ok", "ok")
    arrays = np.load(next((features / "train" / "pose").glob("000*.npz")))
    assert (np.diff(arrays["time"]) > 0).all()


def test_a_folder_with_features_of_an_extension_is_read_without_it(features, tmp_path):
    flags = ["--mode", "text", "--features_dir", features, "--logs_dir", tmp_path, "--n_epoch", 1]
    assert "Done" in run("train.py", *flags, "--num_workers", 0, extend=())


def test_the_fourth_modality_is_trained_fused_scored_and_told_of(logs):
    result = json.loads((logs / "multimodal" / "default" / "result.json").read_text())
    assert set(result["valid"]["without"]) == {"speech", "face", "text", "pose"}
    config = json.loads((logs / "multimodal" / "default" / "config.json").read_text())
    parts = {part["modality"]: part for part in config["resolved"]["recipe"]["parts"]}
    assert parts["speech"]["network"] == {"channels": 8}
    assert (parts["pose"]["width"], parts["pose"]["encoder"]) == (6, "attention_lstm")


def test_clips_nobody_has_seen_are_answered_reported_and_exported(corpus, logs, tmp_path):
    flags = ["--weights", logs / "multimodal" / "default"]
    output, report = tmp_path / "answers.csv", tmp_path / "report"
    given = ["--input", corpus / "val", "--output", output, "--report", report]
    run("predict.py", *flags, *given, "--num_workers", 1, "--probabilities")
    rows = rows_of(output)
    assert [row["modalities"] for row in rows] == ["speech face text pose"] * 2
    assert (report / "pictures" / "attention_0.png").is_file() or not any(
        row["Emotion"] in row["FileID"] for row in rows
    )
    pytest.importorskip("onnxscript")
    said = run("predict.py", *flags, "--export", tmp_path / "model.onnx")
    assert "pose pose_mask pose_time" in said


def test_the_answer_is_the_same_from_media_and_from_features(corpus, features, logs, tmp_path):
    answers = []
    for source in (["--input", corpus / "val"], ["--split", "val", "--features_dir", features]):
        output = tmp_path / f"{len(answers)}.csv"
        flags = ["--weights", logs / "multimodal" / "default", *source, "--output", output]
        run("predict.py", *flags, "--num_workers", 0, "--probabilities")
        answers.append(rows_of(output))
    for first, second in zip(*answers, strict=True):
        for name in CLASSES:
            assert float(first[name]) == pytest.approx(float(second[name]), abs=1e-4)


def test_a_checkpoint_names_what_it_wants_and_runs_nothing(corpus, logs, tmp_path):
    path = logs / "multimodal" / "default"
    flags = ["--weights", path, "--input", corpus / "val", "--output", tmp_path / "a.csv"]
    said = run("predict.py", *flags, extend=(), code=2)
    assert said.count("\n") == 1
    assert "there is no encoder 'conv1d' here" in said
    assert "--extend" in said
    stored = torch.load(next(path.glob("*_best_*.pth")), weights_only=True)
    assert stored["extensions"] == ["pose.py", "encoder.py", "fusion.py"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has none of CORPORA"),
        ("FUSIONS = {'aligned': __name__}", "aligned is there already"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        (None, "no such file, or none of Python"),
    ],
)
def test_an_extension_that_is_none_is_one_line(tmp_path, text, reason):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    said = run("train.py", "--mode", "text", extend=[str(path)], code=2)
    assert said.count("\n") == 1
    assert reason in said
    assert str(path) in said


def test_flags_of_an_extension_are_in_help_and_checked():
    assert "--channels INT" in run("train.py", "--help")
    said = run("train.py", "--mode", "speech", "--chanels", "9", code=2)
    assert "did you mean --channels?" in said


def test_options_that_need_the_rest_of_their_file_are_one_line(tmp_path):
    text = (EXTEND / "encoder.py").read_text()
    assert "flag(64," in text
    path = tmp_path / "mine.py"
    path.write_text("WIDTH = 64\n" + text.replace("flag(64,", "flag(WIDTH,"))
    said = run("train.py", "--mode", "speech", extend=[str(path)], code=2)
    assert said.count("\n") == 1
    assert "name 'WIDTH' is not defined: the class Options is read without the rest" in said


CORPUS = re.search(
    r"```python\n(from pathlib.*?)```", (HOME / "docs" / "EXTENDING.md").read_text(), re.S
)[1]


def test_the_corpus_of_the_page_is_read(tmp_path):
    (tmp_path / "mine.py").write_text(CORPUS)
    for place in ("a/01_calm_1", "b/01_tense_2", "02_calm_1"):
        (tmp_path / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        made = write_clip(tmp_path / "clip.wav", None, tone(0.6, 200) + noise(0.6))
        made.rename(tmp_path / "data" / f"{place}.wav")
    flags = ["--corpus", "mine", "--data_dir", tmp_path / "data", "--features_dir", tmp_path / "f"]
    said = run("preprocess.py", *flags, "--num_workers", 0, extend=[str(tmp_path / "mine.py")])
    assert "mine: 3 clips, 3 extracted now, 0 failed; with speech 3" in said


# -- the promises of docs/EXTENDING.md ------------------------------------------------------------


def promises(run, features, *extensions):
    """What the check says of a run, and whether all was kept."""
    words = [run, "--features_dir", features]
    done = run_script(CHECK, *words, EMOTION_EXTEND=os.pathsep.join(map(str, extensions)))
    assert done.returncode in (0, 1), done.stderr
    return done.stdout, done.returncode == 0


def test_the_examples_keep_the_promises(features, logs):
    said, kept = promises(logs / "multimodal" / "default", features, *FILES)
    assert kept, said
    for name in ("speech", "text", "pose"):
        assert f"1. masked steps change nothing ({name}): kept" in said


def test_an_encoder_that_looks_into_the_padding_is_found_out(features, tmp_path):
    careless = tmp_path / "careless.py"
    text = (EXTEND / "encoder.py").read_text().replace(".masked_fill(blank, 0.0)", "")
    careless.write_text(text.replace('"conv1d"', '"careless"'))
    flags = ["--mode", "speech", "--speech_model", "careless", "--channels", 8, "--n_epoch", 1]
    flags += ["--features_dir", features, "--logs_dir", tmp_path, "--batch_size", 4]
    run("train.py", *flags, "--num_workers", 0, extend=[str(careless)])
    said, kept = promises(tmp_path / "speech" / "default", features, careless)
    assert not kept
    assert "1. masked steps change nothing (speech): BROKEN" in said
