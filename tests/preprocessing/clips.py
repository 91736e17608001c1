"""Every kind of clip there is, by name; calls of preprocess.py and what they left."""

import numpy as np

from emotion.inputs.store import StoredClip
from emotion.preprocessing.options import PreprocessOptions
from tests.media import face_frame, plain, silence, tone

FACE = (20, 0, 180)  # place of the portrait in every frame with a face
LATE = 0.4  # seconds of silence before the tone
VOICE = np.concatenate([silence(LATE), tone(0.5), silence(0.3)])
NORMAL, NO_FACE, SILENT, NO_SOUND, NO_PICTURE, BROKEN, BAD_TEXT, NO_TEXT, NO_WORDS = (
    "001-hap-ang-sad",
    "002-ang-ang-ang",
    "003-dis-dis-dis",
    "004-fea-fea-fea",
    "005-sad-sad-sad",
    "006-neu-neu-neu",
    "007-sur-sur-sur",
    "008-hap-hap-hap",
    "009-hap-hap-hap",
)


def faces(seconds=1.2, fps=10):
    return [face_frame(*FACE[:2], FACE[2])] * round(seconds * fps)


def nothing(seconds=1.2, fps=10):
    return [plain(90, 240, 180)] * round(seconds * fps)


def words(folder, identifier, count=4):
    content = np.full((count, 6), int(identifier), np.float64)
    np.savez(folder / f"{identifier}.npz", word_embed=content)


def options(data, features, **changes):
    given = {
        "data_dir": str(data),
        "features_dir": str(features),
        "vggface_weights": "none",
        "num_workers": 0,
        "max_failures": 20.0,
    }
    return PreprocessOptions(**given | changes)


def records(store, split="train"):
    return {record.stem: record for record in store.read_manifest(split)}


def stored(store, stem, split="train"):
    return StoredClip(store, split, records(store, split)[stem])


def feature_times(root):
    """When each feature file was written (the lists are written at the end of each run)."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.np[yz]")}


def summary(capsys):
    (line,) = capsys.readouterr().out.splitlines()
    return line


def without_failures(corpus):
    (corpus / "train" / f"{BROKEN}.mp4").unlink()
    (corpus / "train" / f"{BAD_TEXT[:3]}.npz").unlink()
