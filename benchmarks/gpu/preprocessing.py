"""MTCNN and VGG-Face on the device against CPU processes: films are arrays, nothing is decoded.

The detector has its published weights, which facenet-pytorch brings along; the embedding network
has drawn ones, which cost the same.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from facenet_pytorch import InceptionResnetV1
from matplotlib.cbook import get_sample_data

from benchmarks.gpu.rows import LeftOut, Section, promise
from emotion.clock import SAMPLE_RATE
from emotion.frozen.speech_states import SpeechStates
from emotion.frozen.vggface import FaceEmbedder
from emotion.inputs.crop_vectors import embed_faces
from emotion.inputs.crops import detect_every, shows_face
from emotion.inputs.faces import FaceDetector, track_faces
from emotion.machine import allow_tf32
from emotion.workers import Crew, Lost, answers

FACE_STRIDE, JPEG_QUALITY = 8, 88  # as preprocess.py has them by default
EVERY = 0.128  # seconds between two sampled frames
ROUNDS = 3  # over the same films, to see whether memory grows
GROWTH = 1.02  # of the memory in use after the first round
SAME_EMBEDDING = 0.99  # cosine between the device's and the CPU's, in their fast dtypes
SAME_STATES = 1e-3

_worker: dict[str, Any] = {}


class Film(NamedTuple):
    """What a made-up film is drawn from."""

    seed: int
    frames: int
    height: int  # pixels; 16:9


def run(section: Section) -> None:
    """One process on the device, several on it, and one a core without it."""
    allow_tf32(False)  # as preprocess.py sets it
    sizes = section.sizes
    device = "cuda:0" if section.on_gpu else "cpu"
    weights = draw_weights(section.scratch / "vggface.pt")
    section.row("faces as on the CPU", partial(compare, section, weights, device))
    section.row("one process, memory", partial(flat_memory, section, weights, device))
    section.row("speech encoder", partial(speech_states, section, device))
    rows = {"on the device": (device, sizes.gpu_workers)}
    if section.on_gpu:
        rows["on CPU cores"] = ("cpu", sizes.workers)
    for name, (place, workers) in rows.items():
        section.row(
            f"{workers} processes {name}", partial(crew_rate, section, weights, workers, place)
        )


def draw_weights(path: Path) -> Path:
    """A checkpoint of the embedding network with drawn weights."""
    torch.manual_seed(0)
    torch.save(InceptionResnetV1(pretrained=None, classify=False).state_dict(), path)
    return path


def speech_states(section: Section, device: str) -> dict[str, Any]:
    """A Whisper encoder with drawn weights: states as on a CPU, and seconds for one of sound."""
    folder = draw_whisper(section.scratch / "whisper", section.on_gpu)
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(SAMPLE_RATE * n).astype(np.float32) / 10 for n in (2, 3, 6)]
    states, took = {}, {}
    for place in dict.fromkeys(("cpu", device)):
        encoder = SpeechStates(folder, [1, 2], place)
        encoder(clips[0])
        started = time.monotonic()
        states[place] = [encoder(clip).values for clip in clips]
        took[place] = (time.monotonic() - started) / sum(map(len, clips)) * SAMPLE_RATE
    pairs = zip(states["cpu"], states[device], strict=True)
    difference = max(float(np.abs(one - two).max()) for one, two in pairs)
    figures = {"difference": difference}
    figures |= {f"s for one of sound, {place}": seconds for place, seconds in took.items()}
    return promise(difference <= SAME_STATES, f"states differ by {difference:.2g}", figures)


def draw_whisper(folder: Path, large: bool) -> str:
    """A folder of Whisper-base's shape, or of a tiny one."""
    try:
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
    except ImportError as error:
        raise LeftOut(f"there is no {error.name}") from None
    width, heads, layers = (512, 8, 6) if large else (32, 2, 2)
    shape = {"d_model": width, "num_mel_bins": 80, "vocab_size": 16, "pad_token_id": 0}
    shape |= dict.fromkeys(("bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    for side in ("encoder", "decoder"):
        shape |= {f"{side}_layers": layers, f"{side}_attention_heads": heads}
        shape[f"{side}_ffn_dim"] = 4 * width
    torch.manual_seed(0)
    WhisperModel(WhisperConfig(**shape)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def films(section: Section) -> list[Film]:
    """The films of a run."""
    sizes = section.sizes
    return [Film(n, sizes.film_frames, sizes.film_height) for n in range(sizes.films)]


def draw(film: Film) -> list[np.ndarray]:
    """Frames uint8 (H, W, 3) RGB: a portrait that drifts over a plain ground."""
    rng = np.random.default_rng(film.seed)
    with get_sample_data("grace_hopper.jpg") as file:
        coded = np.frombuffer(file.read(), np.uint8)
    portrait = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    height, width = film.height, film.height * 16 // 9
    side = int(height * rng.uniform(0.7, 0.95))
    person = cv2.resize(portrait, (side * portrait.shape[1] // portrait.shape[0], side))
    ground = np.full((height, width, 3), rng.integers(40, 200, 3), np.uint8)
    ends = rng.integers(0, [[height - side + 1, width - person.shape[1] + 1]], (2, 2))
    pictures = []
    for share in np.linspace(0, 1, film.frames):
        top, left = (ends[0] * (1 - share) + ends[1] * share).astype(int)
        picture = ground.copy()
        picture[top : top + side, left : left + person.shape[1]] = person
        pictures.append(picture)
    return pictures


class Tools(NamedTuple):
    """The networks of one process."""

    detector: FaceDetector
    embedder: FaceEmbedder

    @classmethod
    def on(cls, weights: Path, device: str) -> "Tools":
        """Both, on a device."""
        return cls(FaceDetector(device), FaceEmbedder(weights, device))


def extract(film: Film, tools: Tools) -> tuple[np.ndarray, np.ndarray, float]:
    """Boxes (F, 4), embeddings (F, 512), and seconds that the networks took."""
    frames = draw(film)
    started = time.perf_counter()
    times = np.arange(len(frames)) * EVERY
    every = detect_every(FACE_STRIDE)
    track = track_faces(times, frames, tools.detector, every)
    if not shows_face(track.found):
        raise AssertionError(f"no face is found in film {film.seed}")
    embedding = embed_faces(track, tools.embedder)
    return track.box, embedding, time.perf_counter() - started


def compare(section: Section, weights: Path, device: str) -> dict[str, Any]:
    """Boxes and embeddings of one film on the device and on a CPU."""
    film = films(section)[0]
    boxes, embedded, _ = extract(film, Tools.on(weights, device))
    wanted, expected, _ = extract(film, Tools.on(weights, "cpu"))
    moved = float(np.nanmax(np.abs(boxes - wanted)))
    same = np.isfinite(boxes).all(1) == np.isfinite(wanted).all(1)
    cosine = float((embedded.astype(np.float32) * expected.astype(np.float32)).sum(1).min())
    figures = {"found alike": float(same.mean()), "boxes differ px": moved, "cosine": cosine}
    good = same.all() and moved <= 2.0 and cosine >= SAME_EMBEDDING
    return promise(bool(good), f"faces differ from the CPU's: {figures}", figures)


def flat_memory(section: Section, weights: Path, device: str) -> dict[str, Any]:
    """Clips a second of one process, and its memory after each round over the films."""
    few = films(section)[: max(1, section.sizes.films // 16)]
    tools = Tools.on(weights, device)
    spent, held = [], []
    for _ in range(ROUNDS):
        spent.append(sum(extract(film, tools)[2] for film in few))
        if section.on_gpu:
            held.append(torch.cuda.memory_reserved() / 1e6)
    figures: dict[str, Any] = {"clips/s": len(few) / min(spent)}
    if not section.on_gpu:
        return figures
    figures |= {"reserved MB": held, "peak MB": torch.cuda.max_memory_allocated() / 1e6}
    good = held[-1] <= GROWTH * held[0]
    return promise(good, f"memory grows over rounds: {held} MB", figures)


def crew_rate(section: Section, weights: Path, workers: int, device: str) -> dict[str, Any]:
    """Clips a second of several processes, as ``preprocess.py`` starts them, once all are ready."""
    jobs = films(section)
    crew = Crew(prepare, (weights, device), work, 60.0)
    started = time.monotonic()
    ends = []
    for answer in answers(jobs, min(workers, len(jobs)), crew):
        if isinstance(answer, Lost):
            raise RuntimeError(f"film {answer.job.seed}: {answer.reason}")
        ends.append(answer)
    begun = min(first for first, _, _ in ends)
    took = max(last for _, last, _ in ends) - begun
    figures = {"clips/s": len(ends) / took, "processes": min(workers, len(jobs))}
    figures |= {
        "start s": begun - started,
        "networks s a clip": sum(n for *_, n in ends) / len(ends),
    }
    return figures


def prepare(number: int, weights: Path, device: str) -> None:
    """A worker's networks, built and warm."""
    allow_tf32(False)
    torch.set_num_threads(1)
    _worker["tools"] = Tools.on(weights, device)
    extract(Film(number, 2, 180), _worker["tools"])


def work(film: Film) -> tuple[float, float, float]:
    """When a film was begun and done, on the clock of all processes, and the networks' seconds."""
    begun = time.monotonic()
    spent = extract(film, _worker["tools"])[2]
    return begun, time.monotonic(), spent
