"""Images under their labels: one, a sheet of them, or in columns."""

import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_setr.arguments import checked
from keras_setr.arguments import having
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import segmenter
from keras_setr.arguments import sequence
from keras_setr.arguments import shown
from keras_setr.arguments import string
from keras_setr.classes import Classes
from keras_setr.files.images import load_image
from keras_setr.tables import counted
from keras_setr.visualization.drawing import INK
from keras_setr.visualization.drawing import MARGIN
from keras_setr.visualization.drawing import PAPER
from keras_setr.visualization.drawing import TEXT_SIZE
from keras_setr.visualization.drawing import WIDTH
from keras_setr.visualization.drawing import blend
from keras_setr.visualization.drawing import checked_labels
from keras_setr.visualization.drawing import color_map
from keras_setr.visualization.drawing import draw_legend
from keras_setr.visualization.drawing import entries
from keras_setr.visualization.drawing import font
from keras_setr.visualization.drawing import hatch
from keras_setr.visualization.drawing import height_at
from keras_setr.visualization.drawing import legend

# Pixels of the finished picture.
_GAP = 10
_CELL_WIDTH = 320
_CLASSES = instance("Classes", Classes)


@checked(classes=optional(_CLASSES), alpha=number(0, 1))
def overlay(
    image: np.ndarray | str | os.PathLike[str],
    labels: np.ndarray,
    classes: Classes | None = None,
    alpha: float = 0.5,
) -> Image.Image:
    """The image with its labels laid over it, a `PIL.Image`.

    Args:
        image: path, `PIL.Image`, or `(H, W, C)` array with values 0..255, or
            beyond if it is uint16, which is shown as 8 bits. Of more than
            three channels the first three are shown.
        labels: `(H, W)` or `(H, W, 1)` integers.
        classes: `Classes`. Defaults to numbered ones.
        alpha: float in 0..1. Share of the colours; 0 leaves the image.

    Raises:
        ValueError: `alpha` out of range, or labels of another size.
    """
    image, labels = shown_image(image), checked_labels(labels)
    check_size("labels", labels, image)
    if classes is None:
        classes = Classes.numbered(255)
    return Image.fromarray(blend(image, labels, classes, alpha))


@checked(
    rows=sequence(having("an image and label maps", "__len__")),
    classes=_CLASSES,
    titles=sequence(string(), minimum_length=2),
)
def comparison(
    rows: Any,
    classes: Classes,
    titles: Sequence[str] = ("image", "truth", "prediction"),
) -> Image.Image:
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
        image = shown_image(row[0])
        size = (height_at(_CELL_WIDTH, image), _CELL_WIDTH)
        cells = [_resized(image, size, Image.Resampling.LANCZOS)]
        for title, labels in zip(titles[1:], row[1:]):
            labels = checked_labels(labels)
            check_size(f"{title} of row {index}", labels, image)
            values = {int(value) for value in np.unique(labels)}
            present |= values
            ignored |= any(not 0 <= v < len(classes) for v in values)
            cells.append(_label_cell(labels, classes, size))
        pictures.append(cells)
    width = 2 * MARGIN + len(titles) * (_CELL_WIDTH + _GAP) - _GAP
    names = draw_legend(entries(classes, present, ignored), width)
    return arranged(pictures, names, _GAP, MARGIN, titles)


@checked(
    models=mapping(string(), segmenter()),
    images=having("a sequence of images", "__len__", "__getitem__"),
    truths=optional(having("a sequence of labels", "__len__", "__getitem__")),
    classes=optional(_CLASSES),
)
def model_comparison(
    models: Mapping[str, Any],
    images: Sequence[Any],
    truths: Sequence[np.ndarray] | None = None,
    classes: Classes | None = None,
    **options: Any,
) -> Image.Image:
    """What several models make of images, side by side (Figures 2 to 4).

    Args:
        models: dict from headings to segmenters of the same classes.
        images: sequence of images as for `overlay`.
        truths: sequence of `(H, W)` labels, one for each image, for a column
            of their own.
        classes: `Classes`. Defaults to those of the first model, or else
            numbers.
        **options: of each model's `segment`, such as `scales` and `flip`.

    Returns:
        A `PIL.Image`: a row for each image, with a legend.

    Raises:
        ValueError: no model, models of different classes, or another number
            of truths than of images.
    """
    counts = {name: model.num_classes for name, model in models.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(
            "models must hold segmenters of the same number of classes. "
            f"Received: {counts}."
        )
    if truths is not None and len(truths) != len(images):
        raise ValueError(
            "truths must hold labels for each image. Received: "
            f"{len(truths)} for {counted(len(images), 'image')}."
        )
    first = next(iter(models.values()))
    if classes is None:
        classes = first.classes or Classes.numbered(first.num_classes)
    shown = [shown_image(image) for image in images]
    columns = [shown]
    if truths is not None:
        columns.append(list(truths))
    for model in models.values():
        columns.append([model.segment(image, **options) for image in images])
    titles = ["image", *["truth"] * (truths is not None), *models]
    return comparison(list(zip(*columns)), classes, titles)


@checked(
    classes=_CLASSES,
    columns=integer(1),
    width=WIDTH,
    alpha=number(0, 1),
)
def sheet(
    pairs: Iterable[Any],
    classes: Classes,
    columns: int = 3,
    width: int = 320,
    alpha: float = 0.5,
) -> Image.Image:
    """Overlays in rows, with a legend below.

    Args:
        pairs: iterable of `(image, labels)`, `(H, W, C)` uint8 or uint16 and
            `(H, W)`. Of more than three channels the first three are shown,
            16 bits as 8.
        classes: `Classes`.
        columns: int. Pictures in a row.
        width: int. Pixels of each picture.
        alpha: float in 0..1. Share of the class colours.

    Returns:
        A `PIL.Image`. Unlabelled pixels are darkened.
    """
    pictures, present = [], set[int]()
    for index, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(
                "pairs must each be (image, labels). Received as pair "
                f"{index}: {shown(pair)}."
            )
        image, labels = pair
        present.update(int(value) for value in np.unique(labels))
        mixed = blend(as_rgb(image), labels, classes, alpha)
        height = height_at(width, mixed)
        pictures.append(Image.fromarray(mixed).resize((width, height)))
    if not pictures:
        raise ValueError("pairs must hold at least one pair. Received: none.")
    rows = [
        pictures[first : first + columns]
        for first in range(0, len(pictures), columns)
    ]
    return arranged(rows, legend(classes, present), gap=8)


def as_rgb(image):
    """`(H, W, 3)` uint8 to look at."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.shape[2] < 3:
        image = np.repeat(image[..., :1], 3, axis=-1)
    return image[..., :3]


def arranged(rows, below, gap, margin=0, titles=()):
    """Rows of pictures of one width under headings, and one picture below."""
    step = rows[0][0].width + gap
    heights = [max(picture.height for picture in row) for row in rows]
    top = margin + (TEXT_SIZE + 10 if titles else 0)
    size = (
        # A class name wider than the rows widens the legend.
        max(2 * margin + len(rows[0]) * step - gap, below.width),
        top + sum(heights) + gap * (len(rows) - 1) + below.height,
    )
    sheet = Image.new("RGB", size, PAPER)
    for column, title in enumerate(titles):
        ImageDraw.Draw(sheet).text(
            (margin + column * step + (step - gap) / 2, (margin + top) / 2 - 5),
            title,
            font=font(TEXT_SIZE + 2),
            fill=INK,
            anchor="mm",
        )
    for row, height in zip(rows, heights):
        for column, picture in enumerate(row):
            sheet.paste(picture, (margin + column * step, top))
        top += height + gap
    sheet.paste(below, (0, top - gap))
    return sheet


def shown_image(image):
    """`(H, W, 3)` uint8 of a path, an array or a Pillow image."""
    if isinstance(image, (str, os.PathLike)):
        return load_image(image)
    if isinstance(image, Image.Image):
        image = image.convert("RGB")
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            "image must be a path, a PIL.Image or an array (H, W, C). "
            f"Received: an array {image.shape}."
        )
    if image.dtype.kind not in "uif":
        raise ValueError(
            "image must hold values in 0..255. Received: an array of "
            f"{image.dtype}."
        )
    if image.dtype != np.uint8:
        _check_range(image)
    # Pipelines give float images; Keras keeps them in 0..255 as well.
    if image.dtype != np.uint16 or image.max() <= 255:
        image = np.clip(np.rint(image), 0, 255).astype("uint8")
    return as_rgb(image)


def _check_range(image):
    """Raise at values that are no brightness in 0..255."""
    highest = 65535 if image.dtype == np.uint16 else 255
    least, most = (image.min(), image.max()) if image.size else (0, 0)
    scaled = image.dtype.kind == "f" and 0 < most <= 1
    if scaled and (image % 1).any() or not 0 <= least <= most <= highest:
        raise ValueError(
            f"image must hold values in 0..{highest}, all of them numbers. "
            f"Received: values in {least}..{most}; "
            + ("multiply them by 255." if scaled else "undo the scaling.")
        )


def check_size(name, labels, image):
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"{name} must have the image's height and width "
            f"{image.shape[:2]}. Received: {labels.shape}; resize one of "
            "them, labels with the nearest neighbour."
        )


def _resized(array, size, resampling):
    return Image.fromarray(array).resize(size[::-1], resampling)


def _label_cell(labels, classes, size):
    """Labels in colour at the size of a cell, unknown values hatched."""
    nearest = Image.Resampling.NEAREST
    colors = np.array(_resized(color_map(labels, classes), size, nearest))
    unknown = (labels < 0) | (labels >= len(classes))
    unknown = np.asarray(_resized(unknown, size, nearest))
    colors[unknown & hatch(*size)] = 70
    return Image.fromarray(colors)
