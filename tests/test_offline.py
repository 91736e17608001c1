"""Nobody is called up by a program that was not asked to fetch anything."""

import os
import subprocess
import sys

from emotion.paths import HOME

# An audit hook sees what is looked up and connected to, by whichever library.
LISTEN = """
import sys
WATCHED = ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "urllib.Request")
def watch(event, arguments):
    if event in WATCHED:
        print(event, arguments[-1] if event == "socket.connect" else arguments[0])
        raise OSError("no network")
sys.addaudithook(watch)
"""


def test_importing_the_program_contacts_nobody():
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run(
        [sys.executable, "-c", f"{LISTEN}\nimport emotion.inputs.log_mel, emotion.training.run"],
        cwd=HOME,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
