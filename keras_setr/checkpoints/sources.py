"""From what a user names to a layout, which tells what the name holds."""

import dataclasses
import os
from typing import Any

import keras_hub

from keras_setr.arguments import nearest
from keras_setr.checkpoints import hub
from keras_setr.checkpoints import tensors
from keras_setr.checkpoints.architectures import architecture
from keras_setr.checkpoints.layouts import recognise
from keras_setr.checkpoints.plan import Found
from keras_setr.checkpoints.preset_folder import CONFIG
from keras_setr.checkpoints.preset_folder import OwnLayout
from keras_setr.checkpoints.preset_folder import fetch_encoder_weights
from keras_setr.checkpoints.preset_folder import finish_saving
from keras_setr.checkpoints.preset_folder import refuse_nameless
from keras_setr.checkpoints.preset_sizes import check_foreign_sizes
from keras_setr.checkpoints.presets import PRESETS
from keras_setr.facts.datasets import DATASETS
from keras_setr.files.whole import restore_folder

# KerasHub's words for what Hugging Face calls otherwise.
_WORDS = {
    "num_heads": "num_attention_heads",
    "layer_norm_epsilon": "layer_norm_eps",
    "hidden_activation": "hidden_act",
}


class PublishedLayout:
    """A built-in name without its file; `Layout` has the same attributes."""

    saved = checkpoint = None

    def __init__(self, preset):
        self.name = preset.name
        self.model_class = preset.model_class
        self.backbone_class = preset.backbone_class
        backbone, model = architecture(preset)
        if self.model_class is None:
            self._found = Found(backbone)
        else:
            model = {**model, "classes": classes_of(preset)}
            self._found = Found(backbone, model)

    def read(self, given, encoder_only=False):
        return self._found


def classes_of(preset):
    """`Classes` of a built-in name's dataset, or `None`."""
    dataset = DATASETS.get(preset.dataset)
    return dataset and dataset.classes


def open_file_of(preset, path):
    """The layout of a file that the user has of a built-in name.

    Raises:
        ValueError: where the file holds something else.
    """
    layout = recognise(tensors.read_file(path), classes_of(preset))
    encoder, model = architecture(preset)
    published = {"model_class": preset.model_class, **encoder, **model}
    found = {"model_class": layout.model_class, **layout.facts()}
    wrong = [
        f"{name} {value} instead of {published.get(name)}"
        for name, value in found.items()
        if value != published.get(name)
    ]
    if wrong:
        raise ValueError(
            f"{path} is not the file of {preset.name}: it has "
            f"{', '.join(wrong)}. Its links stand on {preset.url}; to load "
            f"this file as what it is, pass it by itself: from_preset({path!r})"
        )
    return layout


def open_source(
    source: str, encoder_only: bool = False, load_weights: bool = True
) -> Any:
    """The layout of a file, a folder or a handle.

    Args:
        source: str. A file of tensors, a folder of KerasHub or Hugging Face,
            or a handle (`hf://`, `kaggle://`, ..).
        encoder_only: bool. Whether to leave the decoder of a preset folder
            out.
        load_weights: bool. Whether a preset folder's weights are wanted.

    Returns:
        `Layout` or `OwnLayout`.

    Raises:
        FileNotFoundError, ValueError: where there is no such source, or it is
            damaged or of an unknown kind.
        ConnectionError: where a hub cannot be reached.
        ImportError: where a hub's client is not installed.
    """
    local = "://" not in source
    if os.path.isfile(source) or (
        local and source.lower().endswith(tensors.SUFFIXES)
    ):
        return recognise(tensors.read_file(source))
    if local:
        restore_folder(source)
        finish_saving(source)
    else:
        hub.check_reached(source, CONFIG)
    try:
        hub.fetch(source, CONFIG)
    except (ValueError, FileNotFoundError) as error:
        reason = str(error)
        if local and not os.path.isdir(source):
            # KerasHub lists models of language.
            reason = "there is no such file or folder"
        raise ValueError(_unknown(source, reason)) from error
    except Exception as error:  # of whichever client a hub has
        if local or isinstance(error, ImportError):
            raise
        raise ConnectionError(f"{source} cannot be fetched: {error}") from error
    registered_name = hub.read_json(source, CONFIG).get("registered_name")
    if registered_name is None:
        refuse_nameless(source)
        return recognise(_read_hugging_face(source))
    if registered_name.startswith("keras_setr>"):
        return OwnLayout(source, source, encoder_only, load_weights)
    return recognise(_read_keras_hub(source))


def _read_keras_hub(source):
    """The tensors of an encoder of KerasHub's own."""
    stated = hub.read_json(source, CONFIG).get("config")
    try:
        if isinstance(stated, dict):
            weights = fetch_encoder_weights(source)
            check_foreign_sizes(source, CONFIG, stated, weights)
        encoder = keras_hub.models.Backbone.from_preset(source)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"KerasHub cannot load {source}: {error}") from error
    # Some put the model's own name before the names of their layers.
    prefix = f"{encoder.name}_"
    found = tensors.read_variables(source, encoder.weights, prefix)
    config = {_WORDS.get(k, k): v for k, v in encoder.get_config().items()}
    return dataclasses.replace(found, metadata={"config": config})


def _read_hugging_face(source):
    """The tensors of a folder, or of the same files fetched from a hub."""
    if os.path.isdir(source):
        return tensors.read_folder(source)
    index = "model.safetensors.index.json"
    if hub.exists(source, "model.safetensors"):
        hub.fetch(source, "model.safetensors")
    elif hub.exists(source, index):
        for part in hub.read_parts(source, index):
            hub.fetch(source, part)
    else:
        hub.fetch(source, "pytorch_model.bin")
    folder = os.path.dirname(hub.fetch(source, CONFIG))
    return dataclasses.replace(tensors.read_folder(folder), origin=source)


def _unknown(source, error):
    hint = nearest(source, PRESETS)
    return (
        f"{source!r} names nothing that can be loaded ({error}). "
        + (f"{hint} " if hint else "")
        + f"It may be a built-in name ({', '.join(sorted(PRESETS)[:3])}, .. in "
        "SETRSegmenter.presets), a file of tensors "
        f"({', '.join(tensors.SUFFIXES)}), a folder of KerasHub or Hugging "
        "Face with its config.json, or a handle such as hf://user/model or "
        "kaggle://user/model/keras/variant."
    )
