"""predict.py, where models read what is said: heard, from a table, or given."""

import pytest

from emotion.errors import UserError
from tests.prediction import make_checkpoint, probabilities_of
from tests.words.spoken import CLASSES, answers, run


def test_a_file_is_answered_as_its_features_are(model, corpus, tmp_path):
    stored = answers(model, tmp_path, split="train", features_dir=str(corpus / "features"))
    files = answers(model, tmp_path, input=[str(corpus / "a.wav"), str(corpus / "c.wav")])
    wanted = {row["FileID"]: row for row in stored}
    assert probabilities_of(files[0], CLASSES) == pytest.approx(
        probabilities_of(wanted["a"], CLASSES), abs=1e-6
    )
    assert files[0]["modalities"] == "text"
    assert (files[1]["Emotion"], files[1]["modalities"]) == ("", "")


def test_a_table_is_answered_with_its_transcripts_and_labels(model, corpus, tmp_path):
    rows = "id,path,label,transcript\nd,d.wav,good,sad yes\nt,,bad,yes\nx,a.wav,,\n"
    (corpus / "some.csv").write_text(rows)
    report = tmp_path / "report"
    found = answers(model, tmp_path, input=[str(corpus / "some.csv")], report=str(report))
    assert [row["FileID"] for row in found] == ["d", "t", "x"]
    assert all(row["modalities"] == "text" for row in found)
    assert '"clips": 2' in (report / "report.json").read_text()
    (corpus / "some.csv").write_text(rows.replace("bad", "dull"))
    with pytest.raises(UserError, match=r"the label 'dull' is not one of bad good"):
        answers(model, tmp_path, input=[str(corpus / "some.csv")])


def test_given_words_take_the_place_of_the_transcriber(model, corpus, tmp_path, heard):
    (tmp_path / "w.csv").write_text("FileID,transcript\na,sad sad\n")
    heard.calls = 0
    given, absent = answers(
        model, tmp_path, input=[str(corpus / "a.wav"), str(corpus / "c.wav")],
        transcripts=[str(tmp_path / "w.csv")],
    )  # fmt: skip
    assert heard.calls == 0
    (corpus / "sad.csv").write_text("id,path,transcript\ns,,sad sad\n")
    (alike,) = answers(model, tmp_path, input=[str(corpus / "sad.csv")])
    assert probabilities_of(given, CLASSES) == pytest.approx(probabilities_of(alike, CLASSES))
    assert absent["Emotion"] == ""


def test_what_is_missing_is_a_line_that_says_how_to_give_it(corpus, tmp_path):
    settings = run(corpus).read_description()["settings"]
    settings["text:transcript"]["source"] = "/somewhere/gone"
    model = make_checkpoint(
        tmp_path / "logs", "text", class_names=CLASSES, features=settings, text_dim=3
    )
    flags = {"input": [str(corpus / "a.wav")]}
    with pytest.raises(
        UserError, match=r"gone: no such .* --transcripts FOLDER.* --transcripts none"
    ):
        answers(model, tmp_path, **flags)
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "model.bin").touch()
    (row,) = answers(model, tmp_path, transcripts=[str(moved)], **flags)
    assert row["modalities"] == "text"
    with pytest.raises(UserError, match="which --transcripts none leaves out"):
        answers(model, tmp_path, transcripts=["none"], **flags)
    settings["text:transcript"]["fingerprint"] = "another"
    model = make_checkpoint(
        tmp_path / "logs", "text", class_names=CLASSES, features=settings, text_dim=3
    )
    with pytest.raises(UserError, match="is not the transcriber of the training"):
        answers(model, tmp_path, transcripts=[str(moved)], **flags)
    (corpus / "vectors.txt").unlink()
    with pytest.raises(UserError, match=r"--word_vectors .*: no such file.* --transcripts PATH"):
        answers(model, tmp_path, **flags)


def test_a_model_of_vectors_beside_clips_cannot_embed_words(corpus, tmp_path):
    model = make_checkpoint(tmp_path / "logs", "text", class_names=CLASSES, text_dim=3)
    (tmp_path / "w.csv").write_text("FileID,transcript\na,sad\n")
    with pytest.raises(UserError, match="nothing embeds these"):
        answers(
            model, tmp_path, input=[str(corpus / "a.wav")], transcripts=[str(tmp_path / "w.csv")]
        )
