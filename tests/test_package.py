"""The package beside other ones: imported in no time, used from Python, at home where it is run."""

import shutil
import subprocess
import sys

import pytest

from emotion import Predictor
from emotion.errors import UserError
from emotion.paths import HOME
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, answers_of, make_checkpoint, probabilities_of, slim


def python(code, folder, cwd):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_takes_nothing_along():
    heavy = python("import emotion; print({'torch', 'numpy'} & {*sys.modules})", HOME / "src", HOME)
    assert heavy == "set()"


def test_beside_the_scripts_folders_are_theirs_and_elsewhere_those_of_the_caller(tmp_path):
    home = "from emotion.paths import HOME; print(HOME)"
    assert python(home, HOME / "src", tmp_path) == str(HOME)
    site = tmp_path / "lib" / "python" / "site-packages"
    shutil.copytree(HOME / "src" / "emotion", site / "emotion")
    (tmp_path / "work").mkdir()
    assert python(home, site, tmp_path / "work") == str(tmp_path / "work")


def test_a_predictor_answers_as_the_script_does(tmp_path, monkeypatch):
    slim(monkeypatch)
    weights = make_checkpoint(tmp_path, "speech", features=PLAIN)
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("one", "two"):
        write_clip(clips / f"{name}.wav", None, tone(0.8, 300) + noise(0.8))
    predictor = Predictor(weights, device="cpu")
    found = predictor.predict(clips)
    rows = answers_of(weights, tmp_path, input=[str(clips)], probabilities=True)
    for answer, row in zip(found, rows, strict=True):
        assert answer.path.stem == row["FileID"]
        assert list(answer.probabilities.values()) == pytest.approx(probabilities_of(row), abs=1e-6)
        assert (answer.emotion, answer.modalities) == (row["Emotion"], ("speech",))
        assert (answer.start, round(answer.end, 1)) == (0.0, 0.8)
    one = predictor.predict(clips / "one.wav")
    assert one == found[0]
    windows = predictor.timeline(clips / "one.wav", window=0.5, hop=0.1)
    assert [round(part.start, 1) for part in windows] == [0.0, 0.1, 0.2, 0.3]
    assert set(windows[0].probabilities) == set(predictor.class_names)
    with pytest.raises(UserError, match="no such file or folder"):
        predictor.predict(tmp_path / "nothing")
