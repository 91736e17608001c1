"""The package beside other ones: imported in no time, used from Python, at home where it is run."""

import shutil
import subprocess
import sys
import tomllib
from importlib import import_module

from emotion.paths import HOME


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


def test_the_wheel_has_a_name_and_the_commands_that_it_brings_are_there():
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    assert project["name"] == "multimodal-emotion"
    assert set(project["scripts"]) == {"emotion-preprocess", "emotion-train", "emotion-predict"}
    for target in project["scripts"].values():
        module, name = target.split(":")
        code = f"import sys; sys.argv = ['x', '--help']; from {module} import {name}; {name}()"
        assert python(code, HOME / "src", HOME).startswith("usage: x")
        assert callable(getattr(import_module(module), name))
