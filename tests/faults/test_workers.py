"""A process that dies or hangs costs the job it had, not the run."""

import multiprocessing
import subprocess
import sys

import pytest

from emotion.errors import UserError
from emotion.paths import HOME
from emotion.workers import Crew, Lost, answers
from tests.faults.crew import prepare, work


def crew(timeout=0.0, fails=False):
    return Crew(prepare, (fails,), work, timeout)


def test_dead_and_hanging_processes_cost_their_job(tally):
    jobs = [1, "killed", 2, "endless", 3, "segfault", 4]
    found = list(answers(jobs, 2, crew(timeout=1.0)))
    lost = {answer.job: answer.reason for answer in found if isinstance(answer, Lost)}
    tally("dead workers", 3)
    assert sorted(answer for answer in found if not isinstance(answer, Lost)) == [2, 4, 6, 8]
    assert lost == {
        "killed": "its process died of SIGKILL; out of memory?",
        "segfault": "its process died of SIGSEGV",
        "endless": "took longer than 1 s (--clip_timeout)",
    }
    assert not multiprocessing.active_children()


def test_errors_of_a_job_arrive_and_leave_no_process(tally):
    tally("dead workers")
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(answers([1, "full", 2], 1, crew()))
    assert caught.value.filename == "there"
    assert not multiprocessing.active_children()


def test_processes_that_cannot_start_end_the_run_in_one_line(tally):
    tally("dead workers")
    with pytest.raises(UserError, match=r"could not start \(its process ended with code 3\)"):
        list(answers([1], 1, crew(fails=True)))


def test_no_jobs_start_no_process():
    assert list(answers([], 2, crew())) == []


def test_a_bar_in_a_worker_leaves_no_semaphore(tally):
    """Bars have a lock for all processes, of which a killed worker's would be told at the end."""
    tally("dead workers")
    program = (
        "from tests.faults.crew import prepare, work\n"
        "from emotion.workers import Crew, answers\n"
        "if __name__ == '__main__':\n"
        "    print(list(answers(['bar'], 1, Crew(prepare, (False,), work, 0.0))))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True)
    assert done.stdout == "['barbar']\n"
    assert done.stderr == ""
