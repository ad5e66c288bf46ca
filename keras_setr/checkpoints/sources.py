"""From what a user names to what it holds."""

import dataclasses
import json
import os

from keras_hub.src.utils import preset_utils

from keras_setr.checkpoints import tensors
from keras_setr.checkpoints.download import cache_folder
from keras_setr.checkpoints.download import download
from keras_setr.checkpoints.presets import PRESETS
from keras_setr.checkpoints.presets import Preset

# Counted up when converted copies of older versions must not be read again.
_CONVERSION = 1


@dataclasses.dataclass(frozen=True)
class Source:
    """What a name stands for; one of the first two is set, or neither.

    Attributes:
        folder: str. A preset folder or handle that holds one of our classes.
        checkpoint: `Checkpoint` of foreign tensors.
        preset: `Preset`, where a built-in name was given.
        copy: str. The folder that a conversion of it is kept in.
    """

    folder: str | None = None
    checkpoint: tensors.Checkpoint | None = None
    preset: Preset | None = None
    copy: str | None = None


def open_source(source, file=None, load_weights=True, verbose=True):
    """Find what `from_preset` was asked for.

    Args:
        source: str. A built-in name, a file of tensors, a folder of KerasHub
            or Hugging Face, or a handle (`hf://`, `kaggle://`, ..).
        file: str. For built-in names whose file has no fixed address.
        load_weights: bool. `False` downloads no weights of built-in names.
        verbose: bool. Whether downloads draw a progress bar.

    Returns:
        `Source`.
    """
    source = os.fspath(source)
    if source in PRESETS:
        return _open_builtin(PRESETS[source], file, load_weights, verbose)
    if file is not None:
        raise ValueError(
            "file belongs to a built-in name. Received: "
            f"file={file!r} with {source!r}; pass the file itself instead."
        )
    if os.path.isfile(source) or (
        "://" not in source and source.lower().endswith(tensors.SUFFIXES)
    ):
        return Source(checkpoint=tensors.read_file(source))
    try:
        path = preset_utils.get_file(source, preset_utils.CONFIG_FILE)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(_unknown(source, error)) from error
    with open(path, encoding="utf-8") as opened:
        config = json.load(opened)
    if "registered_name" not in config:
        return Source(checkpoint=_read_hugging_face(source, path))
    if config["registered_name"].startswith("keras_setr>"):
        return Source(folder=source)
    import keras_hub

    encoder = keras_hub.models.Backbone.from_preset(source)
    # Some put the model's own name before the names of their layers.
    prefix = f"{encoder.name}_"
    return Source(
        checkpoint=tensors.read_variables(source, encoder.weights, prefix)
    )


def _open_builtin(preset, file, load_weights, verbose):
    if not load_weights:
        return Source(preset=preset)
    if file is not None:
        return Source(checkpoint=tensors.read_file(file), preset=preset)
    if not preset.downloads:
        raise ValueError(
            f"The weights of {preset.name} have no fixed address. Download "
            f"them by the links on {preset.url} and pass the file: "
            f'from_preset("{preset.name}", file="iter_80000.pth").'
        )
    copy = os.path.join(
        cache_folder(), f"{preset.name}-{preset.sha256}-{_CONVERSION}"
    )
    if os.path.isdir(copy):
        return Source(folder=copy, preset=preset)
    path = download(
        preset.url,
        os.path.join(cache_folder(), preset.file),
        preset.sha256,
        verbose,
    )
    return Source(checkpoint=tensors.read_file(path), preset=preset, copy=copy)


def _read_hugging_face(source, config_path):
    """A folder, or the same files fetched from a hub."""
    if os.path.isdir(source):
        return tensors.read_folder(source)
    index = "model.safetensors.index.json"
    if preset_utils.check_file_exists(source, "model.safetensors"):
        preset_utils.get_file(source, "model.safetensors")
    elif preset_utils.check_file_exists(source, index):
        parts = preset_utils.load_json(source, index)["weight_map"]
        for part in sorted(set(parts.values())):
            preset_utils.get_file(source, part)
    else:
        preset_utils.get_file(source, "pytorch_model.bin")
    folder = tensors.read_folder(os.path.dirname(config_path))
    return dataclasses.replace(folder, origin=source)


def _unknown(source, error):
    return (
        f"{source!r} names nothing that can be loaded ({error}). It may be a "
        f"built-in name ({', '.join(sorted(PRESETS)[:3])}, .. in "
        "SETRSegmenter.presets), a file of tensors "
        f"({', '.join(tensors.SUFFIXES)}), a folder of KerasHub or Hugging "
        "Face with its config.json, or a handle such as hf://user/model or "
        "kaggle://user/model/keras/variant."
    )
