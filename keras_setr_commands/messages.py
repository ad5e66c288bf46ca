"""What commands say: lines for people, in the words of their options."""

import contextlib
import importlib
import os
import re

# Arguments of the library -> options of the commands that have another name.
OPTIONS = {
    "batch_size": "--batch-size",
    "class_names": "--names",
    "colors": "--colors",
    "crop_size": "--crop",
    "directory": "--data",
    "fraction": "--fraction",
    "gradient_accumulation_steps": "--accumulate",
    "ignore_values": "--ignore",
    "image_shape": "--crop",
    "images": "--images",
    "interval": "--interval",
    "accumulate": "--accumulate",
    "label_map": "--label-map",
    "learning_rate": "--learning-rate",
    "leave_out": "--leave-out",
    "masks": "--masks",
    "memory": "--memory",
    "nodata": "--nodata",
    "name": "--subset",
    "num_classes": "--num-classes",
    "reduce_zero_label": "--reduce-zero-label",
    "rematerialize": "--rematerialize",
    "stride": "--stride",
    "window_size": "--window",
}
# What TensorFlow tells about its kernels is no matter of these commands.
LOG_LEVEL = "3"
_OUT_OF_MEMORY = re.compile(
    r"out of memory|RESOURCE_EXHAUSTED|Unable to allocate|"
    r"can't allocate memory",
    re.IGNORECASE,
)


class CommandError(Exception):
    """An error whose text is all that there is to say."""


def say(text):
    """Print a line at once, also where the output is a file or a pipe."""
    print(text, flush=True)


def load_package(debug=False):
    """Import the package with Keras, which takes a while.

    Args:
        debug: bool. With all that is logged on the way.
    """
    from keras_setr import tensorflow_logs

    # A user's own level says what to print; ours is set for all commands.
    asked = os.environ.get(tensorflow_logs.LEVEL, LOG_LEVEL) != LOG_LEVEL
    backend = os.environ.get("KERAS_BACKEND")
    say(f"loading Keras{f' on {backend}' if backend else ''} ..")
    quiet = not debug and not asked
    with tensorflow_logs.left_out() if quiet else contextlib.nullcontext():
        importlib.import_module("keras_setr.public")


def one_line(error):
    """An exception as one line.

    Those that the package raises on purpose say what is wrong; of others the
    kind is named, too.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) and text:
        return text
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return (
            "The memory is not enough; --batch-size 1, a smaller --crop, "
            f"--rematerialize and --precision mixed_bfloat16 need less. {text}"
        ).strip()
    expected = (
        CommandError,
        ValueError,
        TypeError,
        OSError,
        ImportError,
        FloatingPointError,
        LookupError,
    )
    if text and isinstance(error, expected):
        return text
    return f"{type(error).__name__}: {text or 'no message'} (see --debug)"


def in_options(text, options):
    """A text of the library with the arguments named as options.

    `label_map={0: 0, 255: 1}` becomes `--label-map 0=0 255=1`,
    `image_shape=(384, 640, 3)` becomes `--crop 384 640`, and `num_classes=`
    alone becomes `--num-classes`.

    Args:
        text: str.
        options: the options that the command has, such as `--num-classes`.
    """
    text = re.sub(
        r"\bSETRBackbone\(rematerialize=True\)", "rematerialize=True", text
    )
    text = re.sub(
        r"\bcompile\((gradient_accumulation_steps=\d+)\)", r"\1", text
    )
    if "--encoder" in options:
        text = re.sub(
            r"Choose one: .* for the encoder itself\.",
            "--encoder makes a preset of it, for any decoder to start from.",
            text,
        )
    if "--precision" in options:
        text = re.sub(r'\bdtype="(mixed_\w+)"', r"--precision \1", text)
    for argument, option in OPTIONS.items():
        if option not in options:
            continue
        name = rf"(?<![\w.`\"'/-]){argument}"
        # Words of everyday English are arguments only with their "=", or as
        # what a rule is about.
        plain = "_" in argument
        text = re.sub(
            rf"{name}=(\{{[^{{}}]*\}}|\([^()]*\)|[^\s,;.()]+)?",
            lambda match: _given(option, match[1]),
            text,
        )
        rest = r"\b(?!\()" if plain else r"(?= must\b)"
        text = re.sub(name + rest, option, text)
    return text


def _given(option, value):
    """An option with a value that was written as Python writes it."""
    if value in (None, "", "True"):
        return option
    if value == "None":
        return f"{option} none"
    if value.startswith("{"):
        pairs = re.findall(r"(\d+): (\d+)", value)
        cut = [".."] * (".." in value)
        return " ".join([option, *(f"{a}={b}" for a, b in pairs), *cut])
    if value.startswith("("):
        numbers = re.findall(r"\d+", value)
        # Of (height, width, channels) the last is no matter of a command.
        return " ".join([option, *numbers[:2]])
    return f"{option} {value}"
