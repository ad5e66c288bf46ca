"""What a command can tell of a preset without the package."""

import argparse
import json
import os
import pathlib
import re

from keras_setr_commands import names
from keras_setr_commands.parsing import nearest
from keras_setr_commands.values import beside
from keras_setr_commands.values import file

# Names of KerasHub's own encoders, which it knows better.
_KERAS_HUB = re.compile(r"(vit|deit|dinov[23])_[a-z0-9_]+")
# Handles of hubs, and their forms.
_HANDLES = {
    "hf://USER/NAME": r"hf://[^/]+/[^/]+",
    "kaggle://USER/MODEL/keras/VARIANT": r"kaggle://[^/]+(/[^/]+){3,4}",
    "modelscope://USER/NAME": r"modelscope://[^/]+/[^/]+",
    "gs://BUCKET/FOLDER": r"gs://[^/]+/.+",
}


def preset(source):
    """What `from_preset` takes, as far as that shows from outside."""
    if source in names.PRESETS:
        return source
    if "://" in source:
        if not any(re.fullmatch(form, source) for form in _HANDLES.values()):
            raise argparse.ArgumentTypeError(
                f"must be a handle as {' or '.join(_HANDLES)}. Received: "
                f"{source!r}"
            )
        return source
    if os.path.isfile(source):
        if not source.lower().endswith(names.WEIGHT_SUFFIXES):
            raise argparse.ArgumentTypeError(
                "must be a preset folder, a built-in name or a file of "
                f"weights ({', '.join(names.WEIGHT_SUFFIXES)}). Received: "
                f"{source!r}"
            )
        return source
    if os.path.isdir(source):
        if not os.path.isfile(os.path.join(source, "config.json")):
            inner = os.path.join(source, "preset")
            meant = f"; did you mean {inner}?" * os.path.isdir(inner)
            raise argparse.ArgumentTypeError(
                f"must be a preset folder. Received: {source!r}, which holds "
                f"no config.json{meant}"
            )
        return source
    if _KERAS_HUB.fullmatch(source):
        return source
    near = nearest(source, names.PRESETS)
    raise argparse.ArgumentTypeError(
        "must be a preset folder, a file of weights, a handle such as "
        f"hf://user/model, or a built-in name. Received: {source!r}, which is "
        "none of these" + (f". {near}" if near else beside(source))
    )


def segmenter(source):
    """What `preset` takes and has a decoder, as far as that shows."""
    source = preset(source)
    if is_encoder(source):
        raise argparse.ArgumentTypeError(
            f"must be a segmenter. Received: {source!r}, an encoder without a "
            "decoder; keras-setr train --data DIR --preset "
            f"{source} --out OUT trains one on it"
        )
    return source


def is_encoder(source):
    """Whether a preset certainly has no decoder."""
    if not os.path.isdir(source):
        return source in (*names.ENCODERS, *names.RESNETS)
    config = _json_of(source, "config.json")
    is_ours = str(config.get("registered_name")).startswith("keras_setr>")
    return is_ours and not os.path.isfile(os.path.join(source, "task.json"))


def preset_or_none(source):
    """What `preset` takes, or "none" for random weights."""
    return source if source == "none" else preset(source)


def kind_of_preset(source):
    """ "encoder", or "model" where it is another or only its file tells."""
    if os.path.isdir(source):
        return "model" if num_classes_of(source) else "encoder"
    if source in names.PRESETS:
        return "encoder" if source in names.ENCODERS else "model"
    return "encoder" if _KERAS_HUB.fullmatch(source) else "model"


def is_exported(source):
    """Whether a path is that of an exported model, by its name."""
    if source is None:
        return False
    return source.lower().endswith(names.EXPORT_SUFFIXES) or os.path.isfile(
        os.path.join(source, "saved_model.pb")
    )


def model(source):
    """A preset, or an exported file."""
    if is_exported(source):
        return source if os.path.isdir(source) else file(source)
    return segmenter(source)


def num_classes_of(source):
    """The number of classes of a preset folder; `None` where it tells none."""
    config = _json_of(source, "task.json").get("config")
    return config.get("num_classes") if isinstance(config, dict) else None


def patch_size_of(source):
    """The side of the patches of a preset folder; `None` where it tells none.

    Args:
        source: str. A folder of ours or of Hugging Face.
    """
    config = _json_of(source, "config.json")
    # Ours nests it, Hugging Face's does not.
    config = config.get("config", config)
    found = config.get("patch_size") if isinstance(config, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def decoder_of(source):
    """The one of `names.MODELS` that a preset is; `None` where it tells none.

    Args:
        source: str. A folder, or a built-in name.
    """
    if source in names.PRESETS:
        name = source.removeprefix("setr_")
        return next((m for m in names.MODELS if name.startswith(m)), None)
    class_name = _json_of(source, "task.json").get("class_name")
    return next((m for m, c in names.MODELS.items() if c == class_name), None)


def _json_of(source, name):
    """The dict in a file of a preset folder; empty where there is none."""
    try:
        path = pathlib.Path(source) / name
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
