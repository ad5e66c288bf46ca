"""Preset folders of ours: read with every file named, written whole.

The files are KerasHub's, so that its own `from_preset` reads them too.
"""

import functools
import os
import pathlib
import shutil

import keras
import numpy as np

from keras_setr.checkpoints import hub
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.tensors import read_variables
from keras_setr.checkpoints.transfer import TensorRule
from keras_setr.files.whole import folder_written_whole
from keras_setr.files.whole import is_partial
from keras_setr.files.whole import remove_partial
from keras_setr.layers.initialization import values_follow
from keras_setr.tables import counted
from keras_setr.tables import listed

CONFIG = "config.json"
CARD = "README.md"
# A whole new preset in the folder of the old one, before and while its files
# take their places.
_NEW = ".preset"
_MOVING = ".preset-moving"
_MODEL_CONFIG = "task.json"
_MODEL_WEIGHTS = "task.weights.h5"
_ENCODER_WEIGHTS = "model.weights.h5"
# In its place, where the weights are split: which file holds which.
_ENCODER_PARTS = "model.weights.json"
# Everything that a preset folder of ours consists of.
_FILES = (
    CARD,
    CONFIG,
    _MODEL_CONFIG,
    _ENCODER_PARTS,
    "image_converter.json",
    "metadata.json",
    "preprocessor.json",
    "*.weights.h5",
)
# What an encoder can do without, by the start of the variables' paths.
_OPTIONAL = (
    ("token_embedding/class_", "the model has no class token"),
    ("final_norm/", "SETR has no norm behind its last layer"),
)


class OwnLayout:
    """A preset folder of ours, for another model of its configuration.

    It has the attributes and methods of `Layout`. Weights are read when they
    are first asked for.

    Args:
        source: str. A folder or a handle.
        origin: str. Its name in messages.
        encoder_only: bool. Whether to leave a decoder out.
        load_weights: bool.
        saved: the model that has just been saved there, if it is at hand.
    """

    name = "keras_setr preset"
    ignored = ()

    def __init__(
        self,
        source,
        origin,
        encoder_only=False,
        load_weights=True,
        saved=None,
    ):
        self._source, self._origin = source, origin
        self._load_weights = load_weights
        self.model_class = None if encoder_only else _class_name(source)
        config = hub.read_json(source, CONFIG)
        self.backbone_class = config.get("class_name")
        if saved is not None:
            self.saved = saved

    @functools.cached_property
    def saved(self):
        """The model as it was saved."""
        return read_preset(
            self._source, self.model_class is None, self._load_weights
        )

    @property
    def checkpoint(self):
        return read_variables(self._origin, self.saved.weights)

    @property
    def _backbone(self):
        return getattr(self.saved, "backbone", self.saved)

    def encoder_arguments(self, given):
        """The saved backbone's configuration."""
        # A policy, where the configuration holds a dict.
        policy = self._backbone.dtype_policy
        return {**self._backbone.get_config(), "dtype": policy}

    def model_arguments(self, given):
        """The saved segmenter's configuration; `{}` without one."""
        if self.model_class is None:
            return {}
        config = self.saved.get_config()
        del config["backbone"]
        return {**config, "preprocessor": self.saved.preprocessor}

    def notes(self, taken):
        return ()

    def rules(self, arguments, encoder_only=False):
        """Every variable goes where it comes from."""
        return tuple(
            TensorRule(
                v.path,
                (v.path,),
                same,
                next((r for p, r in _OPTIONAL if v.path.startswith(p)), None),
            )
            for v in self.saved.weights
        )


def _class_name(source):
    """The name of the segmenter in a preset, or `None`."""
    if hub.exists(source, _MODEL_CONFIG):
        config = hub.read_json(source, _MODEL_CONFIG)
        if "class_name" in config:
            return config["class_name"]
        raise ValueError(_not_ours(source, _MODEL_CONFIG, "no class_name"))
    if hub.exists(source, _MODEL_WEIGHTS):
        raise FileNotFoundError(_incomplete(source, _MODEL_CONFIG))
    return None


def read_preset(source, encoder_only=False, load_weights=True):
    """The model in a preset folder of ours.

    Args:
        source: str. A folder or a handle.
        encoder_only: bool. Whether to leave a decoder out.
        load_weights: bool. `False` leaves all weights at random.

    Raises:
        FileNotFoundError, ValueError: where a file is missing or damaged,
            which the message names.
    """
    if not load_weights:
        return _build(source, encoder_only)
    # All files are there before anything is built.
    encoder_weights = _fetch_encoder_weights(source)
    model_weights = None if encoder_only else _fetch(source, _MODEL_WEIGHTS)
    with values_follow():
        model = _build(source, encoder_only)
    if encoder_only:
        _load(model.load_weights, encoder_weights)
    else:
        _load(model.backbone.load_weights, encoder_weights)
        _load(model.load_task_weights, model_weights)
    _check_finite(model, source)
    return model


def _check_finite(model, source):
    wrong = [
        variable.path
        for variable in model.weights
        if "float" in keras.backend.standardize_dtype(variable.dtype)
        # Of a variable that lies on several machines, no one sees all.
        and getattr(variable.value, "is_fully_addressable", True)
        and not np.isfinite(keras.ops.convert_to_numpy(variable)).all()
    ]
    if wrong:
        raise ValueError(
            f"{source} holds NaN or infinite values in {len(wrong)} of its "
            f"{counted(len(model.weights), 'variable')}: {listed(wrong)}. "
            "Save another checkpoint of the training, one from before it "
            "broke down."
        )


def _build(source, encoder_only):
    name = CONFIG if encoder_only else _MODEL_CONFIG
    config = hub.read_json(source, name)
    try:
        backbone = config if encoder_only else config["config"]["backbone"]
        _follow_policy(backbone["config"])
        return keras.saving.deserialize_keras_object(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(_not_ours(source, name, error)) from error


def _follow_policy(config):
    """As in KerasHub, weights of any float type follow today's policy."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and dtype["class_name"] == "DTypePolicy":
        config["dtype"] = keras.config.dtype_policy()


def _fetch_encoder_weights(source):
    if not hub.exists(source, _ENCODER_PARTS):
        return _fetch(source, _ENCODER_WEIGHTS)
    weight_map = hub.read_weight_map(source, _ENCODER_PARTS)
    for parts in weight_map.values():
        for part in [parts] if isinstance(parts, str) else parts:
            _fetch(source, part)
    return _fetch(source, _ENCODER_PARTS)


def _fetch(source, name):
    try:
        return hub.fetch(source, name)
    except FileNotFoundError as error:
        raise FileNotFoundError(_incomplete(source, name)) from error


def _load(load_weights, path):
    try:
        load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold what its preset needs ({error}); copy or "
            "download it again."
        ) from error


def _incomplete(source, name):
    return f"{source} has no {name}. Copy or download the whole preset again."


def _not_ours(source, name, error):
    return f"{name} of {source} describes no model of keras_setr: {error}"


def save_whole(save, folder, max_shard_size):
    """A preset into a folder, so that a kill leaves the old or the new one.

    A model card stays. In a folder that holds more than a preset, or cannot be
    renamed, the files are replaced one by one, which `finish_saving` ends after
    a kill.

    Args:
        save: KerasHub's `save_to_preset` of a model.
        folder: path.
        max_shard_size: as of `save`.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    finish_saving(folder)
    if is_partial(folder):  # KerasHub saves parts of parts by themselves
        return save(str(folder), max_shard_size)
    # As large as presets are, none is left behind by a killed process.
    remove_partial(folder.parent, folder.name)
    if _is_replaceable(folder):
        with folder_written_whole(folder) as part:
            save(str(part), max_shard_size)
            if (folder / CARD).exists() and not (part / CARD).exists():
                shutil.copy2(folder / CARD, part)
        return None
    with folder_written_whole(folder / _NEW) as part:
        save(str(part), max_shard_size)
    finish_saving(folder)
    return None


def finish_saving(folder):
    """Put a new preset's files in the place of the old ones.

    The new one lies whole within the folder, so that whoever looks next goes
    on where a kill has come between.

    Args:
        folder: path; nothing happens to one without a new preset in it.
    """
    folder = pathlib.Path(folder)
    new, moving = folder / _NEW, folder / _MOVING
    if new.is_dir():
        kept = {CARD, *(path.name for path in new.iterdir())}
        for path in folder.iterdir():
            if _is_of_preset(path) and path.name not in kept:
                path.unlink(missing_ok=True)
        os.rename(new, moving)
    if moving.is_dir():
        for path in moving.iterdir():
            os.replace(path, folder / path.name)
        moving.rmdir()


def _is_replaceable(folder):
    """Whether it is a preset and nothing else, and no working folder."""
    if not folder.exists():
        return True
    here = pathlib.Path.cwd()
    return (
        all(_is_of_preset(path) for path in folder.iterdir())
        and folder not in (here, *here.parents)
        and not folder.is_mount()
        and os.access(folder.parent, os.W_OK)
    )


def _is_of_preset(path):
    return path.is_file() and any(path.match(name) for name in _FILES)
