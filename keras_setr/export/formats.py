"""The formats of exported models: files, backends and packages."""

import dataclasses
import importlib.util
import os


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: str. As in Keras.
        title: str. For messages.
        suffix: str. How its file ends; empty for a folder.
        backends: tuple of str. Backends of Keras that write it.
        open_backends: tuple of str. Those that can leave height and width
            open.
        runtime: str. The module that runs it.
        extra: str. The extra of this package that installs what is needed.
        quantizer: str. The module that makes an int8 file of a float one;
            empty where none does.
    """

    name: str
    title: str
    suffix: str
    backends: tuple[str, ...]
    open_backends: tuple[str, ...]
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
            ("tensorflow", "torch"),
            "onnxruntime",
            "export",
            "onnxruntime.quantization",
        ),
        Format(
            "tf_saved_model",
            "SavedModel",
            "",
            ("tensorflow", "jax"),
            ("tensorflow",),
            "tensorflow",
            "export",
        ),
        Format(
            "litert",
            "LiteRT",
            ".tflite",
            ("tensorflow",),
            ("tensorflow",),
            "ai_edge_litert",
            "export",
        ),
        Format(
            "openvino",
            "OpenVINO",
            ".xml",
            ("tensorflow", "jax", "torch"),
            ("tensorflow", "torch"),
            "openvino",
            "openvino",
            "nncf",
        ),
        Format(
            "torch",
            "torch.export",
            ".pt2",
            ("torch",),
            ("torch",),
            "torch",
            "torch",
        ),
    )
}
# Of files, for messages.
SUFFIXES = ", ".join(each.suffix for each in FORMATS.values() if each.suffix)
OUTPUTS = ("labels", "probabilities", "confidence", "logits")
# In place of an `image_size`: height and width stay open.
ANY = "any"


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


# === What is refused before a model is there ===


def check_format(
    format: Format,
    backend: str,
    path: str | os.PathLike[str],
    is_open: bool = False,
) -> None:
    """Raise unless a backend writes a format and all that it takes is there.

    Args:
        format: of `FORMATS`.
        backend: str. Of Keras, which need not be imported.
        path: of what is to be written, for the error.
        is_open: bool. Whether height and width are to be open.

    Raises:
        ValueError: another backend does.
        ImportError: a package is not installed.
    """
    if backend not in format.backends:
        raise ValueError(
            f"{format.title} is not written on the {backend} backend. "
            + way_round(format, backend, path)
        )
    if is_open and backend not in format.open_backends:
        raise ValueError(
            f"{format.title} written on the {backend} backend has a fixed "
            "height and width. Pass an image_size of numbers, or another "
            "backend: " + way_round(format, backend, path, " --any-size")
        )
    missing = [n for n in packages_of(format, backend) if not _is_there(n)]
    if missing:
        extra = format.extra + ",export-jax" * ("jax2onnx" in missing)
        raise ImportError(
            f"{format.title} export on the {backend} backend needs "
            f"{', '.join(missing)}: pip install keras-setr[{extra}]."
        )


def check_quantizer(format: Format) -> None:
    """Raise unless int8 files of a format can be made here.

    Raises:
        ValueError: there are none of this format.
        ImportError: the quantizer is not installed.
    """
    able = [f for f in FORMATS.values() if f.quantizer]
    if format not in able:
        raise ValueError(
            "int8 files are made of "
            f"{' and '.join(f.title for f in able)}. Received: {format.title}; "
            f"pass a path that ends in {' or '.join(f.suffix for f in able)}."
        )
    package, _, _ = format.quantizer.partition(".")
    if not _is_there(package):
        raise ImportError(
            f"int8 files of {format.title} need {package}: pip install "
            "keras-setr[int8]."
        )


def way_round(
    format: Format,
    backend: str,
    path: str | os.PathLike[str],
    options: str = "",
) -> str:
    """How another backend than this one writes a format, with `options`."""
    able = format.open_backends if options else format.backends
    others = [b for b in able if b != backend]
    if not others:
        return "Export to another format, as ONNX."
    return (
        f"Go by a preset: model.save_to_preset('preset'), then keras-setr "
        f"export preset {path} --format {format.name} --backend {others[0]}"
        f"{options}."
    )


def _is_there(package):
    """Whether a package is installed; to find it does not import it."""
    return importlib.util.find_spec(package) is not None
