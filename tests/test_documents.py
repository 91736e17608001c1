"""What README, docs/ and recipes/ tell a person to type: flags of today, files that are there; and
what can run on a small generated corpus is run.
"""

import itertools
import re
from importlib.util import find_spec

import pytest

from emotion.command_line import parse
from emotion.paths import HOME
from emotion.prediction.options import PredictOptions
from emotion.prediction.run import predict
from emotion.preprocessing.options import PreprocessOptions
from emotion.preprocessing.run import preprocess
from emotion.training.options import TrainOptions
from emotion.training.run import train
from tests.documents import PAGES, commands
from tests.features import make_features
from tests.samples import generate_few
from tests.slim import slim
from tests.warm import run_script

OPTIONS = {"preprocess": PreprocessOptions, "train": TrainOptions, "predict": PredictOptions}
COMMANDS = commands()
SCRIPTS = [(command, *command.script()) for command in COMMANDS if command.script()]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
FLAG = re.compile(r"`--([a-z_]+)")


def named(parameter):
    return parameter.line[:70] if hasattr(parameter, "line") else ""


def test_there_are_commands_in_every_kind_of_page():
    pages = {command.page for command in COMMANDS}
    assert {"README.md", "PREPROCESSING.md", "TRAINING.md", "PREDICTION.md", "ravdess.md"} <= pages
    assert len(SCRIPTS) > 60


@pytest.mark.parametrize(("command", "script", "words"), SCRIPTS, ids=named)
def test_a_command_is_understood(command, script, words, monkeypatch, capsys):
    monkeypatch.chdir(HOME)  # where @recipes/... is
    if "--extend" in words:  # brings flags and names of its own: in a process of its own
        pose = str(HOME / "examples" / "extend" / "pose.py")
        files = [pose if word in ("pose.py", "FILE.py") else word for word in words]
        files = [word for word in files if word not in ("CLIP", "DIR")]
        done = run_script(f"{script}.py", *_whole(files), "--help")
        assert done.returncode == 0, done.stderr
        return
    assert _exit_code(script, words) == 0, f"{command.line}: {capsys.readouterr().err}"


def _exit_code(script, words):
    """Of a script whose flags are read, and that does no work."""
    try:
        parse(OPTIONS[script], "", words)
    except SystemExit as stop:
        return stop.code
    return 0


def _whole(words):
    """Without flags whose values are left to the reader's mind."""
    return [
        word
        for place, word in enumerate(words)
        if not (word.startswith("--") and (place + 1 == len(words) or words[place + 1][:2] == "--"))
    ]


def test_files_modules_and_targets_of_the_other_commands_are_there():
    makefile = (HOME / "Makefile").read_text()
    for command in COMMANDS:
        words = list(command.words)
        for flag, value in itertools.pairwise(words):
            if flag in ("-r", "-c"):
                assert (HOME / value).is_file(), command
            if flag == "-m" and value != "pytest":
                assert find_spec(value), command
        program = words[1] if words[0] in ("python", "python3") else ""
        if program.endswith(".py"):
            assert (HOME / program).is_file(), command
        if program.startswith(("benchmarks/", "examples/")):
            source = (HOME / program).read_text()
            for word in words[2:]:
                assert not word.startswith("--") or word in source or "cross" in program, command
        if words[0] == "make" and "=" not in words[1]:
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_flags_in_the_text_are_flags(page):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
    known = {"help"} | {
        name for options in OPTIONS.values() for name in options.__dataclass_fields__
    }
    sources = [*(HOME / "benchmarks").rglob("*.py"), *(HOME / "src").rglob("*.py")]
    others = " ".join(path.read_text(encoding="utf-8") for path in sources)
    for name in FLAG.findall(text):
        assert name in known or f'"--{name}"' in others, f"{page.name}: --{name}"


# -- run, on a small corpus ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with qia2020/ (generated), and features/ that are made up."""
    home = tmp_path_factory.mktemp("home")
    generate_few(home / "qia2020")
    make_features(home / "features", clips={"train": 14, "val": 7}, text_dim=200)
    with pytest.MonkeyPatch.context() as patch:
        slim(patch)  # what EfficientNet learns is tested elsewhere
        yield home


SMALL = {  # what makes a command small: later flags count
    "train": "--n_epoch 1 --batch_size 7 --num_workers 0 --coeff 0 --pretrained false",
    "preprocess": "--num_workers 0 --vggface_weights none",
    "predict": "--num_workers 0",
}


def run(home, script, words, **more):
    """One command, in ``home``."""
    flags = [*words, *SMALL[script].split()]
    for name, value in more.items():
        flags += [f"--{name}", str(value)]
    options = parse(OPTIONS[script], "", flags)
    return {"train": train, "preprocess": preprocess, "predict": predict}[script](options)


def of_readme(script, *some):
    """The README's commands of one script that hold some words, in order."""
    found = [w for c, s, w in SCRIPTS if c.page == "README.md" and s == script]
    return [words for words in found if all(one in words for one in some)]


@pytest.fixture(scope="module")
def trained(home):
    """The README's four lines of training, one after another."""
    folders = {"features_dir": home / "features", "logs_dir": home / "logs"}
    for words in of_readme("train"):
        words = [_moved(home, word) for word in words]
        assert run(home, "train", words, **folders) == 0, words
    return home / "logs"


def _moved(home, word):
    """A path of the README as it is in ``home``: a run in place of one of its checkpoints."""
    word = re.sub(r"/\d+_best_[\d.]+\.pth$", "", word)
    return str(home / word) if word.startswith(("./logs", "logs/")) else word


def test_the_readmes_training_runs_as_typed(trained):
    assert {
        path.parent.relative_to(trained).as_posix() for path in trained.rglob("result.json")
    } == {
        "speech/vanila_effb4",
        "text/attn_lstm",
        "face/attn_lstm",
        "multimodal/201103",
    }


def test_the_readmes_preprocessing_and_answers_run_as_typed(home, trained, monkeypatch):
    monkeypatch.chdir(home)
    (words,) = of_readme("preprocess")
    made = {"data_dir": home / "qia2020", "features_dir": home / "made"}
    assert run(home, "preprocess", words, **made) == 0
    assert (home / "made" / "train" / "manifest.csv").is_file()
    scored, handed_in = of_readme("predict", "--weights")
    scored = [_moved(home, word) for word in scored]
    assert run(home, "predict", scored, features_dir=home / "features") == 0
    assert (home / "report" / "report.html").is_file()
    handed_in = [_moved(home, word) for word in handed_in]
    assert run(home, "predict", handed_in) == 0
    assert len((home / "predictions.csv").read_text().splitlines()) == 1 + 2
    clip = next((home / "qia2020" / "test").glob("*.mp4"))
    for words in of_readme("predict", "--input"):
        if "--weights" in words:
            continue
        words = [str(clip) if word in ("my.mp4", "clips/", "talk.mp4") else word for word in words]
        output = home / "one.csv"
        own = {"weights": trained / "speech" / "vanila_effb4", "output": output}
        assert run(home, "predict", words, **own) == 0
        assert output.is_file()
