"""Named tensors in files, read one at a time.

Files of torch, safetensors and NumPy become a `Checkpoint`: the shapes are
known at once, the values are read when they are asked for, so that a file is
never held in memory twice.
"""

import dataclasses
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import path as path_rule
from keras_setr.checkpoints import hub
from keras_setr.checkpoints.metadata import metadata_of
from keras_setr.checkpoints.torch_files import StoredTensor
from keras_setr.checkpoints.torch_files import numpy_dtype
from keras_setr.checkpoints.torch_files import read_bytes
from keras_setr.checkpoints.torch_files import read_torch_file
from keras_setr.files.decoding import check_regular

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".npz")

# Where training scripts put the weights inside what they save.
_CONTAINERS = ("state_dict", "model", "model_state_dict")
_MOST_HEADER_BYTES = 100 << 20  # the format's own limit
_SAFETENSORS = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "?",
}
# NumPy's own types have kinds; these of the package ml_dtypes have none.
_ML_DTYPES = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A shape, and how to read the float32 values that have it."""

    shape: tuple
    read: Callable


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What one file or folder holds.

    Args:
        origin: str. For messages: the path or handle.
        tensors: dict from name to `Tensor`.
        metadata: dict. `"names"` and `"palette"` of the classes, and
            `"settings"`, of mmsegmentation's model, where the file tells
            them; `"config"`, that of a Hugging Face folder.
    """

    origin: str
    tensors: dict
    metadata: dict = dataclasses.field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.tensors:
            raise ValueError(f"{self.origin} has no tensor {name!r}.")
        return self.tensors[name].shape


@checked(path=path_rule())
def read_file(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a file of tensors.

    Args:
        path: str. A `.pth`, `.pt`, `.bin`, `.ckpt`, `.safetensors` or `.npz`
            file.

    Returns:
        `Checkpoint`.

    Raises:
        FileNotFoundError, ValueError: where there is no such file, or it is
            of another kind, damaged, or not safe to read.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {path}.")
    check_regular(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    if suffix == ".safetensors":
        return Checkpoint(path, _read_safetensors(path))
    if suffix == ".npz":
        return Checkpoint(path, _read_npz(path))
    raise ValueError(
        f"{path} must be a file of tensors, {', '.join(SUFFIXES)}. "
        f"Received: {suffix or 'no suffix'}."
    )


def read_folder(path):
    """Open a Hugging Face folder: `config.json` beside the weights.

    Args:
        path: str. Holds `model.safetensors`, or its parts with an
            `index.json`, or `pytorch_model.bin`.

    Returns:
        `Checkpoint` with the configuration in its metadata.
    """
    path = os.fspath(path)
    config = hub.read_json(path, "config.json")
    tensors = {}
    names = sorted(os.listdir(path))
    parts = [name for name in names if name.endswith(".safetensors")]
    for name in parts or [n for n in names if n == "pytorch_model.bin"]:
        tensors.update(read_file(os.path.join(path, name)).tensors)
    if not tensors:
        raise ValueError(
            f"{path} must hold model.safetensors or pytorch_model.bin beside "
            f"config.json. Found: {', '.join(names)}."
        )
    return Checkpoint(path, tensors, {"config": config})


def read_variables(
    origin: str, variables: Iterable[Any], prefix: str = ""
) -> Checkpoint:
    """The variables of a Keras model, named by their paths less `prefix`."""
    return Checkpoint(
        origin,
        {
            variable.path.removeprefix(prefix): Tensor(
                tuple(variable.shape),
                _reader(origin, variable.path, variable, _from_variable),
            )
            for variable in variables
        },
    )


def _reader(origin, name, value, convert):
    """A function without arguments whose errors name file and tensor."""

    def read():
        try:
            return convert(value)
        # Damage within a file is met with errors of many kinds.
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise ValueError(
                f"{origin} cannot be read: its tensor {name!r} is damaged or "
                f"of a type that is not known here ({reason}). Download or "
                "save the file again."
            ) from error

    return read


def _float(array):
    """float32 values of numbers of any other type."""
    if array.dtype.kind not in "fiub" and array.dtype.name not in _ML_DTYPES:
        raise TypeError(f"it holds {array.dtype}, and no real numbers")
    return array.astype("float32")


def _from_variable(variable):
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable), "float32")


def _read_safetensors(path):
    """All of it is a length, a JSON table of places, and bytes."""
    size = os.path.getsize(path)
    try:
        (length,) = struct.unpack("<Q", read_bytes(path, 0, 8))
        if length > min(size - 8, _MOST_HEADER_BYTES):
            raise ValueError(f"its table should have {length} bytes")
        table = json.loads(read_bytes(path, 8, length))
        if not isinstance(table, dict):
            raise ValueError("its table is no JSON object")
        table.pop("__metadata__", None)
        places = {}
        for name, entry in table.items():
            fields = {*entry} if isinstance(entry, dict) else set()
            if not {"dtype", "shape", "data_offsets"} <= fields:
                raise ValueError(f"{name!r} lacks its type, shape or place")
            if entry["dtype"] not in _SAFETENSORS:
                raise ValueError(
                    f"{name!r} is of type {entry['dtype']!r}, and not of "
                    f"{', '.join(_SAFETENSORS)}"
                )
            dtype = numpy_dtype(_SAFETENSORS[entry["dtype"]])
            shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
            if not all(type(n) is int and n >= 0 for n in (*shape, start)):
                raise ValueError(f"{name!r} has the shape {shape}")
            held = stop - start
            if held != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name!r} of shape {shape} has {held} bytes")
            if 8 + length + stop > size:
                raise ValueError(f"the file ends before its tensor {name!r}")
            places[name] = shape, dtype, 8 + length + start, held
    # Damage leads anywhere.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path} is no complete safetensors file ({reason}); download it "
            "again."
        ) from error

    def read(place):
        shape, dtype, start, held = place
        content = read_bytes(path, start, held)
        return _float(np.frombuffer(content, dtype).reshape(shape))

    return {
        name: Tensor(place[0], _reader(path, name, place, read))
        for name, place in places.items()
    }


def _read_npz(path):
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive of arrays")
        archive = np.load(path, allow_pickle=False)
        shapes = {}
        for name in archive.files:
            with archive.zip.open(_member(archive, name)) as file:
                version = np.lib.format.read_magic(file)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shapes[name], _, dtype = read_header(file)
            declared = math.prod(shapes[name]) * dtype.itemsize
            held = archive.zip.getinfo(_member(archive, name)).file_size
            if declared > held:
                raise ValueError(
                    f"its array {name!r} should have {declared} bytes and has "
                    f"at most {held}"
                )
    # Damage leads anywhere.
    except Exception as error:
        raise ValueError(
            f"{path} is no complete .npz file ({error}); download it again."
        ) from error
    return {
        name: Tensor(
            shape, _reader(path, name, name, lambda n: _float(archive[n]))
        )
        for name, shape in shapes.items()
    }


def _member(archive, name):
    """The archive's record of an array, whose name may lack its ending."""
    member = f"{name}.npy"
    return member if member in archive.zip.NameToInfo else name


def _read_torch(path):
    content, read = read_torch_file(path)
    meta = None
    if isinstance(content, dict):
        meta = content.get("meta")
        for container in _CONTAINERS:
            if isinstance(content.get(container), dict):
                content = content[container]
                break
    tensors = {
        name: Tensor(
            value.shape, _reader(path, name, value, lambda v: _float(read(v)))
        )
        for name, value in (
            content.items() if isinstance(content, dict) else ()
        )
        if isinstance(value, StoredTensor) and isinstance(name, str)
    }
    if not tensors:
        raise ValueError(
            f"{path} holds no tensors, neither by itself nor under "
            f"{', '.join(_CONTAINERS)}."
        )
    # torch's DataParallel puts this before every name.
    if all(name.startswith("module.") for name in tensors):
        tensors = {name[len("module.") :]: t for name, t in tensors.items()}
    return Checkpoint(path, tensors, metadata_of(meta))
