"""Frozen encoders with drawn weights, small enough to make in a test."""

import cv2
import numpy as np
import pytest
import torch

from tests.media import portrait

FACE = portrait(188)[:160, :160]
CROPS = np.stack([FACE, FACE[:, ::-1], 255 - FACE])

WORDS = ["i", "am", "so", "happy", "##ness", "sad", "un", "##happy", "!", ","]
PLACES = 16  # tokens that the BERT reads at most


def make_whisper(folder, seed=0):
    """Whisper with an encoder of two layers of 16; its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sides = {f"{side}_layers": 2 for side in ("encoder", "decoder")}
    sides |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sides |= {f"{side}_ffn_dim": 16 for side in ("encoder", "decoder")}
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    config = transformers.WhisperConfig(
        d_model=16, num_mel_bins=80, vocab_size=8, pad_token_id=0, **sides, **tokens
    )
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def shrunk(side=32):
    """The crops at a network's size, float32 (F, side, side, 3)."""
    crops = [cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in CROPS]
    return np.stack(crops).astype(np.float32)


def make_onnx(
    path, *, shape=("N", 3, 32, 32), kind="FLOAT", before=(), named="inner", metadata=None, seed=0
):
    """A convolution, the mean over its map (``named``, 8 numbers), and a linear layer (7).

    Args:
        path: of the file.
        shape: of its input.
        kind: of its input's numbers.
        before: operations on the input: a name, and the constants that it takes.
        named: how the mean is called; an output, but for ``inner``.
        metadata: of the file.
        seed: of the weights.
    """
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(seed)
    last = shape[3] in (1, 3)
    colours = shape[3 if last else 1]
    weights = {
        "kernel": rng.normal(size=(8, colours if isinstance(colours, int) else 3, 3, 3)) / 9,
        "matrix": rng.normal(size=(8, 7)),
        "bias": rng.normal(size=7),
    }
    nodes, now = [], "image"
    steps = [("Cast", (), {"to": onnx.TensorProto.FLOAT})] if kind != "FLOAT" else []
    steps += [("Transpose", (), {"perm": [0, 3, 1, 2]})] if last else []
    steps += [(name, constants, {}) for name, constants in before]
    for number, (name, constants, extra) in enumerate(steps):
        given = [f"constant{number}{place}" for place in range(len(constants))]
        weights |= dict(zip(given, map(np.array, constants), strict=True))
        nodes.append(onnx.helper.make_node(name, [now, *given], [f"step{number}"], **extra))
        now = f"step{number}"
    nodes += [
        onnx.helper.make_node("Conv", [now, "kernel"], ["map"], strides=[4, 4]),
        onnx.helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], [named]),
        onnx.helper.make_node("Gemm", [named, "matrix", "bias"], ["logits"]),
    ]
    outputs = ["logits", *([named] if named != "inner" else [])]
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info("image", getattr(onnx.TensorProto, kind), shape)],
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.helper.set_model_props(model, metadata or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return str(path)


IMAGE_ENCODER = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "patch_size": 8, "image_size": 32,
}  # fmt: skip


def make_image_encoder(folder, kind="vit", seed=0):
    """A tiny CLIP, its vision part, DINOv2, ViT, or ViT with a classifier in place of a pooler."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    size, square = {"shortest_edge": 40}, {"height": 32, "width": 32}
    if kind == "clip":
        text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        text |= {"num_attention_heads": 2, "vocab_size": 9, "bos_token_id": 0, "eos_token_id": 1}
        config = transformers.CLIPConfig(
            text_config=text, vision_config=IMAGE_ENCODER, projection_dim=8
        )
        model = transformers.CLIPModel(config)
    elif kind == "clip vision":
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**IMAGE_ENCODER))
    elif kind == "dinov2":
        given = {
            name: value for name, value in IMAGE_ENCODER.items() if name != "intermediate_size"
        }
        model = transformers.Dinov2Model(transformers.Dinov2Config(**given, mlp_ratio=1))
    elif kind == "vit":
        model = transformers.ViTModel(transformers.ViTConfig(**IMAGE_ENCODER))
    else:
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**IMAGE_ENCODER))
    with torch.no_grad():  # drawn so small that all pictures look alike
        for parameter in model.parameters():
            parameter.mul_(8.0) if parameter.dim() > 1 else None
    if kind == "vit":
        made = transformers.ViTImageProcessor(size=square)
    elif kind == "vit classifier":
        made = transformers.ViTImageProcessor(size=square, do_normalize=False)
    else:
        made = transformers.CLIPImageProcessor(size=size, crop_size=square)
    model.eval().save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


def make_bert(folder):
    """A BERT of 32 numbers a token that knows ``WORDS``; its folder."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir(exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=PLACES,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder
