"""Trainings on a folder that were measured: options under a name.

`keras-setr train --recipe NAME --data DIR --preset PRESET --out OUT` is the
command with all the options of the record; what is said beside them prevails.
"""

import dataclasses

from keras_setr.tables import record_text
from keras_setr_commands.parsing import spelled


@dataclasses.dataclass(frozen=True)
class FolderRecipe:
    """A record of `keras-setr train --data`.

    Attributes:
        name: str.
        data: str. What `--data` is.
        preset: str. What `--preset` is.
        options: dict of options, as argparse names them.
        because: tuple of str. Why these.
        measured: float or None. Mean IoU in percent on the validation images,
            whole, at a single scale.
        hardware: str.
        minutes: float or None.
        date: str.
    """

    name: str
    data: str
    preset: str
    options: dict
    because: tuple
    measured: float | None
    hardware: str
    minutes: float | None
    date: str

    @property
    def command(self) -> str:
        return (
            f"keras-setr train --recipe {self.name} --data DIR --preset "
            f"PRESET --out runs/{self.name}"
        )

    def __str__(self) -> str:
        said = " ".join(
            spelled(name, value) for name, value in self.options.items()
        )
        measured = "not run"
        if self.measured is not None:
            measured = (
                f"{self.measured:.2f} in {self.minutes:.0f} minutes on "
                f"{self.hardware}, {self.date}"
            )
        rows = [
            ("data", self.data),
            ("preset", self.preset),
            ("options", said),
            ("because", " ".join(self.because)),
            ("measured", measured),
            ("command", self.command),
        ]
        return record_text(self.name, rows)


_CAMVID = FolderRecipe(
    name="setr_naive_dinov2_small_camvid",
    data="CamVid in the layout of SegNet: train, trainannot, val, valannot",
    preset="dinov2_vit_small_patch14, or a folder with its weights",
    options={
        "ignore": [11],
        "model": "naive",
        "filters": 256,
        "auxiliary": False,
        "patch_size": 8,
        "crop": [160, 160],
        "scale_range": [0.75, 1.75],
        "batch_size": 4,
        "epochs": 26,
        "optimizer": "adamw",
        "learning_rate": 5e-5,
        "head_multiplier": 20.0,
        "layer_decay": 0.85,
        "loss": "ce+dice",
        "ema": 0.999,
        "precision": "mixed_bfloat16",
        "validate_every": 13,
    },
    because=(
        "Poles and signs are a few pixels wide, so patches are of 8, the "
        "kernel of 14 resampled.",
        "In 300 steps the naive decoder came to 45.7, PUP to 42.1, whose four "
        "new stages learn more slowly.",
        "Over steps 51 to 100 the loss was 1.24 at this rate and 1.42 at four "
        "times it with half of it for the decoder.",
    ),
    measured=77.43,
    hardware="one CPU core with AVX-512 BF16, other jobs on another",
    minutes=71,
    date="2026-11-27",
)

RECIPES = {recipe.name: recipe for recipe in (_CAMVID,)}
