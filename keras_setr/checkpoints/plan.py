"""What a load builds and how it fills it, known before anything is built."""

import dataclasses
import inspect
import re

from keras_setr.arguments import check_names
from keras_setr.arguments import integer
from keras_setr.tables import counted

_CLASSIFIERS = r"(decode_head|auxiliary_head_\d+)/classifier/"
_NEW_DECODER = (
    r"(decode_head|neck|auxiliary_head_\d+)/",
    "decoder left at its initial values: the source holds an encoder alone",
)
# A decoder's tensors, where the encoder alone is wanted.
_DECODER_TENSORS = (
    r"(decode_head|auxiliary_head|neck|backbone\.mla|backbone\.norm_\d+)\..*",
    "only the encoder was asked for",
)
_PATCHES = "patch_embedding/"
_NO_PATCHES = "the stem's maps are embedded, not the images' pixels"
_OF_STEM = (
    rf"(stem|stage_\d+_block_\d+)/|{_PATCHES}",
    "the stem is as it was given, what embeds its maps new",
)
# What every Keras model takes, in its `**kwargs`.
_OF_KERAS = ("name", "trainable")


@dataclasses.dataclass(frozen=True)
class Given:
    """Arguments that the user gives; they prevail over the source's.

    Attributes:
        encoder: dict. Of the backbone.
        model: dict. Of the segmenter.
    """

    encoder: dict = dataclasses.field(default_factory=dict)
    model: dict = dataclasses.field(default_factory=dict)

    def __bool__(self):
        return bool(self.encoder or self.model)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a source holds; `Layout.read` gives it.

    Attributes:
        backbone: dict. Arguments of the backbone under which the tensors fit.
        model: dict. Those of the segmenter beside it; `{}` without a decoder.
        rules: tuple of `TensorRule`, one for each variable.
        ignored: sequence of `(pattern, reason)`: tensors whose whole name
            matches the regular expression are not needed.
        notes: tuple of str. What to say of arguments that no tensor tells.
    """

    backbone: dict
    model: dict = dataclasses.field(default_factory=dict)
    rules: tuple = ()
    ignored: tuple = ()
    notes: tuple = ()


def split_arguments(cls, classes, arguments):
    """What of the user's arguments is the encoder's and what the model's.

    Args:
        cls: the class whose `from_preset` is called.
        classes: the segmenters that may come of it; `()` for an encoder.
        arguments: dict.

    Raises:
        TypeError: where an argument belongs to none; it offers the nearest.
    """
    encoders = {c.backbone_cls: None for c in classes} or {cls: None}
    of_encoder = [name for e in encoders for name in _parameters(e)]
    of_model = [name for c in classes for name in _parameters(c)]
    known = dict.fromkeys((*of_model, *of_encoder, *_OF_KERAS))
    function = f"{cls.__name__}.from_preset"
    options = _parameters(cls.from_preset)
    check_names(function, arguments, (*options, *known))
    encoder = {n: v for n, v in arguments.items() if n in of_encoder}
    model = {n: v for n, v in arguments.items() if n not in of_encoder}
    return Given(encoder, model) if classes else Given({**encoder, **model})


def _parameters(function):
    """The names of a constructor's or function's arguments."""
    if inspect.isclass(function):
        function = function.__init__
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
        and parameter.name not in ("self", "backbone")
    ]


@dataclasses.dataclass(frozen=True)
class LoadPlan:
    """What is built, and how its variables get their values.

    Attributes:
        backbone_class: a class.
        backbone_arguments: dict.
        layout_name: str. Of the source, for the report.
        rules, ignored: those of `Found`.
        model_class: a class, or `None` for an encoder alone.
        model_arguments: dict. Beside the backbone.
        initial: tuple of `(pattern, note)`: variables whose path matches from
            its start keep their initial values, and the note is printed.
        notes: tuple of str. What else the report tells.
        fills_encoder: bool. Whether all of the encoder comes of the source.
    """

    backbone_class: type
    backbone_arguments: dict
    layout_name: str
    rules: tuple
    ignored: tuple
    model_class: type | None = None
    model_arguments: dict = dataclasses.field(default_factory=dict)
    initial: tuple = ()
    notes: tuple = ()
    fills_encoder: bool = True


def plan_encoder(backbone_class, layout, given):
    """The plan of an encoder alone.

    Args:
        backbone_class: the class to build.
        layout: `Layout`, or another with its method `read`.
        given: `Given`.
    """
    found = layout.read(given, encoder_only=True)
    arguments, notes = _with_given(found.backbone, given.encoder)
    plan = LoadPlan(
        backbone_class,
        arguments,
        layout.name,
        found.rules,
        (*found.ignored, _DECODER_TENSORS),
        notes=notes + found.notes,
    )
    return _behind_stem(plan, found)


def plan_model(model_class, layout, given):
    """The plan of a segmenter.

    Args:
        model_class: the class to build.
        layout: `Layout`, or another with its method `read`.
        given: `Given`.

    Raises:
        ValueError: where nothing tells the number of classes.
    """
    found = layout.read(given)
    encoder_arguments, notes = _with_given(found.backbone, given.encoder)
    patch_size = encoder_arguments.get("patch_size")
    of_model = found.model
    if of_model and patch_size != found.backbone.get("patch_size"):
        of_model, of_decoder = model_class.fit_to_patches(of_model, patch_size)
        notes += of_decoder
    arguments = {**of_model, **given.model}
    num_classes = arguments.get("num_classes")
    if num_classes is None:
        raise ValueError(
            "num_classes must be given: the source holds an encoder without "
            "a decoder. Received: num_classes=None."
        )
    if "classes" not in given.model:
        if not _name_all(arguments.get("classes"), num_classes):
            arguments["classes"] = None
    initial = ()
    if not of_model:
        initial = (_NEW_DECODER,)
    elif (before := of_model["num_classes"]) != num_classes:
        change = f"{before} -> {counted(num_classes, 'class')}"
        initial = ((_CLASSIFIERS, f"classifiers re-initialised: {change}"),)
    plan = LoadPlan(
        model_class.backbone_cls,
        encoder_arguments,
        layout.name,
        found.rules,
        found.ignored,
        model_class,
        arguments,
        initial,
        notes + found.notes,
    )
    return _behind_stem(plan, found)


def _behind_stem(plan, found):
    """The same for SETR-Hybrid, where the source is a transformer alone."""
    stem = plan.backbone_arguments.get("stem")
    if stem is None or found.backbone.get("stem") is not None:
        return plan
    of_patches = [r for r in plan.rules if r.target.startswith(_PATCHES)]
    unused = [source for rule in of_patches for source in rule.sources]
    return dataclasses.replace(
        plan,
        rules=tuple(r for r in plan.rules if r not in of_patches),
        ignored=(
            *plan.ignored,
            *((re.escape(source), _NO_PATCHES) for source in unused),
        ),
        initial=(*plan.initial, _OF_STEM),
        fills_encoder=False,
    )


def _with_given(found, given):
    """Both, the user's prevailing, and what to say of it.

    Images keep their size under other patches, or get the next one that these
    divide; positions fit a new size of either.
    """
    arguments = {**found, **given}
    if "patch_size" not in found:  # a ResNet's
        return arguments, ()
    patch = integer(1).check("patch_size", arguments["patch_size"])
    notes = ()
    if patch != found["patch_size"] and "image_shape" not in given:
        *size, channels = found["image_shape"]
        fitting = [side and -(-side // patch) * patch for side in size]
        if fitting != size:
            notes = (f"images {_by(size)} -> {_by(fitting)}, whole patches",)
        arguments["image_shape"] = (*fitting, channels)
    changed = patch != found["patch_size"] or "image_shape" in given
    if changed and "position_grid" not in given:
        arguments["position_grid"] = tuple(
            (side or rows * found["patch_size"]) // patch or 1
            for side, rows in zip(
                arguments["image_shape"], found["position_grid"]
            )
        )
    return arguments, notes


def _by(size):
    """`(480, None)` as `"480xNone"`."""
    return "x".join(map(str, size))


def _name_all(classes, num_classes):
    """Whether names, as an object or as in a configuration, fit the number."""
    if classes is None:
        return False
    names = classes["names"] if isinstance(classes, dict) else classes.names
    return len(names) == num_classes
