"""What an option takes: texts that become values, or errors of one line."""

import argparse
import os
import pathlib
import re
import tempfile

from keras_setr import arguments
from keras_setr_commands.parsing import nearest


def _refuse(rule, text):
    raise argparse.ArgumentTypeError(f"must be {rule}. Received: {text!r}")


def _by(rule, parse):
    """What a rule of the package takes, of a text."""

    def take(text):
        try:
            return rule.take(parse(text))
        except (TypeError, ValueError):
            _refuse(rule.text, text)

    return take


def integer(minimum, maximum=None):
    """An integer within bounds."""
    return _by(arguments.integer(minimum, maximum), int)


def number(minimum=None, maximum=None, **bounds):
    """A finite number within bounds, those of `keras_setr.arguments`."""
    return _by(arguments.number(minimum, maximum, **bounds), float)


def one_of(known, what):
    """One of some names; the error offers those that are near."""

    def take(text):
        if text not in known:
            offer = nearest(text, known)
            rest = offer or (
                f"It is one of {', '.join(known)}."
                if len(known) < 8
                else "--list prints them."
            )
            raise argparse.ArgumentTypeError(
                f"there is no {what} {text!r}. {rest}"
            )
        return text

    return take


def sum_of(known, what):
    """Some names joined by `+`, each with a factor before `*` if need be."""
    one = one_of(known, what)

    def take(text):
        for term in text.split("+"):
            factor, _, name = term.strip().rpartition("*")
            one(name)
            if factor:
                number(0)(factor)
        return text

    return take


def scale(text):
    """A factor, or `"paper"`."""
    if text == "paper":
        return text
    try:
        return number(above=0)(text)
    except argparse.ArgumentTypeError:
        _refuse("a number above 0, or paper", text)


def shard(text):
    """`N/M`, the Nth of M workers, as `(N - 1, M)`."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        _refuse("N/M, the Nth of M workers, as 1/4", text)
    return int(match[1]) - 1, int(match[2])


def fold(text):
    """`K/N`, the Kth of N folds, as it is said."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) >= 2:
        _refuse("K/N, the Kth of N folds, as 1/5", text)
    return text


def label_pair(text):
    """`VALUE=LABEL`, as `(value, label)`."""
    match = re.fullmatch(r"(\d+)[=:](\d+)", text)
    if not match or max(map(int, match.groups())) > 255:
        _refuse("VALUE=LABEL, both in 0..255, as 255=1", text)
    return int(match[1]), int(match[2])


def color(text):
    """`R,G,B`, as `(red, green, blue)`, or `"none"`."""
    if text == "none":
        return text
    parts = text.split(",")
    if len(parts) != 3 or not all(
        part.isdecimal() and int(part) <= 255 for part in parts
    ):
        _refuse("R,G,B, each in 0..255, as 128,64,128, or none", text)
    return tuple(map(int, parts))


def text(value):
    """Anything but nothing."""
    if not value.strip():
        _refuse("a text", value)
    return value


def folder(path):
    """A folder that is there."""
    if not path or not os.path.exists(path):
        raise argparse.ArgumentTypeError(
            f"must be a folder. Received: {path!r}, which does not exist"
            + beside(path)
        )
    if not os.path.isdir(path):
        raise argparse.ArgumentTypeError(
            f"must be a folder. Received: {path!r}, a file"
        )
    return path


def file(path):
    """A file that is there."""
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "which does not exist"
        raise argparse.ArgumentTypeError(
            f"must be a file. Received: {path!r}, {kind}"
            + ("" if kind == "a folder" else beside(path))
        )
    return path


def file_or_folder(path):
    """What is there."""
    if not path or not os.path.exists(path):
        raise argparse.ArgumentTypeError(
            f"must be files or folders. Received: {path!r}, which does not "
            "exist" + beside(path)
        )
    return path


def new_folder(path):
    """A folder that can be made, or is there."""
    if not path.strip():
        _refuse("a folder", path)
    for part in (pathlib.Path(path), *pathlib.Path(path).absolute().parents):
        try:
            if not part.exists():
                continue
            if part.is_dir():
                # Only trying tells: /proc and the like refuse root, too.
                with tempfile.TemporaryDirectory(dir=part):
                    return path
        except OSError as error:
            raise argparse.ArgumentTypeError(
                f"must be a folder to write to. Received: {path!r}, but "
                f"nothing can be written into {part} ({error.strerror})"
            ) from error
        raise argparse.ArgumentTypeError(
            f"must be a folder. Received: {path!r}, but {part} is a file"
        )
    return path


def new_file(path):
    """A file that can be written."""
    if not path.strip():
        _refuse("a file to write", path)
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(
            f"must be a file to write. Received: {path!r}, a folder"
        )
    new_folder(os.path.dirname(path) or ".")
    try:
        os.stat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be a file to write. Received: {path!r} ({error.strerror})"
        ) from error
    return path


def beside(path):
    """What lies where a path should be, if that is not far."""
    parent, name = os.path.split(path.rstrip("/\\"))
    if not os.path.isdir(parent or "."):
        return ""
    near = nearest(name, os.listdir(parent or "."))
    return f". {near}" if near else ""
