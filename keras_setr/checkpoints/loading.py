"""`from_preset`: any source of weights into a model of ours."""

import contextlib
import inspect
import os
import tempfile

from keras_hub.src.utils import preset_utils

from keras_setr import checkpoints
from keras_setr.classes import Classes
from keras_setr.facts.datasets import DATASETS
from keras_setr.layers.initialization import values_follow

_CLASSIFIERS = r"(decode_head|auxiliary_head_\d+)/classifier/"
_DECODER = r"(decode_head|neck|auxiliary_head_\d+)/"
# What an encoder can do without, by the start of the variables' paths.
_OPTIONAL = (
    ("token_embedding/class_", "the model has no class token"),
    ("final_norm/", "SETR has no norm behind its last layer"),
)
# A decoder's tensors, where the encoder alone is wanted.
_DECODER_TENSORS = (
    r"(decode_head|auxiliary_head|neck|backbone\.mla|backbone\.norm_\d+)\..*",
    "only the encoder was asked for",
)


class PresetsOf:
    """A class attribute: the built-in names that the class can load."""

    def __init__(self, base):
        self.base = base

    def __get__(self, instance, owner):
        name = owner.__name__
        return checkpoints.presets_of(None if name == self.base else name)


class _OwnLayout:
    """The variables of a model of ours, for another of its configuration."""

    name = "keras_setr preset"
    ignored = ()

    def __init__(self, model):
        backbone = getattr(model, "backbone", model)
        self._is_backbone = backbone is model
        self._model, self._backbone = model, backbone
        self.model = None if self._is_backbone else type(model).__name__

    def backbone_arguments(self, given):
        # A policy, where the configuration holds a dict.
        return {
            **self._backbone.get_config(),
            "dtype": self._backbone.dtype_policy,
        }

    def model_arguments(self, given):
        if self._is_backbone:
            return {}
        config = self._model.get_config()
        config["preprocessor"] = self._model.preprocessor
        del config["backbone"]
        return config

    def _copies(self, variables):
        return [
            checkpoints.Copy(
                v.path,
                (v.path,),
                lambda array: array,
                next((r for p, r in _OPTIONAL if v.path.startswith(p)), None),
            )
            for v in variables
        ]

    def encoder_copies(self, given):
        return self._copies(self._backbone.weights)

    def decoder_copies(self):
        encoder = {v.path for v in self._backbone.weights}
        return self._copies(
            v for v in self._model.weights if v.path not in encoder
        )


def _initial_values(options):
    """Random values only where some may stay."""
    if options["load_weights"] and not options["skip_mismatch"]:
        return values_follow()
    return contextlib.nullcontext()


def load_backbone(cls, source, load_saved, options, arguments):
    """What `SETRBackbone.from_preset` does; see there.

    Args:
        cls: the class to build.
        source: str.
        load_saved: callable from a preset folder to its backbone.
        options: dict with `file`, `load_weights`, `skip_mismatch`, `verbose`.
        arguments: dict of the backbone's arguments that the user gave.
    """
    opened = _open(source, options)
    arguments = _without_final_norm(opened, arguments)
    if opened.folder is not None:
        with _initial_values(options):
            saved = load_saved(opened.folder)
        if not arguments:
            return saved
        layout, checkpoint = _own(saved, source)
    elif opened.checkpoint is None:
        backbone_arguments, _ = checkpoints.architecture(opened.preset)
        return cls(**_with_given(backbone_arguments, arguments))
    else:
        checkpoint = opened.checkpoint
        layout = checkpoints.recognise(checkpoint)
        if opened.copy is not None and layout.model is None:
            layout, checkpoint = _keep_encoder(
                cls, layout, opened, source, options
            )
    return _convert_encoder(cls, layout, checkpoint, options, arguments)


def _convert_encoder(cls, layout, checkpoint, options, arguments):
    """A new backbone with the source's values."""
    built = _with_given(layout.backbone_arguments(arguments), arguments)
    with _initial_values(options):
        model = cls(**built)
    if options["load_weights"]:
        report = checkpoints.transfer(
            checkpoint,
            layout.name,
            layout.encoder_copies(arguments),
            model,
            ignored=(*layout.ignored, _DECODER_TENSORS),
            skip_mismatch=options["skip_mismatch"],
        )
        _tell(report, options)
    return model


def load_segmenter(cls, classes_by_name, source, load_saved, options, given):
    """What `SETRSegmenter.from_preset` does; see there.

    Args:
        cls: the class that was asked for.
        classes_by_name: dict of the segmenters.
        source: str.
        load_saved: callable from a class and a preset folder to its model.
        options: dict with `file`, `load_weights`, `skip_mismatch`, `verbose`.
        given: dict of the backbone's and the model's arguments that the user
            gave.
    """
    opened = _open(source, options)
    given = _without_final_norm(opened, given)
    if opened.checkpoint is not None:
        layout = checkpoints.recognise(opened.checkpoint)
        cls = _pick_class(cls, classes_by_name, layout.model, source)
        if opened.copy is not None and layout.model is None:
            layout, checkpoint = _keep_encoder(
                cls.backbone_cls, layout, opened, source, options
            )
            opened = checkpoints.Source(checkpoint=checkpoint)
            return _convert(cls, layout, opened, options, given)
        if opened.copy is None:
            return _convert(cls, layout, opened, options, given)
        saved = _convert(cls, layout, opened, _whole(options), {})
        _keep(saved, opened)
    elif opened.folder is not None:
        name = _class_of(opened.folder)
        cls = _pick_class(cls, classes_by_name, name, source)
        if name is None:
            with _initial_values(options):
                saved = load_saved(cls.backbone_cls, opened.folder)
            layout, checkpoint = _own(saved, source)
            opened = checkpoints.Source(checkpoint=checkpoint)
            return _convert(cls, layout, opened, options, given)
        with _initial_values(options):
            saved = load_saved(cls, opened.folder)
    else:
        preset = opened.preset
        cls = _pick_class(cls, classes_by_name, preset.model, source)
        backbone_arguments, arguments = checkpoints.architecture(preset)
        arguments.setdefault("classes", _classes(opened, arguments))
        ours, theirs = _split(cls, given)
        return _build(
            cls, _with_given(backbone_arguments, ours), arguments, theirs
        )
    if not given:
        return saved
    layout, checkpoint = _own(saved, source)
    opened = checkpoints.Source(checkpoint=checkpoint)
    return _convert(cls, layout, opened, options, given)


def _open(source, options):
    return checkpoints.open_source(
        source,
        file=options["file"],
        load_weights=options["load_weights"],
        verbose=options["verbose"],
    )


def _keep_encoder(cls, layout, opened, source, options):
    """Convert a built-in encoder with its norm, keep it, and read it anew."""
    saved = _convert_encoder(
        cls,
        layout,
        opened.checkpoint,
        _whole(options),
        {"use_final_norm": True},
    )
    _keep(saved, opened)
    return _own(saved, source)


def _whole(options):
    """What is kept for later loads holds everything, whoever loads first."""
    return {**options, "skip_mismatch": False}


def _without_final_norm(opened, given):
    """The kept copy of a built-in encoder has a norm that SETR has not."""
    if opened.preset is None or opened.preset.model is not None:
        return given
    return {"use_final_norm": False, **given}


def _own(model, source):
    checkpoint = checkpoints.read_variables(str(source), model.weights)
    return _OwnLayout(model), checkpoint


def _tell(report, options):
    if options["verbose"]:
        print(report)


def _split(cls, given):
    """The backbone's arguments and the model's."""
    names = inspect.signature(cls.backbone_cls.__init__).parameters
    ours = {name: value for name, value in given.items() if name in names}
    return ours, {n: value for n, value in given.items() if n not in names}


def _with_given(arguments, given):
    """Both, the user's prevailing; positions fit a new image size."""
    image_shape = given.get("image_shape")
    merged = {**arguments, **given}
    if image_shape is not None and "position_grid" not in given:
        if None not in image_shape[:2]:
            patch = merged["patch_size"]
            merged["position_grid"] = tuple(s // patch for s in image_shape[:2])
    return merged


def _pick_class(cls, classes_by_name, held, source):
    """The class to build, of a source that holds `held` or an encoder."""
    abstract = cls.__name__ not in classes_by_name
    if held is None:
        if abstract:
            raise ValueError(
                f"{source} holds an encoder without a decoder. Choose one: "
                + ", ".join(f"{n}.from_preset" for n in classes_by_name)
                + ", or SETRBackbone.from_preset for the encoder itself."
            )
        return cls
    if abstract or cls.__name__ == held:
        return classes_by_name[held]
    raise ValueError(
        f"{source} holds a {held}. Call {held}.from_preset, or, for its "
        f"encoder under another decoder, {cls.__name__}("
        "SETRBackbone.from_preset(..), num_classes)."
    )


def _class_of(folder):
    """The name of the segmenter in a preset folder, or `None`."""
    if not preset_utils.check_file_exists(folder, "task.json"):
        return None
    return preset_utils.load_json(folder, "task.json")["class_name"]


def _classes(opened, arguments):
    """Names and colours, from the file or the dataset of a built-in name."""
    metadata = opened.checkpoint.metadata if opened.checkpoint else {}
    num_classes = arguments.get("num_classes")
    if opened.preset is not None and opened.preset.dataset in DATASETS:
        classes = DATASETS[opened.preset.dataset].classes
    elif "names" in metadata:
        classes = Classes(metadata["names"], metadata["palette"])
    else:
        return None
    return classes if len(classes) == num_classes else None


def _build(cls, backbone_arguments, arguments, given):
    merged = {**arguments, **given}
    if merged.get("num_classes") is None:
        raise ValueError(
            "num_classes must be given: the source holds an encoder without "
            "a decoder. Received: num_classes=None."
        )
    classes = merged.get("classes")
    if "classes" not in given and classes is not None:
        names = classes["names"] if isinstance(classes, dict) else classes
        if len(names) != merged["num_classes"]:
            merged["classes"] = None
    return cls(cls.backbone_cls(**backbone_arguments), **merged)


def _convert(cls, layout, opened, options, given):
    """A new model with the source's values."""
    ours, theirs = _split(cls, given)
    backbone_arguments = _with_given(layout.backbone_arguments(given), ours)
    arguments = layout.model_arguments(given)
    arguments.setdefault("classes", _classes(opened, arguments))
    with _initial_values(options):
        model = _build(cls, backbone_arguments, arguments, theirs)
    if not options["load_weights"]:
        return model
    initial = []
    source_classes = arguments.get("num_classes")
    if layout.model is None:
        initial.append(
            (
                _DECODER,
                "decoder left at its initial values: the source holds an "
                "encoder alone",
            )
        )
    elif source_classes != model.num_classes:
        initial.append(
            (
                _CLASSIFIERS,
                f"classifiers re-initialised: {source_classes} -> "
                f"{model.num_classes} classes",
            )
        )
    report = checkpoints.transfer(
        opened.checkpoint,
        layout.name,
        [*layout.encoder_copies(given), *layout.decoder_copies()],
        model,
        ignored=layout.ignored,
        initial=initial,
        skip_mismatch=options["skip_mismatch"],
    )
    _tell(report, options)
    return model


def _keep(model, opened):
    """A converted copy in the cache, whole or not at all."""
    parent = os.path.dirname(opened.copy)
    with tempfile.TemporaryDirectory(dir=parent) as temporary:
        folder = os.path.join(temporary, "preset")
        model.save_to_preset(folder)
        # Another process may have been faster.
        if not os.path.isdir(opened.copy):
            os.rename(folder, opened.copy)
