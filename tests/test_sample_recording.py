"""The recording of a sample corpus: clips one after another, each with its own sound."""

import numpy as np
import pytest

from emotion.clock import SAMPLE_RATE
from emotion.errors import UserError
from emotion.inputs.video import read_waveform
from emotion.sample.corpus import write_mp4
from emotion.sample.face import FRAMES_PER_SECOND
from emotion.sample.recording import record
from tests.media import tone


def test_a_recording_has_the_sound_of_each_clip(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test_labels.csv").write_text("FileID,Emotion\n1,hap\n2,sad\n3,hap\n")
    loud = {"1": 0.6, "2": 0.3}
    for name, amplitude in loud.items():
        frames = np.zeros((3 * FRAMES_PER_SECOND, 64, 64, 3), np.uint8)
        write_mp4(tmp_path / "test" / f"{name}.mp4", frames, tone(3, 300, amplitude=amplitude))
    sound = read_waveform(record(tmp_path))
    middles = [sound[int(second * SAMPLE_RATE) :][:SAMPLE_RATE] for second in (1, 4)]
    found = sorted(np.sqrt(2) * middle.std() for middle in middles)
    assert found == pytest.approx(sorted(loud.values()), abs=0.03)


def test_a_corpus_without_clips_is_one_line(tmp_path):
    (tmp_path / "test_labels.csv").write_text("FileID,Emotion\n1,hap\n")
    with pytest.raises(UserError, match="missing; make it"):
        record(tmp_path)
