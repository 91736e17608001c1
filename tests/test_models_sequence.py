"""Face and text models: LSTM with attention, MLSTM-FCN, 3D ResNet."""

import pytest
import torch
from torch import nn
from torchvision.models.video import R3D_18_Weights, r3d_18

from emotion.errors import UserError
from emotion.networks.attention import MaskedBiLSTM
from emotion.networks.mlstm_fcn import MLSTMFCN, fixed_length
from emotion.networks.model import build_model
from emotion.networks.padding import run_by_length
from emotion.networks.resnet3d import (
    KINETICS_MEAN,
    KINETICS_STD,
    VideoEncoder,
    load_pretrained,
)
from emotion.records import Batch, Stream
from tests.model_batches import (
    N_CLASSES,
    TEXT_DIM,
    alone,
    count,
    crop_batch,
    feature_batch,
    needs_bfloat16,
    settle,
    with_stream,
    without,
)
from tests.recipes import part_of, recipe_of

PART = part_of("face", face_model="resnet3d")
HOLES = ((1, 0), (2, 4), (2, 5), (3, 10))
KINDS = [
    ("face", {"face_model": "attention_lstm"}),
    ("face", {"face_model": "mlstm_fcn"}),
    ("face", {"face_model": "resnet3d"}),
    ("text", {"text_model": "attention_lstm"}),
    ("text", {"text_model": "mlstm_fcn"}),
    ("face", {"face_model": "mlstm_fcn", "frames": 150}),  # more steps than it has, of most clips
    ("text", {"text_model": "mlstm_fcn", "words": 120}),
]


def model_and_batch(mode, flags):
    torch.manual_seed(0)
    recipe = recipe_of(mode, N_CLASSES, text_dim=TEXT_DIM, **flags)
    if flags.get("face_model") == "resnet3d":
        batch = crop_batch(holes=HOLES[:2])
    else:
        sizes = {name: flags[name] for name in ("frames", "words") if name in flags}
        batch = feature_batch(holes=HOLES, **sizes)
    return settle(build_model(recipe), batch), batch


def crops_of(values, time=None):
    """A stream of crops (B, F, 3, S, S), a face in each."""
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Stream(values, mask, torch.zeros(mask.shape) if time is None else time)


def vectors_of(values, mask, time=None):
    """A stream of vectors, without times where none are given."""
    return Stream(values, mask, torch.full(mask.shape, torch.nan) if time is None else time)


@pytest.mark.parametrize(("mode", "flags"), KINDS)
def test_a_clip_is_answered_alike_alone_and_beside_longer_ones(mode, flags):
    model, batch = model_and_batch(mode, flags)
    with torch.no_grad():
        together = model(batch)[mode]
        assert together.shape == (4, N_CLASSES)
        assert together.std(dim=0).min() > 1e-3, "the clips are told apart at all"
        for row in range(4):
            single = model(alone(batch, row))[mode][0]
            torch.testing.assert_close(single, together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("mode", "flags"), KINDS)
def test_what_stands_in_masked_places_changes_nothing(mode, flags):
    model, batch = model_and_batch(mode, flags)
    values, mask, _ = batch.streams[mode]
    hidden = ~mask.view(*mask.shape, *[1] * (values.dim() - 2))
    noise = torch.full_like(values, 77)
    other = with_stream(batch, mode, values=torch.where(hidden, noise, values))
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[mode], model(other)[mode], atol=0, rtol=0)


@pytest.mark.parametrize(("mode", "flags"), KINDS)
def test_an_absent_modality_is_finite_and_answered_by_the_bias(mode, flags):
    model, batch = model_and_batch(mode, flags)
    batch = without(batch, mode, 1)
    for training in (False, True):
        model.train(training)
        logits = model(batch)[mode]
        torch.testing.assert_close(logits[1], model.head.classifier.bias)
        model.zero_grad()
        logits.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval()
    nothing = without(batch, mode)
    assert model(nothing)[mode].isfinite().all()


@pytest.mark.parametrize(("mode", "flags"), KINDS)
def test_gradients_reach_every_parameter(mode, flags):
    model, batch = model_and_batch(mode, flags)
    model.train()
    nn.functional.cross_entropy(model(batch)[mode], torch.arange(4)).backward()
    # added to every score of a softmax, this bias has no effect
    idle = {"head.pooling.score.2.bias"}
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name for name, _ in model.named_parameters()} - reached <= idle


@pytest.mark.parametrize(("mode", "flags"), KINDS)
def test_evaluation_is_deterministic_and_attention_sums_to_one(mode, flags):
    model, batch = model_and_batch(mode, flags)
    with torch.no_grad():
        assert torch.equal(model(batch)[mode], model(batch)[mode])
        sequence, weights = model.encode(batch), model.attention(batch)[mode].weights
    assert sequence.values.shape == (*sequence.mask.shape, model.encoder.width)
    assert sequence.mask.dtype == torch.bool
    assert sequence.time.shape == sequence.mask.shape
    assert sequence.time[sequence.mask].isnan().all() == (mode == "text")
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    assert not weights[~sequence.mask].any()


@needs_bfloat16
@pytest.mark.parametrize(("mode", "flags"), KINDS)
def test_bfloat16_autocast_trains_without_nan(mode, flags):
    model, batch = model_and_batch(mode, flags)
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(without(batch, mode, 1))[mode]
    logits.float().square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("width", [1, 2, 200, 768])
@pytest.mark.parametrize("words", [1, 200])
@pytest.mark.parametrize("kind", ["attention_lstm", "mlstm_fcn"])
def test_text_takes_any_width_and_number_of_words(width, words, kind):
    model = build_model(recipe_of("text", N_CLASSES, text_model=kind, text_dim=width)).eval()
    one = torch.randn(
        1, words, width
    )  # two values of a step are all but two signs: be sure of them
    batch = Batch({"text": vectors_of(torch.cat([one, -one]), torch.ones(2, words).bool())})
    with torch.no_grad():
        logits = model(batch)["text"]
    assert logits.shape == (2, N_CLASSES)
    assert not torch.allclose(logits[0], logits[1])


def test_lstm_equals_torchs_own_on_packed_sequences():
    torch.manual_seed(0)
    ours = MaskedBiLSTM(5, 4)
    packed = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    state = {}
    for name, value in ours.state_dict().items():
        direction, weight = name.split(".")
        state[weight + ("_reverse" if direction == "backward_lstm" else "")] = value
    packed.load_state_dict(state)
    values, lengths = torch.randn(3, 7, 5), torch.tensor([7, 1, 4])
    mask = torch.arange(7) < lengths.unsqueeze(1)
    sequence = nn.utils.rnn.pack_padded_sequence(values, lengths, True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed(sequence)[0], True, total_length=7)
    torch.testing.assert_close(ours(values, mask), expected)


def test_lstm_closes_holes():
    torch.manual_seed(0)
    lstm = MaskedBiLSTM(3, 2)
    values = torch.randn(1, 4, 3)
    holed = torch.cat([values[:, :2], torch.full((1, 3, 3), float("nan")), values[:, 2:]], dim=1)
    mask = torch.tensor([[True, True, False, False, False, True, True]])
    output = lstm(holed, mask)
    expected = lstm(values, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(output[:, mask[0]], expected)
    assert not output[:, ~mask[0]].any()


def test_running_by_length_keeps_the_order_of_rows():
    inputs = torch.arange(12.0).view(3, 1, 4)
    result = run_by_length(lambda x: x.transpose(1, 2), inputs, torch.tensor([2, 4, 2]), dim=2)
    assert result.squeeze(2).tolist() == [[0, 1, 0, 0], [4, 5, 6, 7], [8, 9, 0, 0]]


# MLSTM-FCN


def test_mlstm_fcn_has_the_layers_and_parameters_of_the_paper():
    width, length, cells = 200, 64, 8
    network = MLSTMFCN(width, length, cells)
    layers = [block.convolution for block in network.blocks]
    assert [(x.in_channels, x.out_channels, x.kernel_size[0]) for x in layers] == [
        (width, 128, 8),
        (128, 256, 5),
        (256, 128, 3),
    ]
    excited = [block.excite for block in network.blocks]
    assert [x and (x.squeeze.in_features, x.squeeze.out_features) for x in excited] == [
        (128, 8),  # reduction 16
        (256, 16),
        None,
    ]
    assert network.lstm.input_size == length, "the shuffle hands the LSTM the time axis as features"
    assert network.dropout.p == 0.8
    convolutions = (width * 8 + 1) * 128 + (128 * 5 + 1) * 256 + (256 * 3 + 1) * 128
    norms = 2 * (128 + 256 + 128)
    excitation = 2 * 128 * 8 + 2 * 256 * 16
    lstm = 4 * cells * (length + cells + 2)  # torch keeps two biases a gate where Keras has one
    assert count(network) == convolutions + norms + excitation + lstm
    model = build_model(recipe_of("text", N_CLASSES, text_model="mlstm_fcn", text_dim=width))
    assert count(model.head) == (128 + 64 + 1) * N_CLASSES, "global average pooling, one softmax"


def test_fixed_length_pads_closes_holes_and_resamples():
    values = torch.arange(9.0).view(1, 9, 1).expand(3, -1, -1)
    mask = torch.tensor([[True] * 9, [False, True, False, True] + [False] * 5, [False] * 9])
    time = values.squeeze(2) * 0.5
    result = fixed_length(Stream(values, mask, time), 5)
    assert result.values.squeeze(2).tolist() == [[0, 2, 4, 6, 8], [1, 3, 0, 0, 0], [0] * 5]
    assert result.mask.sum(dim=1).tolist() == [5, 2, 0]
    assert result.time[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    between = fixed_length(vectors_of(values[:1], mask[:1]), 3)
    assert between.values.flatten().tolist() == [0, 4, 8]
    assert fixed_length(vectors_of(values[:1], mask[:1]), 1).values.flatten().tolist() == [0]
    longer = fixed_length(vectors_of(values[:1, :2], mask[:1, :2]), 4)
    assert longer.values.flatten().tolist() == [0, 1, 0, 0]


def test_mlstm_fcn_overfits_eight_clips_in_evaluation_too():
    model, _ = model_and_batch("face", {"face_model": "mlstm_fcn"})
    batch, labels = feature_batch(n_clips=8, seed=3), torch.arange(8) % N_CLASSES
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(batch)["face"], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        assert model(batch)["face"].argmax(dim=1).tolist() == labels.tolist()


# r3d_18


def test_resnet3d_has_the_parameters_of_the_published_model():
    with torch.device("meta"):
        published = r3d_18()
        model = build_model(recipe_of("face", N_CLASSES, face_model="resnet3d"))
    expected = count(published) - count(published.fc) + (512 + 1) * N_CLASSES
    assert count(published) == R3D_18_Weights.KINETICS400_V1.meta["num_params"]
    assert count(model) == expected


def test_resnet3d_equals_torchvision_but_for_two_temporal_strides():
    torch.manual_seed(0)
    encoder, published = VideoEncoder().eval(), r3d_18().eval()
    missing = published.load_state_dict(encoder.network.state_dict(), strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    for stage in (published.layer3, published.layer4):
        stage[0].conv1[0].stride = stage[0].downsample[0].stride = (1, 2, 2)
    published.fc = nn.Identity()
    crops = torch.randint(256, (1, 4, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (KINETICS_MEAN, KINETICS_STD))
    with torch.no_grad():
        ours = encoder(crops_of(crops)).values.mean(dim=1)
        theirs = published((crops.transpose(1, 2) / 255 - mean) / std)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_resnet3d_gives_a_step_for_two_frames_at_their_mean_time():
    model, batch = model_and_batch("face", {"face_model": "resnet3d"})
    mask = torch.ones(4, 8).bool()
    batch = with_stream(batch, "face", mask=mask)
    mask[1, 1:4] = False  # found: frames 0, 4, 5, 6, 7
    with torch.no_grad():
        sequence = model.encode(batch)
    assert sequence.values.shape == (4, 4, 512)
    assert sequence.mask.tolist()[1] == [True, True, True, False]
    torch.testing.assert_close(sequence.time[0], torch.tensor([0.4, 1.2, 2.0, 2.8]))
    torch.testing.assert_close(sequence.time[1, :3], torch.tensor([1.0, 2.4, 3.0]))


def test_sixteen_frames_give_eight_steps_and_odd_ones_round_up():
    encoder = VideoEncoder().eval()
    for frames, steps in ((16, 8), (5, 3), (1, 1)):
        crops = torch.zeros(1, frames, 3, 16, 16, dtype=torch.uint8)
        with torch.no_grad():
            sequence = encoder(crops_of(crops))
        assert sequence.values.shape == (1, steps, 512)
        assert sequence.time.shape == (1, steps)


def test_resnet3d_takes_the_floats_that_mixup_leaves():
    model, batch = model_and_batch("face", {"face_model": "resnet3d"})
    with torch.no_grad():
        whole = model(batch)["face"]
        mixed = model(with_stream(batch, "face", values=batch.streams["face"].values.float()))[
            "face"
        ]
    torch.testing.assert_close(whole, mixed)


def test_kinetics_weights_load_or_say_why_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def refuse(*_, **__):
        raise OSError("network unreachable")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    encoder = VideoEncoder()
    assert load_pretrained(encoder, PART, "auto") is False
    assert "network unreachable" in capsys.readouterr().err
    with pytest.raises(UserError, match="Kinetics"):
        load_pretrained(encoder, PART, "true")
    published = r3d_18()
    torch.save(published.state_dict(), folder / R3D_18_Weights.KINETICS400_V1.url.split("/")[-1])
    assert load_pretrained(encoder, PART, "true") is True
    torch.testing.assert_close(encoder.network.stem[0].weight, published.stem[0].weight)
