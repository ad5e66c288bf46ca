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
from keras_setr.classes import warn_of_unknown
from keras_setr.tables import printable

# A width in pixels; of larger pictures the memory may not be enough.
WIDTH = integer(1, 16_384)
# Pixels of the finished picture.
MARGIN = 16
TEXT_SIZE = 15
_SWATCH = (16, 24)  # height, width
_COLUMN_GAP = 28
_GAP = 10  # between panels

# From low to high values, ever lighter, also without one kind of cones.
_SCALE = np.array(
    [
        (22, 26, 62),
        (38, 78, 122),
        (70, 134, 140),
        (160, 188, 116),
        (252, 236, 150),
    ]
)
_TINY = np.finfo("float32").tiny
_BAR = (14, 240)  # height, width

PAPER = (255, 255, 255)
INK = (32, 32, 36)
_EDGE = (150, 150, 150)


def height_at(width, shown):
    """The height of a picture `(H, W, ..)` at a width, at least a pixel."""
    height, own = shown.shape[:2]
    return max(round(height * width / own), 1)


@checked(classes=instance("Classes", Classes))
def color_map(labels: np.ndarray, classes: Classes) -> np.ndarray:
    """Labels `(H, W)` in their class colours, `(H, W, 3)` uint8.

    255 and every other value that is no class comes out black.

    Args:
        labels: `(H, W)` or `(H, W, 1)` integers.
        classes: `Classes`.

    Raises:
        ValueError: labels of another shape, or not integers.

    Warns:
        UserWarning: a label is no class, and neither 255 nor -1.
    """
    labels = checked_labels(labels)
    warn_of_unknown(labels, classes)
    black = len(classes)
    palette = np.array([*(classes.palette or ()), (0, 0, 0)], "uint8")
    known = (labels >= 0) & (labels < len(classes))
    return palette[np.where(known, labels.astype("int64"), black)]


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
    width=optional(WIDTH),
    labels=optional(having("an array of labels", "shape")),
)
def legend(
    classes: Classes,
    present: Any = None,
    width: int | None = None,
    labels: np.ndarray | None = None,
) -> Image.Image:
    """Class colours and names in columns, a `PIL.Image`.

    Args:
        classes: `Classes`.
        present: optional label values to list; all classes by default. A
            value that is no class is left out.
        width: pixels. Defaults to a width that makes the legend about twice
            as wide as tall.
        labels: `(H, W)` or `(H, W, 1)` integers. With them the classes that
            they hold are listed, the largest first, each with its share of
            the pixels; and, hatched, that of the pixels of no class.

    Raises:
        ValueError: both `present` and `labels`, or labels of another shape.
    """
    if labels is not None:
        if present is not None:
            raise ValueError(
                "present must be None where labels are given, which tell what "
                f"is present. Received: present={present!r:.80}."
            )
        return draw_legend(_shares(classes, checked_labels(labels)), width)
    if present is None:
        present = range(len(classes))
    return draw_legend(entries(classes, present), width)


def _shares(classes, labels):
    """Entries of the classes in `labels`, by their pixels."""
    values, counts = np.unique(labels, return_counts=True)
    known = (values >= 0) & (values < len(classes))
    found = sorted(zip(values[known], counts[known]), key=lambda pair: -pair[1])
    listed = [
        (with_share(classes.names[v], c / labels.size), classes.palette[v])
        for v, c in found
    ]
    ignored = counts[~known].sum()
    if ignored:
        listed.append((with_share("ignored", ignored / labels.size), None))
    return listed


def with_share(name, share):
    """A name with a fraction in percent, to one place."""
    return f"{name} {'<0.1' if 0 < share < 0.0005 else f'{100 * share:.1f}'} %"


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
    if not labels.size:
        raise ValueError(f"labels are empty: their shape is {labels.shape}.")
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


def scale_colors(values):
    """Values in 0..1, `(H, W)`, as colours from dark to light, uint8."""
    places = np.linspace(0, 1, len(_SCALE))
    channels = [np.interp(values, places, _SCALE[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype("uint8")


def stretched(values, share=1.0):
    """Values from 0, their minimum, to 1, which a `share` does not exceed.

    Those of a constant are all 0.
    """
    low, high = values.min(), np.quantile(values, share)
    return np.clip((values - low) / max(high - low, _TINY), 0, 1)


def draw_scale(low, high, title):
    """The colours of `scale_colors` with what stands at their ends."""
    face = font()
    ends = [face.getlength(text) for text in (low, high)]
    height, width = _BAR
    left = MARGIN + math.ceil(ends[0]) + 8
    total = left + width + 8 + math.ceil(ends[1]) + MARGIN
    total = max(total, math.ceil(face.getlength(title)) + 2 * MARGIN)
    top = MARGIN + TEXT_SIZE + 8
    picture = Image.new("RGB", (total, top + height + MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), title, font=face, fill=INK)
    ramp = np.broadcast_to(np.linspace(0, 1, width), _BAR)
    picture.paste(Image.fromarray(scale_colors(ramp)), (left, top))
    middle = top + height / 2
    for text, x, anchor in (
        (low, left - 8, "rm"),
        (high, left + width + 8, "lm"),
    ):
        draw.text((x, middle), text, font=face, fill=INK, anchor=anchor)
    return picture


def draw_panels(cells, columns, below=None):
    """Titled pictures of one width in rows, and one picture below.

    Args:
        cells: sequence of `(title, PIL.Image)`; one of a width that its title
            does not fit gets more lines of it.
        columns: int. At most; rows get as even as they can.
        below: `PIL.Image`, or None.
    """
    columns = -(-len(cells) // -(-len(cells) // columns))
    width = cells[0][1].width
    titles = [_lines(title, width) if title else [] for title, _ in cells]
    rows = [
        list(zip(titles, cells))[first : first + columns]
        for first in range(0, len(cells), columns)
    ]
    line = TEXT_SIZE + 4
    heads = [line * max(len(t) for t, _ in row) for row in rows]
    heads = [head + 4 if head else 0 for head in heads]
    heights = [max(picture.height for _, (_, picture) in row) for row in rows]
    across = columns * (width + _GAP) - _GAP + 2 * MARGIN
    down = sum(heads) + sum(heights) + _GAP * (len(rows) - 1) + 2 * MARGIN
    if below is not None:
        across, down = max(across, below.width), down + below.height - MARGIN
    sheet = Image.new("RGB", (across, down), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, head, height in zip(rows, heads, heights):
        for column, (lines, (_, picture)) in enumerate(row):
            left = MARGIN + column * (width + _GAP)
            for index, text in enumerate(lines):
                y = top + head - 4 - line * (len(lines) - index)
                draw.text((left, y), text, font=font(), fill=INK)
            sheet.paste(picture, (left, top + head))
        top += head + height + _GAP
    if below is not None:
        sheet.paste(below, (0, top - _GAP))
    return sheet


def _lines(text, width):
    """Words in lines that fit a width; a longer word stands alone, cut."""
    face, lines = font(), [""]
    for word in printable(text, "").split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    for index, line in enumerate(lines):
        while face.getlength(line) > width and len(line) > 2:
            line = line[:-3] + ".."
        lines[index] = line
    return lines
