"""What a reader of report.html gets beside the scores: chance, words, names, clips to play."""

import re
from urllib.parse import unquote

import numpy as np
import pytest

from emotion.corpora.qia2020 import EMOTIONS
from emotion.prediction.inputs import Item
from emotion.prediction.report_page import media_of
from emotion.prediction.scores import chance
from emotion.records import Clip, Labels
from tests.media import noise, tone, write_clip
from tests.prediction import PLAIN, make_checkpoint, report_of, rows_of, text_split
from tests.slim import slim


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of voices in files, one of which has a name that is no address as it stands."""
    folder = tmp_path_factory.mktemp("report")
    names = ["one", "two", "three?#%20.and"]
    (folder / "clips").mkdir()
    for seed, name in enumerate(names):
        voice = np.concatenate([tone(0.5, 200 + 90 * seed), noise(0.3, seed=seed)])
        write_clip(folder / "clips" / f"{name}.wav", None, voice)
    labels = "".join(
        f"{name},{label}\n" for name, label in zip(names, ["hap", "hap", "sad"], strict=True)
    )
    (folder / "labels.csv").write_text(f"FileID,Emotion\n{labels}")
    with pytest.MonkeyPatch.context() as patch:
        slim(patch)
        weights = make_checkpoint(folder, "speech", features=PLAIN)
        given = {"input": [str(folder / "clips")], "labels": str(folder / "labels.csv")}
        return report_of(weights, folder, **given)


def test_chance_is_that_of_the_commonest_class():
    labels = np.array([0, 0, 0, 2])
    found = chance(labels, ("a", "b", "c"))
    assert (found["answer"], found["classes"]) == ("a", 2)
    assert found["accuracy"] == 0.75
    assert found["unweighted_average_recall"] == 0.5
    assert found["macro_f1"] == pytest.approx(2 * 0.75 / 1.75 / 2)
    assert chance(np.zeros(0, int), ("a",)) == {}


def test_the_page_says_what_its_numbers_mean(report):
    _, numbers, page = report
    assert numbers["chance"]["accuracy"] == pytest.approx(2 / 3)
    assert "chance: always happiness" in page
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", page)
    assert re.match(r"\d{4}-\d\d-\d\d", numbers["date"])
    for words in ("Weighted accuracy", "Unweighted average recall", "Expected calibration error"):
        assert words in page
    assert page.index("Weighted accuracy:") < page.index("By class")  # in place


def test_the_surest_answer_of_every_class_that_is_answered(report):
    folder, numbers, page = report
    answered = {row["Emotion"] for row in rows_of(folder.parent / "answers.csv")}
    assert {said["answer"] for said in numbers["surest"]} == answered
    assert page.count("<figcaption>") == len(numbers["surest"]) + len(numbers["mistakes"])


def test_clips_can_be_played_from_the_page(report):
    folder, numbers, page = report
    players = re.findall(r'<audio controls preload="metadata" src="([^"]+)">', page)
    assert len(players) == len(numbers["surest"]) + len(numbers["mistakes"])
    for address in players:
        assert (folder / unquote(address)).resolve().is_file()
    assert any("%3F%23%2520" in address for address in players)
    assert "<video" not in page


def test_of_stored_features_nothing_can_be_played(tmp_path):
    weights, flags = text_split(tmp_path, 7)
    _, numbers, page = report_of(weights, tmp_path, **flags)
    assert not re.search("<(video|audio)", page)
    for name in ("happiness", "sadness", "anger"):
        assert name in page
    assert set(EMOTIONS) == set(numbers["scores"]["per_class"])


def test_a_film_is_played_as_one(tmp_path):
    path = tmp_path / "in" / "clip.MOV"
    path.parent.mkdir()
    path.touch()
    clip = Clip("clip", "clip", path, "input", None, Labels(), None)
    found = media_of(Item(clip), tmp_path / "out")
    assert found == {"media": "../in/clip.MOV", "tag": "video"}
    path.unlink()
    assert media_of(Item(clip), tmp_path / "out") == {}
