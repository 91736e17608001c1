"""The recurrent decoder: what it computes, step by step, and what it keeps to."""

import pytest
import torch
from torch import nn

from emotion.networks.decoder import AdditiveAttention, DecoderFusion
from emotion.records import Clock, Stream

WIDTHS = {"sound": 5, "pose": 4, "words": 6}
STEP = 0.512


def fusion(*names):
    torch.manual_seed(0)
    widths = {name: WIDTHS[name] for name in names or WIDTHS}
    return DecoderFusion(widths, n_classes=3, hidden=8).eval()


def clips(n_clips=2, steps=5, seed=0):
    """Streams, the words without times, and a clock."""
    generator = torch.Generator().manual_seed(seed)
    streams = {}
    for length, (name, width) in enumerate(WIDTHS.items(), start=6):
        values = torch.randn(n_clips, length, width, generator=generator)
        time = torch.linspace(0.0, steps * STEP, length).expand(n_clips, -1)
        time = torch.full_like(time, torch.nan) if name == "words" else time
        streams[name] = Stream(values, torch.ones(n_clips, length, dtype=torch.bool), time)
    time = ((torch.arange(steps) + 0.5) * STEP).expand(n_clips, -1)
    return streams, Clock(torch.ones(n_clips, steps, dtype=torch.bool), time)


def masked(stream, rows=slice(None), steps=slice(None)):
    """The stream with some steps masked."""
    mask = stream.mask.clone()
    mask[rows, steps] = False
    return stream._replace(mask=mask)


def test_attention_is_that_of_the_paper_less_a_penalty_a_second():
    torch.manual_seed(0)
    attention = AdditiveAttention(width=4, state_width=3)
    nn.init.constant_(attention.distance, 0.05)
    values, state = torch.randn(1, 6, 4), torch.randn(1, 3)
    seconds = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    there = torch.tensor([[True] * 5 + [False]])
    memory = attention.memory(values, there, seconds.view(1, 1, 6))
    context, weights = attention(state, memory, memory.lost[:, 0])
    content = [
        attention.score.weight[0]
        @ torch.tanh(attention.query(state[0]) + attention.key.weight @ values[0, step])
        for step in range(5)
    ]
    expected = (torch.stack(content) - attention.penalty() * seconds[:5]).softmax(dim=0)
    torch.testing.assert_close(weights[0, :5], expected)
    assert weights[0, 5] == 0
    torch.testing.assert_close(context[0], expected @ values[0, :5])


def test_the_state_walks_forward_along_the_clip():
    """A step that reads elsewhere changes itself and what follows, and nothing before."""
    model, (streams, clock) = fusion(), clips()
    moved = clock.time.clone()
    moved[:, 2] += 1.0
    with torch.no_grad():
        states = model.encode(streams, clock).values
        others = model.encode(streams, clock._replace(time=moved)).values
    assert torch.equal(states[:, :2], others[:, :2])
    assert ((states - others)[:, 2:].abs().amax(dim=2) > 1e-4).all()


def test_the_state_asks_for_words_that_have_no_times():
    model, (streams, clock) = fusion("words"), clips()
    words = {"words": streams["words"]}
    with torch.no_grad():
        _, read = model._decode(words, clock)
        moved, _ = model._decode(words, clock._replace(time=clock.time + 9.0))
        kept, _ = model._decode(words, clock)
    assert torch.equal(moved.values, kept.values), "nobody knows how far off they are"
    between = read["words"].diff(dim=2).abs().amax(dim=3)
    assert (between > 1e-6).all(), "each step asks for others than the last one did"


def test_distance_counts_from_the_start():
    model, (streams, clock) = fusion("pose"), clips()
    nn.init.zeros_(model.read["pose"].score.weight)
    poses = streams["pose"]
    with torch.no_grad():
        _, read = model._decode({"pose": poses}, clock)
    distance = (clock.time[0].unsqueeze(1) - poses.time[0]).abs()
    expected = (-model.read["pose"].penalty() * distance).softmax(dim=1)
    torch.testing.assert_close(read["pose"][0, 0], expected)


@pytest.mark.parametrize("hole", [0, 2, 4])
def test_a_masked_step_of_the_clock_is_stepped_over(hole):
    """At the start, within or at the end of a clip, whatever stands in it."""
    model, (streams, clock) = fusion(), clips()
    kept = [step for step in range(5) if step != hole]
    mask, time = clock.mask.clone(), clock.time.clone()
    mask[:, hole], time[:, hole] = False, torch.nan
    with torch.no_grad():
        holed = model.encode(streams, Clock(mask, time)).values[:, kept]
        fewer = model.encode(streams, Clock(clock.mask[:, kept], clock.time[:, kept])).values
        answers = model(streams, Clock(mask, time))
        same = model(streams, Clock(clock.mask[:, kept], clock.time[:, kept]))
    torch.testing.assert_close(holed, fewer)
    torch.testing.assert_close(answers, same)


@pytest.mark.parametrize("name", WIDTHS)
def test_what_stands_in_masked_steps_of_a_stream_changes_nothing(name):
    model, (streams, clock) = fusion(), clips()
    streams[name] = masked(streams[name], 0, slice(3, None))
    values, time = streams[name].values.clone(), streams[name].time.clone()
    values[0, 3:], time[0, 3:] = 99.0, 1e6
    rubbish = streams | {name: streams[name]._replace(values=values, time=time)}
    with torch.no_grad():
        assert torch.equal(model(streams, clock), model(rubbish, clock))


def test_times_that_some_steps_lack_leave_the_others_theirs():
    model, (streams, clock) = fusion("pose"), clips()
    time = streams["pose"].time.clone()
    time[:, 2] = torch.nan
    with torch.no_grad():
        _, known = model._decode({"pose": streams["pose"]._replace(time=time)}, clock)
    assert known["pose"].isfinite().all()
    late = known["pose"][:, 0, -1]
    assert (late[:, 2] > late[:, 1]).all(), "one without a time is nowhere far"


@pytest.mark.parametrize("names", [("words",), ("pose", "sound"), ("sound", "pose", "words")])
def test_any_number_of_modalities_in_any_order(names):
    model, (streams, clock) = fusion(*names).train(), clips()
    streams = {name: streams[name] for name in names}
    logits = model(streams, clock)
    assert logits.shape == (2, 3)
    assert list(model.attention(streams, clock)) == list(names)
    nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_without_any_step_is_finite(training):
    """Nothing of any modality, and not a step of the clock."""
    model, (streams, clock) = fusion().train(training), clips()
    streams = {name: masked(stream, 0) for name, stream in streams.items()}
    mask = clock.mask.clone()
    mask[0] = False
    clock = clock._replace(mask=mask)
    logits = model(streams, clock)
    logits.square().sum().backward()
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[0], model.head.classifier.bias)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(not own.weights[0].any() for own in model.attention(streams, clock).values())
