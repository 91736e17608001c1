"""The speech model: EfficientNet's structure, padding, pooling and published weights."""

import json
import math

import pytest
import torch
from efficientnet_pytorch import EfficientNet
from efficientnet_pytorch.utils import url_map

from emotion.errors import UserError
from emotion.networks.attention import (
    AttentionPooling,
    MeanPooling,
    StatisticsPooling,
    masked_softmax,
)
from emotion.networks.efficientnet import SpectrogramEncoder, build_network, load_pretrained
from emotion.networks.model import build_model
from emotion.recipe import describe, restore
from emotion.records import Batch, Stream
from tests.model_batches import count, settle
from tests.recipes import part_of, recipe_of
from tests.warm import run_script

N_CLASSES = 7


PART = part_of("speech")


def sounds(speech, lengths=None, present=None):
    """A batch of spectrograms (B, 128, T); ``lengths`` in frames, ``present`` where heard."""
    steps = torch.arange(speech.shape[2])
    mask = torch.ones(len(speech), speech.shape[2], dtype=torch.bool)
    if lengths is not None:
        mask = steps < torch.as_tensor(lengths).unsqueeze(1)
    if present is not None:
        mask = mask & torch.tensor(present).unsqueeze(1)
    time = (steps * 0.016).expand(mask.shape)
    return Batch({"speech": Stream(speech.transpose(1, 2), mask, time)})


def speech_model(kind="efficientnet", coeff=0, **flags):
    torch.manual_seed(0)
    recipe = recipe_of("speech", N_CLASSES, coeff=coeff, speech_model=kind, **flags)
    return build_model(recipe).eval()


def settled(kind="efficientnet"):
    return settle(speech_model(kind), sounds(torch.rand(4, 128, 96)))


def settled_network():
    torch.manual_seed(0)
    return settle(build_network(0), torch.rand(4, 1, 128, 96))


@pytest.fixture(scope="module")
def attention_model():
    return settled()


@pytest.mark.parametrize("coeff", range(8))
def test_parameter_count_is_that_of_the_published_model(coeff):
    with torch.device("meta"):
        published = EfficientNet.from_name(f"efficientnet-b{coeff}")
        model = speech_model(coeff=coeff)
    stem, classifier = published._conv_stem.weight, published._fc
    expected = count(published) - stem.numel() * 2 // 3
    expected += (N_CLASSES - classifier.out_features) * (classifier.in_features + 1)
    assert count(model) == expected + count(AttentionPooling(classifier.in_features))


def test_published_size_of_b0():
    with torch.device("meta"):
        assert count(EfficientNet.from_name("efficientnet-b0")) == 5_288_548


@pytest.mark.parametrize("frames", [32, 96, 224, 640])
def test_static_padding_equals_the_dynamic_one_of_the_library(frames):
    network = settled_network().double()  # or rounding grows over 80 layers to 1e-4
    dynamic = (
        EfficientNet.from_name("efficientnet-b0", in_channels=1, include_top=False, image_size=None)
        .double()
        .eval()
    )
    dynamic.load_state_dict(network.state_dict())
    image = torch.rand(1, 1, 128, frames, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = network.extract_features(image), dynamic.extract_features(image)
    assert ours.shape[-1] == frames // 32
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, theirs)


def test_the_mean_without_padding_equals_the_library():
    model = settled()
    model.head.pooling = MeanPooling()
    library = EfficientNet.from_name(
        "efficientnet-b0", in_channels=1, num_classes=N_CLASSES, image_size=None
    ).eval()
    state = dict(model.encoder.network.state_dict())
    state["_fc.weight"] = model.head.classifier.weight
    state["_fc.bias"] = model.head.classifier.bias
    library.load_state_dict(state)
    speech = torch.rand(2, 128, 160)
    with torch.no_grad():
        ours = model(sounds(speech))["speech"]
        theirs = library(speech.unsqueeze(1))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert model.head.dropout.p == library._dropout.p


def test_batch_norm_keeps_up_with_short_runs():
    norms = [m for m in build_network(0).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 49
    assert {norm.momentum for norm in norms} == {0.1}


@pytest.mark.parametrize(
    ("kind", "width", "pool"),
    [
        ("efficientnet", 32, 1),
        ("efficientnet", 128, 1),
        ("efficientnet", 128, 2),
        ("efficientnet_small", 128, 2),
    ],
)
def test_a_clip_is_answered_alike_alone_and_beside_longer_ones(kind, width, pool):
    model = settled(kind)
    model.encoder.frames, model.encoder.downsample = width, pool
    lengths = [40, 64, 150, 190]
    clips = [torch.rand(1, 128, -(-length // 32) * 32) for length in lengths]
    # rubbish after the end of a clip, as no loader would write it
    rubbish = torch.full((1, 128, 224), 9.0)
    batch = sounds(torch.cat([torch.cat([c, rubbish], 2)[..., :224] for c in clips]), lengths)
    with torch.no_grad():
        together = model(batch)["speech"]
        assert together.std(dim=0).min() > 1e-3, "the clips are told apart at all"
        for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            alone = model(sounds(clip, [length]))["speech"]
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_a_short_clip_is_run_at_the_fixed_width_in_training_and_evaluation():
    model = speech_model(speech_frames=100)
    widths = []
    model.encoder.network._conv_stem.register_forward_pre_hook(
        lambda _, inputs: widths.append(inputs[0].shape[-1])
    )
    batch = sounds(torch.rand(3, 128, 64), [64, 40, 20])
    for training in (True, False):
        sequence = model.train(training).encode(batch)
        assert sequence.values.shape[1] == sequence.mask.shape[1] == 2
    long = sounds(torch.rand(1, 128, 160))
    assert model.encode(long).values.shape[1] == 5
    assert widths == [128, 128, 160]


def test_statistics_are_the_mean_and_deviation_of_all_places_of_the_map():
    model = settled("efficientnet_small")
    model.encoder.downsample = 1
    speech = torch.rand(2, 128, 96)
    with torch.no_grad():
        places = model.encoder.network.extract_features(speech.unsqueeze(1)).flatten(2)
        pooled = model.head.pooling(model.encode(sounds(speech)))
        silent = sounds(speech, present=[True, False])
        nothing = model.head.pooling(model.encode(silent))[1]
    wanted = torch.cat([places.mean(dim=2), places.std(dim=2, correction=0)], dim=1)
    torch.testing.assert_close(pooled, wanted, atol=4e-3, rtol=1e-3)
    assert (nothing == 0).all()


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("coeff", [0, 3])
def test_a_network_that_ends_early_is_the_first_part_of_the_whole(coeff, stride):
    whole, early = build_network(coeff), build_network(coeff, stride)
    image = torch.rand(2, 1, 128, 64)
    points = settle(whole, image).extract_endpoints(image)
    own, given = early.state_dict(), whole.state_dict()
    shared = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    assert set(own) - set(shared) == {"_conv_head.weight"}
    early.load_state_dict(shared, strict=False)
    maps = []
    early._conv_head.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    with torch.no_grad():
        features = early.eval().extract_features(image)
    torch.testing.assert_close(maps[0], points[f"reduction_{int(math.log2(stride))}"])
    assert features.shape == (2, whole._conv_head.out_channels, 128 // stride, 64 // stride)


@pytest.mark.parametrize(("stride", "pool"), [(8, 1), (16, 1), (16, 2), (16, 4), (8, 2)])
def test_a_step_is_32_frames_whatever_the_network_halves(stride, pool):
    encoder = SpectrogramEncoder(build_network(0, stride), 32, pool, stride).eval()
    for frames in (32, 96, 160):
        sequence = encoder(sounds(torch.rand(2, 128, frames)).streams["speech"])
        assert sequence.values.shape == (2, frames // 32, 1280)
        assert sequence.values.std(dim=0).max() > 0


@pytest.mark.parametrize("frames", [32, 96, 128])
def test_pooling_the_spectrogram_makes_the_image_smaller_and_keeps_the_clock(frames):
    model = speech_model()
    model.encoder.downsample = 2
    shapes = []
    model.encoder.network._conv_stem.register_forward_pre_hook(
        lambda _, inputs: shapes.append(inputs[0].shape[2:])
    )
    sequence = model.encode(sounds(torch.rand(1, 128, frames)))
    assert shapes == [(64, -(-frames // 64) * 32)]
    assert sequence.values.shape[1] == sequence.time.shape[1] == frames // 32
    assert torch.equal(sequence.values[:, 0], sequence.values[:, min(1, frames // 32 - 1)])
    torch.testing.assert_close(sequence.time[0, -1], torch.tensor((frames - 16) * 0.016))


def test_training_leaves_steps_after_the_end_out_of_pooling(attention_model):
    batch = sounds(torch.rand(2, 128, 192), [192, 65])
    with torch.no_grad():
        sequence = attention_model.encode(batch)
        weights = attention_model.attention(batch)["speech"].weights
    assert sequence.values.shape == (2, 6, 1280)
    assert sequence.mask.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    assert weights[1, 3:].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


def test_step_times_are_seconds_at_their_middle(attention_model):
    sequence = attention_model.encode(sounds(torch.rand(1, 128, 96)))
    torch.testing.assert_close(sequence.time, torch.tensor([[0.256, 0.768, 1.280]]))


def test_silence_is_masked_and_answered_by_the_bias(attention_model):
    batch = sounds(torch.rand(2, 128, 64), present=[False, True])
    logits = attention_model(batch)["speech"]
    torch.testing.assert_close(logits[0], attention_model.head.classifier.bias)
    logits.sum().backward()
    gradients = [p.grad for p in attention_model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    attention_model.zero_grad()


def test_gradients_reach_every_parameter():
    model = speech_model().train()
    batch = sounds(torch.rand(3, 128, 64), [64, 40, 20])
    torch.nn.functional.cross_entropy(model(batch)["speech"], torch.arange(3)).backward()
    # a softmax ignores what is added to all its scores, so that one bias has nothing to learn
    idle = {"head.pooling.score.2.bias"}
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name for name, _ in model.named_parameters()} - reached <= idle


def test_evaluation_is_deterministic(attention_model):
    batch = sounds(torch.rand(2, 128, 64))
    with torch.no_grad():
        first, second = attention_model(batch), attention_model(batch)
    assert torch.equal(first["speech"], second["speech"])


def test_bfloat16_autocast_is_finite(attention_model):
    batch = sounds(torch.rand(2, 128, 64), [64, 10], [True, False])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert attention_model(batch)["speech"].isfinite().all()


def test_a_recipe_round_trip_rebuilds_the_model(attention_model):
    recipe = recipe_of("speech", N_CLASSES)
    again = restore(json.loads(json.dumps(describe(recipe))))
    assert again == recipe
    build_model(again).load_state_dict(attention_model.state_dict())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"encoder": "eficientnet"}, "no encoder 'eficientnet' here .did you mean efficientnet"),
        ({"feature": "smell"}, "no feature 'smell' here"),
        ({"encoder": "attention_lstm", "network": {}}, "reads vectors, speech are spectrogram"),
    ],
)
def test_a_recipe_of_what_is_not_here_is_refused(wrong, reason):
    described = describe(recipe_of("speech", N_CLASSES))
    described["parts"][0] |= wrong
    with pytest.raises(UserError, match=reason):
        restore(described)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_masked_softmax_of_nothing_is_zeros_and_not_nan(dtype):
    scores = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False] * 3])
    weights = masked_softmax(scores, mask)
    assert weights.tolist() == [[0.5, 0.5, 0.0], [0.0] * 3]
    weights.square().sum().backward()
    assert scores.grad.isfinite().all()


def test_pooling_of_nothing_is_zeros():
    model = speech_model("efficientnet_small")
    assert isinstance(model.head.pooling, StatisticsPooling)
    batch = sounds(torch.rand(1, 128, 32), present=[False])
    torch.testing.assert_close(model(batch)["speech"][0], model.head.classifier.bias)
    assert model.attention(batch)["speech"].weights.tolist() == [[0.0]]


@pytest.fixture
def weights_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError("network unreachable")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)


@pytest.mark.parametrize(
    ("stride", "drawn"),
    [(32, {"_conv_stem.weight"}), (16, {"_conv_stem.weight", "_conv_head.weight"})],
)
def test_published_weights_load_with_a_summed_stem(weights_folder, stride, drawn):
    torch.manual_seed(1)
    published = EfficientNet.from_name("efficientnet-b0")
    settle(published, torch.rand(2, 3, 64, 64))
    torch.save(published.state_dict(), weights_folder / url_map["efficientnet-b0"].split("/")[-1])
    encoder = SpectrogramEncoder(build_network(0, stride), stride=stride)
    assert load_pretrained(encoder, PART, "true") is True
    grey = torch.rand(1, 1, 128, 64)
    ours = encoder.network._conv_stem(grey)
    torch.testing.assert_close(ours, published._conv_stem(grey.expand(-1, 3, -1, -1)))
    loaded, original = encoder.network.state_dict(), published.state_dict()
    if stride == 32:
        assert set(original) - set(loaded) == {"_fc.weight", "_fc.bias"}
    same = [name for name in loaded if torch.equal(loaded[name], original[name])]
    assert set(loaded) - set(same) == drawn


@pytest.mark.usefixtures("_no_network", "weights_folder")
def test_weights_that_cannot_be_had(capsys):
    encoder = SpectrogramEncoder(build_network(0))
    before = encoder.network._conv_head.weight.clone()
    assert load_pretrained(encoder, PART, "auto") is False
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "network unreachable" in captured.err
    with pytest.raises(UserError, match=r"--pretrained true: .*network unreachable"):
        load_pretrained(encoder, PART, "true")
    assert load_pretrained(encoder, PART, "false") is False
    assert torch.equal(before, encoder.network._conv_head.weight)


@pytest.mark.usefixtures("_no_network")
def test_a_damaged_file_is_one_line(weights_folder):
    path = weights_folder / url_map["efficientnet-b0"].split("/")[-1]
    path.write_bytes(b"not weights")
    with pytest.raises(UserError) as caught:
        load_pretrained(SpectrogramEncoder(build_network(0)), PART, "true")
    assert "\n" not in str(caught.value)
    torch.save({"unrelated": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="cannot be had"):
        load_pretrained(SpectrogramEncoder(build_network(0)), PART, "true")


def test_an_unknown_choice_of_pretrained_is_refused():
    with pytest.raises(UserError, match="'yes' is not one of"):
        load_pretrained(SpectrogramEncoder(build_network(0)), PART, "yes")


def test_models_import_nothing_of_the_rest(tmp_path):
    code = "import sys, emotion.networks; print(*(m for m in sys.modules if 'emotion' in m))"
    (tmp_path / "code.py").write_text(code)
    done = run_script(tmp_path / "code.py")
    assert "emotion.networks" in done.stdout.split()
    rest = (
        "corpora",
        "data",
        "inputs",
        "frozen",
        "models",
        "preprocessing",
        "training",
        "prediction",
    )
    assert [m for m in done.stdout.split() if m.split(".")[1:2] and m.split(".")[1] in rest] == []
