"""Pictures of answers. Training's own pictures (curves, confusion) are reused as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle

from emotion.clock import FRAME_SECONDS, STEP_SECONDS
from emotion.emotions import colours, full_names, on
from emotion.inputs.audio import F_MAX, F_MIN
from emotion.inputs.face_track import FaceTrack
from emotion.inputs.spoken import Word
from emotion.models.plots import save
from emotion.prediction.attention import Attention
from emotion.prediction.word_plots import shares_of, write_words

THUMBNAIL = 64  # pixels
THUMBNAIL_INCHES = 0.64
AXIS = 0.84  # of a figure's width that an axis takes, at least
LETTER_INCHES = 0.075  # of the names above the bands
NO_TRACK, SILENT = "no sound track", "silent"
SOUND = "0.55"
LOOK = "#d95f02"  # attention, whatever it falls on


class Scene(NamedTuple):
    """What can be shown of a clip. Times are seconds of the clip."""

    duration: float
    heard: float  # when the spectrogram begins
    sound: np.ndarray | None  # (2, N): lowest and highest, evenly spread over the clip
    log_mel: np.ndarray | None  # (128, T)
    faces: FaceTrack | None
    words: Sequence[Word] = ()  # whose times are known
    unheard: str = ""  # why nothing is to be heard: NO_TRACK or SILENT
    looked: bool = True  # whether faces were looked for


def draw_reliability(bins: Sequence[dict[str, float]], error: float, path: Path) -> None:
    """Accuracy by confidence, with the share of clips in each bin below."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    confidence = [row["confidence"] for row in bins]
    top.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="calibrated")
    top.plot(confidence, [row["accuracy"] for row in bins], "o-", label="answers", clip_on=False)
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"calibration error {error:.3f}")
    top.legend(loc="best")
    clips = [row["clips"] for row in bins]
    bottom.bar(confidence, clips, width=0.04, color=SOUND)
    bottom.set(xlabel="confidence", ylabel="clips")
    bottom.yaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def draw_mistake(scene: Scene, path: Path) -> None:
    """Thumbnails of a clip beside its spectrogram, or what there is of the two."""
    shown = {"faces": scene.faces is not None, "sound": scene.log_mel is not None}
    names = [name for name, there in shown.items() if there] or list(shown)
    figure = Figure(figsize=(4.5 * len(names), 1.9), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        if name == "faces":
            _thumbnail_row(axis, scene.faces, 5)
        else:
            _spectrogram(axis, scene)
    save(figure, path)


def draw_attention(
    scene: Scene, attention: dict[str, Attention], backdrops: dict[str, str], path: Path
) -> None:
    """Each modality, with the share of attention that falls on it.

    Args:
        scene: the clip.
        attention: by modality.
        backdrops: modality -> what stands behind it: ``Feature.backdrop``.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(9, 1.7 * len(attention)), layout="constrained")
    axes = figure.subplots(len(attention), 1, squeeze=False)[:, 0]
    for axis, (name, own) in zip(axes, attention.items(), strict=True):
        backdrop = backdrops.get(name, "")
        axis.set(xlim=(0, scene.duration or 1.0), yticks=[], ylabel=name)
        if backdrop == "sound":
            _sound(axis, scene)
        elif backdrop == "faces":
            _faces_over_time(axis, scene, height=0.68)
        elif backdrop == "words":
            _words(axis, own, scene)
            continue
        _look(axis, own, scene, share=0.4 if backdrop == "faces" else 1.0)
    save(figure, path)


def draw_timeline(
    scene: Scene,
    times: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    answer: str,
    title: str,
    path: Path,
) -> None:
    """Waveform, words, faces, and a band a class as high as its probability, over time.

    Args:
        scene: the recording.
        times: (N,) seconds of the answers.
        probabilities: (N, classes), NaN where there is no answer.
        class_names: in index order.
        answer: to the whole recording, above it all.
        title: what it is of, below that.
        path: where the PNG goes.
    """
    figure = Figure(figsize=(12, 6), layout="constrained")
    heights = {"sound": 1.0, "words": 0.6, "faces": 0.9, "bands": 2.4}
    if not scene.words:
        del heights["words"]
    if not scene.looked:
        del heights["faces"]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=list(heights.values()))
    rows = dict(zip(heights, axes, strict=True))
    bands = rows["bands"]
    figure.suptitle(answer, fontsize=14, fontweight="bold")
    axes[0].set_title(title, fontsize=10)
    _sound(rows["sound"], scene)
    if scene.words:
        rows["words"].set(xlim=(0, scene.duration), yticks=[], ylabel="words")
        write_words(rows["words"], scene.words, scene.duration)
    if scene.looked:
        _faces_over_time(rows["faces"], scene)
    look = {"colors": colours(class_names), "linewidth": 0.3, "edgecolor": "0.4"}
    bands.stackplot(times, probabilities.T, labels=full_names(class_names), **look)
    bands.set(ylim=(0, 1), xlim=(0, scene.duration), xlabel="seconds", ylabel="probability")
    bands.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True)
    _mark_turns(bands, times, probabilities, class_names)
    save(figure, path)


def _mark_turns(
    axis: Axes, centres: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> None:
    """A strip above the bands in the colour of the likeliest class, named where there is room."""
    answered = np.isfinite(probabilities).all(axis=1)
    best = np.where(answered, np.nan_to_num(probabilities).argmax(axis=1), -1)
    cuts = np.flatnonzero(np.diff(best)) + 1
    edges = [centres[0], *((centres[cuts - 1] + centres[cuts]) / 2), centres[-1]]
    shades, names = colours(class_names), full_names(class_names)
    inches = axis.get_figure().get_figwidth() * AXIS / max(edges[-1] - edges[0], 1e-9)
    for start, end, cut in zip(edges, edges[1:], [0, *cuts], strict=False):
        if best[cut] < 0:
            continue
        shade, name = shades[best[cut]], names[best[cut]]
        strip = Rectangle((start, 1.02), end - start, 0.13, color=shade, clip_on=False)
        axis.add_patch(strip)
        if (end - start) * inches > LETTER_INCHES * (len(name) + 1):
            told = {"ha": "center", "va": "center", "fontsize": 8, "color": on(shade)}
            axis.text((start + end) / 2, 1.08, name, **told)


def _sound(axis: Axes, scene: Scene) -> None:
    if scene.sound is not None:
        times = np.linspace(0, scene.duration, scene.sound.shape[1])
        axis.fill_between(times, *scene.sound, color=SOUND, linewidth=0.3, edgecolor=SOUND)
    if scene.sound is None or scene.unheard:
        said = scene.unheard or NO_TRACK
        behind = {"facecolor": "white", "edgecolor": "none"}
        place = {"ha": "center", "va": "center", "transform": axis.transAxes}
        axis.text(0.5, 0.5, said, bbox=behind, **place)
    axis.set(xlim=(0, scene.duration), yticks=[], ylabel="sound")


def _words(axis: Axes, attention: Attention, scene: Scene) -> None:
    """Words under the waveform, coloured by attention; bars in their order where nobody knows when
    they are said.
    """
    if attention.time is None or not scene.words:
        axis.bar(np.arange(len(attention.weights)), attention.weights, color=LOOK)
        axis.set(xlim=(-0.6, len(attention.weights) - 0.4), xticks=[], xlabel="words in order")
        return
    _sound(axis, scene)
    axis.set(ylabel="text", xlabel="seconds")
    low, high = axis.get_ylim()
    axis.set_ylim(low - 1.2 * (high - low), high)  # the words stand below
    below = axis.inset_axes((0, 0, 1, 0.55))
    below.set(xlim=(0, scene.duration), xticks=[], yticks=[])
    below.axis("off")
    shares = shares_of(scene.words, attention)
    write_words(below, scene.words, scene.duration, shares, size=10)


def _spectrogram(axis: Axes, scene: Scene) -> None:
    axis.set_title("log-mel spectrogram", fontsize=8)
    if scene.log_mel is None:
        said = scene.unheard or "no voice"
        axis.text(0.5, 0.5, said, ha="center", transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
        return
    extent = (scene.heard, scene.heard + scene.log_mel.shape[1] * FRAME_SECONDS, 0, 128)
    axis.imshow(scene.log_mel.astype(np.float32), aspect="auto", origin="lower", extent=extent)
    axis.set_yticks([0, 128], [f"{F_MIN:.0f} Hz", f"{F_MAX / 1000:.0f} kHz"])
    axis.set_xlabel("seconds", fontsize=8)


def _thumbnail_row(axis: Axes, faces: FaceTrack | None, most: int) -> None:
    axis.axis("off")
    rows = _rows_to_show(faces, most)
    if not len(rows):
        axis.text(0.5, 0.5, "no face", ha="center", transform=axis.transAxes)
        return
    axis.imshow(np.concatenate(list(faces.decode(rows, 128)), axis=1))
    shown = ", ".join(f"{faces.time[row]:.1f}" for row in rows)
    axis.set_title(f"face at {shown} s", fontsize=8)


def _faces_over_time(axis: Axes, scene: Scene, height: float = 0.5) -> None:
    """As many faces as stand beside one another, each where it is seen."""
    axis.set(xlim=(0, scene.duration), ylim=(0, 1), yticks=[], ylabel="face")
    found = np.flatnonzero(scene.faces.found) if scene.faces is not None else np.zeros(0, int)
    if not len(found):
        axis.text(0.5, 0.5, "no face", ha="center", va="center", transform=axis.transAxes)
        return
    wide = THUMBNAIL_INCHES / (axis.get_figure().get_figwidth() * AXIS) * scene.duration
    middle = np.clip(scene.faces.time[found], wide / 2, max(wide / 2, scene.duration - wide / 2))
    kept = _apart(middle, wide)
    pictures = scene.faces.decode(found[kept], THUMBNAIL)
    for time, picture in zip(middle[kept], pictures, strict=True):
        box = OffsetImage(picture, zoom=THUMBNAIL_INCHES * 72 / THUMBNAIL)
        axis.add_artist(AnnotationBbox(box, (time, height), frameon=False, pad=0))


def _apart(places: np.ndarray, gap: float) -> list[int]:
    """Numbers of the ascending ``places`` that are at least ``gap`` apart, from the first on."""
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= gap:
            kept.append(number)
    return kept


def _rows_to_show(faces: FaceTrack | None, most: int) -> np.ndarray:
    """Rows with a face, as evenly spread in time as they can be."""
    found = np.flatnonzero(faces.found) if faces is not None else np.zeros(0, int)
    if len(found) <= most:
        return found
    first, last = faces.time[0], faces.time[-1]
    wanted = first + (np.arange(most) + 0.5) * (last - first) / most
    nearest = np.abs(faces.time[found][None] - wanted[:, None]).argmin(axis=1)
    close = np.abs(faces.time[found][nearest] - wanted) <= (last - first) / most / 2
    return np.unique(found[nearest[close]])


def _look(axis: Axes, attention: Attention, scene: Scene, share: float) -> None:
    """Attention as steps over its own axis, in the lower ``share`` of the picture."""
    weights, time = attention.weights, attention.time
    top = max(1e-6, 1.1 * weights.max() / share)
    if time is None:
        axis.bar(np.arange(1, len(weights) + 1), weights, color=LOOK)
        axis.set(xlabel="step", ylim=(0, top), xlim=(0.4, len(weights) + 0.6))
        axis.set_yticks([])
        return
    own = axis.twinx()
    between = (time[1:] + time[:-1]) / 2
    half = float(np.median(np.diff(time))) / 2 if len(time) > 1 else STEP_SECONDS / 2
    edges = np.clip([time[0] - half, *between, time[-1] + half], 0, scene.duration)
    own.stairs(weights, edges, fill=True, color=LOOK, alpha=0.35)
    own.stairs(weights, edges, color=LOOK, linewidth=1.2)
    own.set_ylim(0, top)
    own.set_ylabel("attention", color=LOOK, fontsize=8)
    axis.set_xlabel("seconds")
