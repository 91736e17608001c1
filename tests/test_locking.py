"""A second run in a folder is refused; a run that was killed leaves no lock behind."""

import signal
import subprocess
import sys

import pytest

from emotion.errors import UserError
from emotion.locking import only_run_in
from emotion.paths import HOME

HOLD = """
import sys
from pathlib import Path
from emotion.locking import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=HOME,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_the_line_names_the_first(holder, tmp_path):
    message = f"process {holder.pid} on .* is at work there"
    with pytest.raises(UserError, match=message), only_run_in(tmp_path):
        pass


def test_a_killed_run_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_run_in(tmp_path):
        assert (tmp_path / ".lock").is_file()


def test_a_folder_can_be_held_again_and_others_beside_it(tmp_path):
    for _ in range(2):
        with only_run_in(tmp_path / "one"), only_run_in(tmp_path / "two"):
            pass
