"""The formats of exported models: files, backends and packages."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: str. As in Keras.
        title: str. For messages.
        suffix: str. How its file ends; empty for a folder.
        backends: tuple of str. Backends of Keras that write it.
        runtime: str. The module that runs it.
        extra: str. The extra of this package that installs what is needed.
        quantizer: str. The module that makes an int8 file of a float one;
            empty where none does.
    """

    name: str
    title: str
    suffix: str
    backends: tuple[str, ...]
    runtime: str
    extra: str
    quantizer: str = ""


FORMATS = {
    each.name: each
    for each in (
        Format(
            "onnx",
            "ONNX",
            ".onnx",
            ("tensorflow", "jax", "torch"),
            "onnxruntime",
            "export",
            "onnxruntime.quantization",
        ),
        Format(
            "tf_saved_model",
            "SavedModel",
            "",
            ("tensorflow", "jax"),
            "tensorflow",
            "export",
        ),
        Format(
            "litert",
            "LiteRT",
            ".tflite",
            ("tensorflow",),
            "ai_edge_litert",
            "export",
        ),
        Format(
            "openvino",
            "OpenVINO",
            ".xml",
            ("tensorflow", "jax", "torch"),
            "openvino",
            "openvino",
            "nncf",
        ),
        Format("torch", "torch.export", ".pt2", ("torch",), "torch", "torch"),
    )
}
OUTPUTS = ("labels", "probabilities", "confidence", "logits")


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that a path's ending stands for; SavedModel without one.

    Args:
        path: of a file or a folder.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    for each in FORMATS.values():
        if each.suffix == ending:
            return each.name
    return "tf_saved_model"


# What converts the model of a backend to ONNX, from which OpenVINO reads it.
_TO_ONNX = {
    "tensorflow": ("tf2onnx",),
    "jax": ("jax2onnx",),
    "torch": ("onnxscript",),
}


def packages_of(format: Format, backend: str) -> tuple[str, ...]:
    """The modules that an export needs, its runtime among them.

    Args:
        format: of `FORMATS`.
        backend: str. Of Keras.
    """
    if format.name in ("onnx", "openvino"):
        return ("onnx", *_TO_ONNX[backend], format.runtime)
    if format.name == "litert":
        return ("tensorflow", format.runtime)
    return (format.runtime,)
