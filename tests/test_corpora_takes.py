"""Corpora whose names say everything: RAVDESS, CREMA-D, EmoDB."""

import pytest

from emotion.corpora import cremad, emodb, ravdess, ravdess_song
from emotion.corpora.loading import load_corpus
from emotion.errors import UserError
from emotion.records import Labels, Named
from tests.trees import touch

TAKE = "01-05-01-01-01-07"  # of RAVDESS: speech, angry, actor 07


def stems(corpus, folder):
    return [clip.stem for clip in load_corpus(corpus, folder).clips]


def clips(corpus, folder):
    return {clip.stem: clip for clip in load_corpus(corpus, folder).clips}


# -- ravdess -------------------------------------------------------------------------------------


def test_ravdess_names_give_eight_classes_and_the_actor_as_speaker(tmp_path):
    names = [f"03-01-0{emotion}-01-02-01-{emotion + 10}.wav" for emotion in range(1, 9)]
    touch(tmp_path, *[f"Actor_x/{name}" for name in names])
    found = load_corpus("ravdess", tmp_path).clips
    assert [clip.labels for clip in found] == [Labels(i, i, i) for i in range(8)]
    assert [clip.speaker for clip in found] == [str(number) for number in range(11, 19)]
    assert {clip.split for clip in found} == {"all"}
    assert ravdess.CLASS_NAMES[found[4].labels.integrated] == "angry"


def test_a_take_that_is_there_with_and_without_picture_is_one_clip(tmp_path):
    touch(tmp_path, f"audio/03-{TAKE}.wav", f"film/01-{TAKE}.mp4", f"film/02-{TAKE}.mp4")
    touch(tmp_path, "audio/03-01-05-01-01-02-07.wav")  # the second repetition: another take
    assert stems("ravdess", tmp_path) == [f"01-{TAKE}", "03-01-05-01-01-02-07"]


def test_sound_alone_stands_before_picture_alone(tmp_path):
    touch(tmp_path, f"02-{TAKE}.mp4", f"03-{TAKE}.wav")
    assert stems("ravdess", tmp_path) == [f"03-{TAKE}"]


def test_picture_alone_is_a_clip_where_there_is_nothing_else(tmp_path):
    touch(tmp_path, f"02-{TAKE}.mp4")
    assert stems("ravdess", tmp_path) == [f"02-{TAKE}"]


def test_a_copy_of_the_whole_corpus_inside_it_adds_no_clips(tmp_path):
    touch(tmp_path, f"Actor_07/03-{TAKE}.wav", f"again/Actor_07/03-{TAKE}.wav")
    (clip,) = load_corpus("ravdess", tmp_path).clips
    assert clip.path == tmp_path / "Actor_07" / f"03-{TAKE}.wav"


def test_songs_are_a_corpus_of_their_own_with_six_emotions(tmp_path):
    touch(tmp_path, "03-01-06-01-01-01-01.wav", "03-02-06-01-01-01-01.wav")
    assert stems("ravdess", tmp_path) == ["03-01-06-01-01-01-01"]
    songs = load_corpus("ravdess_song", tmp_path)
    assert [clip.stem for clip in songs.clips] == ["03-02-06-01-01-01-01"]
    assert songs.class_names[songs.clips[0].labels.integrated] == "fearful"
    assert len(songs.class_names) == 6


@pytest.mark.parametrize(
    ("corpus", "emotion", "last"), [("ravdess", "09", "08"), ("ravdess_song", "07", "06")]
)
def test_an_emotion_number_out_of_range_names_the_file(tmp_path, corpus, emotion, last):
    channel = "02" if corpus == "ravdess_song" else "01"
    touch(tmp_path, f"Actor_01/03-{channel}-{emotion}-01-01-01-01.wav")
    with pytest.raises(UserError, match=rf"-{emotion}-01-01-01-01\.wav: emotion .*01 to {last}"):
        load_corpus(corpus, tmp_path)


@pytest.mark.parametrize(
    ("corpus", "name", "other"),
    [
        ("ravdess", "03-02-01-01-01-01-01", "ravdess_song"),
        ("ravdess_song", f"03-{TAKE}", "ravdess"),
    ],
)
def test_a_folder_of_the_other_channel_says_which_corpus_it_is(tmp_path, corpus, name, other):
    touch(tmp_path, f"{name}.wav")
    with pytest.raises(UserError, match=rf"--corpus {other}$"):
        load_corpus(corpus, tmp_path)


def test_files_with_other_names_are_passed_over_and_named(tmp_path, capsys):
    touch(tmp_path, f"03-{TAKE}.wav", f"03-{TAKE} (1).wav", "03-01-01-01-01-01.wav")
    touch(tmp_path, "readme.txt", f"._03-{TAKE}.wav")
    assert stems("ravdess", tmp_path) == [f"03-{TAKE}"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 files passed over" in line
    assert "03-01-01-01-01-01.wav" in line


# -- cremad --------------------------------------------------------------------------------------


def test_cremad_names_give_six_classes_and_the_actor(tmp_path):
    touch(tmp_path, *[f"AudioWAV/10{i}1_IEO_{e}_HI.wav" for i, e in enumerate(cremad.EMOTIONS)])
    corpus = load_corpus("cremad", tmp_path)
    assert [clip.labels for clip in corpus.clips] == [Labels(i, i, i) for i in range(6)]
    assert [clip.speaker for clip in corpus.clips] == [f"10{i}1" for i in range(6)]
    assert corpus.class_names[4] == "neutral"


def test_cremad_sound_and_film_of_a_take_are_one_clip(tmp_path):
    take = "1001_DFA_ANG_XX"
    touch(tmp_path, f"AudioWAV/{take}.wav", f"VideoFlash/{take}.flv", f"AudioMP3/{take}.mp3")
    touch(tmp_path, "AudioWAV/1001_DFA_SAD_XX.wav", "AudioMP3/1001_DFA_SAD_XX.mp3")
    found = clips("cremad", tmp_path)
    assert found[take].path.suffix == ".flv"
    assert found["1001_DFA_SAD_XX"].path.suffix == ".wav"
    assert len(found) == 2


def test_cremad_broken_clips_are_left_out_whatever_their_format(tmp_path, capsys):
    touch(tmp_path, *[f"AudioWAV/{stem}.wav" for stem in cremad.BROKEN])
    touch(tmp_path, "VideoFlash/1064_IEO_DIS_MD.flv", "AudioWAV/1064_IEO_DIS_HI.wav")
    assert stems("cremad", tmp_path) == ["1064_IEO_DIS_HI"]
    assert "5 files passed over, broken" in capsys.readouterr().err


def test_the_cremad_clip_whose_level_is_one_letter_is_read(tmp_path):
    touch(tmp_path, "AudioWAV/1040_ITH_SAD_X.wav")
    assert clips("cremad", tmp_path)["1040_ITH_SAD_X"].speaker == "1040"


def test_an_unknown_cremad_emotion_names_the_file(tmp_path):
    touch(tmp_path, "1001_DFA_JOY_XX.wav")
    with pytest.raises(UserError, match=r"1001_DFA_JOY_XX\.wav: emotion JOY"):
        load_corpus("cremad", tmp_path)


# -- emodb ---------------------------------------------------------------------------------------


def test_emodb_letters_are_german(tmp_path):
    letters = {"W": "anger", "A": "fear", "F": "happiness", "T": "sadness", "L": "boredom"}
    touch(tmp_path, *[f"wav/03a01{letter}a.wav" for letter in letters])
    corpus = load_corpus("emodb", tmp_path)
    named = {c.stem[5]: corpus.class_names[c.labels.integrated] for c in corpus.clips}
    assert named == letters
    assert len(corpus.class_names) == 7


def test_emodb_speakers_are_the_first_two_digits(tmp_path):
    touch(tmp_path, "wav/03a01Fa.wav", "wav/16b10Tb.wav", "lablaut/03a01Fa.lablaut")
    assert [clip.speaker for clip in load_corpus("emodb", tmp_path).clips] == ["03", "16"]


def test_an_unknown_emodb_letter_names_the_file(tmp_path):
    touch(tmp_path, "wav/03a01Xa.wav")
    with pytest.raises(UserError, match=r"03a01Xa\.wav: emotion letter X"):
        load_corpus("emodb", tmp_path)


def test_every_emodb_emotion_has_a_class():
    assert len(set(emodb.EMOTIONS.values())) == 7


# -- names alone -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corpus", "stem", "speaker", "emotion"),
    [
        (ravdess, f"03-{TAKE}", "07", 4),
        (ravdess_song, "03-02-06-01-01-01-01", "01", 5),
        (cremad, "1001_DFA_SAD_XX", "1001", 5),
        (emodb, "03a01Fa", "03", 4),
    ],
)
def test_a_name_of_the_scheme_says_who_speaks_and_the_emotion(corpus, stem, speaker, emotion):
    found = corpus.parse_name(stem)._replace(sex="")
    assert found == Named(stem, speaker, Labels(emotion, emotion, emotion))


@pytest.mark.parametrize(
    ("corpus", "stem"),
    [
        (ravdess, "03-01-09-01-01-01-01"),
        (ravdess, "holiday"),
        (cremad, "1001_DFA_JOY_XX"),
        (cremad, "holiday"),
        (emodb, "03a01Xa"),
        (emodb, "holiday"),
    ],
)
def test_a_name_of_no_scheme_says_nothing(corpus, stem):
    assert corpus.parse_name(stem) == Named(stem, None, Labels())


# -- a wrong folder ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("ravdess", "MM-VV-EE-II-SS-RR-AA"),
        ("ravdess_song", "MM-VV-EE-II-SS-RR-AA"),
        ("cremad", "AudioWAV/ or VideoFlash/"),
        ("emodb", "03a01Fa"),
    ],
)
def test_a_wrong_folder_says_in_one_line_what_belongs_there(tmp_path, capsys, corpus, expected):
    touch(tmp_path, "holiday.wav", "notes.txt")
    with pytest.raises(UserError, match=expected) as caught:
        load_corpus(corpus, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""
