"""One stored clip: its record, its faces, and reading it back."""

import numpy as np

from emotion.inputs.crop_vectors import read_clock
from emotion.inputs.faces import FaceTrack, encode_jpeg
from emotion.inputs.store import StoredClip
from emotion.records import Record
from tests.media import portrait

RECORD = Record(
    id="007",
    stem="007-hap-ang-sad",
    speaker="",
    integrated="hap",
    face="ang",
    speech="",
    duration=2.5,
    states={"speech": "ok", "video": "no_face", "embedding": "absent", "text": "failed"},
    facts={
        "start": 0.304,
        "end": 2.1,
        "frames": 113,
        "face_frames": 15,
        "face_coverage": 0.9333,
        "words": 4,
        "peak_db": None,
    },
)
DESCRIPTION = {"corpus": "qia2020", "class_names": ["행복", "ang"], "settings": {"face_stride": 8}}


def face_track(crops=2, rows=3):
    picture = portrait(188)[:160, :160]
    return FaceTrack(
        jpeg=[encode_jpeg(np.roll(picture, 20 * number, 1), 90) for number in range(crops)],
        crop=np.minimum(np.arange(rows), crops - 1).astype(np.int32),
        time=np.arange(rows, dtype=np.float32) * 0.128,
        box=np.arange(rows * 4, dtype=np.float32).reshape(rows, 4),
        probability=np.linspace(0.95, 1, rows, dtype=np.float32),
        found=np.arange(rows) < crops,
    )


def read(store, split, feature, name):
    return StoredClip(store, split, RECORD._replace(id=name, stem=name)).read(feature)


def clock_of(store, split, stem):
    clip = StoredClip(store, split, RECORD._replace(stem=stem))
    clock = clip.read_with("video", read_clock)
    return clock["time"], clock["found"]
