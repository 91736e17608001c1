"""How large everything is: on a GPU, in a dry run on a CPU, and in the test."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Of one run of the program; clips, seconds and pixels."""

    name: str
    clips: int  # for training; an eighth as many validate
    distinct: int  # of them; the others are links
    frames: tuple[int, int]  # of 16 ms a clip, fewest and most
    coeff: int  # EfficientNet-B0..B7 of the large speech model
    batch: int  # of speech and fused models
    sequence_batch: int  # of text and face models
    crop_batch: int  # of resnet3d
    face_size: int  # pixels of its crops
    steps: int  # an epoch of the first section; of resnet3d half as many
    every_variant: bool  # each mode in fp32, bf16 and fp16; else two modes
    workers: int  # loader processes, and CPU processes that preprocess
    gpu_workers: int  # processes that preprocess on the device
    films: int  # that are preprocessed
    film_frames: int
    film_height: int  # pixels, 16:9
    exports: int  # models that are exported
    commands: tuple[str, ...]  # modes of the README's commands that are run
    budgets: dict[str, int]  # seconds a section may take

    def steps_of(self, mode: str) -> int:
        """Of an epoch of the first section."""
        return max(1, self.steps // 2) if "resnet3d" in mode else self.steps


FULL = Sizes(
    name="full",
    clips=2000,
    distinct=100,
    frames=(260, 390),
    coeff=4,
    batch=128,
    sequence_batch=256,
    crop_batch=32,
    face_size=112,
    steps=10,
    every_variant=True,
    workers=16,
    gpu_workers=8,
    films=64,
    film_frames=48,
    film_height=720,
    exports=1,
    commands=("speech", "text", "face", "multimodal"),
    budgets={
        "modes": 110,
        "parallel": 40,
        "preprocessing": 60,
        "answers": 95,
        "commands": 95,
        "costs": 80,
    },
)
DRY = Sizes(
    name="dry",
    clips=16,
    distinct=14,
    frames=(40, 80),
    coeff=0,
    batch=4,
    sequence_batch=8,
    crop_batch=2,
    face_size=16,
    steps=2,
    every_variant=True,
    workers=2,
    gpu_workers=1,
    films=4,
    film_frames=8,
    film_height=360,
    exports=1,
    commands=("speech", "text", "face", "multimodal"),
    budgets=dict.fromkeys(
        ("modes", "commands", "parallel", "preprocessing", "answers", "costs"), 120
    ),
)
TINY = Sizes(
    name="tiny",
    clips=14,
    distinct=14,
    frames=(36, 64),
    coeff=0,
    batch=2,
    sequence_batch=4,
    crop_batch=2,
    face_size=16,
    steps=1,
    every_variant=False,
    workers=0,
    gpu_workers=1,
    films=1,
    film_frames=4,
    film_height=180,
    exports=0,
    commands=("text",),
    budgets=dict.fromkeys(
        ("modes", "commands", "parallel", "preprocessing", "answers", "costs"), 300
    ),
)
SIZES = {sizes.name: sizes for sizes in (FULL, DRY, TINY)}
