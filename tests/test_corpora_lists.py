"""Corpora that come with lists: MELD, and a table of one's own; and CSV files as they are."""

import pytest

from emotion.corpora.loading import load_corpus
from emotion.corpora.rows import decode, read_rows
from emotion.errors import UserError
from emotion.records import Labels
from tests.trees import touch

MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)
JOEY = '{n},"Hey, you!",Joey,joy,positive,{d},{u},1,1,"00:16:16,059","00:16:21,731"'


def meld(folder, **rows):
    """The three lists; each split has one utterance where no rows are given."""
    for split in ("train", "dev", "test"):
        lines = rows.get(split, [JOEY.format(n=1, d=0, u=0)])
        (folder / f"{split}_sent_emo.csv").write_text("\n".join([MELD_HEADER, *lines]) + "\n")
    return folder


def table(folder, *lines, name="table.csv"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def load(corpus, folder):
    return load_corpus(corpus, folder).clips


# -- csv files -----------------------------------------------------------------------------------


def test_windows_quotes_inside_utf_8_become_characters():
    content = "é".encode() + b" it\x92s \x93so\x94 " + "\u0092\u2026".encode()
    assert decode(content) == "é it\u2019s \u201cso\u201d \u2019\u2026"


def test_byte_order_mark_spaces_and_empty_lines_do_no_harm(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes("\ufeffpath , label\r\na.wav, sad \r\n\r\nb.wav,\r\n".encode())
    rows = read_rows(path, ("path", "label"))
    assert [(row["path"], row["label"], row["split"]) for row in rows] == [
        ("a.wav", "sad", ""),
        ("b.wav", "", ""),
    ]
    assert [row.source for row in rows] == [f"{path}:2", f"{path}:4"]


def test_a_value_may_run_over_lines(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('path,label\n"a\nb",sad\n')
    assert read_rows(path, ("path",))[0]["path"] == "a\nb"


@pytest.mark.parametrize("content", ["", "path,emotion\na,b\n"])
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path, content):
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=r"list\.csv: has no column (path|label), but"):
        read_rows(path, ("path", "label"))


# -- meld ----------------------------------------------------------------------------------------


def test_meld_lists_alone_are_a_corpus_of_transcripts(tmp_path, capsys):
    clips = load("meld", meld(tmp_path))
    assert [(clip.split, clip.stem) for clip in clips] == [
        ("train", "dia0_utt0"),
        ("val", "dia0_utt0"),
        ("test", "dia0_utt0"),
    ]
    assert {clip.path for clip in clips} == {None}
    assert {clip.transcript for clip in clips} == {"Hey, you!"}
    assert {clip.speaker for clip in clips} == {"Joey"}
    assert capsys.readouterr().err == ""


def test_meld_labels_are_seven_with_the_same_for_all_kinds(tmp_path):
    emotions = ["neutral", "surprise", "fear", "sadness", "joy", "disgust", "Anger"]
    rows = [f"1,Hm.,Ross,{e},x,3,{u},1,1,0,0" for u, e in enumerate(emotions)]
    corpus = load_corpus("meld", meld(tmp_path, train=rows))
    assert [clip.labels for clip in corpus.clips[:7]] == [Labels(i, i, i) for i in range(7)]
    assert corpus.class_names[6] == "anger"


def test_meld_films_are_found_by_split_because_their_numbers_repeat(tmp_path):
    meld(tmp_path)
    touch(
        tmp_path,
        "train/train_splits/dia0_utt0.mp4",
        "dev_splits_complete/dia0_utt0.mp4",
        "MELD.Raw/output_repeated_splits_test/dia0_utt0.mp4",
    )
    paths = [clip.path.relative_to(tmp_path).as_posix() for clip in load("meld", tmp_path)]
    assert paths == [
        "train/train_splits/dia0_utt0.mp4",
        "dev_splits_complete/dia0_utt0.mp4",
        "MELD.Raw/output_repeated_splits_test/dia0_utt0.mp4",
    ]


def test_stray_files_of_the_meld_archives_are_no_films(tmp_path, capsys):
    meld(tmp_path)
    test = "output_repeated_splits_test"
    touch(tmp_path, f"{test}/final_videos_testdia0_utt0.mp4", f"{test}/._dia0_utt0.mp4")
    touch(tmp_path, "train_splits/dia0_utt0.mp4", "extras/dia0_utt0.mp4")
    assert [clip.path is None for clip in load("meld", tmp_path)] == [False, True, True]
    assert "2 of 3 utterances have no mp4: dia0_utt0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,Hm.,Ross,bored,x,3,1,1,1,0,0", "'bored' is not one of neutral surprise"),
        ("1,Hm.,Ross,joy,x,three,1,1,1,0,0", "not whole numbers"),
    ],
)
def test_a_bad_meld_row_names_file_and_line(tmp_path, row, reason):
    with pytest.raises(UserError, match=rf"dev_sent_emo\.csv:2: .*{reason}"):
        load("meld", meld(tmp_path, dev=[row]))


def test_a_folder_without_meld_lists_says_which_belong_there(tmp_path):
    meld(tmp_path)
    (tmp_path / "test_sent_emo.csv").unlink()
    with pytest.raises(UserError, match=r"holds no test_sent_emo\.csv; MELD is the three files"):
        load("meld", tmp_path)


# -- table ---------------------------------------------------------------------------------------


def test_a_table_of_paths_and_labels_is_enough(tmp_path):
    folder = table(tmp_path, "path,label", "b/1.mp4,sad", "a/1.mp4,happy", "a/2.mp4,sad")
    touch(folder, "a/1.mp4", "a/2.mp4", "b/1.mp4")
    corpus = load_corpus("table", folder)
    assert corpus.class_names == ("happy", "sad")
    assert [clip.stem for clip in corpus.clips] == ["b__1", "a__1", "a__2"]
    assert [clip.labels for clip in corpus.clips] == [
        Labels(integrated=1),
        Labels(integrated=0),
        Labels(integrated=1),
    ]
    assert {(clip.split, clip.speaker, clip.transcript) for clip in corpus.clips} == {
        ("all", None, "")
    }
    assert corpus.clips[0].path == folder / "b" / "1.mp4"


def test_a_rare_class_whose_name_is_near_anothers_is_told(tmp_path, capsys):
    rows = [f"{number}.mp4,sad" for number in range(6)]
    folder = table(tmp_path, "path,label", *rows, "6.mp4,saad", "7.mp4,angry")
    touch(folder, *(f"{number}.mp4" for number in range(8)))
    load("table", folder)
    said = capsys.readouterr().err
    assert "table.csv: 1 of 8 rows are 'saad' (did you mean sad?)" in said
    assert "angry" not in said


def test_every_column_of_a_table_is_read(tmp_path):
    folder = table(
        tmp_path,
        "transcript,split,speaker,speech_label,face_label,label,path,id,notes",
        "So.,dev,Ann,calm,glad,glad,1.mp4,first,x",
        "No.,train,Bob,,,calm,,second,x",
    )
    touch(folder, "1.mp4")
    first, second = load("table", folder)
    assert first.labels == Labels(integrated=1, face=1, speech=0)
    assert (first.id, first.split, first.speaker, first.transcript) == (
        "first",
        "val",
        "Ann",
        "So.",
    )
    assert second.labels == Labels(integrated=0)
    assert (second.path, second.split) == (None, "train")


def test_the_table_itself_may_be_given(tmp_path):
    folder = table(tmp_path / "data", "path,label", "1.mp4,sad", name="mine.csv")
    touch(folder, "1.mp4")
    (clip,) = load("table", folder / "mine.csv")
    assert clip.path == folder / "1.mp4"


def test_rows_without_a_label_are_clips_to_be_predicted(tmp_path):
    folder = table(tmp_path, "path,label,split", "1.mp4,sad,train", "2.mp4,,test")
    touch(folder, "1.mp4", "2.mp4")
    assert load("table", folder)[1].labels == Labels()


def test_a_path_that_leads_out_of_the_folder_gives_a_name_that_does_not(tmp_path):
    folder = table(tmp_path / "data", "path,label", "../clips/1.mp4,sad")
    touch(tmp_path, "clips/1.mp4")
    (clip,) = load("table", folder)
    assert clip.stem == "___clips__1"
    assert clip.path.is_file()


def test_one_missing_file_is_left_for_the_list_of_failures(tmp_path):
    folder = table(tmp_path, "path,label", "1.mp4,sad", "2.mp4,sad")
    touch(folder, "1.mp4")
    assert len(load("table", folder)) == 2


def test_a_table_without_a_label_is_clips_to_be_heard(tmp_path, capsys):
    folder = table(tmp_path, "path,label", "1.mp4,")
    touch(folder, "1.mp4")
    corpus = load_corpus("table", folder)
    assert (corpus.class_names, corpus.clips[0].labels) == ((), Labels())
    assert "these clips can be heard and answered, not trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["path,label,transcript", ",sad,Hello"], r"table\.csv:2: has neither path nor id"),
        (["path,label,id", ",sad,x"], r"table\.csv:2: has neither path nor transcript"),
        (
            ["path,label,split", "1.mp4,sad,train", "2.mp4,sad,later"],
            r"table\.csv:3: split 'later'",
        ),
        (["path,label,split", "1.mp4,sad,train", "2.mp4,sad,"], "some rows have a split"),
        (["path,label", "gone/1.mp4,sad", "gone/2.mp4,sad"], "none of its 2 files is there"),
        (["path,label,split", "1.mp4,sad,train", "1.mp4,sad,val"], r"1\.mp4 is in two splits"),
        (["path,label", "1.mp4,sad", "1.wav,sad"], r"1\.wav: has the same name as .*1\.mp4"),
        (["clip,label", "1.mp4,sad"], "has no column path, but clip,label"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_by_name(tmp_path, lines, reason):
    folder = table(tmp_path, *lines)
    touch(folder, "1.mp4", "2.mp4", "1.wav")
    with pytest.raises(UserError, match=reason) as caught:
        load("table", folder)
    assert "\n" not in str(caught.value)


def test_speakers_on_both_sides_of_a_split_are_pointed_out(tmp_path, capsys):
    folder = table(
        tmp_path,
        "path,label,split,speaker",
        *("1.mp4,sad,train,Ann", "2.mp4,sad,val,Ann", "3.mp4,sad,test,Bob"),
    )
    touch(folder, "1.mp4", "2.mp4", "3.mp4")
    load("table", folder)
    assert "1 speakers of train are in val or test too (Ann)" in capsys.readouterr().err


def test_a_folder_without_a_table_says_how_to_write_one(tmp_path):
    with pytest.raises(UserError, match=r"holds no table\.csv; .*path,label"):
        load("table", tmp_path)
