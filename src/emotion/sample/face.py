"""Rendering of a speaking face for the generated sample corpus.

One public-domain portrait (Grace Hopper, US Navy, shipped with matplotlib) is warped smoothly:
every facial *action* is a displacement field over the picture, a *look* is a weighted set of
actions, and a clip is those weights over time. The face stays a photograph, so a face detector
trained on people finds it, and what is learnt from it must come from its shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data

from emotion.errors import UserError

WIDTH, HEIGHT = 384, 288
FRAMES_PER_SECOND = 15

# What a look is made of; several emotions may share one (see sample_plan.py).
LOOKS: Mapping[str, Mapping[str, float]] = {
    "calm": {},
    "smile": {"smile": 1.0, "cheeks": 1.0, "brows_up": 0.25, "open": 0.22},
    "scowl": {"scowl": 1.0, "narrow": 0.9, "press": 1.0, "corners_down": 0.45, "sneer": 0.35},
    "grief": {"grief": 1.0, "corners_down": 1.0, "narrow": 0.4, "droop": 1.0},
    "alarm": {"brows_up": 1.0, "widen": 1.0, "open": 1.0},
}

# Places in the portrait, in its own pixels (512 wide, 600 high).
EYES = ((222.0, 189.0), (304.0, 187.0))
BROWS = (
    ((196, 169), (212, 162), (230, 161), (247, 167)),
    ((277, 167), (295, 160), (313, 159), (330, 165)),
)
MOUTH = (268.0, 279.0)
MOUTH_HALF_WIDTH = 30.0
MOUTH_OPENING = 27.0  # of the lips at weight 1
MOUTH_COLOUR = (52.0, 20.0, 22.0)
NOSE = (267.0, 235.0)
REGION = (128, 392, 116, 366)  # left, right, top, bottom: the only part that expressions move
VIEW_CENTRE = (264.0, 204.0)
VIEW_HEIGHT = 368.0
SILHOUETTE = (
    (148, 178), (147, 110), (160, 90), (174, 84), (178, 62), (205, 44), (245, 26), (290, 26),
    (330, 46), (351, 66), (355, 88), (368, 96), (371, 120), (370, 176), (376, 190), (375, 215),
    (362, 265), (352, 290), (337, 303), (332, 318), (360, 340), (430, 365), (490, 390),
    (512, 420), (512, 600), (0, 600), (22, 470), (40, 430), (70, 390), (150, 350), (195, 322),
    (199, 300), (190, 296), (170, 280), (163, 250), (153, 210), (153, 186),
)  # fmt: skip


@dataclass(frozen=True)
class Action:
    """Part of a displacement field: a soft-edged push, or a stretch about a point.

    ``push`` is in portrait pixels at weight 1; ``stretch`` is the vertical gain about ``centre``
    (0.3: 30 % taller, negative: flatter); ``spread`` is the radius of the soft edge in pixels.
    """

    centre: tuple[float, float]
    spread: tuple[float, float]
    push: tuple[float, float] = (0.0, 0.0)
    stretch: float = 0.0


def _mirrored(
    offset_x: float,
    y: float,
    spread: tuple[float, float],
    push: tuple[float, float],
    middle: float = 264.5,
) -> tuple[Action, Action]:
    """The same push left and right of the middle of the face; x points outwards."""
    left = Action((middle - offset_x, y), spread, (-push[0], push[1]))
    return left, Action((middle + offset_x, y - 2.0), spread, push)


ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "smile": (*_mirrored(40, 281, (17, 14), (9, -13), 268), Action((268, 287), (20, 9), (0, 3))),
    "corners_down": (
        *_mirrored(38, 281, (16, 13), (1, 12), 268),
        Action((268, 277), (15, 9), (0, -5)),
    ),
    "cheeks": _mirrored(48, 232, (22, 16), (2, -7)),
    "press": (Action(MOUTH, (34, 9), stretch=-0.45),),
    "sneer": (*_mirrored(16, 262, (13, 9), (0, -5), 268), Action(NOSE, (20, 14), (0, -4))),
    "brows_up": _mirrored(43, 162, (30, 11), (0, -13)),
    "scowl": _mirrored(24, 168, (19, 13), (-7, 13)) + _mirrored(66, 160, (18, 13), (0, -5)),
    "grief": _mirrored(22, 166, (16, 13), (-3, -13)) + _mirrored(64, 166, (19, 13), (0, 9)),
    "droop": _mirrored(48, 250, (22, 24), (0, 5)),
    "widen": tuple(Action(eye, (20, 10), stretch=0.30) for eye in EYES),
    "narrow": tuple(Action(eye, (21, 10), stretch=-0.40) for eye in EYES),
    "blink": tuple(Action(eye, (19, 9), stretch=-0.90) for eye in EYES),
    "turn": (Action((265, 230), (62, 85), (9, 0)),),
    "nod": (Action((265, 235), (70, 70), (0, 6)),),
}
ACTION_NAMES = tuple(ACTIONS)


@dataclass(frozen=True)
class FaceScene:
    """What one clip shows: a look over time, and everything that tells nothing about it."""

    look: str
    duration: float  # seconds
    speech: tuple[float, float]  # seconds at which the voice starts and ends


@cache
def _portrait() -> np.ndarray:
    """The portrait as RGB uint8 (600, 512, 3), its faint brows drawn a little darker.

    The brows are grey and stand right above dark glasses; at 64 pixels nothing of them is left.
    """
    try:
        with get_sample_data("grace_hopper.jpg") as file:
            coded = np.frombuffer(file.read(), np.uint8)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: matplotlib's sample picture is missing; reinstall matplotlib"
        ) from error
    picture = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    strokes = np.zeros(picture.shape[:2], np.float32)
    for brow in BROWS:
        cv2.polylines(strokes, [np.array(brow, np.int32)], False, 0.75, thickness=6)
    strokes = cv2.GaussianBlur(strokes, (0, 0), 1.8)[..., None]
    return (picture * (1 - strokes) + np.array([88, 66, 58]) * strokes).astype(np.uint8)


@cache
def _person_mask() -> np.ndarray:
    """Share of the speaker in each pixel, float32 (600, 512, 1): the rest is background."""
    mask = np.zeros(_portrait().shape[:2], np.float32)
    cv2.fillPoly(mask, [np.array(SILHOUETTE, np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None]


@cache
def _region_grid(step: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Portrait coordinates of every ``step``-th pixel of the region, centre of each block."""
    left, right, top, bottom = REGION
    middle = (step - 1) / 2
    x, y = np.meshgrid(np.arange(left, right, step), np.arange(top, bottom, step))
    return x.astype(np.float32) + middle, y.astype(np.float32) + middle


@cache
def _fields() -> np.ndarray:
    """Displacement of every action at weight 1, float32 (actions, rows, columns, 2).

    They are smooth, so a quarter of the region's pixels carries them at a quarter of the cost.
    """
    x, y = _region_grid(2)
    fields = np.zeros((len(ACTIONS), *x.shape, 2), np.float32)
    for field, actions in zip(fields, ACTIONS.values(), strict=True):
        for action in actions:
            across, down = x - action.centre[0], y - action.centre[1]
            soft = np.exp(
                -0.5 * ((across / action.spread[0]) ** 2 + (down / action.spread[1]) ** 2)
            )
            field[..., 0] += action.push[0] * soft
            field[..., 1] += (action.push[1] + action.stretch * down) * soft
    # The region's rim must stay where it is, or a seam shows.
    rim = np.minimum.reduce([x - x.min(), x.max() - x, y - y.min(), y.max() - y])
    return fields * np.clip(rim / 12.0, 0, 1)[..., None]


def _source_map(weights: Mapping[str, float]) -> np.ndarray:
    """Where in the still portrait each pixel of the region comes from: (rows, columns, 2)."""
    left, right, top, bottom = REGION
    offset = np.zeros(_fields().shape[1:], np.float32)
    for name, field in zip(ACTION_NAMES, _fields(), strict=True):
        if abs(weights.get(name, 0.0)) > 1e-3:
            offset += np.float32(weights[name]) * field
    offset = cv2.resize(offset, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return np.stack(_region_grid(), axis=-1) - offset


def _mouth_opening(x: np.ndarray, y: np.ndarray, opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Lips moved apart by ``opening`` pixels, at points of the still portrait.

    Returns two arrays of the shape of ``x``: vertical displacement in pixels, and 0-1 where the
    mouth's dark inside shows, which no warp of a closed mouth can bring forth.
    """
    profile = np.sqrt(np.clip(1 - ((x - MOUTH[0]) / MOUTH_HALF_WIDTH) ** 2, 0, None))
    upper, lower = 0.3 * opening * profile, 0.7 * opening * profile
    down = y - MOUTH[1]
    moved = np.clip(down, -upper, lower)
    beyond = down - moved  # distance from the lip's edge: below positive, above negative
    # The chin follows the lower lip, the skin under the nose hardly the upper one.
    fade = np.exp(-0.5 * (beyond / np.where(beyond > 0, 28, 9)) ** 2)
    inside = np.clip(np.minimum(lower - down, down + upper) / 2.0, 0, 1)
    return moved * fade, inside


def _warp_face(texture: np.ndarray, weights: Mapping[str, float], canvas: np.ndarray) -> None:
    """Writes ``texture`` (600, 512, 3) with its face moved by ``weights`` into ``canvas``."""
    left, right, top, bottom = REGION
    source = _source_map(weights)
    # The mouth is opened in the still face and carried along by the other actions.
    mouth = (slice(244 - top, bottom - top), slice(212 - left, 324 - left))
    opening = MOUTH_OPENING * max(weights.get("open", 0.0), 0.0)
    moved, inside = _mouth_opening(source[mouth][..., 0], source[mouth][..., 1], opening)
    source[mouth][..., 1] -= moved
    face = cv2.remap(texture, source, None, cv2.INTER_LINEAR)
    inside = inside[..., None]
    face[mouth] = face[mouth] * (1 - inside) + np.array(MOUTH_COLOUR) * inside
    canvas[top:bottom, left:right] = face


def _textured(generator: np.random.Generator) -> np.ndarray:
    """The portrait with this clip's background, colours and brightness, uint8 (600, 512, 3)."""
    picture = _portrait().astype(np.float32)
    rows, columns = picture.shape[:2]
    if generator.random() < 0.6:
        ends = generator.uniform(40, 215, (2, 3))
        slope = np.linspace(0, 1, rows)[:, None, None]
        if generator.random() < 0.5:
            slope = np.linspace(0, 1, columns)[None, :, None]
        background = np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, picture.shape)
    else:
        background = cv2.GaussianBlur(picture, (0, 0), generator.uniform(1, 12))
    mask = _person_mask()
    picture = picture * mask + background * (1 - mask)
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * generator.uniform(0.55, 1.15)
    gains = generator.uniform(0.75, 1.15) * generator.uniform(0.92, 1.08, 3)
    picture = 255 * np.clip(picture * gains / 255, 0, 1) ** generator.uniform(0.85, 1.2)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _smooth_noise(generator: np.random.Generator, times: np.ndarray, rate: float) -> np.ndarray:
    """A slow random course over ``times`` (F,), about within -1..1; ``rate`` in cycles a second."""
    frequencies = generator.uniform(0.4, 1.0, 3) * rate
    phases = generator.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * np.outer(times, frequencies) + phases).mean(axis=1) * 1.5


def _expression_course(
    scene: FaceScene, times: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Onset, apex and decay, 0-1 (F,): the apex covers most of the speech."""
    start, end = scene.speech
    onset, decay = generator.uniform(0.15, 0.35, 2)
    begin = start + generator.uniform(-0.25, 0.05)
    finish = end + generator.uniform(-0.10, 0.15)
    rise = np.clip((times - begin) / onset, 0, 1)
    fall = np.clip((finish + decay - times) / decay, 0, 1)
    course = np.minimum(rise, fall)
    return course * course * (3 - 2 * course)


def action_weights(
    scene: FaceScene, times: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Weight of every action at ``times`` (F,) in seconds; names as in ACTIONS, and ``open``."""
    course = _expression_course(scene, times, generator)
    intensity = generator.uniform(0.8, 1.15)
    weights = {}
    for name in (*ACTION_NAMES, "open"):
        own = LOOKS[scene.look].get(name, 0.0) * generator.uniform(0.85, 1.15)
        idle = 0.0 if name in ("blink", "open") else generator.normal(0, 0.06)
        weights[name] = intensity * own * course + idle
    # The lips move while the voice sounds, but in a rhythm that tells nothing of the voice's own.
    speaking = (times > scene.speech[0]) & (times < scene.speech[1])
    weights["open"] = weights["open"] + speaking * 0.13 * np.abs(_smooth_noise(generator, times, 4))
    blinks = generator.uniform(0, scene.duration, 1 + int(scene.duration / 2.5))
    closed = np.exp(-0.5 * ((times[:, None] - blinks) / 0.06) ** 2).max(axis=1)
    weights["blink"] = closed * (1 - 0.3 * np.clip(weights["narrow"], 0, 1))
    weights["turn"] = weights["turn"] + 0.8 * _smooth_noise(generator, times, 0.4)
    weights["nod"] = weights["nod"] + 0.5 * _smooth_noise(generator, times, 0.5)
    return weights


def _camera(times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Where each frame looks: affine maps from frame to portrait pixels, float64 (F, 2, 3)."""
    scale = VIEW_HEIGHT / HEIGHT * generator.uniform(0.94, 1.12)
    stretch = generator.uniform(0.95, 1.06) * (-1 if generator.random() < 0.5 else 1)
    zoom = scale * (1 + 0.03 * _smooth_noise(generator, times, 0.3))
    angle = np.radians(2.5 * _smooth_noise(generator, times, 0.35) + generator.normal(0, 1.5))
    centre = np.array(VIEW_CENTRE) + generator.uniform(-10, 10, 2)
    moved = [6 * _smooth_noise(generator, times, 0.4) for _ in range(2)]
    cosine, sine = np.cos(angle) * zoom, np.sin(angle) * zoom
    linear = np.stack([cosine * stretch, -sine, sine * stretch, cosine], -1).reshape(-1, 2, 2)
    shift = centre + np.stack(moved, -1) - linear @ np.array([WIDTH / 2, HEIGHT / 2])
    return np.concatenate([linear, shift[..., None]], axis=-1)


def render_face(scene: FaceScene, generator: np.random.Generator) -> np.ndarray:
    """The frames of one clip.

    Args:
        scene: the look, and when the voice sounds.
        generator: drives everything individual: intensity, blinks, movement, colours, background.

    Returns:
        RGB uint8 (F, HEIGHT, WIDTH, 3), FRAMES_PER_SECOND frames per second.
    """
    times = np.arange(round(scene.duration * FRAMES_PER_SECOND)) / FRAMES_PER_SECOND
    texture = _textured(generator)
    weights = action_weights(scene, times, generator)
    cameras = _camera(times, generator)
    canvas = texture.copy()
    frames = np.empty((len(times), HEIGHT, WIDTH, 3), np.uint8)
    for index, camera in enumerate(cameras):
        _warp_face(texture, {name: course[index] for name, course in weights.items()}, canvas)
        cv2.warpAffine(
            canvas,
            camera,
            (WIDTH, HEIGHT),
            dst=frames[index],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return frames
