"""Preset folders of ours: read with every file named, written whole.

The files are KerasHub's, so that its own `from_preset` reads them too.
"""

import functools
import os
import pathlib
import shutil

import keras

from keras_setr.checkpoints import hub
from keras_setr.checkpoints.layouts.namings import NO_CLASS_TOKEN
from keras_setr.checkpoints.layouts.namings import NO_FINAL_NORM
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.plan import Found
from keras_setr.checkpoints.preset_sizes import check_all_read
from keras_setr.checkpoints.preset_sizes import check_equal
from keras_setr.checkpoints.preset_sizes import check_sizes
from keras_setr.checkpoints.tensors import read_variables
from keras_setr.checkpoints.transfer import TensorRule
from keras_setr.checkpoints.transfer import not_finite
from keras_setr.files.whole import check_room
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
# Bytes of configurations and of HDF5's own tables, at most.
_BESIDE_WEIGHTS = 2**20
_MODEL_CONFIG = "task.json"
_MODEL_WEIGHTS = "task.weights.h5"
_ENCODER_WEIGHTS = "model.weights.h5"
# In its place, where the weights are split: which file holds which.
_ENCODER_PARTS = "model.weights.json"
# Where the normalisation of images stands once more, for KerasHub.
_CONVERTER = ("config", "image_converter", "config")
_PREPROCESSING = {
    "preprocessor.json": _CONVERTER,
    "image_converter.json": ("config",),
}
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
    ("token_embedding/class_", NO_CLASS_TOKEN),
    ("final_norm/", NO_FINAL_NORM),
)


class OwnLayout:
    """A preset folder of ours, for another model of its configuration.

    It has the attributes and the method of `Layout`. Weights are read when they
    are first asked for.

    Args:
        source: str. A folder or a handle.
        origin: str. Its name in messages.
        encoder_only: bool. Whether to leave a decoder out.
        load_weights: bool.
        saved: the model that has just been saved there, if it is at hand.
    """

    name = "keras_setr preset"

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

    def read(self, given, encoder_only=False):
        """The saved configurations; variables go where they come from."""
        backbone = getattr(self.saved, "backbone", self.saved)
        # A policy, where the configuration holds a dict.
        of_backbone = {
            **backbone.get_config(),
            "dtype": backbone.dtype_policy,
        }
        of_model = {}
        if self.model_class is not None:
            of_model = self.saved.get_config()
            del of_model["backbone"]
            of_model["preprocessor"] = self.saved.preprocessor
        rules = tuple(
            TensorRule(
                v.path,
                (v.path,),
                same,
                next((r for p, r in _OPTIONAL if v.path.startswith(p)), None),
            )
            for v in self.saved.weights
        )
        return Found(of_backbone, of_model, rules)


def refuse_nameless(source):
    """Raise where a preset's configuration has lost the name of its class.

    In a folder, which people edit; of a handle it would be one request more.
    """
    if os.path.isfile(os.path.join(source, "metadata.json")):
        raise ValueError(_not_ours(source, CONFIG, "no registered_name"))


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
    encoder_weights = fetch_encoder_weights(source)
    model_weights = None if encoder_only else _fetch(source, _MODEL_WEIGHTS)
    _check_configs(source, encoder_weights, model_weights)
    with values_follow():
        model = _build(source, encoder_only)
    backbone = model if encoder_only else model.backbone
    _load(backbone.load_weights, encoder_weights)
    check_all_read(source, encoder_weights, backbone.weights)
    if not encoder_only:
        _load(model.load_task_weights, model_weights)
        of_encoder = {id(variable) for variable in backbone.weights}
        of_decoder = [v for v in model.weights if id(v) not in of_encoder]
        check_all_read(source, model_weights, of_decoder)
    _check_finite(model, source)
    return model


def _check_configs(source, encoder_weights, model_weights):
    """Raise where sizes do not fit each other, before anything is built."""
    encoder = hub.read_json(source, CONFIG)
    _check_registered(source, CONFIG, encoder)
    given, kind = encoder.get("config"), encoder.get("class_name")
    # What else may be wrong shows when it is built.
    if not isinstance(given, dict):
        return
    check_sizes(source, CONFIG, given, encoder_weights, kind)
    if model_weights is None:
        return
    model = hub.read_json(source, _MODEL_CONFIG)
    _check_registered(source, _MODEL_CONFIG, model)
    arguments = model.get("config")
    if not isinstance(arguments, dict):
        return
    beside = _inner(arguments, "backbone", "config")
    stated = {CONFIG: given, _MODEL_CONFIG: beside}
    check_equal(source, "encoder", stated)
    converter = _inner(arguments, "preprocessor", *_CONVERTER)
    for name, keys in _PREPROCESSING.items():
        if converter and hub.exists(source, name):
            beside = _inner(hub.read_json(source, name), *keys)
            stated = {_MODEL_CONFIG: converter, name: beside}
            check_equal(source, "preprocessing", stated)
    name = model.get("class_name")
    check_sizes(source, _MODEL_CONFIG, arguments, model_weights, name)


def _check_finite(model, source):
    if wrong := not_finite(model):
        raise ValueError(
            f"{source} holds NaN or infinite values in {len(wrong)} of its "
            f"{counted(len(model.weights), 'variable')}: {listed(wrong)}. "
            "Save another checkpoint of the training, one from before it "
            "broke down."
        )


def _inner(content, *keys):
    """The dict at a path of keys; empty where there is none."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _check_registered(source, name, config):
    """Raise where a file names two of our classes: Keras heeds one of them."""
    class_name = config.get("class_name")
    package, _, registered = str(config.get("registered_name")).partition(">")
    if package == "keras_setr" and registered != class_name:
        reason = (
            "registered_name must be that of its class_name, "
            f"{class_name!r}. Received: {registered!r}"
        )
        raise ValueError(_not_ours(source, name, reason))


def _build(source, encoder_only):
    name = CONFIG if encoder_only else _MODEL_CONFIG
    config = hub.read_json(source, name)
    keys = ("config",) if encoder_only else ("config", "backbone", "config")
    if not (arguments := _inner(config, *keys)):
        reason = f"it holds no {' of '.join(reversed(keys))}"
        raise ValueError(_not_ours(source, name, reason))
    try:
        _follow_policy(arguments)
        return keras.saving.deserialize_keras_object(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(_not_ours(source, name, _reason(error))) from error


def _reason(error):
    """What went wrong in a constructor, which Keras buries in the whole."""
    while "could not be deserialized properly" in str(error):
        inner = error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    return error


def _follow_policy(config):
    """As in KerasHub, weights of any float type follow today's policy."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and dtype["class_name"] == "DTypePolicy":
        config["dtype"] = keras.config.dtype_policy()


def fetch_encoder_weights(source):
    """The local path of an encoder's weights, or of what lists their parts."""
    if not hub.exists(source, _ENCODER_PARTS):
        return _fetch(source, _ENCODER_WEIGHTS)
    for part in hub.read_parts(source, _ENCODER_PARTS):
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


def save_whole(model, save, folder, max_shard_size):
    """A preset into a folder, so that a kill leaves the old or the new one.

    A model card stays. In a folder that holds more than a preset, or cannot be
    renamed, the files are replaced one by one, which `finish_saving` ends after
    a kill.

    Args:
        model: what is saved.
        save: KerasHub's `save_to_preset` of it.
        folder: path.
        max_shard_size: as of `save`.
    """
    folder = pathlib.Path(os.path.realpath(folder))
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"A preset is a folder. Received: {folder}, a file; name another."
        )
    finish_saving(folder)
    size = 2 if model.variable_dtype.endswith("16") else 4
    check_room(folder, model.count_params() * size + _BESIDE_WEIGHTS)
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
