"""The straightforward program that preprocessing is measured against.

moviepy's ``get_frame``, MTCNN at full size, every frame embedded at 224 pixels.
"""

from pathlib import Path

import cv2
import librosa
import numpy as np
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from moviepy import VideoFileClip

from benchmarks.clips import ffmpeg
from benchmarks.costs import Cost, clocked, stage
from emotion.clock import FRAME_SECONDS, HOP_LENGTH, N_MELS, SAMPLE_RATE
from emotion.inputs import audio, faces
from emotion.inputs.video import probe


class Reference:
    """Every mel frame a picture, every fourth of them searched for faces at full size."""

    def __init__(self, weights: Path | None) -> None:
        self.detector = MTCNN(keep_all=True)
        self.embedder = InceptionResnetV1(pretrained=None, classify=False).eval()
        if weights:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            self.embedder.load_state_dict({k: v for k, v in state.items() if "logits" not in k})

    def run(self, clip: Path, folder: Path) -> tuple[Cost, np.ndarray]:
        """All features of a clip into ``folder``; returns the log-mel as well."""
        cost = Cost()
        with clocked(cost), VideoFileClip(str(clip), audio=False) as video:
            with stage(cost, "audio"):
                log_mel = self.sound(clip)
            crops = self.crops(video, np.arange(0, video.duration, FRAME_SECONDS), cost)
            with stage(cost, "embedding"):
                embedding = self.embed(crops) if len(crops) else np.zeros((0, 512))
            with stage(cost, "writing"):
                arrays = {"speech": log_mel, "video": crops, "embedding": embedding}
                for name, values in arrays.items():
                    np.save(folder / f"{name}.npy", values)
        cost.bytes = (folder / "video.npy").stat().st_size
        return cost, log_mel

    def sound(self, clip: Path) -> np.ndarray:
        """Trimmed log-mel (128, T).

        By ffmpeg: moviepy rounds to 16 bits, which drowns a quiet voice.
        """
        if not probe(clip).has_audio:
            return np.zeros((N_MELS, round(probe(clip).duration / FRAME_SECONDS)))
        rate = str(SAMPLE_RATE)
        sound = np.frombuffer(
            ffmpeg("-i", str(clip), "-ac", "1", "-ar", rate, "-f", "f32le", "-"), np.float32
        )
        trimmed, _ = librosa.effects.trim(
            sound, top_db=audio.TRIM_DB, frame_length=2 * audio.N_FFT, hop_length=HOP_LENGTH
        )
        power = librosa.feature.melspectrogram(
            y=trimmed, sr=SAMPLE_RATE, n_fft=audio.N_FFT, hop_length=HOP_LENGTH,
            n_mels=N_MELS, fmin=audio.F_MIN, fmax=audio.F_MAX,
        )  # fmt: skip
        decibel = librosa.power_to_db(power, ref=np.max, amin=1e-12, top_db=audio.DYNAMIC_RANGE)
        return decibel / audio.DYNAMIC_RANGE + 1

    def crops(self, video: VideoFileClip, times: np.ndarray, cost: Cost) -> np.ndarray:
        """uint8 (F, 160, 160, 3), with the face of the last search."""
        crops, face = [], None
        for index, moment in enumerate(times):
            with stage(cost, "decode"):
                frame = video.get_frame(moment)
            if index % 4 == 0:
                with stage(cost, "detection"):
                    face = self.look(frame) or face
            if face is not None:
                with stage(cost, "crops"):
                    crops.append(faces.crop_face(frame, face.box))
        return np.array(crops)

    def look(self, frame: np.ndarray) -> faces.Detection | None:
        """The largest sure face."""
        boxes, probabilities = self.detector.detect(frame)
        if boxes is None:
            return None
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        return faces.choose_face(boxes, np.asarray(probabilities, np.float32), None)

    @torch.inference_mode()
    def embed(self, crops: np.ndarray) -> np.ndarray:
        """(F, 512) of crops at 224 pixels, 32 at a time."""
        large = np.stack([cv2.resize(crop, (224, 224)) for crop in crops])
        pixels = torch.from_numpy(large).permute(0, 3, 1, 2)
        batches = [((part.float() - 127.5) / 128) for part in pixels.split(32)]
        return torch.cat([self.embedder(batch) for batch in batches]).numpy()
