"""Labels in colour: overlays, legends and comparisons, as Pillow images."""

import math
import os

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from keras_setr.classes import Classes
from keras_setr.data.images import load_image

# Pixels of the finished picture.
_MARGIN = 16
_GAP = 10
_TEXT_SIZE = 15
_SWATCH = (16, 24)  # height, width
_CELL_WIDTH = 320
_COLUMN_GAP = 28

_PAPER = (255, 255, 255)
_INK = (32, 32, 36)
_EDGE = (150, 150, 150)


def color_map(labels, classes):
    """Labels `(H, W)` in their class colours, `(H, W, 3)` uint8.

    255 and every other value that is no class comes out black.

    Args:
        labels: `(H, W)` or `(H, W, 1)` integers.
        classes: `Classes`.

    Raises:
        ValueError: labels of another shape, or not integers.
    """
    labels = _checked_labels(labels)
    black = len(classes)
    palette = np.array([*classes.palette, (0, 0, 0)], "uint8")
    known = (labels >= 0) & (labels < len(classes))
    return palette[np.where(known, labels, black).astype("int64")]


def overlay(image, labels, classes=None, alpha=0.5):
    """The image with its labels laid over it, a `PIL.Image`.

    Args:
        image: path, `(H, W, 3)` array with values 0..255, or `PIL.Image`.
        labels: `(H, W)` or `(H, W, 1)` integers.
        classes: `Classes`. Defaults to numbered ones.
        alpha: float in 0..1. Share of the colours; 0 leaves the image.

    Raises:
        ValueError: `alpha` out of range, or labels of another size.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in 0..1. Received: {alpha}.")
    image, labels = _load(image), _checked_labels(labels)
    _check_size("labels", labels, image)
    if classes is None:
        classes = Classes.numbered(255)
    colors = color_map(labels, classes)
    mixed = (1 - alpha) * image + alpha * colors
    return Image.fromarray(np.rint(mixed).astype("uint8"))


def legend(classes, present=None, width=None):
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
    entries = [
        (classes.names[label], classes.palette[label])
        for label in sorted({int(label) for label in present})
        if 0 <= label < len(classes)
    ]
    return _draw_legend(entries, width)


def comparison(rows, classes, titles=("image", "truth", "prediction")):
    """Images beside their label maps, with headings and a legend.

    Args:
        rows: sequence of `(image, truth, prediction)`, or of an image and as
            many label maps as `titles` has further entries. Images as for
            `overlay`, labels `(H, W)` of the image's size. Rows may differ
            in size.
        classes: `Classes`.
        titles: headings of the columns.

    Returns:
        A `PIL.Image`. Ignored pixels are hatched on black.

    Raises:
        ValueError: no rows, a row whose length is not that of `titles`, or
            labels of another size than their image.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("rows must hold at least one row. Received: none.")
    pictures, present, ignored = [], set(), False
    for index, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(
                f"Each row must hold one item per title, {len(titles)}: an "
                f"image and {len(titles) - 1} label maps. Received: "
                f"{len(row)} items in row {index}."
            )
        image = _load(row[0])
        height, width = image.shape[:2]
        size = (max(round(height * _CELL_WIDTH / width), 1), _CELL_WIDTH)
        cells = [_resized(image, size, Image.Resampling.LANCZOS)]
        for title, labels in zip(titles[1:], row[1:]):
            labels = _checked_labels(labels)
            _check_size(f"{title} of row {index}", labels, image)
            values = {int(value) for value in np.unique(labels)}
            present |= values
            ignored |= any(not 0 <= v < len(classes) for v in values)
            cells.append(_label_cell(labels, classes, size))
        pictures.append(cells)
    return _compose(pictures, classes, titles, present, ignored)


def _load(image):
    """`(H, W, 3)` uint8 of a path, an array or a Pillow image."""
    if isinstance(image, (str, os.PathLike)):
        return load_image(image)
    if isinstance(image, Image.Image):
        image = image.convert("RGB")
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            "image must be a path, a PIL.Image or an array (H, W, 3). "
            f"Received: an array {image.shape}."
        )
    # Pipelines give float images; Keras keeps them in 0..255 as well.
    return np.clip(np.rint(image), 0, 255).astype("uint8")


def _checked_labels(labels):
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


def _check_size(name, labels, image):
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"{name} must have the image's height and width "
            f"{image.shape[:2]}. Received: {labels.shape}; resize one of "
            "them, labels with the nearest neighbour."
        )


def _resized(array, size, resampling):
    height, width = size
    return np.asarray(
        Image.fromarray(array).resize((width, height), resampling)
    )


def _label_cell(labels, classes, size):
    """Labels in colour at the size of a cell, unknown values hatched."""
    colors = _resized(
        color_map(labels, classes), size, Image.Resampling.NEAREST
    )
    unknown = (labels < 0) | (labels >= len(classes))
    unknown = _resized(unknown, size, Image.Resampling.NEAREST)
    return np.where((unknown & _hatch(*size))[..., None], 70, colors).astype(
        "uint8"
    )


def _hatch(height, width):
    """Diagonal stripes, two pixels in eight."""
    return (np.arange(height)[:, None] + np.arange(width)) % 8 < 2


def _font(size=_TEXT_SIZE):
    return ImageFont.load_default(size)


def _draw_legend(entries, width=None):
    """Swatches with names, filled column by column; entries (name, color).

    The colour None is the hatched black of ignored pixels.
    """
    font = _font()
    line = _SWATCH[0] + 10
    text = max((math.ceil(font.getlength(n)) for n, _ in entries), default=0)
    column = _SWATCH[1] + 8 + text
    if width is None:
        # columns * column = 2 * rows * line, with columns * rows = entries.
        columns = round(math.sqrt(2 * len(entries) * line / column))
    else:
        inner = width - 2 * _MARGIN
        columns = (inner + _COLUMN_GAP) // (column + _COLUMN_GAP)
    columns = min(max(columns, 1), max(len(entries), 1))
    lines = math.ceil(len(entries) / columns)
    natural = 2 * _MARGIN + columns * (column + _COLUMN_GAP) - _COLUMN_GAP
    height = 2 * _MARGIN + lines * line - (line - _SWATCH[0])
    picture = Image.new("RGB", (max(natural, width or 0), height), _PAPER)
    draw = ImageDraw.Draw(picture)
    for index, (name, color) in enumerate(entries):
        x = _MARGIN + (index // lines) * (column + _COLUMN_GAP)
        y = _MARGIN + (index % lines) * line
        box = (x, y, x + _SWATCH[1] - 1, y + _SWATCH[0] - 1)
        if color is None:
            stripes = _hatch(*_SWATCH)[..., None] * np.uint8(70)
            swatch = Image.fromarray(np.repeat(stripes, 3, axis=-1))
            picture.paste(swatch, (x, y))
            draw.rectangle(box, outline=_EDGE)
        else:
            draw.rectangle(box, fill=tuple(color), outline=_EDGE)
        draw.text(
            (x + _SWATCH[1] + 8, y + _SWATCH[0] / 2),
            name,
            font=font,
            fill=_INK,
            anchor="lm",
        )
    return picture


def _compose(pictures, classes, titles, present, ignored):
    entries = [
        (classes.names[label], classes.palette[label])
        for label in sorted(present)
        if 0 <= label < len(classes)
    ]
    if ignored:
        entries.append(("ignored", None))
    width = 2 * _MARGIN + len(titles) * (_CELL_WIDTH + _GAP) - _GAP
    names = _draw_legend(entries, width)
    heading = _TEXT_SIZE + 10
    top = _MARGIN + heading
    height = top + sum(cells[0].shape[0] + _GAP for cells in pictures) - _GAP
    # A class name wider than the rows widens the legend.
    size = (max(width, names.width), height + names.height)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(titles):
        x = _MARGIN + column * (_CELL_WIDTH + _GAP)
        draw.text(
            (x + _CELL_WIDTH / 2, _MARGIN + heading / 2 - 5),
            title,
            font=_font(_TEXT_SIZE + 2),
            fill=_INK,
            anchor="mm",
        )
    y = top
    for cells in pictures:
        for column, cell in enumerate(cells):
            x = _MARGIN + column * (_CELL_WIDTH + _GAP)
            picture.paste(Image.fromarray(cell), (x, y))
        y += cells[0].shape[0] + _GAP
    picture.paste(names, (0, height))
    return picture
