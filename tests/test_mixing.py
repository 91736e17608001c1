"""Mixup and SpecAugment on whole batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from librosa import mel_frequencies

from emotion.data.dataset import collate
from emotion.data.mixing import Mixture, draw_mixture, mix_inputs, mix_inside, mix_targets
from emotion.data.samples import Sample
from emotion.inputs.feature import Steps
from emotion.inputs.spec_augment import (
    FREQUENCY_MASKS,
    FREQUENCY_WIDTH,
    spec_augment,
    time_warp,
    warp_vocal_tract,
)
from emotion.records import Stream
from tests.model_batches import only, with_stream

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(frames=40, faces=3, words=2, seed=0):
    rng = np.random.default_rng(seed)
    steps = {
        "speech": steps_of(rng.random((frames, 128)).astype(np.float32), 0.016),
        "face": steps_of(rng.standard_normal((faces, 512)).astype(np.float16), 1.0),
        "text": steps_of(rng.standard_normal((words, 6)).astype(np.float32), np.nan),
    }
    return Sample(f"clip{seed}", (seed % 7, seed % 7, -1), steps, frames * 0.016)


def steps_of(values, apart):
    """Steps that are all there, so many seconds apart."""
    time = np.arange(len(values), dtype=np.float32) * np.float32(apart)
    return Steps(values, np.ones(len(values), bool), time)


def batch_of(*shapes):
    samples = [sample(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    return collate(samples).inputs


def spectrograms(frames, length=None, seed=0):
    """Made-up spectrograms; what lies after the end of a clip is 7."""
    length = length or -(-max(frames) // 32) * 32
    speech = torch.rand(len(frames), 128, length, generator=generator(seed))
    inside = torch.arange(length) < torch.tensor(frames)[:, None]
    return torch.where(inside[:, None], speech, 7.0), torch.tensor(frames)


def stream_of(speech, frames):
    """Spectrograms (B, 128, T) as a stream."""
    steps = torch.arange(speech.shape[2])
    mask = steps < torch.as_tensor(frames)[:, None]
    return Stream(speech.transpose(1, 2), mask, (steps * 0.016).expand(mask.shape))


def bands_first(stream):
    """A stream's spectrograms (B, 128, T)."""
    return stream.values.transpose(1, 2)


# -- mixup ----------------------------------------------------------------------------------------


def speech_of(*frames):
    return only(batch_of(*((count, 1, 1) for count in frames)), "speech")


def test_one_permutation_and_one_weight_for_spectrograms_and_labels():
    batch = speech_of(40, 33, 64)
    mixture = Mixture(0.7, torch.tensor([2, 0, 1]))
    mixed, plain = mix_inputs(batch, mixture).streams["speech"], batch.streams["speech"]
    wanted = 0.7 * plain.values + 0.3 * plain.values[[2, 0, 1]]
    torch.testing.assert_close(mixed.values, wanted)
    assert mixed.mask.sum(1).tolist() == [64, 40, 64]
    inside = mixed.time[mixed.mask]
    torch.testing.assert_close(inside, plain.time[2].expand(3, -1)[mixed.mask])
    soft = torch.eye(3).expand(2, 3, 3)
    mixed_soft = mix_targets(soft, mixture)
    torch.testing.assert_close(mixed_soft[0], 0.7 * torch.eye(3) + 0.3 * torch.eye(3)[[2, 0, 1]])
    assert torch.equal(mixed_soft[0], mixed_soft[1])


def test_a_voice_mixed_into_silence_is_present():
    batch = speech_of(40, 40, 40)
    mask = batch.streams["speech"].mask & torch.tensor([[True], [False], [False]])
    batch = with_stream(batch, "speech", mask=mask)
    mixed = mix_inputs(batch, Mixture(0.5, torch.tensor([1, 0, 2])))
    assert mixed.streams["speech"].mask.any(1).tolist() == [True, True, False]


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_weight_one_or_oneself_as_partner_is_the_identity(weight):
    batch = speech_of(40, 33)
    partner = torch.tensor([1, 0]) if weight == 1.0 else torch.arange(2)
    mixed = mix_inputs(batch, Mixture(weight, partner)).streams["speech"]
    torch.testing.assert_close(mixed.values, batch.streams["speech"].values)
    soft = torch.eye(2)[None]
    torch.testing.assert_close(mix_targets(soft, Mixture(weight, partner)), soft)


def test_no_mixture_changes_nothing():
    batch = batch_of((40, 3, 2))
    soft = torch.eye(1)[None]
    assert mix_inputs(batch, None) is batch
    assert mix_inside(batch, None) is batch
    assert mix_targets(soft, None) is soft


def test_mixing_inside_leaves_every_input_as_it_is_and_names_partners_by_distance():
    batch = batch_of((40, 3, 2), (33, 1, 5), (64, 2, 1))
    mixed = mix_inside(batch, Mixture(0.7, torch.tensor([2, 0, 1])))
    assert mixed.mix_offset.tolist() == [2, -1, -1]
    assert mixed.mix_weight.tolist() == pytest.approx([0.7, 0.7, 0.7])
    assert mixed._replace(mix_offset=None, mix_weight=None) == batch


@QUICK
@given(
    st.lists(st.integers(-1, 3), min_size=2, max_size=8),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_labels_sum_to_the_share_that_is_labelled(labels, weight, seed):
    index = torch.tensor(labels)
    soft = torch.nn.functional.one_hot(index.clamp(min=0), 4).float() * (index >= 0)[:, None]
    partner = torch.randperm(len(labels), generator=generator(seed))
    mixed = mix_targets(soft[None], Mixture(weight, partner))[0]
    known = (index >= 0).float()
    expected = weight * known + (1 - weight) * known[partner]
    torch.testing.assert_close(mixed.sum(1), expected)
    assert (mixed >= 0).all()


@QUICK
@given(st.integers(2, 9), st.floats(0.05, 4.0), st.integers(0, 999))
def test_a_mixture_is_a_permutation_and_a_weight_between_zero_and_one(size, alpha, seed):
    mixture = draw_mixture([size], alpha, 1.0, generator(seed))
    assert 0.0 <= mixture.weight <= 1.0
    assert sorted(mixture.partner.tolist()) == list(range(size))
    again = draw_mixture([size], alpha, 1.0, generator(seed))
    assert again.weight == mixture.weight
    assert torch.equal(again.partner, mixture.partner)


def test_when_there_is_nothing_to_mix():
    assert draw_mixture([8], 0.0, 1.0, generator()) is None
    assert draw_mixture([1], 0.5, 1.0, generator()) is None
    assert draw_mixture([8], 0.5, 0.0, generator()) is None


def test_weights_follow_the_beta_distribution():
    draws = [draw_mixture([2], 0.5, 1.0, generator(seed)).weight for seed in range(2000)]
    assert np.mean(draws) == pytest.approx(0.5, abs=0.03)
    assert np.var(draws) == pytest.approx(1 / 8, abs=0.01)  # 1 / (4 (2 alpha + 1))
    hits = sum(draw_mixture([2], 0.5, 0.3, generator(seed)) is not None for seed in range(1000))
    assert hits / 1000 == pytest.approx(0.3, abs=0.05)


# -- padding and masks, whatever the lengths ------------------------------------------------------


@QUICK
@given(
    st.lists(
        st.tuples(st.integers(1, 70), st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=5
    )
)
def test_collating_keeps_every_clip_and_marks_the_rest(shapes):
    samples = [sample(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    batch = collate(samples).inputs
    for number, name in enumerate(("speech", "face", "text")):
        stream = batch.streams[name]
        lengths = [shape[number] for shape in shapes]
        assert stream.mask.shape == (len(shapes), max(1, *lengths))
        assert stream.values.dtype == torch.float32
        for row, (clip, length) in enumerate(zip(samples, lengths, strict=True)):
            own = clip.steps[name]
            np.testing.assert_array_equal(stream.values[row, :length], own.values)
            np.testing.assert_array_equal(stream.time[row, :length], own.time)
            assert stream.mask[row].sum() == length
            assert not stream.values[row, length:].any()
    steps = [-(-frames // 32) for frames, _, _ in shapes]
    assert batch.clock.mask.sum(1).tolist() == steps


@QUICK
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 99))
def test_partners_stay_inside_their_group(groups, seed):
    mixture = draw_mixture(groups, 0.5, 1.0, generator(seed))
    if sum(groups) < 2:
        assert mixture is None
        return
    first = 0
    for size in groups:
        partners = mixture.partner[first : first + size].tolist()
        assert sorted(partners) == list(range(first, first + size))
        first += size


# -- SpecAugment ----------------------------------------------------------------------------------


@QUICK
@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), st.integers(0, 9999))
def test_masks_hide_a_fifth_of_the_clips_own_time_at_most_and_hold_its_mean(frames, seed):
    speech, lengths = spectrograms(frames, seed=seed)
    stream = stream_of(speech, lengths)
    changed = bands_first(spec_augment(stream, generator(seed), warp=False))
    hidden = changed != speech
    for row, count in enumerate(frames):
        clip, mine = speech[row, :, :count], hidden[row, :, :count]
        assert not hidden[row, :, count:].any()
        columns, bands = mine.all(0), mine.all(1)
        assert columns.sum() <= 0.2 * count
        assert bands.sum() <= FREQUENCY_MASKS * FREQUENCY_WIDTH
        assert torch.equal(mine, columns[None] | bands[:, None])
        if mine.any():
            torch.testing.assert_close(
                changed[row, :, :count][mine], clip.mean().expand(int(mine.sum()))
            )


def test_masks_differ_between_clips_and_are_often_there():
    speech, lengths = spectrograms([200] * 32)
    changed = bands_first(spec_augment(stream_of(speech, lengths), generator()))
    touched = (changed != speech).flatten(1).any(1)
    assert touched.float().mean() > 0.8
    still = bands_first(spec_augment(stream_of(speech, lengths), generator(), warp=False))
    hidden = still != speech
    assert len({tuple(row.flatten().tolist()) for row in hidden[:, 0::8, 0::8]}) > 16


@pytest.mark.parametrize("warp", [True, False])
def test_augmentation_is_a_function_of_the_generator(warp):
    speech, lengths = spectrograms([100, 64, 33])
    stream = stream_of(speech, lengths)
    first, again, other = (spec_augment(stream, generator(s), warp).values for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def ramp_batch(frames, length):
    """Spectrograms whose value is the frame they stand at."""
    return torch.arange(length).float().expand(len(frames), 128, length), torch.tensor(frames)


@QUICK
@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.integers(0, 9999))
def test_a_warped_ramp_is_monotone_with_its_ends_in_place(frames, seed):
    speech, lengths = ramp_batch(frames, -(-max(frames) // 32) * 32)
    warped = time_warp(speech, lengths, generator(seed))
    assert torch.equal(warped[:, 0], warped[:, 100])  # all bands alike
    for row, count in enumerate(frames):
        moved = warped[row, 0, :count]
        assert (moved.diff() >= -1e-3).all()
        assert moved[0] == pytest.approx(0, abs=1e-3)
        assert moved[-1] == pytest.approx(count - 1, abs=1e-2)
        assert (moved - speech[row, 0, :count]).abs().max() <= min(80, count / 4) + 1e-2
        assert torch.equal(warped[row, :, count:], speech[row, :, count:])


def test_warping_moves_something_but_not_a_constant():
    speech, lengths = ramp_batch([200] * 8, 224)
    assert ((time_warp(speech, lengths, generator()) - speech).abs().amax((1, 2)) > 2).sum() >= 6
    flat = torch.full((2, 128, 64), 0.25)
    assert torch.equal(time_warp(flat, torch.tensor([64, 50]), generator()), flat)


def test_warping_stays_within_the_values_around_it():
    speech, lengths = spectrograms([100], length=128)
    warped = time_warp(speech, lengths, generator(3))[..., :100]
    assert warped.min() >= speech[..., :100].min()
    assert warped.max() <= speech[..., :100].max()


# -- vocal tract length perturbation --------------------------------------------------------------


def test_a_vocal_tract_moves_a_tone_by_its_factor_and_keeps_the_clock():
    centres = mel_frequencies(130, fmin=80, fmax=8000)[1:-1]
    speech = torch.zeros(200, 128, 32)
    speech[:, 70, :20] = 1.0  # a tone of the 70th band
    stream = stream_of(speech, torch.full((200,), 20))
    warped = bands_first(warp_vocal_tract(stream, 0.1, generator()))
    found = torch.from_numpy(centres)[warped[:, :, 0].argmax(1)] / centres[70]
    assert 0.88 < found.min() < 0.93
    assert 1.07 < found.max() < 1.14
    assert found.mean() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(warped[..., 0], warped[..., 19])  # all frames of a clip alike
    assert (warped[..., 20:] == 0).all()


def test_no_change_of_the_vocal_tract_changes_nothing():
    speech, lengths = spectrograms([40, 64])
    stream = stream_of(speech, lengths)
    found = bands_first(warp_vocal_tract(stream, 0.0, generator()))
    torch.testing.assert_close(found, speech)
