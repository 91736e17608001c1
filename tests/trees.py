"""Folders: made-up corpora (loaders read names and lists: empty files will do), contents."""

import hashlib


def touch(folder, *names):
    """Empty files below a folder; returns the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def contents(root):
    """A fingerprint of every file under a folder."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
