"""`model.export`: written, run in its own runtime, and compared."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
from typing import Any

import keras
import numpy as np

from keras_setr.classes import Classes
from keras_setr.export import comparing
from keras_setr.export.formats import ANY
from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import OUTPUTS
from keras_setr.export.formats import SUFFIXES
from keras_setr.export.formats import check_format
from keras_setr.export.formats import check_quantizer
from keras_setr.export.formats import format_of
from keras_setr.export.formats import way_round
from keras_setr.export.graph import Served
from keras_setr.export.quantizing import Int8Report
from keras_setr.export.quantizing import choose
from keras_setr.export.quantizing import read_samples
from keras_setr.export.quantizing import seconds_in_turns
from keras_setr.export.record import ExportRecord
from keras_setr.export.sessions import open_session
from keras_setr.export.writers import INPUT
from keras_setr.export.writers import WRITERS
from keras_setr.export.writers import ImageSpec
from keras_setr.files.whole import check_folder_of
from keras_setr.files.whole import folder_written_whole
from keras_setr.files.whole import written_whole
from keras_setr.inference import Views
from keras_setr.layers.on_cpu import plain_operations
from keras_setr.tables import brief


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with the model.

    Attributes:
        path: of the file or folder.
        record: `ExportRecord` that is in it.
        size: int. Bytes.
        equal: float. Share of equal labels. It may lie below what is asked
            for where the others are ties within rounding.
        seconds: float. Of an image in the format's own runtime.
        native_seconds: float. Of an image in the model.
    """

    path: pathlib.Path
    record: ExportRecord
    size: int
    equal: float
    seconds: float
    native_seconds: float

    def __str__(self) -> str:
        record = self.record
        format = FORMATS[format_of(self.path)]
        axes = (
            name if name in record.dynamic else str(length)
            for name, length in zip(
                ("batch", "height", "width"), (1, *record.window_size)
            )
        )
        return (
            f"{self.path}: {format.title}, {self.size / 1e6:.1f} MB; "
            f"{record.image_dtype} {INPUT} "
            f"({', '.join(axes)}, {record.channels}) to "
            f"{', '.join(record.outputs)}. {100 * self.equal:.4f} % of labels "
            f"equal; {self.seconds:.3f} s an image in {format.runtime}, "
            f"{self.native_seconds:.3f} s in Keras on {record.backend}"
        )


def export_model(
    model: Any,
    path: str | os.PathLike[str],
    format: str | None = None,
    image_size: Any = None,
    outputs: tuple[str, ...] = ("labels",),
    image: Any = None,
) -> ExportReport:
    """As `SETRSegmenter.export`, with arguments that are checked."""
    path = pathlib.Path(path)
    chosen = FORMATS[format or format_of(path)]
    _check_path(path, chosen, format)
    is_open = image_size == ANY
    check_format(chosen, keras.config.backend(), path, is_open)
    _check_weights(model)
    size = _resolve_size(model, image_size)
    record = _record_of(model, size, outputs, is_open)
    multiple = record.size_multiple
    spec = ImageSpec(
        size, record.channels, record.image_dtype, multiple if is_open else None
    )
    sizes = [size]
    if is_open:
        # Compared at a second size, of another shape.
        sizes.append((size[0] + multiple, size[1] + 2 * multiple))
    tests = [
        comparing.test_images(model, each, record, image) for each in sizes
    ]
    try:
        native = [
            comparing.timed(functools.partial(comparing.native, model, images))
            for images in tests
        ]
    except ValueError as error:
        raise ValueError(f"{path} was not written: {error}") from error
    if not all(np.isfinite(each).all() for each, _ in native):
        raise ValueError(
            f"{path} was not written: the model gives NaN or infinity, so its "
            "weights hold some, or overflow."
        )
    with _written(path, chosen) as partial:
        try:
            with plain_operations():
                WRITERS[chosen.name](
                    Served(model, record.outputs),
                    spec,
                    record.to_json(),
                    partial,
                )
            session, _ = open_session(partial)
            results = [
                comparing.timed(
                    functools.partial(session.run, images, record.outputs)
                )
                for images in tests
            ]
        # The disk is full, and no other backend would do.
        except OSError:
            raise
        # Converters and runtimes have no error in common.
        except Exception as error:
            raise ValueError(
                f"{path} was not written: {chosen.title} export on the "
                f"{keras.config.backend()} backend failed: {brief(error)}. "
                f"{way_round(chosen, keras.config.backend(), path)}"
            ) from error
        equal = min(
            comparing.equal_labels(path, found, expected)
            for (found, _), (expected, _) in zip(results, native)
        )
        written = _size_of(partial)
    (_, seconds), (_, native_seconds) = results[0], native[0]
    return ExportReport(
        path=path,
        record=record,
        size=written,
        equal=equal,
        seconds=seconds / len(tests[0]),
        native_seconds=native_seconds / len(tests[0]),
    )


def export_int8(
    model: Any,
    path: str | os.PathLike[str],
    format: str | None,
    image_size: Any,
    outputs: tuple[str, ...],
    image: Any,
    calibration: Any,
    float_parts: Any,
) -> Int8Report:
    """As `SETRSegmenter.export(quantize="int8")`, arguments being checked."""
    path = pathlib.Path(path)
    chosen = FORMATS[format or format_of(path)]
    _check_path(path, chosen, format)
    check_quantizer(chosen)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / f"float{chosen.suffix}"
        report = export_model(
            model, source, chosen.name, image_size, outputs, image
        )
        record = dataclasses.replace(report.record, precision="int8")
        samples = read_samples(calibration, record, model.load_image)
        try:
            found, parts, equal, points = choose(
                source, pathlib.Path(folder), record, samples, float_parts
            )
        # Quantizers have no error in common.
        except Exception as error:
            raise ValueError(
                f"{path} was not written: {chosen.quantizer} failed: "
                f"{brief(error)}."
            ) from error
        float_seconds, seconds = seconds_in_turns(
            (source, found), samples.test[0][0]
        )
        with _written(path, chosen) as partial:
            shutil.copyfile(found, partial)
            if chosen.name == "openvino":
                weights = found.with_suffix(".bin")
                shutil.copyfile(weights, partial.with_suffix(".bin"))
        return Int8Report(
            path=path,
            record=record,
            size=_size_of(found),
            float_size=report.size,
            seconds=seconds,
            float_seconds=float_seconds,
            equal=equal,
            points=points,
            float_parts=parts,
            images=len(samples.test),
        )


# === What is refused before anything is computed ===


def _check_path(path, format, said):
    if format.suffix and path.suffix.lower() != format.suffix:
        raise ValueError(
            f"A path for {format.title} must end in {format.suffix}. "
            f"Received: {path}; pass {path.name}{format.suffix}, or another "
            "format."
        )
    if not format.suffix and format_of(path) != format.name:
        raise ValueError(
            f"A path for {format.title} must be a folder. Received: {path}."
        )
    # A dot before a digit begins no ending, as in setr-1.2.
    if said is None and not format.suffix and path.suffix[1:2].isalpha():
        raise ValueError(
            f"A path must end in {SUFFIXES}, or be a folder, for a SavedModel. "
            f'Received: {path}; say format="tf_saved_model" for a folder of '
            "this name."
        )
    check_folder_of(path)
    if format.suffix and path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; pass a file's path.")
    if not format.suffix and path.exists():
        if not path.is_dir():
            raise FileExistsError(f"{path} is a file; pass a folder's path.")
        if any(path.iterdir()) and not (path / "saved_model.pb").exists():
            raise FileExistsError(
                f"{path} holds something that is no SavedModel, and would be "
                "replaced. Pass another folder."
            )


def _check_weights(model):
    if getattr(model.backbone, "is_quantized", False):
        raise ValueError(
            "An export holds floats. Received: an encoder of int8. Export it "
            "before quantize()."
        )
    if model.dtype_policy.compute_dtype != "float32":
        raise ValueError(
            "An export computes in float32. Received: a model of dtype "
            f"{model.dtype_policy.name}. Load it by from_preset(.., "
            'dtype="float32"), and let the runtime choose another precision.'
        )


def _resolve_size(model, image_size):
    """`(H, W)`; where they are open, of the windows by default."""
    backbone = model.backbone
    if image_size == ANY:
        *fixed, channels = backbone.image_shape
        if fixed != [None, None]:
            raise ValueError(
                f"image_size={ANY!r} must have a model of open height and "
                f"width. Received: one of {tuple(fixed)}. Load it by "
                f"from_preset(.., image_shape=(None, None, {channels}))."
            )
        return tuple(backbone.native_size)
    size = tuple(image_size or backbone.native_size)
    backbone.check_size(size, "image_size")
    return size


# === What is written ===


def _record_of(model, size, outputs, is_open):
    converter = getattr(model.preprocessor, "image_converter", None)
    dtype = getattr(converter, "image_dtype", "uint8")
    # Images that are normalised, or scaled to 0..1, are no bytes.
    if model.preprocessor is None or (
        hasattr(converter, "mean") and max(converter.mean + converter.std) <= 1
    ):
        dtype = "float32"
    return ExportRecord(
        model=type(model).__name__,
        classes=model.classes or Classes.numbered(model.num_classes),
        ignore_class=model.ignore_class,
        window_size=size,
        stride=Views(window_size=size).of(size)[0].stride,
        channels=model.backbone.image_shape[-1],
        image_dtype=dtype,
        # In one order, whatever that of the argument.
        outputs=tuple(name for name in OUTPUTS if name in outputs),
        dynamic=("batch", "height", "width") if is_open else ("batch",),
        backend=keras.config.backend(),
        size_multiple=model.backbone.size_multiple,
    )


@contextlib.contextmanager
def _written(path, format):
    """The partial path of what is written whole or not at all."""
    if not format.suffix:
        with folder_written_whole(path) as partial:
            yield partial
        return
    with written_whole(path) as partial:
        if format.name != "openvino":
            yield partial
            return
        weights, beside = (p.with_suffix(".bin") for p in (path, partial))
        with written_whole(weights) as partial_weights:
            try:
                yield partial
                # Never the old graph with new weights, whenever a kill comes.
                path.unlink(missing_ok=True)
                os.replace(beside, partial_weights)
            finally:
                beside.unlink(missing_ok=True)


def _size_of(path):
    files = [path, path.with_suffix(".bin")] if path.is_file() else []
    files += path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files if file.is_file())
