"""Words and their times: corrected, cut, given to sub-words, read from files of others."""

import json
from math import isnan, nan

import numpy as np
import pytest

from emotion.errors import UserError
from emotion.inputs.feature import Window
from emotion.inputs.given_words import given
from emotion.inputs.sampling import rows_within
from emotion.inputs.spoken import Spoken, Word, cleaned, describe, restore, spoken_of
from emotion.inputs.spoken_files import read_given, read_list, write_list

HEARD = [("Kids", 0.6, 1.2), ("are", 1.2, 1.3), ("talking", 1.3, 1.6), ("by", 1.6, 1.8)]
KIDS = Spoken(tuple(Word(*one) for one in HEARD), "en", 0.9)
LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2.5
            text = "a"
    item [2]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.5
            text = "so"
        intervals [3]:
            xmin = 1.5
            xmax = 2.5
            text = "xmin = ""3"""
'''
SHORT = '"ooTextFile"\n"TextGrid"\n\n0\n2.5\n<exists>\n1\n"IntervalTier"\n"words"\n0\n2.5\n2\n'
SHORT += '0\n0.5\n"sil"\n0.5\n1.5\n"so"\n'
SRT = "1\n00:01:00,500 --> 00:01:02,500\n<i>so \u2026</i>\nsad\n\n"
SRT += "2\n00:01:03,000 --> 00:01:04,000\nno"
VTT = "WEBVTT\n\n00:01.000 --> 00:03.000 align:start\n<v Ann>so sad\n"


def times(spoken):
    return [(w.text, round(w.start, 3), round(w.end, 3)) for w in spoken.words]


def test_words_that_stay_in_a_correction_keep_their_times():
    found = times(KIDS.corrected("kids, are really walking by now"))
    assert [word for word, *_ in found] == ["kids,", "are", "really", "walking", "by", "now"]
    assert ("are", 1.2, 1.3) in found
    assert ("by", 1.6, 1.8) in found
    really, walking = found[2:4]
    assert (really[1], walking[2]) == (1.3, 1.6), "those in the place of talking share its time"
    assert really[2] == walking[1]
    assert found[5] == ("now", 1.8, 1.8), "what nobody heard is where it would be"


def test_a_correction_of_untimed_words_has_no_times():
    assert all(isnan(word.start) for word in spoken_of("so sad").corrected("very so").words)


def test_a_script_without_spaces_is_corrected_letter_by_letter():
    heard = Spoken((Word("今日", 0.0, 1.0), Word("は", 1.0, 1.5)), "ja")
    assert heard.text == "今日は"
    assert [word.text for word in heard.corrected("今日も").words][-1] == "も"


def test_parts_of_a_word_have_its_time():
    spans = np.array([[0, 4], [2, 4], [5, 8], [9, 12], [12, 16], [17, 19]])
    wanted = [0.9, 0.9, 1.25, 1.45, 1.45, 1.7]
    np.testing.assert_allclose(KIDS.times(spans), wanted, atol=1e-6)
    mixed = KIDS._replace(words=(Word("so"), *KIDS.words))
    np.testing.assert_allclose(mixed.times(np.array([[0, 2], [3, 7]])), [nan, 0.9], atol=1e-6)


def test_a_window_has_the_words_whose_middle_it_holds_on_its_own_clock():
    inside = KIDS._replace(words=(*KIDS.words, Word("untimed"))).within(Window(1.0, 1.5))
    assert times(inside) == [("are", 0.2, 0.3), ("talking", 0.3, 0.5)]


def test_words_come_back_from_json():
    spoken = KIDS._replace(words=(*KIDS.words, Word("untimed")))
    back = restore(json.loads(json.dumps(describe(spoken))))
    assert describe(back) == describe(spoken)
    assert isnan(back.words[-1].end)


def test_what_a_transcriber_writes_is_cleaned():
    said = cleaned([Word(" Don\u2019t ", 0, 1), Word(" ", 1, 2)])
    assert said == (Word("Don't", 0, 1),)


# -- files -----------------------------------------------------------------------------------------


def test_the_list_comes_back_and_a_sheet_s_formulas_do_no_harm(tmp_path):
    path = tmp_path / "transcripts.csv"
    said = Spoken((Word("=1+1@2", 0.5, 1.0), Word("so")), "en", 0.5)
    write_list(path, [("a", "=1+1@2 so", said), ("b", "", Spoken())], within=tmp_path)
    assert path.read_text().splitlines()[1].startswith("a,'=1+1@2 so,en,0.500,")
    found = read_list(path, "mend it")
    assert found["a"][0] == "=1+1@2 so"
    assert times(found["a"][1])[0] == ("=1+1@2", 0.5, 1.0)
    assert found["b"] == ("", Spoken(confidence=found["b"][1].confidence))


def test_a_corrected_line_of_the_list_is_given_with_times(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("FileID,transcript,words\na,so bad,so@0.50-1.00 sad@1.00-1.50\nb,new,\n")
    found = read_given(path)
    assert times(found["a"]) == [("so", 0.5, 1.0), ("bad", 1.0, 1.5)]
    assert not found["b"].timed


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.txt", "so  sad\n", ["so", "sad"]),
        ("a.srt", SRT, [("so", 60.5, 61.0), ("...", 61.0, 61.75), ("no", 63.0, 64.0)]),
        ("a.vtt", VTT, [("so", 1.0, 1.8), ("sad", 1.8, 3.0)]),
        ("a.TextGrid", LONG, [("so", 0.5, 1.5), ("xmin", 1.5, 2.0)]),
        ("a.TextGrid", SHORT, [("so", 0.5, 1.5)]),
    ],
)
def test_files_of_words_are_read(tmp_path, name, content, wanted):
    for coding in ("utf-8", "utf-8-sig", *(["utf-16"] if "Text" in name else [])):
        (tmp_path / name).write_bytes(content.replace("\n", "\r\n").encode(coding))
        said = read_given(tmp_path)["a"]
        found = times(said) if said.timed else [word.text for word in said.words]
        assert [one for one in found if one in wanted] == wanted


def test_a_damaged_grid_and_an_empty_folder_are_a_line(tmp_path):
    with pytest.raises(UserError, match=r"--transcripts .*: holds no \.txt"):
        read_given(tmp_path)
    (tmp_path / "a.TextGrid").write_text("nothing")
    with pytest.raises(UserError, match=r"a\.TextGrid: not readable as TextGrid"):
        read_given(tmp_path)


def test_the_flag_tells_words_from_networks(tmp_path):
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "model.bin").touch()
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "model.safetensors").touch()
    (tmp_path / "w.csv").write_text("id,transcript\na,so sad\n")
    names = ("whisper", "mini", "w.csv")
    found = given(tuple(str(tmp_path / name) for name in names))
    assert (found.transcriber, found.embedder) == (
        str(tmp_path / "whisper"),
        str(tmp_path / "mini"),
    )
    assert found.words["a"].text == "so sad"
    assert given(("none",)).nothing
    with pytest.raises(UserError, match="--transcripts gone: no such file"):
        given(("gone",))
    with pytest.raises(UserError, match="leave out the other"):
        given(("none", str(tmp_path / "w.csv")))


def test_a_crop_of_a_clip_keeps_the_words_without_times():
    known = np.array([0.5, nan, 1.5, 2.5])
    assert rows_within(known, Window(1.0, 2.0)).tolist() == [1, 2]
    assert rows_within(known[[0, 3]], Window(1.0, 1.2)).tolist() == [0]
