"""Label maps and legends as pictures: what needs neither files nor data."""

import math
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from keras_setr.arguments import checked
from keras_setr.arguments import having
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.classes import Classes
from keras_setr.tables import printable

# Pixels of the finished picture.
MARGIN = 16
TEXT_SIZE = 15
_SWATCH = (16, 24)  # height, width
_COLUMN_GAP = 28

PAPER = (255, 255, 255)
INK = (32, 32, 36)
_EDGE = (150, 150, 150)


def color_map(labels: np.ndarray, classes: Classes) -> np.ndarray:
    """Labels `(H, W)` in their class colours, `(H, W, 3)` uint8.

    255 and every other value that is no class comes out black.

    Args:
        labels: `(H, W)` or `(H, W, 1)` integers.
        classes: `Classes`.

    Raises:
        ValueError: labels of another shape, or not integers.
    """
    labels = checked_labels(labels)
    black = len(classes)
    palette = np.array([*(classes.palette or ()), (0, 0, 0)], "uint8")
    known = (labels >= 0) & (labels < len(classes))
    return palette[np.where(known, labels, black).astype("int64")]


def blend(image, labels, classes, alpha=0.5):
    """The image mixed with its label colours, `(H, W, 3)` uint8.

    Args:
        image: `(H, W, 3)` with values 0..255.
        labels: `(H, W)` integers.
        classes: `Classes`.
        alpha: float in 0..1. Share of the colours; 0 leaves the image.
    """
    mixed = (1 - alpha) * image + alpha * color_map(labels, classes)
    return np.rint(mixed).astype("uint8")


@checked(
    classes=instance("a keras_setr.Classes", Classes),
    present=optional(having("label values", "__iter__")),
    width=optional(integer(1)),
)
def legend(
    classes: Classes, present: Any = None, width: int | None = None
) -> Image.Image:
    """Class colours and names in columns, a `PIL.Image`.

    Args:
        classes: `Classes`.
        present: optional label values to list; all classes by default. A
            value that is no class is left out.
        width: pixels. Defaults to a width that makes the legend about twice
            as wide as tall.
    """
    if present is None:
        present = range(len(classes))
    return draw_legend(entries(classes, present), width)


def entries(classes, present, ignored=False):
    """`(name, color)` of the classes among label values, for `draw_legend`."""
    found = [
        (classes.names[label], classes.palette[label])
        for label in sorted({int(label) for label in present})
        if 0 <= label < len(classes)
    ]
    return [*found, ("ignored", None)] if ignored else found


def checked_labels(labels):
    labels = np.asarray(labels)
    if labels.ndim == 3 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels must be integers (H, W) or (H, W, 1). Received: "
            f"{labels.dtype} {labels.shape}; reduce logits with "
            "argmax(axis=-1) first."
        )
    return labels


def hatch(height, width):
    """Diagonal stripes, two pixels in eight."""
    return (np.arange(height)[:, None] + np.arange(width)) % 8 < 2


def font(size=TEXT_SIZE):
    return ImageFont.load_default(size)


def draw_legend(entries, width=None):
    """Swatches with names, filled column by column; entries (name, color).

    The colour None is the hatched black of ignored pixels.
    """
    face = font()
    entries = [(printable(name, ""), color) for name, color in entries]
    line = _SWATCH[0] + 10
    text = max((math.ceil(face.getlength(n)) for n, _ in entries), default=0)
    column = _SWATCH[1] + 8 + text
    if width is None:
        # columns * column = 2 * rows * line, with columns * rows = entries.
        columns = round(math.sqrt(2 * len(entries) * line / column))
    else:
        inner = width - 2 * MARGIN
        columns = (inner + _COLUMN_GAP) // (column + _COLUMN_GAP)
    columns = min(max(columns, 1), max(len(entries), 1))
    lines = math.ceil(len(entries) / columns)
    natural = 2 * MARGIN + columns * (column + _COLUMN_GAP) - _COLUMN_GAP
    height = 2 * MARGIN + lines * line - (line - _SWATCH[0])
    picture = Image.new("RGB", (max(natural, width or 0), height), PAPER)
    draw = ImageDraw.Draw(picture)
    for index, (name, color) in enumerate(entries):
        x = MARGIN + (index // lines) * (column + _COLUMN_GAP)
        y = MARGIN + (index % lines) * line
        box = (x, y, x + _SWATCH[1] - 1, y + _SWATCH[0] - 1)
        if color is None:
            stripes = hatch(*_SWATCH)[..., None] * np.uint8(70)
            swatch = Image.fromarray(np.repeat(stripes, 3, axis=-1))
            picture.paste(swatch, (x, y))
            draw.rectangle(box, outline=_EDGE)
        else:
            draw.rectangle(box, fill=tuple(color), outline=_EDGE)
        draw.text(
            (x + _SWATCH[1] + 8, y + _SWATCH[0] / 2),
            name,
            font=face,
            fill=INK,
            anchor="lm",
        )
    return picture
