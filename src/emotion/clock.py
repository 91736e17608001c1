"""Rates, frames, bands and sizes that every part shares. All times are seconds of the container."""

SAMPLE_RATE = 16_000  # Hz
HOP_LENGTH = 256  # samples from one spectrogram frame to the next: 16 ms
FRAME_SECONDS = HOP_LENGTH / SAMPLE_RATE
N_MELS = 128  # bands of a spectrogram
STEP_FRAMES = 32  # spectrogram frames of a step: EfficientNet halves the time axis five times
STEP_SECONDS = STEP_FRAMES * FRAME_SECONDS  # 0.512 s: of speech encoders and of fusion
CROP_SIZE = 160  # pixels of a stored face crop: what the VGG-Face network takes


def whole_steps(frames: int) -> int:
    """``frames`` rounded up to whole steps, one step at least."""
    return max(STEP_FRAMES, -(-frames // STEP_FRAMES) * STEP_FRAMES)
