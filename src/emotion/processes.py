"""Processes that do not outlive the one that started them."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Called by a new process: it ends at once when its parent does, even by ``kill -9``.

    DataLoader's own watch looks at the parent's id, which a fork server stands in for.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        watch = threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True)
        watch.start()
