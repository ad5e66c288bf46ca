"""Train and validation lists: text files that name images line by line."""

import dataclasses
import pathlib
import unicodedata

from keras_setr.data.folder.layouts import SUBSETS
from keras_setr.files.text import read_text
from keras_setr.tables import counted
from keras_setr.tables import listed


def assign_subsets(pairs, lists, directory, problems, notes):
    """The listed pairs, each with the subset of its list.

    A line names an image by its path from `directory`, by any end of that
    path, with or without the extension: `a.png`, `a`, `bonn/a`. What follows
    the first white space, such as the mask, is not read unless it belongs to
    the name; and of a longer path, such as one of another computer, the end
    that fits counts.

    Args:
        pairs: sequence of `Pair`.
        lists: dict of subset -> path of the list, relative to `directory`.
        directory: pathlib.Path.
        problems: list, to which a sentence is added per list with lines that
            fit no image or several.
        notes: list, to which a sentence is added on pairs in no list.

    Raises:
        FileNotFoundError: a list does not exist.
        ValueError: an image is in two lists, or no line fits.
    """
    endings = _by_ending(pairs)
    subsets = {}
    for subset, name in lists.items():
        subset = SUBSETS.get(subset, subset)
        path = directory / name
        unknown, doubtful = [], []
        lines = [line.strip() for line in read_text(path).splitlines()]
        if not any(lines):
            problems.append(f"{path} is empty, and must name an image per line")
        for line in filter(None, lines):
            found = _find(line, endings)
            if not found:
                unknown.append(line)
            elif len(found) > 1:
                doubtful.append(line)
            else:
                (pair,) = found
                other = subsets.setdefault(pair, subset)
                if other != subset:
                    raise ValueError(
                        "lists must not share an image. Received: "
                        f"{pair.image} in those of {other!r} and {subset!r}; "
                        "remove it from one, or the validation would be on "
                        "what was trained on."
                    )
        for lines, what in (
            (unknown, "of no image of a pair; remove them or add the files"),
            (doubtful, "of several images; write the folder before the name"),
        ):
            if lines:
                problems.append(
                    f"{path} has {counted(len(lines), 'line')}, as "
                    f"{lines[0]!r}, {what}"
                )
    if not subsets:
        raise ValueError(
            f"lists must name images of {directory}. Received: none of the "
            f"lines of {', '.join(map(str, lists.values()))} does; the first "
            f"image is {pairs[0].image}."
        )
    unlisted = [str(pair.image) for pair in pairs if pair not in subsets]
    if unlisted:
        notes.append(
            f"{len(unlisted)} of {counted(len(pairs), 'pair')} left out, as no "
            f"list names them: {listed(unlisted)}"
        )
    found = [
        dataclasses.replace(pair, subset=subsets[pair])
        for pair in pairs
        if pair in subsets
    ]
    return tuple(sorted(found, key=lambda p: (p.subset, p.image)))


def _by_ending(pairs):
    """Every end of an image's path, with and without extension -> pairs."""
    endings = {}
    for pair in pairs:
        parts = pathlib.PurePath(_plain(pair.image.as_posix())).parts
        for start in range(len(parts)):
            ending = "/".join(parts[start:])
            for key in (ending, ending[: -len(pair.image.suffix)]):
                endings.setdefault(key, set()).add(pair)
    return endings


def _find(line, endings):
    """The pairs that fit the longest end of what the line names."""
    for name in (line, line.split()[0]):
        parts = _plain(name).replace("\\", "/").strip("/").split("/")
        for start in range(len(parts)):
            found = endings.get("/".join(parts[start:]))
            if found:
                return found
    return set()


def _plain(name):
    # macOS stores "\u00fc" as "u" and two dots.
    return unicodedata.normalize("NFC", name)
