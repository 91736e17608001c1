"""Scripts in processes of their own, forked from one that has imported the packages they need:
Python and torch take seconds to start, and few tests are about that.

The program itself is not among these packages: every script imports it anew, with the flags and
the environment that it is given. This file is also what the process runs that others are forked
from: it reads a request a line, and answers each with an exit code.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
PACKAGES = (
    "torch", "torch._dynamo", "torch.utils.tensorboard", "scipy.stats", "sklearn.metrics",
    "librosa", "numba", "matplotlib.figure", "cv2", "av", "facenet_pytorch", "albumentations",
)  # fmt: skip


def run_script(script, *words, cwd=HOME, typed="", **environment):
    """``python SCRIPT WORDS`` in a process of its own, which is done then: what
    ``subprocess.run(..., text=True)`` gives.

    Args:
        script: a file of the repository, or any other by its whole path.
        words: of its command line.
        cwd: where it runs.
        typed: what standard input holds.
        environment: variables beside those of this process.
    """
    words = [str(HOME / script), *map(str, words)]
    with tempfile.TemporaryDirectory() as folder:
        streams = [f"{folder}/{name}" for name in ("in", "out", "err")]
        Path(streams[0]).write_text(typed)
        given = {"words": words, "cwd": str(cwd), "streams": streams}
        server = _server()
        print(json.dumps(given | {"environment": os.environ | environment}), file=server.stdin)
        server.stdin.flush()
        code = int(server.stdout.readline())
        told = [Path(path).read_text("utf-8", "surrogateescape") for path in streams[1:]]
    return subprocess.CompletedProcess(words, code, *told)


@cache
def _server():
    """One for all tests of this process; it ends when nobody can write to it any more."""
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _forked():
    """Fork for every request; the request in a new process, None when there are no more."""
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _become(asked):
    """Streams, folder and environment of the script to be run."""
    for number, path in enumerate(asked["streams"]):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
    sys.stdin = open(0)  # noqa: SIM115 - as long as the process
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    sys.argv = asked["words"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run():
    """The script, to its end. What its interpreter would tidy up then takes a second, and may wait
    for threads that were left behind by the fork.
    """
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = os.environ["HF_HUB_OFFLINE"] = "1"  # both call home
    for name in PACKAGES:
        importlib.import_module(name)
    gc.freeze()  # or each collection in a forked process would copy what it shares
    if (asked := _forked()) is not None:
        _become(asked)
        _run()
