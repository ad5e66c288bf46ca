"""A graph to a file of each format, by what converts it best.

A writer takes `Served`, the `ImageSpec` of its images, the record's text and
the path, and leaves one file or one folder there, or two for OpenVINO.
"""

import dataclasses
import io
import pathlib
import tempfile
import zipfile

import keras
import numpy as np

from keras_setr.export.quiet import quiet
from keras_setr.export.record import FILE
from keras_setr.export.record import KEY

# Of the operations in ONNX files; runtimes of 2023 know it.
OPSET = 18
INPUT = "images"


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """Images as a graph takes them.

    Args:
        size: `(H, W)`.
        channels: int.
        dtype: str.
        multiple: int or None. Where height and width stay open, what they are
            multiples of.
    """

    size: tuple
    channels: int
    dtype: str
    multiple: int | None = None

    @property
    def shape(self):
        """`(H, W, C)`, None for an open length."""
        size = self.size if self.multiple is None else (None, None)
        return (*size, self.channels)


def _outputs(served):
    """A function to the outputs in order."""

    def function(images):
        outputs = served(images)
        return tuple(outputs[name] for name in served.outputs_wanted)

    return function


# === ONNX ===


def write_onnx(served, spec, text, path):
    import onnx

    convert = {
        "tensorflow": _onnx_of_tensorflow,
        "jax": _onnx_of_jax,
        "torch": _onnx_of_torch,
    }[keras.config.backend()]
    proto = convert(served, spec)
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, text
    onnx.save(proto, path)


def _onnx_of_torch(served, spec):
    import torch

    with torch.no_grad(), quiet("torch.onnx", "torch.export", "onnxscript"):
        program = _torch_program(served, spec)
        _remove_idle_squeezes(program)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(served.outputs_wanted),
            verbose=False,
        )
    return exported.model_proto


def _remove_idle_squeezes(program):
    """Without squeezes of axes longer than one.

    They do nothing in torch, and ONNX refuses them. `ops.take` has one.
    """
    import torch

    graph = program.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.squeeze.dim:
            source, axis = node.args
            if source.meta["val"].shape[axis] != 1:
                node.replace_all_uses_with(source)
                graph.erase_node(node)


def _onnx_of_jax(served, spec):
    import jax
    import jax2onnx

    with quiet("jax2onnx"):
        proto = jax2onnx.to_onnx(
            _outputs(served),
            inputs=[
                jax.ShapeDtypeStruct(("B", *spec.shape), np.dtype(spec.dtype))
            ],
            input_names=[INPUT],
            output_names=list(served.outputs_wanted),
        )
    _pool_over_two_axes(proto.graph)
    return proto


def _pool_over_two_axes(graph):
    """Pools of images as ONNX has them, between two transposes.

    jax2onnx 0.17 pools `(B, H, W, C)` over all four axes, which it has moved
    behind two of length one; runtimes pool over three at most.
    """
    from onnx import helper

    made_by = {name: node for node in graph.node for name in node.output}
    used_by = {name: node for node in graph.node for name in node.input}
    for pool in [n for n in graph.node if n.op_type == "MaxPool"]:
        lengths = {a.name: a.ints for a in pool.attribute if a.ints}
        if len(lengths["kernel_shape"]) != 4:
            continue
        inner = made_by[pool.input[0]]
        before, after = made_by[inner.input[0]], used_by[pool.output[0]]
        for node, order in ((before, (0, 3, 1, 2)), (after, (0, 2, 3, 1))):
            node.op_type = "Transpose"
            del node.input[1:]
            node.attribute.append(helper.make_attribute("perm", order))
        for values in lengths.values():
            # Of pads the second half is that of the ends.
            values[:] = [v for n, v in enumerate(values) if n % 4 in (1, 2)]
        pool.input[0] = before.output[0]
        graph.node.remove(inner)
        stale = {before.output[0], pool.output[0]}
        kept = [v for v in graph.value_info if v.name not in stale]
        del graph.value_info[:]
        graph.value_info.extend(kept)


def _onnx_of_tensorflow(served, spec):
    import tf2onnx

    # Of NumPy's names that NumPy 2 has no more; until tf2onnx does without.
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    patch_tf2onnx()
    function, signature = _tf_function(served, spec)
    with quiet("tf2onnx", "tf2onnx.tfonnx"):
        proto, _ = tf2onnx.convert.from_function(
            function,
            [signature],
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    return proto


def _erfc(ctx, node, name, args):
    """1 - erf, as ONNX has no complement. TensorFlow's GELU asks for it."""
    shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
    (target,) = node.output
    ctx.remove_node(node.name)
    erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
    one = ctx.make_const(f"{name}_one", np.array(1, np.float32))
    return ctx.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        outputs=[target],
        shapes=[shape],
        dtypes=[dtype],
    )


# === TensorFlow ===


def _tf_function(served, spec):
    import tensorflow as tf

    signature = tf.TensorSpec((None, *spec.shape), spec.dtype, name=INPUT)

    def function(images):
        return served(images)

    return tf.function(function, input_signature=[signature]), signature


def write_saved_model(served, spec, text, path):
    archive = keras.export.ExportArchive()
    archive.track(served)
    archive.add_endpoint(
        "serve",
        served.call,
        input_signature=[
            keras.InputSpec(
                shape=(None, *spec.shape), dtype=spec.dtype, name=INPUT
            )
        ],
    )
    with quiet("tensorflow", "absl"):
        archive.write_out(str(path), verbose=False)
    (pathlib.Path(path) / FILE).write_text(text, encoding="utf-8")


def write_litert(served, spec, text, path):
    import tensorflow as tf

    with (
        tempfile.TemporaryDirectory() as folder,
        quiet("tensorflow", "absl"),
    ):
        # From a function, weights would be variables that nothing fills.
        write_saved_model(served, spec, text, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.experimental_enable_resource_variables = False
        pathlib.Path(path).write_bytes(converter.convert())
    # Where TFLite's own metadata keeps its files: an archive at the end.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, text)


# === torch ===


def _torch_module(served):
    import torch

    outputs = _outputs(served)

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.served = served

        def forward(self, images):
            return outputs(images)

    return Module().eval()


def _torch_program(served, spec):
    import torch

    dim = torch.export.Dim
    axes, size = {0: dim("batch")}, spec.size
    if spec.multiple is not None:
        axes |= {
            axis: spec.multiple * dim(name, min=2, max=2**12)
            # Of a ResNet's maps torch finds the least length by itself.
            if spec.multiple > 1
            else dim.DYNAMIC
            for axis, name in ((1, "height"), (2, "width"))
        }
        size = [length + spec.multiple for length in size]
    # Two images, and more than a patch along an open axis: a length of one
    # would be taken for a constant. By torch, as Keras takes uint16 for int32
    # there.
    images = torch.zeros(
        (2, *size, spec.channels),
        dtype=getattr(torch, spec.dtype),
        device=keras.ops.zeros(1).device,
    )
    return torch.export.export(
        _torch_module(served),
        (images,),
        dynamic_shapes=(axes,),
        strict=False,
    )


def write_torch(served, spec, text, path):
    import torch

    with torch.no_grad(), quiet("torch.export"):
        program = _torch_program(served, spec)
        # Where the disk is full torch's own writer ends the process.
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={FILE: text})
    pathlib.Path(path).write_bytes(content.getbuffer())


# === OpenVINO ===


def write_openvino(served, spec, text, path):
    """The `.xml` at `path`, and its `.bin` beside it."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "model.onnx"
        write_onnx(served, spec, text, file)
        # `convert_model` reports its use from a process that it forks.
        model = openvino.Core().read_model(file)
        model.set_rt_info(text, [KEY])
        openvino.serialize(model, path, pathlib.Path(path).with_suffix(".bin"))


WRITERS = {
    "onnx": write_onnx,
    "tf_saved_model": write_saved_model,
    "litert": write_litert,
    "openvino": write_openvino,
    "torch": write_torch,
}
