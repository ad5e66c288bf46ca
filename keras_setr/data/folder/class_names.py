"""Class names as users give them."""

import json
import os
import re
import warnings

from keras_setr.classes import check_names
from keras_setr.files.text import read_text

# Looked for in a folder of pairs, in this order.
NAME_FILES = ("classes.txt", "classes.json")

_JSON_FORMS = (
    '["road", "sky"], {"0": "road", "1": "sky"}, {"road": 0, "sky": 1} or '
    '{"names": ["road", "sky"], "palette": [[128, 64, 128], [70, 130, 180]]}'
)
# Rows of tables: "0: road", which are in no order, and "road,128,64,128".
_NUMBERED = re.compile(r"(\d+)[\s,;:.)]+\D.*")
_WITH_COLOR = re.compile(r".*[,;\t]\s*\d+")


def read_class_names(class_names, directory):
    """Names and palette, each a tuple or `None` if it is not given.

    Args:
        class_names: sequence of str; path of a text file with a name per
            line or of a JSON file; or `None` for one of `NAME_FILES` in the
            directory, if there is one.
        directory: pathlib.Path.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: a file is not in UTF-8, or does not say what label each
            name belongs to.
    """
    if class_names is None:
        found = [directory / name for name in NAME_FILES]
        found = [path for path in found if path.is_file()]
        if not found:
            return None, None
        class_names, *others = found
        if others:
            warnings.warn(
                f"{directory} holds {' and '.join(NAME_FILES)}, of which "
                f"{class_names.name} is read; class_names= names another.",
                stacklevel=4,
            )
    if not isinstance(class_names, (str, os.PathLike)):
        names = tuple(class_names)
        check_names(names, "class_names")
        return names, None
    text, palette = _read(class_names, directory), None
    if str(class_names).lower().endswith(".json"):
        names, palette = _from_json(text, class_names)
    else:
        names = _from_lines(text, class_names)
    check_names(names, class_names)
    return names, palette


def _read(path, directory):
    try:
        return read_text(path)
    except OSError as error:
        beside = directory / path
        hint = (
            f"did you mean {beside}?"
            if beside.is_file()
            else "a relative path begins in the current folder."
        )
        raise type(error)(
            "class_names must be names, or a file of them. Received: "
            f"{path}, which cannot be read ({error.strerror}); {hint}"
        ) from error


def _from_lines(text, path):
    names = [line.strip() for line in text.rstrip().split("\n")]
    if "" in names:
        raise ValueError(
            f"{path} must hold a class name in every line. Received: "
            f"line {names.index('') + 1} is empty; its number minus one is a "
            "label, so remove it or name it."
        )
    if _is_table(names):
        raise ValueError(
            f"{path} must hold names alone, those of the labels 0, 1, .. in "
            f"order. Received: {names[1]!r}; remove what is no name, or write "
            f"one of these forms to a .json file: {_JSON_FORMS}."
        )
    return tuple(names)


def _is_table(lines):
    """Whether lines say more than names; the first may be a header."""
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        numbers = sorted(int(match[1]) for match in numbered)
        return numbers in (
            list(range(len(lines))),
            list(range(1, len(lines) + 1)),
        )
    return len(lines) > 1 and all(map(_WITH_COLOR.fullmatch, lines[1:]))


def _from_json(text, path):
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must be JSON. Received: {error}; correct the file."
        ) from error
    palette = None
    if isinstance(content, dict) and isinstance(content.get("names"), list):
        palette = content.get("palette")
        content = content["names"]
    if isinstance(content, dict):
        content = _in_order(content, path)
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(name, str) and name for name in content)
    ):
        raise ValueError(
            f"{path} must hold class names in one of these forms: "
            f"{_JSON_FORMS}. Received: {text[:80]!r}."
        )
    return tuple(content), palette


def _without_repeats(pairs):
    """A dict, where JSON would let the last of two equal keys win."""
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{key!r} stands there twice")
    return dict(pairs)


def _in_order(table, path):
    """The names of a dict label -> name or name -> label, by label."""
    if all(isinstance(label, (int, float)) for label in table.values()):
        names = {label: name for name, label in table.items()}
    else:
        names = {
            int(label) if label.isdecimal() else label: name
            for label, name in table.items()
        }
    labels = list(range(len(table)))
    if sorted(names, key=str) != sorted(labels, key=str):
        raise ValueError(
            f"{path} must name each of the labels 0..{len(table) - 1} once. "
            f"Received: {sorted(names, key=str)}; name the missing ones, or "
            "pass label_map= to number the values of the masks anew."
        )
    return [names[label] for label in labels]
