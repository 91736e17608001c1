"""Folders of made-up corpora: loaders read names and lists only, so empty files will do."""


def touch(folder, *names):
    """Empty files below a folder; returns the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder
