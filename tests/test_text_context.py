"""Words that look back: the utterances before a clip in its dialogue, ``--text_context``."""

import importlib.util

import numpy as np
import pytest
import torch

from emotion.corpora.dialogues import MOST_PAST, with_past
from emotion.corpora.loading import load_corpus
from emotion.errors import UserError
from emotion.frozen.text_encoder import TextEncoder
from emotion.inputs.store import FeatureStore, StoredClip
from emotion.inputs.transcripts import transcripts_of
from emotion.preprocessing.run import PreprocessOptions, preprocess
from emotion.records import Clip, Labels
from tests.encoders import PLACES, make_bert
from tests.prediction import answers_of, make_checkpoint, probabilities_of

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed (requirements-text.txt)",
)
CLASSES = ("bad", "good")
ROWS = [  # id, split, dialogue, transcript
    ("a0", "train", "a", "so happy"),
    ("a1", "train", "a", "I am sad!"),
    ("b0", "train", "b", "unhappy"),
    ("a2", "train", "a", "am I"),
    ("a3", "train", "a", "happy, so happy"),
    ("x", "train", "", "sad"),
    ("c0", "val", "a", "I am happy"),
    ("c1", "val", "a", "happy"),
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return str(make_bert(tmp_path_factory.mktemp("encoders") / "tiny"))


def write_table(folder, rows, dialogues=True):
    folder.mkdir(exist_ok=True)
    lines = ["id,path,label,split,dialogue,transcript"]
    for number, (name, split, dialogue, said) in enumerate(rows):
        label = CLASSES[number % 2]
        lines.append(f'{name},,{label},{split},{dialogue if dialogues else ""},"{said}"')
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def run(folder, encoder, features="features", **changes):
    given = {
        "corpus": "table",
        "data_dir": str(folder),
        "features_dir": str(folder / features),
        "vggface_weights": "none",
        "num_workers": 0,
        "text_encoder": encoder,
        "text_context": 2,
    }
    assert preprocess(PreprocessOptions(**given | changes)) == 0
    return FeatureStore(folder / features)


def words_of(store):
    return {
        record.stem: StoredClip(store, split, record).read("text").values
        for split in store.splits()
        for record in store.read_manifest(split)
    }


def clip(said, split="train"):
    return Clip(said, said, None, split, None, Labels(), None, said)


# -- what was said before --------------------------------------------------------------------------


def test_a_clip_knows_what_was_said_before_it_in_its_own_dialogue():
    clips = with_past([clip(said) for said in "abcdef"], ["1", "1", "2", "1", "2", ""])
    assert [one.past for one in clips] == [(), ("a",), (), ("a", "b"), ("c",), ()]


def test_dialogues_of_one_name_in_two_splits_are_two():
    clips = with_past([clip("a"), clip("b", "val"), clip("c", "val"), clip("d")], ["1"] * 4)
    assert [one.past for one in clips] == [(), (), ("b",), ("a",)]


def test_clips_without_a_dialogue_are_alone_and_silent_ones_are_passed_over():
    assert [one.past for one in with_past([clip("a"), clip("b")], ["", ""])] == [(), ()]
    assert [one.past for one in with_past([clip("a"), clip(""), clip("c")], ["1"] * 3)][2] == ("a",)


def test_no_more_is_remembered_than_an_encoder_may_read():
    *_, last = with_past([clip(str(n)) for n in range(MOST_PAST + 5)], ["1"] * (MOST_PAST + 5))
    assert last.past == tuple(str(n) for n in range(4, MOST_PAST + 4))


def test_the_rows_of_a_table_have_dialogues(tmp_path):
    clips = load_corpus("table", write_table(tmp_path, ROWS)).clips
    past = {one.stem: one.past for one in clips}
    assert past["a3"] == ("so happy", "I am sad!", "am I")
    assert past["a0"] == past["b0"] == past["x"] == past["c0"] == ()
    assert past["c1"] == ("I am happy",)


# -- the encoder -----------------------------------------------------------------------------------


def test_the_states_are_those_of_its_own_words_alone_and_having_looked_back(bert):
    encoder = TextEncoder(bert, device="cpu")
    texts, past = ["I am unhappy!", "sad"], [["so happy", "sad"], []]
    both, alone = encoder.embed(texts, past)
    looked_back = both[:, 32:]
    tokens = encoder.tokenizer("so happy sad", "I am unhappy!", return_tensors="pt")
    with torch.inference_mode():  # [CLS] so happy sad [SEP] i am un ##happy ! [SEP]
        states = encoder.model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state[0, 5:-1]
    np.testing.assert_allclose(looked_back[:2], states[:2], atol=1e-6)
    np.testing.assert_allclose(looked_back[2], states[2:4].mean(0), atol=1e-6)
    assert len(looked_back) == len(encoder.spans(texts)[0]) == 4
    np.testing.assert_allclose(both[:, :32], encoder.embed(texts[:1])[0], atol=1e-6)
    np.testing.assert_allclose(alone, np.tile(encoder.embed(["sad"])[0], 2), atol=1e-6)


def test_what_is_longest_ago_gives_way_and_never_the_words_themselves(bert):
    encoder = TextEncoder(bert, device="cpu")
    long = "so " * 9
    kept, short = (
        encoder.embed(["I am sad"], [past])[0] for past in (["happy happy", long], [long])
    )
    assert PLACES < 3 + 9 + 2 + 3
    np.testing.assert_allclose(kept, short, atol=1e-6)
    (full,) = encoder.embed(["sad " * 30], [["happy"]])
    np.testing.assert_allclose(full, np.tile(encoder.embed(["sad " * 30])[0], 2), atol=1e-6)
    assert len(full) == PLACES - 2


# -- preprocess.py ---------------------------------------------------------------------------------


def test_words_look_back_at_the_last_utterances_and_at_no_later_one(tmp_path, bert):
    found = words_of(run(write_table(tmp_path, ROWS), bert))
    encoder = TextEncoder(bert, device="cpu")
    past = {"a0": [], "a1": ["so happy"], "a3": ["I am sad!", "am I"], "c0": [], "x": []}
    said = {name: text for name, _, _, text in ROWS}
    for name, before in past.items():
        np.testing.assert_allclose(
            found[name], encoder.embed([said[name]], [before])[0], atol=1e-5, err_msg=name
        )
    alone, looked_back = np.split(found["a3"], 2, axis=1)
    np.testing.assert_allclose(alone, encoder.embed([said["a3"]])[0], atol=1e-5)
    assert np.abs(looked_back - alone).max() > 0.01


@pytest.mark.parametrize(
    ("changed", "moved"), [("a1", {"a1", "a2", "a3"}), ("a3", {"a3"}), ("b0", {"b0"})]
)
def test_only_what_comes_after_in_the_dialogue_and_the_split_sees_an_utterance(
    tmp_path, bert, changed, moved
):
    other = [(n, s, d, "so so so" if n == changed else said) for n, s, d, said in ROWS]
    before = words_of(run(write_table(tmp_path / "one", ROWS), bert))
    after = words_of(run(write_table(tmp_path / "two", other), bert))
    differ = {
        name
        for name in before
        if before[name].shape != after[name].shape
        or np.abs(before[name] - after[name]).max() > 1e-4
    }
    assert differ == moved


def test_how_far_words_look_back_is_part_of_what_they_are(tmp_path, bert):
    folder = write_table(tmp_path, ROWS)
    settings = run(folder, bert).read_description()["settings"]
    assert settings["text"].endswith(" context 2")
    with pytest.raises(
        UserError, match=r"made with text tiny@.* context 2, now it is .* context 3"
    ):
        run(folder, bert, text_context=3)
    plain = run(folder, bert, "plain", text_context=0).read_description()["settings"]
    assert f"{plain['text']} context 2" == settings["text"]
    assert "context" not in plain["text:embedder"]


def test_what_has_no_dialogues_or_no_encoder_says_so_in_a_line(tmp_path, bert):
    folder = write_table(tmp_path, ROWS, dialogues=False)
    with pytest.raises(
        UserError, match=r"--text_context 2: table knows no dialogues; leave it out"
    ):
        run(folder, bert)
    folder = write_table(tmp_path, ROWS)
    with pytest.raises(UserError, match=r"--text_context 2: .* give --text_encoder"):
        run(folder, "")
    corpus, flags = load_corpus("table", folder), {"text_encoder": bert, "word_vectors": ""}
    with pytest.raises(UserError, match=r"--text_context 2: .* leave out --transcribe"):
        transcripts_of(corpus, None, flags, 2, transcribed=True)
    assert not (folder / "features").exists()


# -- predict.py ------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path, bert):
    folder = write_table(tmp_path / "data", ROWS)
    run(folder, bert)
    return folder


def model_of(corpus, folder):
    settings = FeatureStore(corpus / "features").read_description()["settings"]
    return make_checkpoint(folder, "text", class_names=CLASSES, features=settings, text_dim=64)


def test_the_rows_of_a_table_look_back_as_the_features_do(corpus, tmp_path):
    model = model_of(corpus, tmp_path / "logs")
    given = {"probabilities": True}
    stored = answers_of(
        model, tmp_path, split="train", features_dir=str(corpus / "features"), **given
    )
    table = answers_of(model, tmp_path, input=[str(corpus / "table.csv")], **given)
    wanted = {row["FileID"]: probabilities_of(row, CLASSES) for row in stored}
    found = {row["FileID"]: probabilities_of(row, CLASSES) for row in table}
    for name, shares in wanted.items():
        assert found[name] == pytest.approx(shares, abs=1e-5)
    (corpus / "alone.csv").write_text('id,path,transcript\na3,,"happy, so happy"\n')
    (alone,) = answers_of(model, tmp_path, input=[str(corpus / "alone.csv")], **given)
    assert probabilities_of(alone, CLASSES) != pytest.approx(wanted["a3"], abs=1e-4)


def test_a_model_refuses_features_that_look_back_another_way(corpus, bert, tmp_path):
    model = model_of(corpus, tmp_path / "logs")
    run(corpus, bert, "plain", text_context=0)
    with pytest.raises(UserError, match=r"made with text .* layers 1, .* trained on .* context 2"):
        answers_of(model, tmp_path, split="train", features_dir=str(corpus / "plain"))
