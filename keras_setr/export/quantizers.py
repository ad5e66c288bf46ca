"""An exported file to int8, by what its format has for it.

The products with weights, and those of two activations in attention, are done
by integers; all between stays float32. Ranges of activations come from images.
"""

import os
import pathlib
import tempfile

from keras_setr.export.formats import format_of
from keras_setr.export.quiet import quiet
from keras_setr.export.record import KEY
from keras_setr.export.record import ExportRecord

# What may stay in float, and in which order `"auto"` tries it.
FLOAT_PARTS = ("attention", "ends", "decoder")
# Operations with weights: in ONNX, and in OpenVINO.
_ONNX_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_OPENVINO_OPS = ("Convolution", "ConvolutionBackpropData", "MatMul")


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
    with quiet("", "nncf"):
        by_format[format_of(source)](
            source, target, record.to_json(), images, float_parts
        )


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
