"""Features on disk to batches: shapes, padding, masks, randomness, order."""

import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from emotion.data.transforms import padded_length
from torch.utils.data import DataLoader

from emotion.clock import FRAME_SECONDS
from emotion.data.dataset import MAX_EMBEDDINGS, MAX_WORDS, FeatureDataset, Inputs, collate
from emotion.data.examples import load_examples
from emotion.data.sampling import EvalBatches, TrainBatches
from emotion.errors import UserError
from emotion.inputs.sampling import jittered_rows, rows_within, spread_rows
from tests.features import START, make_features

EVERYTHING = Inputs(
    speech=True, face="embedding", text=True, speech_frames=32, face_frames=4, face_size=32
)
CROPS = dataclasses.replace(EVERYTHING, face="video")
ABSENT = {"speech": {1}, "video": {2}, "embedding": {2}, "text": {3}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return make_features(folder, clips={"train": 8}, frames=(40, 100), absent=ABSENT, text_dim=200)


@pytest.fixture(scope="module")
def examples(store):
    names = tuple(store.read_description()["class_names"])
    return load_examples(store, "train", names)


def dataset_of(store, examples, inputs=EVERYTHING, **options):
    return FeatureDataset(store, examples, inputs, **options)


def same(first, second):
    """Whether two samples or batches hold the same, None included."""
    return all(
        (a is None and b is None) or np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(first, second, strict=True)
    )


def batch_of(dataset, rows, epoch=0):
    return collate([dataset[epoch, row] for row in rows])


# -- shapes and padding ---------------------------------------------------------------------------


def test_a_batch_is_padded_to_its_longest_and_the_spectrogram_to_32(store, examples):
    labelled = batch_of(dataset_of(store, examples), range(8))
    frames = [example.record.frames for example in examples]
    words = [example.record.words for example in examples]
    inputs = labelled.inputs
    assert inputs.speech.shape == (8, 128, -(-max(frames) // 32) * 32)
    assert inputs.speech.dtype == torch.float32
    assert inputs.speech_frames.tolist() == frames
    longest = max(example.record.face_frames for example in examples)
    assert inputs.face.shape == (8, longest, 512)
    assert inputs.face.dtype == torch.float32
    assert inputs.face_mask.shape == inputs.face_time.shape == (8, longest)
    assert inputs.text.shape == (8, max(words), 200)
    assert labelled.ids == [f"train{index:03d}" for index in range(8)]
    assert labelled.targets.tolist() == [[index % 7] * 3 for index in range(8)]


def test_crops_are_bytes_of_the_size_and_number_asked_for(store, examples):
    inputs = batch_of(dataset_of(store, examples, CROPS), range(8)).inputs
    assert inputs.face.shape == (8, 4, 3, 32, 32)
    assert inputs.face.dtype == torch.uint8
    assert inputs.face_mask.shape == (8, 4)


def test_padding_holds_zeros_and_is_masked(store, examples):
    inputs = batch_of(dataset_of(store, examples), range(8)).inputs
    for row, example in enumerate(examples):
        record = example.record
        assert not inputs.speech[row, :, record.frames :].any()
        if record.embedding_state == "ok":
            assert not inputs.face_mask[row, record.face_frames :].any()
            assert not inputs.face[row, record.face_frames :].any()
        if record.text_state == "ok":
            assert inputs.text_mask[row].tolist() == [
                index < record.words for index in range(inputs.text_mask.shape[1])
            ]


def test_what_is_read_is_what_was_written(store, examples):
    inputs = batch_of(dataset_of(store, examples), [0]).inputs
    record = examples[0].record
    log_mel = store.read_array("train", "speech", record.stem)
    np.testing.assert_array_equal(inputs.speech[0, :, : record.frames], log_mel.astype(np.float32))
    np.testing.assert_array_equal(inputs.text[0], store.read_text("train", record.id))
    track = store.read_faces("train", record.stem)
    np.testing.assert_array_equal(inputs.face_mask[0], track.found)


def test_crops_stay_rgb_and_channels_come_first(store, examples):
    """Class 0 is a square whose lowest bit, the blue channel of OpenCV's BGR, is on."""
    face = batch_of(dataset_of(store, examples, CROPS), [0]).inputs.face[0, 0].float()
    red, green, blue = face[:, 8:24, 5:15].mean((1, 2)).tolist()
    assert blue > 150
    assert max(red, green) < 60


def test_frames_without_a_face_are_false_in_the_mask(store, examples):
    masks = batch_of(dataset_of(store, examples), range(8)).inputs.face_mask
    for row, example in enumerate(examples):
        if example.record.embedding_state == "ok":
            found = store.read_face_clock("train", example.record.stem)[1]
            assert masks[row, : len(found)].tolist() == found.tolist()


def test_absent_modalities_are_marked_and_keep_the_clock(store, examples):
    inputs = batch_of(dataset_of(store, examples), range(8)).inputs
    assert inputs.speech_present.tolist() == [row != 1 for row in range(8)]
    assert inputs.face_mask.any(1).tolist() == [row != 2 for row in range(8)]
    assert inputs.text_mask.any(1).tolist() == [row != 3 for row in range(8)]
    assert not inputs.speech[1].any()
    assert inputs.speech_frames[1] == examples[1].record.frames


def test_a_batch_of_clips_that_all_lack_a_modality_still_has_a_step(store, examples):
    inputs = batch_of(dataset_of(store, examples), [3]).inputs
    assert inputs.text.shape == (1, 1, 200)
    assert not inputs.text_mask.any()
    assert batch_of(dataset_of(store, examples), [2]).inputs.face.shape == (1, 1, 512)


def test_modalities_that_are_not_read_are_none(store, examples):
    inputs = batch_of(dataset_of(store, examples, Inputs(text=True)), [0]).inputs
    assert inputs.speech is inputs.speech_frames is inputs.face is inputs.face_time is None


def test_very_long_clips_are_bounded(tmp_path):
    store = make_features(tmp_path, clips={"train": 1}, frames=(40, 40), text_dim=8)
    record = store.read_manifest("train")[0]
    count = MAX_EMBEDDINGS + 100
    track = store.read_faces("train", record.stem)
    store.write_faces(
        "train",
        record.stem,
        track._replace(
            crop=np.zeros(count, np.int32),
            time=(START + np.arange(count) * 0.128).astype(np.float32),
            box=np.zeros((count, 4), np.float32),
            probability=np.ones(count, np.float32),
            found=np.ones(count, bool),
        ),
    )
    store.write_array("train", "embedding", record.stem, np.zeros((count, 512), np.float16))
    store.write_text("train", record.id, np.zeros((MAX_WORDS + 5, 8), np.float32))
    examples = load_examples(store, "train", store.read_description()["class_names"])
    inputs = Inputs(face="embedding", text=True, text_dim=8)
    batch = batch_of(dataset_of(store, examples, inputs), [0]).inputs
    assert batch.face.shape[1] == MAX_EMBEDDINGS
    assert batch.text.shape[1] == MAX_WORDS
    assert batch.face_time[0, -1] > 0.99 * (count - 1) * 0.128  # spread over the whole clip


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


@pytest.mark.parametrize("inputs", [EVERYTHING, CROPS], ids=["embedding", "video"])
def test_training_samples_depend_on_seed_epoch_and_index_alone(store, examples, inputs):
    first = dataset_of(store, examples, inputs, training=True, seed=3)
    other = dataset_of(store, examples, inputs, training=True, seed=3)
    wanted = first[2, 5]
    for key in [(0, 0), (2, 4), (1, 5)]:  # another history before the same key
        other[key]
    np.random.seed(1)  # noqa: NPY002 - global state must not matter
    assert same(wanted, other[2, 5])
    assert not same(wanted, other[3, 5])
    assert not same(wanted, dataset_of(store, examples, inputs, training=True, seed=4)[2, 5])


def test_training_differs_between_clips_of_the_same_content(store, examples):
    dataset = dataset_of(store, [examples[0]] * 4, CROPS, training=True)
    crops = [dataset[0, index].speech for index in range(4)]
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
    dataset = dataset_of(store, examples, Inputs(speech=True, speech_frames=32), training=True)
    for epoch in range(3):
        assert dataset[epoch, 0].speech.shape == (128, 32)


def test_a_speech_crop_takes_its_own_faces_and_shifts_their_times(store, examples):
    """The embedding of each frame is overwritten by its time, so that it can be found again."""
    row, record = 0, examples[0].record
    times = store.read_face_clock("train", record.stem)[0]
    marked = np.repeat(times[:, None], 512, axis=1)
    before = store.read_array("train", "embedding", record.stem)
    spectrum = store.read_array("train", "speech", record.stem)
    ramp = np.repeat(np.arange(record.frames)[None], 128, 0) / 1000
    store.write_array("train", "embedding", record.stem, marked.astype(np.float32))
    store.write_array("train", "speech", record.stem, ramp.astype(np.float32))
    try:
        dataset = dataset_of(store, examples, EVERYTHING, training=True)
        dataset.augment = lambda values, _: values  # brightness would hide the ramp
        firsts = set()
        for epoch in range(6):
            sample = dataset[epoch, row]
            first = round(float(sample.speech[0, 0]) * 1000)
            firsts.add(first)
            start = record.start + first * FRAME_SECONDS
            np.testing.assert_allclose(sample.face_time + start, sample.face[:, 0], atol=2e-3)
            assert (sample.face_time >= -1e-5).all()
            assert (sample.face_time < 32 * FRAME_SECONDS).all()
        assert len(firsts) > 2
    finally:
        store.write_array("train", "embedding", record.stem, before)
        store.write_array("train", "speech", record.stem, spectrum)


def test_in_evaluation_times_count_from_the_trimmed_start(store, examples):
    sample = dataset_of(store, examples)[0, 0]
    np.testing.assert_allclose(
        sample.face_time, np.arange(len(sample.face_time)) * 8 * FRAME_SECONDS, atol=1e-5
    )


def test_flips_are_consistent_over_a_clip(store, examples):
    """The square of the made-up crops lies left of the middle."""
    dataset = dataset_of(store, examples, Inputs(face="video", face_size=32), training=True)
    sides = []
    for epoch in range(8):
        face = dataset[epoch, 6].face.astype(float)  # class 6: all channels on
        on_the_left = face[:, :, 8:24, 4:14].mean((1, 2, 3)) > face[:, :, 8:24, 18:28].mean(
            (1, 2, 3)
        )
        assert len(set(on_the_left.tolist())) == 1
        sides.append(bool(on_the_left[0]))
    assert set(sides) == {True, False}
    still = dataset_of(store, examples, Inputs(face="video", face_size=32))[0, 6].face
    assert still[:, :, 8:24, 4:14].mean() > still[:, :, 8:24, 18:28].mean()


def test_brightness_and_contrast_stay_within_zero_and_one(store, examples):
    dataset = dataset_of(store, examples, Inputs(speech=True), training=True)
    samples = [dataset[epoch, 0].speech for epoch in range(16)]
    assert all(s.dtype == np.float32 and s.min() >= 0 and s.max() <= 1 for s in samples)
    assert len({float(s.sum()) for s in samples}) > 2


def test_helpers_of_time():
    rng = np.random.default_rng(0)
    assert [padded_length(n) for n in (1, 32, 33, 64)] == [32, 32, 64, 64]
    assert spread_rows(9, 3, None).tolist() == [1, 4, 7]
    assert spread_rows(2, 4, None).tolist() == [0, 0, 1, 1]
    for count in (1, 5, 40):
        rows = spread_rows(count, 4, rng)
        assert (np.diff(rows) >= 0).all()
        assert rows.min() >= 0
        assert rows.max() < count
        kept = jittered_rows(count, rng)
        assert len(kept) >= 0.8 * count
        assert (np.diff(kept) == 1).all()
    times = np.arange(10) * 0.1
    assert rows_within(times, 0.2, 10).tolist() == [2, 3]
    assert rows_within(times, 5.0, 10).tolist() == [9]


def test_decoded_rows_repeat_the_nearest_found_crop(store, examples):
    track = store.read_faces("train", examples[0].record.stem)
    pictures = track.decode(size=16)
    assert pictures.shape == (len(track.time), 16, 16, 3)
    first = cv2.imdecode(np.frombuffer(track.jpeg[0], np.uint8), cv2.IMREAD_COLOR)
    assert abs(pictures[0, ..., ::-1].mean() - first.mean()) < 1


# -- which clips form a batch ---------------------------------------------------------------------


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_covers_every_clip_once_in_groups_of_equal_length(world_size):
    lengths = [32, 64, 32, 96, 64, 32, 32, 96, 32, 64, 32]
    seen = Counter()
    for rank in range(world_size):
        batches = EvalBatches(lengths, 3, rank, world_size)
        assert len(batches) == len(list(batches))
        for batch in batches:
            assert 1 <= len(batch) <= 3
            assert len({lengths[index] for _, index in batch}) == 1
            seen.update(index for _, index in batch)
    assert seen == Counter(range(len(lengths)))


def test_evaluation_order_is_fixed_and_lengths_are_those_of_the_padded_clips(store, examples):
    dataset = dataset_of(store, examples)
    lengths = [dataset.length(index) for index in range(8)]
    assert lengths == [-(-example.record.frames // 32) * 32 for example in examples]
    assert len(set(lengths)) > 1
    wide = dataset_of(store, examples, Inputs(speech=True, speech_frames=max(lengths)))
    assert {wide.length(index) for index in range(8)} == {max(lengths)}
    batches = EvalBatches(lengths, 2)
    assert list(batches) == list(batches)
    for batch in batches:
        loaded = batch_of(dataset, [index for _, index in batch]).inputs
        assert loaded.speech.shape[2] == lengths[batch[0][1]]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_batches_are_whole_and_ranks_disjoint(world_size):
    count, size = 26, 4
    per_rank = []
    for rank in range(world_size):
        sampler = TrainBatches(count, size, seed=0, rank=rank, world_size=world_size)
        batches = list(sampler)
        assert len(batches) == len(sampler) == count // (size * world_size)
        assert all(len(batch) == size for batch in batches)
        per_rank.append([index for batch in batches for _, index in batch])
    everything = [index for indices in per_rank for index in indices]
    assert len(everything) == len(set(everything))


def test_training_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = TrainBatches(20, 5, seed)
        sampler.epoch = epoch
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert all(epoch == 1 for batch in order(0, 1) for epoch, _ in batch)


def test_two_ranks_step_on_the_clips_of_one_rank_with_the_doubled_batch():
    alone = list(TrainBatches(20, 6, seed=0))
    ranks = [list(TrainBatches(20, 3, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    for step, batch in enumerate(alone):
        assert sorted(batch) == sorted(ranks[0][step] + ranks[1][step])


def test_the_last_batch_is_kept_when_it_is_the_only_one():
    assert [len(batch) for batch in TrainBatches(5, 32, seed=0)] == [5]
    shared = [list(TrainBatches(5, 32, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    assert sorted(index for batches in shared for _, index in batches[0]) == [0, 1, 2, 3, 4]


def test_fewer_clips_than_ranks_leave_no_rank_idle():
    ranks = [list(TrainBatches(2, 4, seed=0, rank=rank, world_size=3)) for rank in range(3)]
    assert all(len(batches) == 1 and len(batches[0]) == 1 for batches in ranks)
