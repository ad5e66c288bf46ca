"""What `keras-setr train --data` does where nothing is said, and why.

The first row that fits decides about an option; rows further down see what
those above decided. `keras-setr train` says what came out, and a run goes on
with it.
"""

import dataclasses
from typing import Any

from keras_setr_commands import names
from keras_setr_commands.parsing import spelled
from keras_setr_commands.presets import decoder_of
from keras_setr_commands.presets import kind_of_preset

# `--preset none` starts at random.
RANDOM = "none"
ENCODER = "dinov2_vit_small_patch14"
# Of what starts at random.
NEW_ENCODER = {"layers": 12, "dim": 384, "heads": 6, "patch_size": 16}
# What a run had that was started when this table did not hold them.
EARLIER = {
    "preset": RANDOM,
    "model": "pup",
    "auxiliary": True,
    "precision": "float32",
}


@dataclasses.dataclass(frozen=True)
class Default:
    """The value of an option for some trainings.

    Args:
        option: str. As argparse names it.
        value: what it means where it is not said, or a function that makes it
            of what is known.
        reason: str. Where the value comes from.
        images: int or None. Up to how many training images it holds.
        side: int or None. Up to which shorter side of them, in pixels.
        known: dict. What else has to be: values of options, and what `find`
            adds to them.
    """

    option: str
    value: Any
    reason: str
    images: int | None = None
    side: int | None = None
    known: dict[str, Any] = dataclasses.field(default_factory=dict)

    def fits(self, known):
        return (
            (self.images is None or known["images"] <= self.images)
            and (self.side is None or known["side"] <= self.side)
            and all(known[name] == value for name, value in self.known.items())
        )


def _steps(count, most):
    """The epochs that make `count` steps, at most so many."""

    def value(known):
        epoch = max(known["images"] // known["batch_size"], 1)
        return min(max(round(count / epoch), 1), most)

    return value


def _share(count):
    """The epochs between `count` validations."""
    return lambda known: max(known["epochs"] // count, 1)


def _patches(count):
    """A crop of so many patches a side, within the images."""

    def value(known):
        patch = known["patch_size"] or known["own_patch_size"]
        return tuple(
            min(count, max(side // patch, 1)) * patch for side in known["size"]
        )

    return value


_NEW: dict[str, Any] = {"known": {"starts": "new", "optimizer": "adamw"}}
_TUNED: dict[str, Any] = {"known": {"optimizer": "adamw"}}
_FEW: dict[str, Any] = {"images": 1000, "known": {"is_new": False}}
_FEW_TUNED: dict[str, Any] = {
    "images": 1000,
    "known": {"is_new": False, "optimizer": "adamw"},
}
# A transformer, and a decoder that is new.
_FEW_ENCODER: dict[str, Any] = {"images": 1000, "known": {"starts": "encoder"}}
_FEW_NAIVE: dict[str, Any] = {
    "images": 1000,
    "known": {"starts": "encoder", "model": "naive"},
}
_PAPER = "the paper, section 4.1"
_MEASURED = "367 images of CamVid, see folder_recipes.py"

TABLE = (
    Default(
        "preset",
        ENCODER,
        "42.27 without pretraining and 78.39 with it in the paper, Table 1(c)",
        known={"starts": None},
    ),
    Default(
        "preset",
        RANDOM,
        "what is said is of a new encoder",
        known={"starts": "new"},
    ),
    Default("batch_size", 4, _MEASURED, **_FEW),
    Default("batch_size", 8, f"{_PAPER}, on Cityscapes"),
    Default(
        "model",
        lambda known: known["decoder"],
        "what the preset is",
        known={"has_decoder": True},
    ),
    Default("model", "naive", _MEASURED, **_FEW_ENCODER),
    Default("model", "pup", "the best on Cityscapes in the paper, Table 5"),
    Default("filters", 256, _MEASURED, **_FEW_NAIVE),
    Default("auxiliary", False, _MEASURED, **_FEW_ENCODER),
    Default("auxiliary", None, "the preset's own", known={"starts": "model"}),
    Default("auxiliary", True, _PAPER),
    # Of larger images the weights' own.
    Default(
        "patch_size",
        8,
        "in small images thin things are a few pixels wide, as CamVid's poles",
        side=512,
        **_FEW_ENCODER,
    ),
    Default(
        "crop",
        _patches(20),
        "400 tokens, " + _MEASURED,
        **_FEW_ENCODER,
    ),
    Default(
        "crop",
        _patches(20),
        "the same tokens; their number is what a step costs",
        images=1000,
        known={"starts": "model", "on_resnet": False},
    ),
    Default("epochs", _steps(2400, 100), _MEASURED, **_FEW),
    Default("epochs", 100, "not measured"),
    Default("optimizer", "adamw", _MEASURED, **_FEW),
    Default("optimizer", "sgd", _PAPER),
    Default(
        "learning_rate",
        0.01,
        f"{_PAPER}, on Cityscapes",
        known={"optimizer": "sgd"},
    ),
    Default("learning_rate", 0.01, "not measured", **_NEW),
    Default("learning_rate", 5e-5, _MEASURED, **_FEW_TUNED),
    Default("learning_rate", 6e-5, "SegFormer, arXiv 2105.15203", **_TUNED),
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
    Default("scale_range", (0.75, 1.75), _MEASURED, side=512, **_FEW_ENCODER),
    Default("scale_range", (0.75, 1.5), "60 images of CWFID", **_FEW_ENCODER),
    Default("scale_range", (0.5, 2.0), _PAPER),
    Default(
        "precision",
        "mixed_bfloat16",
        "three quarters of the time of a step, with AVX-512 BF16",
        known={"bfloat16": True},
    ),
    Default("precision", "float32", "exact, and no slower elsewhere"),
    # Whole images take as long as a few epochs of their crops.
    Default("validate_every", _share(2), _MEASURED, **_FEW),
    Default("validate_every", 5, "not measured", images=1000),
    Default("validate_every", 1, "not measured"),
)


def starts_from(said):
    """What a training starts from, as far as the options tell.

    Returns:
        "new" for random weights; "encoder" for a pretrained transformer under
        a new decoder; "model" for a segmenter, or what only its file tells;
        None where nothing is said.
    """
    preset = said["preset"]
    if preset is not None and preset != RANDOM:
        return kind_of_preset(preset)
    new = [said[name] is not None for name in ("layers", "dim", "heads")]
    is_new = any(new) or said["model"] in names.RESNET_MODELS
    return "new" if is_new or preset == RANDOM else None


def new_encoder(said):
    """The options of a transformer at random, with those that were not said."""
    return {
        name: value if said[name] is None else said[name]
        for name, value in NEW_ENCODER.items()
    }


def find(said, images, size=(512, 512), own_patch_size=14, bfloat16=False):
    """The values of options that were not said.

    Args:
        said: dict of options, None where nothing was said.
        images: int. How many are trained on.
        size: `(H, W)`, the median of the images'.
        own_patch_size: int. Of the weights it starts from.
        bfloat16: bool. Whether this machine multiplies it fast.

    Returns:
        dict from the options of `TABLE` that were not said to values.
    """
    decoder = said["preset"] and decoder_of(said["preset"])
    known = {
        **said,
        "decoder": decoder,
        "has_decoder": decoder is not None,
        "images": images,
        "size": size,
        "side": min(size),
        "bfloat16": bfloat16,
        "own_patch_size": own_patch_size,
        "starts": starts_from(said),
    }
    found = {}
    for row in TABLE:
        known["is_new"] = known["starts"] == "new"
        known["on_resnet"] = known["model"] in names.RESNET_MODELS
        if said[row.option] is not None or row.option in found:
            continue
        if row.fits(known):
            value = row.value(known) if callable(row.value) else row.value
            found[row.option] = known[row.option] = value
            known["starts"] = starts_from(known)
    return found


def describe(found, images):
    """A line that says what `find` found; empty for nothing.

    None is not told: it leaves an option to the preset.
    """
    from keras_setr.tables import counted

    values = ", ".join(
        spelled(name, value)
        for name, value in found.items()
        if value is not None
    )
    return values and f"by default for {counted(images, 'image')}: {values}"
