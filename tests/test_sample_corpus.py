"""The generated sample corpus: what it says, what lies on disk, and that it is always the same."""

import signal
from itertools import combinations

import av
import numpy as np
import pytest
from moviepy import VideoClip

from emotion.errors import UserError
from emotion.sample import corpus as sample
from emotion.sample.face import FRAMES_PER_SECOND, LOOKS, FaceScene, render_face
from emotion.sample.plan import SampleClip
from emotion.sample.text import say
from emotion.sample.voice import SAMPLE_RATE, STYLES, speak
from tests.trees import contents

FACE, VOICE, WORDS = range(3)
THREE_CLIPS = (
    SampleClip(1, "train", "hap", "hap", "sad", "joy"),
    SampleClip(2, "val", "ang", "fea", "ang", "threat"),
    SampleClip(3, "test", "neu", "neu", "neu", None),
)


def decode(path):
    """Frames (F, H, W, 3) and samples (samples,) of a clip."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.stack(frames), np.concatenate(sound)


@pytest.fixture
def three_clips(monkeypatch):
    monkeypatch.setattr(sample, "plan_clips", lambda clips_per_emotion, seed: THREE_CLIPS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three clips, made once by one process."""
    out = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "plan_clips", lambda clips_per_emotion, seed: THREE_CLIPS)
        assert sample.generate(out, clips_per_emotion=1, seed=5) == 3
    return out


class TestFace:
    @pytest.fixture(scope="class")
    def apex(self):
        """Frame at the apex of each look, everything individual the same."""
        scenes = {look: FaceScene(look, 1.2, (0.2, 1.0)) for look in LOOKS}
        return {
            look: render_face(scene, np.random.default_rng(4))[round(0.6 * FRAMES_PER_SECOND)]
            for look, scene in scenes.items()
        }

    def test_looks_differ_in_the_face_and_nowhere_else(self, apex):
        for first, second in combinations(apex.values(), 2):
            difference = np.abs(first.astype(int) - second).mean(axis=2)
            assert difference[90:230, 110:270].mean() > 2.5
            assert difference[:, :60].max() == 0

    def test_detector_finds_every_look(self, apex):
        mtcnn = pytest.importorskip("facenet_pytorch").MTCNN(keep_all=True, min_face_size=40)
        for look, frame in apex.items():
            boxes, probabilities = mtcnn.detect(frame)
            assert len(boxes) == 1, look
            assert probabilities[0] >= 0.95, look

    def test_head_moves_and_speakers_differ(self):
        scene = FaceScene("calm", 1.2, (0.2, 1.0))
        frames = render_face(scene, np.random.default_rng(0)).astype(int)
        assert frames.shape == (18, 288, 384, 3)
        assert np.abs(frames[0] - frames[-1]).mean() > 1
        other = render_face(scene, np.random.default_rng(1))
        assert np.abs(frames[0] - other[0]).mean() > 10


class TestVoice:
    def spectrum(self, style):
        """Power over frequency (Hz) of a whole utterance."""
        sound = speak(STYLES[style], 3.0, (0.4, 2.6), np.random.default_rng(0))
        power = np.abs(np.fft.rfft(sound)) ** 2
        return np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE), power / power.sum()

    @pytest.mark.parametrize("style", STYLES)
    def test_silence_around_the_voice(self, style):
        sound = speak(STYLES[style], 3.0, (0.5, 2.5), np.random.default_rng(1))
        assert sound.shape == (48000,)
        assert sound.dtype == np.float32
        assert np.abs(sound).max() <= 1
        loud = np.sqrt(np.mean(sound[8000:40000] ** 2))
        for silence in (sound[:7000], sound[-7000:]):
            assert 0 < np.sqrt(np.mean(silence**2)) < loud / 10

    def test_pitch_orders_the_styles(self):
        lowest = {}
        for style in STYLES:
            frequency, power = self.spectrum(style)
            lowest[style] = frequency[np.searchsorted(np.cumsum(power), 0.02)]
        assert lowest["creaky"] < lowest["level"] < lowest["harsh"]
        assert lowest["harsh"] < min(lowest["bright"], lowest["trembling"])

    def test_tilt_orders_the_styles(self):
        high = {}
        for style in STYLES:
            frequency, power = self.spectrum(style)
            high[style] = power[frequency > 1500].sum()
        assert high["level"] < high["bright"]
        assert high["level"] < high["harsh"]

    def test_rate_of_syllables(self):
        def onsets(style):
            sound = speak(STYLES[style], 3.0, (0.4, 2.6), np.random.default_rng(0))
            loudness = np.convolve(sound**2, np.ones(640) / 640, "same")[::160]
            low = loudness < 0.1 * loudness.max()
            return np.count_nonzero(low[:-1] & ~low[1:])

        assert onsets("harsh") >= 2 * onsets("creaky")


class TestWords:
    @pytest.mark.parametrize("topic", ["joy", "loss", None])
    def test_shape(self, topic):
        for seed in range(20):
            words = say(topic, np.random.default_rng(seed))
            assert words.dtype == np.float32
            assert 3 <= len(words) <= 12
            assert words.shape[1] == 200

    def test_vocabulary_is_shared_by_clips(self):
        def vocabulary(topic, seeds):
            said = [say(topic, np.random.default_rng(seed)) for seed in seeds]
            return {word.tobytes() for words in said for word in words}

        fillers = vocabulary(None, range(100))
        joy, loss = (vocabulary(topic, range(100)) - fillers for topic in ("joy", "loss"))
        assert len(fillers) == 40
        assert len(joy) == len(loss) == 8
        assert not joy & loss
        assert vocabulary("joy", range(200, 300)) - fillers == joy


class TestFiles:
    def test_names_carry_labels_except_in_test(self):
        assert [clip.stem for clip in THREE_CLIPS] == [
            "00001-hap-hap-sad",
            "00002-ang-fea-ang",
            "00003",
        ]

    def test_layout(self, corpus):
        assert sorted(contents(corpus)) == [
            "README.txt",
            "notice.txt",
            "plan.json",
            "table.csv",
            "test/00003.mp4",
            "test/00003.npz",
            "test_labels.csv",
            "train/00001-hap-hap-sad.mp4",
            "train/00001.npz",
            "val/00002-ang-fea-ang.mp4",
            "val/00002.npz",
        ]
        table = (corpus / "test_labels.csv").read_text()
        assert table == "FileID,Emotion,Face,Speech\n00003,neu,neu,neu\n"
        readme = (corpus / "README.txt").read_text()
        assert "GENERATED" in readme
        assert "NO EVIDENCE" in readme
        assert max(map(len, readme.splitlines())) <= 100

    def test_clips_are_what_a_camera_writes(self, corpus):
        path = corpus / "train" / "00001-hap-hap-sad.mp4"
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert container.streams.audio[0].codec_context.name == "aac"
            assert 2 <= container.duration / av.time_base <= 4
        frames, sound = decode(path)
        assert frames.shape[1:] == (288, 384, 3)
        assert abs(len(frames) / FRAMES_PER_SECOND - len(sound) / SAMPLE_RATE) < 0.1
        assert np.load(corpus / "train" / "00001.npz")["word_embed"].dtype == np.float32

    def test_sound_is_in_time(self, corpus):
        """The encoder's delay is taken off again, so that picture and voice share one clock."""
        _, sound = decode(corpus / "train" / "00001-hap-hap-sad.mp4")
        voice = sample.compose(THREE_CLIPS[0], seed=5)[1]
        length = min(len(voice), len(sound))
        spectrum = np.fft.rfft(sound[:length], 2 * length)
        spectrum *= np.conj(np.fft.rfft(voice[:length], 2 * length))
        lag = int(np.argmax(np.fft.irfft(spectrum)))
        assert min(lag, 2 * length - lag) <= 16  # 1 ms

    def test_same_seed_same_content_for_any_number_of_workers(self, corpus, three_clips, tmp_path):
        assert sample.generate(tmp_path, clips_per_emotion=1, seed=5, workers=2) == 3
        for name in ("train/00001-hap-hap-sad.mp4", "test/00003.mp4"):
            for ours, theirs in zip(decode(tmp_path / name), decode(corpus / name), strict=True):
                assert np.array_equal(ours, theirs)
        assert contents(tmp_path) == contents(corpus)

    def test_only_what_is_missing_is_made(self, corpus, three_clips, capsys):
        before = contents(corpus)
        (corpus / "val" / "00002.npz").unlink()
        arguments = ["--out", str(corpus), "--clips_per_emotion", "1", "--seed", "5"]
        assert sample.main([*arguments, "--workers", "1"]) == 0
        assert "1 clips made" in capsys.readouterr().out
        assert contents(corpus) == before
        assert sample.main(arguments) == 0
        assert "0 clips made" in capsys.readouterr().out

    @pytest.mark.parametrize("changed", [("--seed", "6"), ("--clips_per_emotion", "2")])
    def test_another_corpus_in_the_folder_is_refused(self, corpus, changed, capsys):
        before = contents(corpus)
        arguments = ["--out", str(corpus), "--clips_per_emotion", "1", "--seed", "5", *changed]
        assert sample.main(arguments) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert "another sample corpus" in message
        assert contents(corpus) == before

    def test_real_clips_are_left_alone(self, tmp_path, capsys):
        (tmp_path / "train").mkdir()
        (tmp_path / "train" / "00001-hap-hap-hap.mp4").touch()
        assert sample.main(["--out", str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert list(contents(tmp_path)) == ["train/00001-hap-hap-hap.mp4"]

    @pytest.mark.parametrize("ffmpeg_stops_too", [False, True])
    def test_stopped_run_leaves_no_debris(
        self, corpus, three_clips, tmp_path, monkeypatch, capsys, ffmpeg_stops_too
    ):
        write = sample.write_mp4

        def interrupted(path, frames, voice):
            write(path, frames, voice)
            if path.name.startswith("00002"):
                signal.raise_signal(signal.SIGINT)
                if ffmpeg_stops_too:
                    raise OSError("broken pipe")

        monkeypatch.setattr(sample, "write_mp4", interrupted)
        arguments = ["--out", str(tmp_path), "--seed", "5", "--clips_per_emotion", "1"]
        assert sample.main([*arguments, "--workers", "1"]) == 130
        assert "run the same command again" in capsys.readouterr().err
        left = contents(tmp_path)
        assert not any(sample.UNFINISHED in name or name.startswith("test/") for name in left)
        assert ("val/00002-ang-fea-ang.mp4" in left) == (not ffmpeg_stops_too)
        monkeypatch.setattr(sample, "write_mp4", write)
        assert sample.main([*arguments, "--workers", "1"]) == 0
        assert contents(tmp_path) == contents(corpus)

    def test_truncated_file_is_not_kept(self, tmp_path, monkeypatch):
        write = VideoClip.write_videofile
        monkeypatch.setattr(
            VideoClip,
            "write_videofile",
            lambda clip, *rest, **options: write(clip.subclipped(0, 0.2), *rest, **options),
        )
        frames = np.zeros((6, 32, 32, 3), np.uint8)
        with pytest.raises(UserError, match="did not finish"):
            sample.write_mp4(tmp_path / "a.mp4", frames, np.zeros(6400, np.float32))

    @pytest.mark.parametrize(
        "wrong", [("--clips_per_emotion", "0"), ("--seed", "-1"), ("--workers", "0")]
    )
    def test_bad_numbers(self, wrong, tmp_path, capsys):
        assert sample.main(["--out", str(tmp_path / "new"), *wrong]) == 2
        message = capsys.readouterr().err
        assert wrong[0] in message
        assert message.count("\n") == 1
        assert not (tmp_path / "new").exists()

    def test_folder_that_cannot_be_made(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        assert sample.main(["--out", str(tmp_path / "file")]) == 2
        assert capsys.readouterr().err.count("\n") == 1

    def test_damaged_record(self, tmp_path, capsys):
        (tmp_path / "plan.json").write_text("{")
        assert sample.main(["--out", str(tmp_path)]) == 2
        assert "plan.json" in capsys.readouterr().err
