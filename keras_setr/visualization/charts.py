"""Scores as charts, drawn by matplotlib without a display."""

import csv
import os
import pathlib
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import having
from keras_setr.arguments import num_classes
from keras_setr.arguments import path
from keras_setr.files.text import read_text
from keras_setr.tables import counted
from keras_setr.tables import printable

# Blue for training, vermilion for validation: distinct for all readers.
_TRAINING, _VALIDATION = "#3b6fb6", "#d55e00"
# Characters of a class name beside a matrix.
_LONGEST = 60


def _figure(width, height):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Charts need matplotlib, which is not installed: "
            "pip install matplotlib."
        ) from error
    return Figure((width, height), layout="constrained")


@checked(log=path())
def training_curves(log: str | os.PathLike[str]) -> Any:
    """Losses, scores and learning rate over the epochs of a run.

    Args:
        log: path of the `log.csv` that `ks.callbacks` and `keras-setr train`
            write, or of the folder that holds it.

    Returns:
        A `matplotlib.figure.Figure` with a panel for each quantity, the
        training's beside the validation's where there are both, that of
        crops (`val_crop_..`) beside that of whole images.

    Raises:
        ValueError: the file has no column `epoch`, no row, or a cell that is
            no number.
        FileNotFoundError: there is no such file.
    """
    log = pathlib.Path(log)
    log = log / "log.csv" if log.is_dir() else log
    columns = _read(log)
    epochs = columns.pop("epoch") + 1
    names = list(
        {
            name.removeprefix("val_").removeprefix("crop_"): None
            for name in columns
        }
    )
    figure = _figure(5 * min(len(names), 2), 3.1 * -(-len(names) // 2))
    places = figure.subplots(
        -(-len(names) // 2), min(len(names), 2), squeeze=False
    )
    for name, axes in zip(names, places.flat):
        of_crops = f"val_crop_{name}"
        whole = ", whole images" * (of_crops in columns)
        for column, label, color, style in (
            (name, "training", _TRAINING, "-"),
            (of_crops, "validation, crops", _VALIDATION, ":"),
            (f"val_{name}", f"validation{whole}", _VALIDATION, "-"),
        ):
            if column in columns:
                # Not every epoch is validated.
                there = np.isfinite(columns[column])
                axes.plot(
                    epochs[there],
                    columns[column][there],
                    color=color,
                    linestyle=style,
                    label=label,
                    marker="o" if there.sum() < 30 else None,
                    markersize=3.5,
                )
        title = name.replace("_", " ").replace("iou", "IoU")
        axes.set_title(printable(title, ""))
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    for axes in places.flat[len(names) :]:
        axes.remove()
    return figure


def _read(log):
    """`{name: (E,) float64}`, NaN for what a row leaves empty."""
    rows = list(csv.DictReader(read_text(log).splitlines()))
    names = list(rows[0]) if rows else []
    if "epoch" not in names or len(names) < 2:
        raise ValueError(
            f"{log} must have a column epoch, others beside it, and a row for "
            f"each epoch, as ks.training.CSVLog writes them. Received: "
            f"{counted(len(rows), 'row')}, columns {names}."
        )
    try:
        return {
            name: np.array([float(row[name] or "nan") for row in rows])
            for name in names
        }
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{log} must hold numbers alone. Received: {error}."
        ) from None


@checked(
    evaluation=having("an Evaluation", "confusion_matrix", "classes"),
    normalize=flag(),
    count=num_classes(),
)
def confusion_matrix(
    evaluation: Any, normalize: bool = True, count: int = 24
) -> Any:
    """Which classes are taken for which.

    Args:
        evaluation: an `Evaluation`.
        normalize: bool. Each row in percent of its class, or pixels.
        count: int of at least 2. Of more classes, those with the most pixels
            in the truth stand for themselves, the others are one row and one
            column.

    Returns:
        A `matplotlib.figure.Figure`: rows are the truth, columns the
        prediction. A class that is never true has an empty row.
    """
    counts, names = _largest(
        np.asarray(evaluation.confusion_matrix), evaluation.classes.names, count
    )
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals, counts / np.maximum(totals, 1), np.nan)
    # Inches of the cells, and of the names at two of their sides.
    cells = max(0.42 * len(names), 1.7)
    beside = 0.09 * max(map(len, names))
    figure = _figure(cells + beside + 1.9, cells + beside + 0.9)
    axes = figure.subplots()
    picture = axes.imshow(100 * shares, vmin=0, vmax=100, cmap="Blues")
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column]:
            share = 100 * shares[row, column]
            text = f"{share:.0f}" if normalize else _short(counts[row, column])
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 55 else "#202024",
            )
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    figure.colorbar(picture, label="% of the true class", shrink=0.7)
    return figure


def _largest(counts, names, count):
    """Counts and names with all but the `count` largest classes merged."""
    names = [printable(name, "") for name in names]
    names = [n if len(n) <= _LONGEST else f"{n[:_LONGEST]}.." for n in names]
    if len(names) <= count:
        return counts, names
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    kept, rest = np.sort(order[:count]), order[count:]
    # (count + 1, K): which classes each row gathers.
    gather = np.zeros((count + 1, len(names)), counts.dtype)
    gather[np.arange(count), kept] = 1
    gather[count, rest] = 1
    merged = [*(names[k] for k in kept), f"{len(rest)} others"]
    return gather @ counts @ gather.T, merged


def _short(pixels):
    for power, unit in ((9, "G"), (6, "M"), (3, "k")):
        if pixels >= 10**power:
            return f"{pixels / 10**power:.3g}{unit}"
    return str(pixels)
