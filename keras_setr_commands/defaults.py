"""What `keras-setr train --data` does where nothing is said, and why.

The first row that fits decides about an option; rows further down see what
those above decided. `keras-setr train` says what came out, and a run goes on
with it.
"""

import dataclasses
from typing import Any

from keras_setr_commands.options import spelled


@dataclasses.dataclass(frozen=True)
class Default:
    """The value of an option for some trainings.

    Args:
        option: str. As argparse names it.
        value: what it means where it is not said.
        reason: str. Where the value comes from.
        images: int or None. Up to how many training images it holds.
        pretrained: bool or None. Whether with `--preset` or without.
        optimizer: str or None. With which.
    """

    option: str
    value: object
    reason: str
    images: int | None = None
    pretrained: bool | None = None
    optimizer: str | None = None

    def fits(self, images, pretrained, optimizer):
        return (
            (self.images is None or images <= self.images)
            and self.pretrained in (None, pretrained)
            and self.optimizer in (None, optimizer)
        )


_NEW: dict[str, Any] = {"pretrained": False, "optimizer": "adamw"}
_TUNED: dict[str, Any] = {"pretrained": True, "optimizer": "adamw"}
_FEW: dict[str, Any] = {"images": 1000, "pretrained": True}
_FEW_TUNED: dict[str, Any] = {**_FEW, "optimizer": "adamw"}
_PAPER = "the paper, section 4.1"
_MEASURED = "367 images of CamVid, see folder_recipes.py"

TABLE = (
    Default("batch_size", 4, _MEASURED, **_FEW),
    Default("batch_size", 8, f"{_PAPER}, on Cityscapes"),
    Default("epochs", 30, "26 on 367 images of CamVid", **_FEW),
    Default("epochs", 100, "not measured"),
    Default("optimizer", "adamw", _MEASURED, **_FEW),
    Default("optimizer", "sgd", _PAPER),
    Default("learning_rate", 0.01, f"{_PAPER}, on Cityscapes", optimizer="sgd"),
    Default("learning_rate", 5e-5, _MEASURED, **_FEW_TUNED),
    Default("learning_rate", 6e-5, "SegFormer, arXiv 2105.15203", **_TUNED),
    Default("learning_rate", 0.01, "not measured", **_NEW),
    # Below 1 a share of all updates.
    Default("warmup", 0.1, "not measured", **_NEW),
    Default("warmup", 0, _PAPER),
    Default("schedule", "cosine", "DeiT, arXiv 2012.12877", **_NEW),
    Default("schedule", "poly", _PAPER),
    Default("head_multiplier", 1.0, "nothing is pretrained", **_NEW),
    Default("head_multiplier", 20.0, _MEASURED, **_FEW_TUNED),
    Default("head_multiplier", 10.0, _PAPER),
    # Nothing is done where no row fits.
    Default("layer_decay", 0.85, _MEASURED, **_FEW_TUNED),
    Default("ema", 0.999, _MEASURED, **_FEW),
    Default("loss", "ce+dice", _MEASURED, **_FEW),
    Default("loss", "ce", _PAPER),
    Default("scale_range", (0.5, 2.0), _PAPER),
    # Whole images take as long as a few epochs of their crops.
    Default("validate_every", 5, "not measured", images=1000),
    Default("validate_every", 1, "not measured"),
)


def find(said, images):
    """The values of options that were not said.

    Args:
        said: dict of options, None where nothing was said.
        images: int. How many are trained on.

    Returns:
        dict from the options of `TABLE` that were not said to values.
    """
    found = {}
    for row in TABLE:
        if said[row.option] is not None or row.option in found:
            continue
        optimizer = said["optimizer"] or found.get("optimizer")
        if row.fits(images, said["preset"] is not None, optimizer):
            found[row.option] = row.value
    return found


def describe(found, images):
    """A line that says what `find` found."""
    values = ", ".join(spelled(name, value) for name, value in found.items())
    return f"by default for {images} images: {values}"
