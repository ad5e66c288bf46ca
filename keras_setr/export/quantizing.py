"""Exported files to int8, and what that costs and brings.

The products with weights, and those of two activations in attention, are done
by integers; all between stays float32. Ranges of activations come from images.
Where too many labels change, parts of the network stay in float, more and more
of them: `FLOAT_PARTS`.
"""

import contextlib
import dataclasses
import io
import logging
import os
import pathlib
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_setr.confusion import mean_iou
from keras_setr.export.formats import FORMATS
from keras_setr.export.record import KEY
from keras_setr.export.record import ExportRecord
from keras_setr.export.sessions import images_like
from keras_setr.export.sessions import open_session
from keras_setr.inference import Views
from keras_setr.inference import resize_to
from keras_setr.tables import counted

# What may stay in float, and in which order `"auto"` tries it.
FLOAT_PARTS = ("attention", "ends", "decoder")
# In points of mean IoU and in shares of equal labels: what is good enough.
MOST_POINTS = 0.5
LEAST_EQUAL = 0.99
# Images that are used, and every which of them is kept for the comparison.
MOST_IMAGES = 100
_KEPT_FOR_TEST = 4
# Timings of each file, in turns; their median counts.
_TURNS = 5
# Operations with weights: in ONNX, and in OpenVINO.
_ONNX_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_OPENVINO_OPS = ("Convolution", "ConvolutionBackpropData", "MatMul")


@dataclasses.dataclass(frozen=True)
class Int8Report:
    """An int8 file beside the float file of the same model and format.

    Attributes:
        path: of the file.
        record: `ExportRecord` that is in it.
        size, float_size: int. Bytes.
        seconds, float_seconds: float. Of an image, on the same cores in turns.
        equal: float. Share of equal labels on `images` images.
        points: float or None. Change of mean IoU on labelled images, in
            points of percent.
        float_parts: tuple of str. What stayed in float, of `FLOAT_PARTS`.
        images: int. Images that were compared.
    """

    path: pathlib.Path
    record: ExportRecord
    size: int
    float_size: int
    seconds: float
    float_seconds: float
    equal: float
    points: float | None
    float_parts: tuple[str, ...]
    images: int

    @property
    def is_recommended(self) -> bool:
        """Whether it is faster, and mean IoU falls by half a point at most."""
        faster = self.seconds < self.float_seconds
        return (
            faster and self.points is not None and (self.points >= -MOST_POINTS)
        )

    def __str__(self) -> str:
        kept = ", ".join(self.float_parts) or "nothing"
        share = self.seconds / self.float_seconds
        if self.points is None:
            change = "mean IoU unknown, as no image had labels"
        else:
            change = f"mean IoU {self.points:+.2f} points"
        if self.is_recommended:
            verdict = "recommended"
        elif self.points is None and share < 1:
            verdict = "not recommended before its mean IoU is known"
        else:
            verdict = "not recommended: " + (
                "no faster" if share >= 1 else f"worse by over {MOST_POINTS}"
            )
        return (
            f"{self.path}: {FORMATS[_format_of(self.path)].title} int8, "
            f"{kept} of it in float; {self.size / 1e6:.1f} MB for "
            f"{self.float_size / 1e6:.1f}; {self.seconds:.3f} s an image for "
            f"{self.float_seconds:.3f} ({share:.2f}); {100 * self.equal:.2f} % "
            f"of labels equal on {counted(self.images, 'image')}; {change}: "
            f"{verdict}"
        )


def _format_of(path):
    return "openvino" if path.suffix.lower() == ".xml" else "onnx"


# === Images ===


@dataclasses.dataclass(frozen=True)
class Samples:
    """Windows of images, `(H, W, C)`, and their labels where they have some.

    Attributes:
        calibration: list of windows that ranges are taken from.
        test: list of `(window, labels or None)` that files are compared on.
    """

    calibration: list
    test: list


def read_samples(given: Any, record: ExportRecord, load: Callable) -> Samples:
    """Windows from the middle of images.

    Args:
        given: path of a folder of images, at any depth; or an iterable of
            images, as files or arrays `(H, W, C)`, or of `(image, labels)`.
        record: of the export.
        load: callable from a file to `(H, W, C)`.

    Raises:
        ValueError: there are no images, or one does not fit the model.
    """
    if isinstance(given, (str, os.PathLike)):
        folder = pathlib.Path(given)
        if not folder.is_dir():
            raise ValueError(
                "calibration must be a folder of images, or images. Received: "
                f"{folder}, which is no folder."
            )
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        given = _readable(_spread(files), load)
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        sequence = given
        given = (sequence[place] for place in _spread(range(len(sequence))))
    found = []
    for element in given:
        pair = isinstance(element, (tuple, list)) and len(element) == 2
        image, labels = element if pair else (element, None)
        if isinstance(image, (str, os.PathLike)):
            image = load(image)
        found.append(_window_of(np.asarray(image), labels, record))
        if len(found) == MOST_IMAGES:
            break
    if not found:
        raise ValueError(
            "calibration must hold images, some tens of what the model is "
            "meant for. Received: none."
        )
    if len(found) < _KEPT_FOR_TEST:
        return Samples([image for image, _ in found], found)
    return Samples(
        [im for n, (im, _) in enumerate(found) if n % _KEPT_FOR_TEST],
        found[::_KEPT_FOR_TEST],
    )


def _spread(items):
    """As many as are used, at equal distances."""
    count = min(MOST_IMAGES, len(items))
    return [items[n * len(items) // count] for n in range(count)]


def _readable(files, load):
    """The images among some files."""
    for file in files:
        with contextlib.suppress(ValueError, OSError):
            yield load(file)


def _window_of(image, labels, record):
    """The window in the middle, and its labels by the nearest pixels."""
    if image.ndim != 3 or image.shape[-1] != record.channels:
        raise ValueError(
            f"An image of calibration must have shape (height, width, "
            f"{record.channels}). Received: {image.shape}."
        )
    size = image.shape[:2]
    (view,) = Views(record.window_size, record.stride).of(size)
    places = []
    for starts, window in zip((view.tops(), view.lefts()), record.window_size):
        start = starts[len(starts) // 2]
        places.append((start, start + window))
    (top, bottom), (left, right) = places
    scaled = resize_to(image, view.size)[top:bottom, left:right]
    window = images_like(scaled, record.image_dtype)
    if labels is None:
        return window, None
    labels = np.asarray(labels)
    if labels.shape[:2] != size:
        raise ValueError(
            "Labels of calibration must have the size of their image, "
            f"{size}. Received: {labels.shape}."
        )
    rows, columns = (
        ((np.arange(*place) + 0.5) * length / scaled_length).astype(int)
        for place, length, scaled_length in zip(places, size, view.size)
    )
    return window, labels.reshape(size)[np.ix_(rows, columns)]


# === Files ===


def quantize_file(
    source: pathlib.Path,
    target: pathlib.Path,
    record: ExportRecord,
    images: list,
    float_parts: tuple[str, ...],
) -> None:
    """An int8 file from a float one of the same format.

    Args:
        source, target: paths.
        record: of the target.
        images: list of windows.
        float_parts: tuple of str. Of `FLOAT_PARTS`.
    """
    by_format = {"onnx": _quantize_onnx, "openvino": _quantize_openvino}
    with _quiet():
        by_format[_format_of(source)](
            source, target, record.to_json(), images, float_parts
        )


@contextlib.contextmanager
def _quiet():
    """Without what quantizers tell of themselves."""
    logger = logging.getLogger("nncf")
    root, level = logging.getLogger().level, logger.level
    bars = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), bars:
        warnings.simplefilter("ignore")
        logging.getLogger().setLevel(logging.ERROR)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger().setLevel(root)
            logger.setLevel(level)


def _in_float(products, parts):
    """Names of the products that stay in float.

    Args:
        products: list of `(name, has_weights)` in the order of the graph.
        parts: of `FLOAT_PARTS`: `"attention"`, the products of two
            activations; `"ends"`, the first and the last product, the
            embedding of patches and the classifier; `"decoder"`, all behind
            the last attention with its projection and its MLP.
    """
    pairs = [n for n, (_, weighs) in enumerate(products) if not weighs]
    kept = set()
    if "attention" in parts:
        kept.update(pairs)
    if "ends" in parts:
        kept.update((0, len(products) - 1))
    if "decoder" in parts:
        # Behind it come the projection and two layers of the MLP.
        first = pairs[-1] + 4 if pairs else len(products) // 2
        kept.update(range(first, len(products)))
    return [products[n][0] for n in sorted(kept) if 0 <= n < len(products)]


def _quantize_onnx(source, target, text, images, parts):
    import onnx
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quantization.shape_inference.quant_pre_process(
            str(source), str(prepared), skip_symbolic_shape=True
        )
        model = onnx.load(prepared)
        (first,) = model.graph.input
        constant = {tensor.name for tensor in model.graph.initializer}
        products = []
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
            if node.op_type in ("Constant", "Transpose", "Reshape"):
                if all(name in constant for name in node.input):
                    constant.update(node.output)
            if node.op_type in _ONNX_OPS:
                weighs = any(name in constant for name in node.input)
                products.append((node.name, weighs))
        onnx.save(model, prepared)

        ranges = pathlib.Path(folder) / "ranges.json"
        feeds = ({first.name: image[None]} for image in images)
        _write_ranges(prepared, feeds, ranges)
        quantization.quantize_static(
            str(prepared),
            str(target),
            calibration_data_reader=None,
            calibration_cache_path=ranges,
            op_types_to_quantize=list(_ONNX_OPS),
            nodes_to_exclude=_in_float(products, parts),
            per_channel=True,
            # What processors multiply fastest.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    proto = onnx.load(target)
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, text
    onnx.save(proto, target)


def _write_ranges(path, feeds, target):
    """The least and most of each tensor that is quantized.

    ONNX Runtime's own session for it plans one block for all activations after
    its first image and keeps what that image took: 12 GB of T-Large at 512.
    """
    import onnxruntime
    from onnxruntime.quantization import calibrate

    augmented = path.with_name("augmented.onnx")
    found = calibrate.create_calibrator(
        path, list(_ONNX_OPS), augmented_model_path=str(augmented)
    )
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    found.infer_session = None
    found.infer_session = onnxruntime.InferenceSession(
        str(augmented), options, providers=["CPUExecutionProvider"]
    )

    class Reader(calibrate.CalibrationDataReader):
        def get_next(self):
            return next(feeds, None)

    found.collect_data(Reader())
    calibrate.save_tensors_data(found.compute_data(), target)


def _quantize_openvino(source, target, text, images, parts):
    # Else it reports its use from processes that it forks.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    import openvino
    from openvino import passes

    model = openvino.Core().read_model(source)
    # NNCF takes the channels of weights from the constant itself, and the
    # kernel of the patches lies behind a reshape.
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
    products = [
        (node.get_friendly_name(), _has_weights(node))
        for node in model.get_ordered_ops()
        if node.get_type_name() in _OPENVINO_OPS
    ]
    names = _in_float(products, parts)
    has_attention = any(not weighs for _, weighs in products)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(images, lambda image: image[None]),
        subset_size=len(images),
        model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
        ignored_scope=nncf.IgnoredScope(names=names) if names else None,
    )
    quantized.set_rt_info(text, [KEY])
    openvino.serialize(quantized, target, target.with_suffix(".bin"))


def _has_weights(node):
    """Whether one of its inputs comes from constants alone."""

    def is_constant(node, steps):
        inputs = [value.get_node() for value in node.input_values()]
        if not inputs or not steps:
            return node.get_type_name() == "Constant"
        return all(is_constant(one, steps - 1) for one in inputs)

    # Weights are converted, reshaped and transposed at most.
    return any(is_constant(v.get_node(), 4) for v in node.input_values())


# === How they compare ===


def choose(
    source: pathlib.Path,
    folder: pathlib.Path,
    record: ExportRecord,
    samples: Samples,
    float_parts: Any,
) -> tuple[pathlib.Path, tuple[str, ...], float, float | None]:
    """The int8 file with the fewest parts in float that is good enough.

    Args:
        source: path of the float file.
        folder: path for candidates.
        record: of the target.
        samples: `Samples`.
        float_parts: `"auto"` or a sequence of `FLOAT_PARTS`.

    Returns:
        `(path, float_parts, equal, points)`. Where none is good enough, the
        one with the most equal labels.
    """
    tried = [tuple(float_parts)]
    if float_parts == "auto":
        tried = [FLOAT_PARTS[:n] for n in range(len(FLOAT_PARTS) + 1)]
    session, _ = open_session(source)
    expected = _labels(session, samples)
    results = []
    for number, parts in enumerate(tried):
        path = folder / f"int8_{number}{source.suffix}"
        quantize_file(source, path, record, samples.calibration, parts)
        session, _ = open_session(path)
        labels = _labels(session, samples)
        equal = float(
            np.mean([(a == b).mean() for a, b in zip(expected, labels)])
        )
        points = _points(samples, expected, labels, record)
        results.append((path, parts, equal, points))
        if equal >= LEAST_EQUAL if points is None else points >= -MOST_POINTS:
            return results[-1]
    return max(results, key=lambda result: result[2])


def _labels(session, samples):
    return [
        session.run(image[None], ("labels",))["labels"][0].astype(np.int64)
        for image, _ in samples.test
    ]


def _points(samples, before, after, record):
    """Change of mean IoU in points, or None without labels."""
    truths = [labels for _, labels in samples.test]
    if any(labels is None for labels in truths):
        return None
    scores, num_classes = [], record.num_classes
    for found in (before, after):
        counts = np.zeros((num_classes, num_classes), np.int64)
        for truth, labels in zip(truths, found):
            known = (truth >= 0) & (truth < num_classes)
            known &= truth != record.ignore_class
            bins = truth[known].astype(np.int64) * num_classes + labels[known]
            counts += np.bincount(bins, minlength=num_classes**2).reshape(
                num_classes, num_classes
            )
        scores.append(100 * float(mean_iou(counts)))
    return scores[1] - scores[0]


def seconds_in_turns(paths: Any, image: np.ndarray) -> list[float]:
    """Seconds of an image in each file, measured in turns: the medians.

    Args:
        paths: of exported files.
        image: `(H, W, C)`.
    """
    sessions = [open_session(path)[0] for path in paths]
    for session in sessions:
        session.run(image[None], ("labels",))
    taken: list[list[float]] = [[] for _ in sessions]
    for _ in range(_TURNS):
        for session, seconds in zip(sessions, taken):
            started = time.perf_counter()
            session.run(image[None], ("labels",))
            seconds.append(time.perf_counter() - started)
    return [float(np.median(seconds)) for seconds in taken]
