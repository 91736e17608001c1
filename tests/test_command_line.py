"""Flags, and what a mistake in them gets: one line on stderr and exit code 2."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion.command_line import flag, parse, run
from emotion.errors import UserError
from emotion.paths import HOME
from emotion.preprocessing.options import PreprocessOptions
from emotion.recipe import describe
from emotion.training.options import TrainOptions
from tests.recipes import recipe_of
from tests.warm import run_script

AS_TYPED = (  # the line of issue 2, from a user's shell history
    "--mode speech --exp_name vanila_effb4 --learning_rate 4e-3 --batch_size 128 --n_epoch 100 "
    "--optim adamw --warmup 3 --weight_decay 5e-5 --num_workers 16 --coeff 4 --mixup_prob 1 "
    "--mixup_alpha 1 --label_smoothing 0.1 --amp False"
)


def train_options(line):
    return parse(TrainOptions, "", line.split())


def mistake(capsys, line, options=TrainOptions):
    """The one line that a mistake gets."""
    with pytest.raises(SystemExit) as caught:
        parse(options, "", line.split())
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


# -- what is understood --------------------------------------------------------------------------


def test_the_line_users_type_is_understood():
    options = train_options(AS_TYPED)
    assert options.mode == "speech"
    assert options.exp_name == "vanila_effb4"
    assert options.learning_rate == 4e-3
    assert (options.batch_size, options.n_epoch, options.num_workers) == (128, 100, 16)
    assert (options.optim, options.warmup, options.weight_decay) == ("adamw", 3.0, 5e-5)
    assert (options.coeff, options.mixup_prob, options.mixup_alpha) == (4, 1.0, 1.0)
    assert options.label_smoothing == 0.1
    assert options.amp is False


def test_defaults_are_those_of_the_design():
    options = train_options("--mode face")
    assert (options.learning_rate, options.batch_size, options.n_epoch) == (4e-3, 32, 100)
    assert (options.optim, options.weight_decay, options.num_workers) == ("adamw", 1e-5, 16)
    assert (options.warmup, options.coeff, options.lam) == (1.0, 0, 0.5)
    assert (options.mixup_prob, options.mixup_alpha, options.label_smoothing) == (1.0, 0.5, 0.1)
    assert (options.amp, options.freeze_backbone) == (False, False)


def test_preprocess_needs_no_flags():
    options = parse(PreprocessOptions, "", [])
    assert (options.corpus, options.data_dir, options.features_dir) == ("qia2020", "", "")
    assert (options.face_stride, options.max_failures) == (8, 5.0)


@pytest.mark.parametrize(
    ("text", "value"), [("True", True), ("False", False), ("true", True), ("FALSE", False)]
)
def test_true_and_false_are_words(text, value):
    options = train_options(f"--mode speech --amp {text} --freeze_backbone {text}")
    assert options.amp is value
    assert options.freeze_backbone is value


@given(st.floats(0, 1), st.integers(0, 7), st.integers(1, 10**6))
def test_numbers_come_through_as_typed(probability, coeff, batch_size):
    line = f"--mode text --mixup_prob {probability} --coeff {coeff} --batch_size {batch_size}"
    options = train_options(line)
    assert (options.mixup_prob, options.coeff, options.batch_size) == (
        probability,
        coeff,
        batch_size,
    )


def test_a_field_that_is_no_flag_is_stored_all_the_same():
    assert not hasattr(train_options("--mode text"), "hidden")
    (part,) = describe(recipe_of("text"))["parts"]
    assert part["network"] == {"hidden": 128}


@pytest.mark.parametrize(("text", "value"), [("6", 6), ("0", 0), ("six.json", "six.json")])
def test_folds_are_a_number_or_a_file(text, value):
    assert train_options(f"--mode speech --n_folds {text}").n_folds == value


def test_flags_may_be_joined_by_an_equals_sign():
    assert train_options("--mode=speech --coeff=3").coeff == 3


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "wrong", "right"),
    [
        ("--mode speech --learningrate 1", "--learningrate", "--learning_rate"),
        ("--mode speech --batchsize=8", "--batchsize", "--batch_size"),
        ("--mode speech --n_epochs 3", "--n_epochs", "--n_epoch"),
        ("--mode speech --lr-warmup 3", "--lr-warmup", "--warmup"),
        ("--mode speech --ampp True", "--ampp", "--amp"),
    ],
)
def test_a_wrong_flag_gets_the_nearest_right_one(capsys, line, wrong, right):
    assert f"unknown argument {wrong} (did you mean {right}?)" in mistake(capsys, line)


def test_a_flag_is_not_guessed_from_its_beginning(capsys):
    assert "unknown argument --batch (did you mean --batch_size?)" in mistake(
        capsys, "--mode speech --batch 8"
    )


def test_a_word_like_nothing_gets_no_suggestion(capsys):
    line = mistake(capsys, "--mode speech --zzzqqqxx 3")
    assert "unknown argument --zzzqqqxx; see --help" in line


def test_a_wrong_choice_gets_the_nearest_right_one(capsys):
    line = mistake(capsys, "--mode speach")
    assert "--mode" in line
    assert "'speach' is not one of speech, face, text, multimodal (did you mean speech?)" in line


def test_a_wrong_choice_of_preprocess_too(capsys):
    line = mistake(capsys, "--corpus qia2021", PreprocessOptions)
    assert "not one of qia2020, ravdess, " in line
    assert line.rstrip().endswith("(did you mean qia2020?)")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--coeff 9", "9 is not from 0 to 7"),
        ("--coeff -1", "-1 is not from 0 to 7"),
        ("--coeff four", "'four' is not a whole number"),
        ("--coeff 1.5", "'1.5' is not a whole number"),
        ("--learning_rate fast", "'fast' is not a number"),
        ("--learning_rate nan", "nan is not a number to work with"),
        ("--learning_rate -1", "-1 is not 0.0 or more"),
        ("--label_smoothing 1", "1 is not from 0.0 to 0.99"),
        ("--amp yes", "'yes' is neither True nor False"),
        ("--amp 1", "'1' is neither True nor False"),
        ("--batch_size 0", "0 is not from 1 to 1000000"),
        ("--batch_size", "expected one argument"),
    ],
)
def test_a_wrong_value_gets_flag_and_reason(capsys, line, reason):
    name = line.split()[0]
    assert mistake(capsys, f"--mode speech {line}") == f"error: argument {name}: {reason}\n"


def test_a_missing_mode_is_named(capsys):
    assert "--mode" in mistake(capsys, "--coeff 1")


def test_a_stray_word_is_named(capsys):
    assert "unknown argument speech" in mistake(capsys, "--mode speech speech")


def test_help_lists_every_flag_with_its_default_in_named_groups(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(TrainOptions, "about", ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name, field in TrainOptions.__dataclass_fields__.items():
        assert (f"--{name} " in text) == bool(field.metadata)
    assert re.search(r"--learning_rate FLOAT\s+at the end of the warmup \(default: 0.004\)", text)
    assert re.search(r"^augmentation:$", text, re.MULTILINE)


def test_lists_and_percent_signs_in_help(capsys):
    @dataclass
    class Options:
        rates: list = flag([1, 2], "in % of all", "some")  # noqa: RUF009

    assert parse(Options, "", ["--rates", "3", "4", "5"]).rates == [3, 4, 5]
    assert parse(Options, "", []).rates == [1, 2]
    with pytest.raises(SystemExit):
        parse(Options, "", ["--help"])
    assert "in % of all (default: [1, 2])" in capsys.readouterr().out


# -- how a script ends ---------------------------------------------------------------------------


def fail(error):
    def main():
        raise error

    return main


class Finalizer:
    """Ctrl-C comes while Python throws this away, where it drops every exception."""

    def __del__(self):
        raise KeyboardInterrupt


def long_after_a_finalizer():
    Finalizer()
    time.sleep(20)


@pytest.fixture
def restored_signals():
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    yield
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    sys.unraisablehook = hook


@pytest.mark.usefixtures("restored_signals")
@pytest.mark.parametrize(
    ("main", "code", "line"),
    [
        (lambda: None, 0, ""),
        (lambda: 0, 0, ""),
        (lambda: 1, 1, ""),
        (fail(UserError("a: no\n  such file")), 2, "error: a: no such file\n"),
        (fail(KeyboardInterrupt()), 130, "stopped.\n"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 130, "stopped.\n"),
        (long_after_a_finalizer, 130, "stopped.\n"),
        (fail(BrokenPipeError()), 141, ""),
    ],
    ids=[
        "None",
        "0",
        "1",
        "user error",
        "Ctrl-C",
        "SIGTERM",
        "finalizer",
        "closed pipe",
    ],
)
def test_a_script_ends_with_code_and_at_most_one_line(capsys, main, code, line):
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.usefixtures("restored_signals")
def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


# -- the scripts themselves ----------------------------------------------------------------------


def start(tmp_path, *words):
    """Run a script from another folder, as a user may."""
    done = run_script(*words, cwd=tmp_path)
    assert done.stdout == ""
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_preprocess_of_an_empty_split_is_one_line_and_code_2(tmp_path):
    (tmp_path / "data" / "val").mkdir(parents=True)
    flags = ("--data_dir", "data", "--features_dir", "features", "--vggface_weights", "none")
    line = start(tmp_path, "preprocess.py", *flags)
    assert line.startswith("error: data/val: holds no clips")
    assert not (tmp_path / "features").exists()


def test_train_without_features_is_one_line_and_code_2(tmp_path):
    line = start(tmp_path, "train.py", "--mode", "speech", "--features_dir", "nowhere")
    assert line.startswith("error: nowhere: no such folder; run preprocess.py first")


@pytest.mark.parametrize("script", ["preprocess.py", "train.py", "predict.py"])
@pytest.mark.parametrize("words", [["--help"], ["--no_such_flag", "1"], ["--batch_size", "many"]])
def test_help_and_wrong_names_wait_for_no_package(script, words):
    """They took 6 to 9 seconds and a gigabyte: torch, librosa and what these import."""
    code = "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], None, "
    code += "'__main__')\nfinally: print('torch' in sys.modules, 'numpy' in sys.modules)"
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code, script, *words], cwd=HOME, capture_output=True, text=True
    )
    assert os.times().children_user - before.children_user < 1.5
    assert done.returncode == (0 if words == ["--help"] else 2)
    assert done.stdout.splitlines()[-1] == "False False"


def test_flags_of_a_file_and_switches_that_stand_alone(tmp_path, capsys):
    path = tmp_path / "a.args"
    path.write_text("# a recipe\n--mode text --exp_name 'my run'  # its name\n\n--resume --amp\n")
    options = parse(TrainOptions, "", [f"@{path}", "--exp_name", "other", "--amp", "False"])
    assert (options.mode, options.exp_name, options.resume, options.amp) == (
        "text", "other", True, False,
    )  # fmt: skip
    for content in ("--exp_name 'open\n", f"@{path}\n", "\udcff"):
        path.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(SystemExit) as stop:
            parse(TrainOptions, "", [f"@{path}"])
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        parse(TrainOptions, "", ["@nowhere.args"])
    assert "nowhere.args" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((HOME / "recipes").glob("*.args")), ids=lambda p: p.stem)
def test_recipes_are_flags_of_today(recipe):
    assert parse(TrainOptions, "", [f"@{recipe}"]).exp_name == recipe.stem
