"""Features on disk to batches: shapes, padding, masks, randomness, order."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from emotion.clock import FRAME_SECONDS, STEP_SECONDS, whole_steps
from emotion.data.dataset import FeatureDataset, collate
from emotion.data.examples import load_examples
from emotion.data.sampling import EvalBatches, TrainBatches
from emotion.errors import UserError
from emotion.inputs.crop_vectors import read_clock
from emotion.inputs.store import StoredClip
from emotion.inputs.vectors import MOST_VECTORS, Vectors, without_times
from emotion.inputs.words import MOST_WORDS
from emotion.recipe import Recipe
from tests.features import START, make_features
from tests.recipes import part_of, recipe_of

FLAGS = {"speech_frames": 32, "face_frames": 4, "face_size": 32}
EVERYTHING = recipe_of("multimodal", **FLAGS)
CROPS = recipe_of("multimodal", face_model="resnet3d", **FLAGS)
ABSENT = {"speech": {1}, "video": {2}, "embedding": {2}, "text": {3}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return make_features(folder, clips={"train": 8}, frames=(40, 100), absent=ABSENT, text_dim=200)


@pytest.fixture(scope="module")
def examples(store):
    names = tuple(store.read_description()["class_names"])
    return load_examples(store, "train", names)


def dataset_of(store, examples, recipe=EVERYTHING, **options):
    return FeatureDataset(store, examples, recipe, **options)


def arrays_of(value):
    """The arrays of a sample or a batch, in order."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return [array for part in value for array in arrays_of(part)]
    return [] if value is None else [np.asarray(value)]


def same(first, second):
    """Whether two samples or batches hold the same, unknown times included."""
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(arrays_of(first), arrays_of(second), strict=True)
    )


def stored(store, record):
    return StoredClip(store, "train", record)


def clock_of(store, record):
    clock = stored(store, record).read_with("video", read_clock)
    return clock["time"], clock["found"]


def batch_of(dataset, rows, epoch=0):
    return collate([dataset[epoch, row] for row in rows])


# -- shapes and padding ---------------------------------------------------------------------------


def test_a_batch_is_padded_to_its_longest(store, examples):
    labelled = batch_of(dataset_of(store, examples), range(8))
    frames = [example.record.fact("frames") for example in examples]
    words = [example.record.fact("words") for example in examples]
    speech, face, text = (labelled.inputs.streams[name] for name in ("speech", "face", "text"))
    assert speech.values.shape == (8, max(frames), 128)
    assert speech.values.dtype == torch.float32
    assert speech.mask.shape == speech.time.shape == (8, max(frames))
    counts = [0 if row == 1 else count for row, count in enumerate(frames)]
    assert speech.mask.sum(1).tolist() == counts
    longest = max(example.record.fact("face_frames") for example in examples)
    assert face.values.shape == (8, longest, 512)
    assert face.values.dtype == torch.float32
    assert face.mask.shape == face.time.shape == (8, longest)
    assert face.time.dtype == speech.time.dtype == torch.float32
    assert text.values.shape == (8, max(words), 200)
    assert text.mask.shape == text.time.shape == (8, max(words))
    assert labelled.ids == [f"train{index:03d}" for index in range(8)]
    assert labelled.targets.tolist() == [[index % 7] * 3 for index in range(8)]


def test_the_clock_runs_over_all_of_a_clip_and_has_a_step_that_begins_with_the_speech(
    store, examples
):
    inputs = batch_of(dataset_of(store, examples), range(8)).inputs
    counts = [1 + whole_steps(example.record.fact("frames")) // 32 for example in examples]
    assert inputs.clock.mask.shape == inputs.clock.time.shape == (8, max(counts))
    assert inputs.clock.mask.sum(1).tolist() == counts
    for row, count in enumerate(counts):
        assert inputs.clock.mask[row, :count].all()
        begins = START + (np.arange(count) - 1) * STEP_SECONDS
        np.testing.assert_allclose(
            inputs.clock.time[row, :count], begins + STEP_SECONDS / 2, atol=1e-5
        )


def test_crops_are_bytes_of_the_size_and_number_asked_for(store, examples):
    inputs = batch_of(dataset_of(store, examples, CROPS), range(8)).inputs
    face = inputs.streams["face"]
    assert face.values.shape == (8, 4, 3, 32, 32)
    assert face.values.dtype == torch.uint8
    assert face.mask.shape == (8, 4)


def test_padding_holds_zeros_and_is_masked(store, examples):
    speech, face, text = batch_of(dataset_of(store, examples), range(8)).inputs.streams.values()
    for row, example in enumerate(examples):
        record = example.record
        frames, faces = int(record.fact("frames")), int(record.fact("face_frames"))
        assert not speech.mask[row, frames:].any()
        assert not speech.values[row, frames:].any()
        if record.state("embedding") == "ok":
            assert not face.mask[row, faces:].any()
            assert not face.values[row, faces:].any()
        if record.state("text") == "ok":
            assert text.mask[row].tolist() == [
                index < record.fact("words") for index in range(text.mask.shape[1])
            ]


def test_what_is_read_is_what_was_written(store, examples):
    speech, face, text = batch_of(dataset_of(store, examples), [0]).inputs.streams.values()
    record = examples[0].record
    clip = stored(store, record)
    log_mel = clip.read("speech").astype(np.float32)
    np.testing.assert_array_equal(speech.values[0], log_mel.T)
    np.testing.assert_array_equal(text.values[0], clip.read("text").values)
    embedded = clip.read("embedding").values.astype(np.float32)
    np.testing.assert_array_equal(face.values[0], embedded)
    np.testing.assert_array_equal(face.mask[0], clip.read("video").found)


def test_crops_stay_rgb_and_channels_come_first(store, examples):
    """Class 0 is a square whose lowest bit, the blue channel of OpenCV's BGR, is on."""
    inputs = batch_of(dataset_of(store, examples, CROPS), [0]).inputs
    face = inputs.streams["face"].values[0, 0].float()
    red, green, blue = face[:, 8:24, 5:15].mean((1, 2)).tolist()
    assert blue > 150
    assert max(red, green) < 60


def test_frames_without_a_face_are_false_in_the_mask(store, examples):
    masks = batch_of(dataset_of(store, examples), range(8)).inputs.streams["face"].mask
    for row, example in enumerate(examples):
        if example.record.state("embedding") == "ok":
            found = clock_of(store, example.record)[1]
            assert masks[row, : len(found)].tolist() == found.tolist()


def test_absent_modalities_are_marked_and_keep_the_clock(store, examples):
    inputs = batch_of(dataset_of(store, examples), range(8)).inputs
    for name, absent in (("speech", 1), ("face", 2), ("text", 3)):
        present = inputs.streams[name].mask.any(1)
        assert present.tolist() == [row != absent for row in range(8)]
        assert not inputs.streams[name].values[absent].any()
    frames = int(examples[1].record.fact("frames"))
    np.testing.assert_allclose(
        inputs.streams["speech"].time[1, :frames],
        START + np.arange(frames) * FRAME_SECONDS,
        atol=1e-5,
    )
    assert inputs.clock.mask[1].sum() == 1 + whole_steps(frames) // 32


def test_a_batch_of_clips_that_all_lack_a_modality_still_has_a_step(store, examples):
    inputs = batch_of(dataset_of(store, examples), [3]).inputs
    assert inputs.streams["text"].values.shape == (1, 1, 200)
    assert not inputs.streams["text"].mask.any()
    inputs = batch_of(dataset_of(store, examples), [2]).inputs
    assert inputs.streams["face"].values.shape == (1, 1, 512)
    assert not inputs.streams["face"].mask.any()


def test_modalities_that_are_not_read_are_not_there(store, examples):
    inputs = batch_of(dataset_of(store, examples, recipe_of("text")), [0]).inputs
    assert list(inputs.streams) == ["text"]


def test_very_long_clips_are_bounded(tmp_path):
    store = make_features(tmp_path, clips={"train": 1}, frames=(40, 40), text_dim=8)
    record = store.read_manifest("train")[0]
    count = MOST_VECTORS + 100
    track = stored(store, record).read("video")
    track = track._replace(
        crop=np.zeros(count, np.int32),
        time=(START + np.arange(count) * 0.128).astype(np.float32),
        box=np.zeros((count, 4), np.float32),
        probability=np.ones(count, np.float32),
        found=np.ones(count, bool),
    )
    embedded = Vectors(np.zeros((count, 512), np.float16), track.time, track.found)
    words = without_times(np.zeros((MOST_WORDS + 5, 8), np.float32))
    store.write("train", "video", record.stem, track)
    store.write("train", "embedding", record.stem, embedded)
    store.write("train", "text", record.stem, words, record.id)
    examples = load_examples(store, "train", store.read_description()["class_names"])
    recipe = Recipe("multimodal", 7, (part_of("face"), part_of("text", text_dim=8)))
    face, text = batch_of(dataset_of(store, examples, recipe), [0]).inputs.streams.values()
    assert face.values.shape[1] == MOST_VECTORS
    assert text.values.shape[1] == MOST_WORDS
    assert face.time[0, -1] > 0.99 * (count - 1) * 0.128  # spread over the whole clip


def test_a_missing_file_is_named(tmp_path):
    store = make_features(tmp_path, clips={"train": 1})
    store.path("train", "text", "train000").unlink()
    examples = load_examples(store, "train", store.read_description()["class_names"])
    with pytest.raises(UserError, match=r"train000\.npz: missing"):
        dataset_of(store, examples)[0, 0]


# -- randomness -----------------------------------------------------------------------------------


def test_evaluation_is_deterministic_and_knows_no_epoch(store, examples):
    dataset = dataset_of(store, examples, CROPS)
    for row in range(8):
        assert same(dataset[0, row], dataset[5, row])


@pytest.mark.parametrize("recipe", [EVERYTHING, CROPS], ids=["embedding", "video"])
def test_training_samples_depend_on_seed_epoch_and_index_alone(store, examples, recipe):
    first = dataset_of(store, examples, recipe, training=True, seed=3)
    other = dataset_of(store, examples, recipe, training=True, seed=3)
    wanted = first[2, 5]
    for key in [(0, 0), (2, 4), (1, 5)]:  # another history before the same key
        other[key]
    np.random.seed(1)  # noqa: NPY002 - global state must not matter
    assert same(wanted, other[2, 5])
    assert not same(wanted, other[3, 5])
    assert not same(wanted, dataset_of(store, examples, recipe, training=True, seed=4)[2, 5])


def test_training_differs_between_clips_of_the_same_content(store, examples):
    dataset = dataset_of(store, [examples[0]] * 4, CROPS, training=True)
    crops = [dataset[0, index].steps["speech"].values for index in range(4)]
    assert not all(np.array_equal(crops[0], crop) for crop in crops[1:])


@pytest.mark.parametrize("training", [True, False])
def test_zero_and_two_workers_give_the_same_batches(store, examples, training):
    dataset = dataset_of(store, examples, CROPS, training=training)
    batches = []
    for workers in (0, 2):
        sampler = TrainBatches(8, 3, seed=0)
        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate)
        sampler.epoch = 1
        batches.append(list(loader))
    assert len(batches[0]) == 2
    for alone, worked in zip(*batches, strict=True):
        assert alone.ids == worked.ids
        assert torch.equal(alone.targets, worked.targets)
        assert same(alone.inputs, worked.inputs)


# -- crops, clocks, flips -------------------------------------------------------------------------


def test_training_crops_to_a_bounded_length(store, examples):
    recipe = recipe_of("speech", speech_frames=32)
    dataset = dataset_of(store, examples, recipe, training=True)
    for epoch in range(3):
        assert dataset[epoch, 0].steps["speech"].values.shape == (32, 128)


def test_a_speech_crop_takes_its_own_faces_and_shifts_their_times(store, examples):
    """The embedding of each frame is overwritten by its time, so that it can be found again.

    What lies before and after the speech goes with its first and last frames.
    """
    row, record = 0, examples[0].record
    clip, frames = stored(store, record), int(record.fact("frames"))
    embedded, spectrum = clip.read("embedding"), clip.read("speech")
    marked = np.repeat(embedded.time[:, None], 512, axis=1).astype(np.float32)
    ramp = np.repeat(np.arange(frames)[None], 128, 0) / 1000
    store.write("train", "embedding", record.stem, embedded._replace(values=marked))
    store.write("train", "speech", record.stem, ramp.astype(np.float32))
    try:
        dataset = dataset_of(store, examples, EVERYTHING, training=True)
        dataset.readers["speech"].brightness = lambda values, _: values  # would hide the ramp
        firsts = set()
        for epoch in range(6):
            sample = dataset[epoch, row]
            speech, face = sample.steps["speech"], sample.steps["face"]
            first = round(float(speech.values[0, 0]) * 1000)
            firsts.add(first)
            begins = START + first * FRAME_SECONDS
            start = begins if first else 0.0
            end = record.duration if first + 32 == frames else begins + 32 * FRAME_SECONDS
            assert sample.duration == pytest.approx(end - start)
            np.testing.assert_allclose(
                speech.time + start, begins + np.arange(32) * FRAME_SECONDS, atol=1e-5
            )
            np.testing.assert_allclose(face.time + start, face.values[:, 0], atol=2e-3)
            assert (face.time >= -1e-5).all()
            assert (face.time < end - start).all()
        assert len(firsts) > 2
    finally:
        store.write("train", "embedding", record.stem, embedded)
        store.write("train", "speech", record.stem, spectrum)


@pytest.mark.parametrize(
    ("first", "start", "end"), [(0, 0.0, 1.512), (2, 1.032, 1.544), (5, 1.08, 2.5)]
)
def test_a_window_at_an_end_of_the_speech_reaches_to_the_end_of_the_clip(
    store, examples, first, start, end
):
    """37 frames of speech from 1.0 on, in a clip of 2.5 s; windows of 32 frames."""
    facts = {"start": 1.0, "end": 1.592, "frames": 37}
    record = examples[0].record._replace(duration=2.5, facts=examples[0].record.facts | facts)
    reader = dataset_of(store, examples).readers["speech"]
    windows = [reader.window(record, np.random.default_rng(seed)) for seed in range(40)]
    firsts = {round((w.start - 1.0) / FRAME_SECONDS) if w.start else 0: w for w in windows}
    assert set(firsts) == set(range(6))
    assert firsts[first] == pytest.approx((start, end))


def test_in_evaluation_times_count_from_the_start_of_the_clip(store, examples):
    sample = dataset_of(store, examples)[0, 0]
    speech, face = sample.steps["speech"], sample.steps["face"]
    np.testing.assert_allclose(
        face.time, START + np.arange(len(face.time)) * 8 * FRAME_SECONDS, atol=1e-5
    )
    np.testing.assert_allclose(
        speech.time, START + np.arange(len(speech.time)) * FRAME_SECONDS, atol=1e-5
    )
    assert sample.duration == pytest.approx(examples[0].record.duration)


def test_flips_are_consistent_over_a_clip(store, examples):
    """The square of the made-up crops lies left of the middle."""
    recipe = recipe_of("face", face_model="resnet3d", face_size=32)
    dataset = dataset_of(store, examples, recipe, training=True)
    sides = []
    for epoch in range(8):
        face = dataset[epoch, 6].steps["face"].values.astype(float)  # class 6: all channels on
        on_the_left = face[:, :, 8:24, 4:14].mean((1, 2, 3)) > face[:, :, 8:24, 18:28].mean(
            (1, 2, 3)
        )
        assert len(set(on_the_left.tolist())) == 1
        sides.append(bool(on_the_left[0]))
    assert set(sides) == {True, False}
    still = dataset_of(store, examples, recipe)[0, 6].steps["face"].values
    assert still[:, :, 8:24, 4:14].mean() > still[:, :, 8:24, 18:28].mean()


def test_brightness_and_contrast_stay_within_zero_and_one(store, examples):
    dataset = dataset_of(store, examples, recipe_of("speech", speech_frames=256), training=True)
    samples = [dataset[epoch, 0].steps["speech"].values for epoch in range(16)]
    assert all(s.dtype == np.float32 and s.min() >= 0 and s.max() <= 1 for s in samples)
    assert len({float(s.sum()) for s in samples}) > 2


def test_decoded_rows_repeat_the_nearest_found_crop(store, examples):
    track = stored(store, examples[0].record).read("video")
    pictures = track.decode(size=16)
    assert pictures.shape == (len(track.time), 16, 16, 3)
    first = cv2.imdecode(np.frombuffer(track.jpeg[0], np.uint8), cv2.IMREAD_COLOR)
    assert abs(pictures[0, ..., ::-1].mean() - first.mean()) < 1


def test_evaluation_order_is_fixed_and_lengths_are_those_of_the_padded_clips(store, examples):
    dataset = dataset_of(store, examples)
    lengths = [dataset.length(index) for index in range(8)]
    assert lengths == [-(-example.record.fact("frames") // 32) * 32 for example in examples]
    assert len(set(lengths)) > 1
    wide = dataset_of(store, examples, recipe_of("speech", speech_frames=max(lengths)))
    assert {wide.length(index) for index in range(8)} == {max(lengths)}
    batches = EvalBatches(lengths, 2)
    assert list(batches) == list(batches)
    for batch in batches:
        speech = batch_of(dataset, [index for _, index in batch]).inputs.streams["speech"]
        assert whole_steps(speech.values.shape[1]) == lengths[batch[0][1]]
