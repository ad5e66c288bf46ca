"""`from_preset`: any source of weights into a model of ours.

In three steps: a name is opened as a layout (`sources.py`), a plan says what
is built of it and how (`plan.py`), and the tensors are transferred
(`transfer.py`).
"""

import contextlib
import dataclasses
import gc
import os

import keras

from keras_setr import arguments as rules
from keras_setr.checkpoints import sources
from keras_setr.checkpoints import tensors
from keras_setr.checkpoints.download import cache_folder
from keras_setr.checkpoints.download import download
from keras_setr.checkpoints.layouts import recognise
from keras_setr.checkpoints.plan import Given
from keras_setr.checkpoints.plan import plan_encoder
from keras_setr.checkpoints.plan import plan_model
from keras_setr.checkpoints.plan import split_arguments
from keras_setr.checkpoints.preset_folder import OwnLayout
from keras_setr.checkpoints.presets import PRESETS
from keras_setr.checkpoints.presets import loadable as presets_of
from keras_setr.checkpoints.transfer import transfer
from keras_setr.files.whole import folder_written_whole
from keras_setr.files.whole import remove_partial
from keras_setr.layers.initialization import values_follow

# Counted up when converted copies of older versions must not be read again.
_CONVERSION = 1


class PresetsOf:
    """A class attribute: the built-in names that the class can load.

    Args:
        base: str. Name of the class that can load them all.
    """

    def __init__(self, base):
        self.base = base

    def __get__(self, instance, owner):
        if owner.__name__ == self.base:
            return presets_of()
        if (backbone := getattr(owner, "backbone_cls", None)) is None:
            return presets_of(backbone_class=owner.__name__)
        return presets_of(owner.__name__, backbone.__name__)


@rules.checked(
    file=rules.optional(rules.path()),
    load_weights=rules.flag(),
    skip_mismatch=rules.flag(),
    verbose=rules.flag(),
)
@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How to load; `SETRSegmenter.from_preset` says what they mean."""

    file: str | os.PathLike | None = None
    load_weights: bool = True
    skip_mismatch: bool = False
    verbose: bool = True


def load_encoder(cls, name, options, arguments):
    """What `SETRBackbone.from_preset` does; see there.

    Args:
        cls: the class to build.
        name: str.
        options: `LoadOptions`.
        arguments: dict of the backbone's arguments that the user gave.
    """
    name = os.fspath(name)
    given = split_arguments(cls, (), {**_own_arguments(name, cls), **arguments})
    layout = _open(name, options, encoder_only=True)
    if layout.backbone_class != cls.__name__:
        raise ValueError(
            f"{name} holds a {layout.backbone_class}. Received: a call of "
            f"{cls.__name__}.from_preset."
        )
    if isinstance(layout.saved, cls) and not given:
        return layout.saved
    return _carry_out(plan_encoder(cls, layout, given), layout, options)


def load_segmenter(cls, model_classes, name, options, arguments):
    """What `SETRSegmenter.from_preset` does; see there.

    Args:
        cls: the class that was asked for.
        model_classes: tuple of the segmenters that can be built.
        name: str.
        options: `LoadOptions`.
        arguments: dict of the backbone's and the model's arguments that the
            user gave.
    """
    name = os.fspath(name)
    asked = (cls,) if cls in model_classes else model_classes
    split_arguments(cls, asked, arguments)
    preset = PRESETS.get(name)
    if preset is not None:
        cls = _class_to_build(asked, preset, name)  # before it is downloaded
        if options.file is not None:
            arguments = {**preset.arguments, **arguments}
        arguments = {**_own_arguments(name, cls.backbone_cls), **arguments}
    layout = _open(name, options)
    if preset is None:
        cls = _class_to_build(asked, layout, name)
    given = split_arguments(cls, (cls,), arguments)
    if isinstance(layout.saved, cls) and not given:
        return layout.saved
    return _carry_out(plan_model(cls, layout, given), layout, options)


def open_copy(preset, encoder_only, verbose):
    """The preset folder of a built-in name, made when it is first used.

    Args:
        preset: `Preset`.
        encoder_only: bool. Whether to leave the decoder out.
        verbose: bool. Whether to print the summary and a progress bar.

    Returns:
        `OwnLayout` of a folder below `cache_folder()`.

    Raises:
        ValueError: where the file has no fixed address, or is gated.
    """
    if preset.gated:
        handle = preset.url.removeprefix("https://huggingface.co/")
        raise ValueError(
            f"The weights of {preset.name} are gated. Accept their licence, "
            f"{preset.license}, on {preset.url}. Then log in by "
            f'`hf auth login` and load from_preset("hf://{handle}"); or '
            "download that folder or Meta's file and pass its path, "
            f'from_preset("folder") or from_preset("{preset.name}", '
            'file="dinov3.pth").'
        )
    if not preset.downloads:
        raise ValueError(
            f"The weights of {preset.name} have no fixed address. Download "
            f"them by the links on {preset.url} and pass the file: "
            f'from_preset("{preset.name}", file="iter_80000.pth").'
        )
    folder = os.path.join(
        cache_folder(),
        f"{preset.name}-{preset.sha256 or 'unhashed'}-{_CONVERSION}",
    )
    if os.path.isdir(folder):
        return OwnLayout(folder, preset.name, encoder_only)
    model = _convert(preset, verbose)
    remove_partial(cache_folder(), os.path.basename(folder))
    # Another process may have been faster.
    with contextlib.suppress(FileExistsError):
        with folder_written_whole(folder, replace=False) as part:
            model.save_to_preset(part)
    if preset.model_class is not None and encoder_only:
        del model  # which is larger than what is wanted
        gc.collect()
        return OwnLayout(folder, preset.name, encoder_only)
    # What has just been written need not be read.
    return OwnLayout(folder, preset.name, encoder_only, saved=model)


def _convert(preset, verbose):
    """All of a built-in name's file, downloaded if it is not there."""
    path = os.path.join(cache_folder(), preset.file)
    download(preset.url, path, preset.sha256, verbose)
    layout = recognise(tensors.read_file(path), sources.classes_of(preset))
    if layout.model_class is None:
        # With its norm, which some may want.
        with_norm = {"use_final_norm": True}
        is_transformer = layout.backbone_class == "SETRBackbone"
        given = Given(with_norm if is_transformer else {})
        plan = plan_encoder(_class(layout.backbone_class), layout, given)
    else:
        cls = _class(layout.model_class)
        given = split_arguments(cls, (cls,), preset.arguments)
        plan = plan_model(cls, layout, given)
    return _carry_out(plan, layout, LoadOptions(verbose=verbose))


def _open(name, options, encoder_only=False):
    """The layout of whatever `from_preset` takes."""
    preset = PRESETS.get(name)
    if preset is None:
        if options.file is not None:
            raise ValueError(
                "file belongs to a built-in name. Received: "
                f"file={options.file!r} with {name!r}; pass the file itself "
                "instead."
            )
        return sources.open_source(name, encoder_only, options.load_weights)
    if not options.load_weights:
        return sources.PublishedLayout(preset)
    if options.file is not None:
        return sources.open_file_of(preset, options.file)
    return open_copy(preset, encoder_only, options.verbose)


def _carry_out(plan, layout, options):
    """A new model with the source's values."""
    # Random values only where some may stay.
    all_follow = (
        options.load_weights
        and not options.skip_mismatch
        and plan.fills_encoder
    )
    with values_follow() if all_follow else contextlib.nullcontext():
        model = plan.backbone_class(**plan.backbone_arguments)
        if plan.model_class is not None:
            model = plan.model_class(model, **plan.model_arguments)
    if options.load_weights:
        report = transfer(layout.checkpoint, plan, model, options.skip_mismatch)
        if options.verbose:
            print(report)
    return model


def _class(name):
    """A class of ours, as Keras has registered it."""
    return keras.saving.get_registered_object(f"keras_setr>{name}")


def _own_arguments(name, backbone_class):
    """Of a built-in encoder: its kept copy has a norm that SETR has not."""
    preset = PRESETS.get(name)
    if preset is None or preset.model_class is not None:
        return {}
    kept = preset.backbone_class == backbone_class.__name__ == "SETRBackbone"
    return {"use_final_norm": False} if kept else {}


def _class_to_build(asked, source, name):
    """The class to build, of those asked for.

    Args:
        asked: tuple of classes.
        source: `Preset` or `Layout`, with `backbone_class` and `model_class`.
        name: str. Of the source.

    Raises:
        ValueError: where none of them, or several, could be built of it.
    """
    encoder, held = source.backbone_class, source.model_class
    fitting = [c for c in asked if c.backbone_cls.__name__ == encoder]
    if not fitting:
        raise ValueError(
            f"{name} holds a {encoder}, and {asked[0].__name__} is built on a "
            f"{asked[0].backbone_cls.__name__}."
        )
    if held is None and len(fitting) == 1:
        return fitting[0]
    if held is None:
        raise ValueError(
            f"{name} holds an encoder without a decoder. Choose one: "
            + ", ".join(f"{cls.__name__}.from_preset" for cls in fitting)
            + f", or {encoder}.from_preset for the encoder itself."
        )
    for cls in fitting:
        if cls.__name__ == held:
            return cls
    if _class(held) is None:
        raise ValueError(f"{name} holds a {held!r}, no model of keras_setr.")
    raise ValueError(
        f"{name} holds a {held}. Call {held}.from_preset, or, for its "
        f"encoder under another decoder, {fitting[0].__name__}("
        f"{encoder}.from_preset(..), num_classes)."
    )
