"""Named tensors in files, read one at a time.

Files of torch, safetensors and NumPy become a `Checkpoint`: the shapes are
known at once, the values are read when they are asked for, so that a file is
never held in memory twice.
"""

import collections
import ctypes
import dataclasses
import mmap
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_setr.checkpoints import hub

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".npz")

# Where training scripts put the weights inside what they save.
_CONTAINERS = ("state_dict", "model", "model_state_dict")


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
        metadata: dict. `"names"` and `"palette"` of the classes where the
            file tells them, and `"config"`, that of a Hugging Face folder.
    """

    origin: str
    tensors: dict
    metadata: dict = dataclasses.field(default_factory=dict)

    def __contains__(self, name):
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape


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
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
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
                tuple(variable.shape), _reader(variable, _from_variable)
            )
            for variable in variables
        },
    )


def _reader(value, convert):
    return lambda: convert(value)


def _from_variable(variable):
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable), "float32")


def _read_safetensors(path):
    import safetensors

    try:
        # Kept open: every tensor is read from it when its turn comes.
        file = safetensors.safe_open(path, framework="numpy")
        return {
            name: Tensor(
                tuple(file.get_slice(name).get_shape()),
                _reader(name, lambda n: file.get_tensor(n).astype("float32")),
            )
            for name in file.keys()
        }
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is no complete safetensors file ({error}); download it "
            "again."
        ) from error


def _read_npz(path):
    try:
        archive = np.load(path, allow_pickle=False)
        shapes = {}
        for name in archive.files:
            with archive.zip.open(f"{name}.npy") as file:
                version = np.lib.format.read_magic(file)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shapes[name] = read_header(file)[0]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no complete .npz file ({error}); download it again."
        ) from error
    return {
        name: Tensor(
            shape, _reader(name, lambda n: archive[n].astype("float32"))
        )
        for name, shape in shapes.items()
    }


def _read_torch(path):
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs torch: pip install 'keras-setr[torch]'. "
            ".safetensors and .npz files do not."
        ) from error
    # Old files are no zip archives and cannot be mapped into memory.
    mapped = zipfile.is_zipfile(path)
    options = {"map_location": "cpu", "mmap": mapped}
    try:
        try:
            content = torch.load(path, weights_only=True, **options)
        except pickle.UnpicklingError:
            content = torch.load(
                path, weights_only=False, pickle_module=_RESTRICTED, **options
            )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
        raise ValueError(f"{path} cannot be read: {e}") from e
    metadata = {}
    if isinstance(content, dict):
        metadata = _class_metadata(content.get("meta"))
        for container in _CONTAINERS:
            if isinstance(content.get(container), dict):
                content = content[container]
                break
    convert = _from_mapped_torch if mapped else _from_torch
    tensors = {
        name: Tensor(tuple(value.shape), _reader(value, convert))
        for name, value in (
            content.items() if hasattr(content, "items") else ()
        )
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise ValueError(
            f"{path} holds no tensors, neither by itself nor under "
            f"{', '.join(_CONTAINERS)}."
        )
    # torch's DataParallel puts this before every name.
    if all(name.startswith("module.") for name in tensors):
        tensors = {name[len("module.") :]: t for name, t in tensors.items()}
    return Checkpoint(path, tensors, metadata)


def _from_torch(tensor):
    # A copy: JAX may keep what it is given, and this may be the mapped file.
    return np.array(tensor.detach().float().numpy())


def _from_mapped_torch(tensor):
    """The values; what was read of the file leaves the memory again."""
    array = _from_torch(tensor)
    if sys.platform == "linux":
        # Whole pages only. They are read from the file again when needed.
        page = mmap.PAGESIZE
        start = -(-tensor.data_ptr() // page) * page
        stop = (tensor.data_ptr() + tensor.nbytes) // page * page
        if stop > start:
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(start),
                ctypes.c_size_t(stop - start),
                mmap.MADV_DONTNEED,
            )
    return array


def _class_metadata(meta):
    """Class names and colours as mmsegmentation 0.x and 1.x store them."""
    if not isinstance(meta, dict):
        return {}
    for group, names, palette in (
        (meta, "CLASSES", "PALETTE"),
        (meta.get("dataset_meta"), "classes", "palette"),
    ):
        if isinstance(group, dict) and isinstance(
            group.get(names), (list, tuple)
        ):
            return {
                "names": [str(name).strip() for name in group[names]],
                "palette": group.get(palette) or None,
            }
    return {}


# === Old torch files with more than tensors in them ===

# What rebuilds tensors. None of it runs code from the file.
_TENSOR_GLOBALS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
}
_TENSOR_BUILDERS = (
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_parameter",
)
# Training logs and settings that mmsegmentation 0.x and others store beside
# the weights. They are replaced by something that does nothing.
_METADATA_PACKAGES = (
    "argparse",
    "mmcv",
    "mmengine",
    "mmseg",
    "numpy",
    "pathlib",
    "_codecs",
)


class _Inert(dict):
    """Stands for an object of a class that is not to be run."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __setstate__(self, state):
        pass

    def __hash__(self):
        return id(self)

    def append(self, item):
        pass

    def extend(self, items):
        pass


class _Unpickler(pickle.Unpickler):
    """Builds tensors, and nothing that a file could run."""

    def find_class(self, module, name):
        if (module, name) in _TENSOR_GLOBALS:
            return _TENSOR_GLOBALS[module, name]
        if module == "torch._utils" and name in _TENSOR_BUILDERS:
            return super().find_class(module, name)
        if module == "torch" and (
            name == "Size" or name.endswith(("Storage", "float32", "float16"))
        ):
            return super().find_class(module, name)
        if module.split(".")[0] in _METADATA_PACKAGES:
            return _Inert
        raise pickle.UnpicklingError(
            f"it wants to run {module}.{name}, which no file of weights "
            "needs. Nothing was run. If you trust the file, save its "
            "state_dict alone, as .safetensors for example."
        )


def _restricted_load(file, **kwargs):
    return _Unpickler(file, **kwargs).load()


# torch.load takes these two names from the module that it is given.
_RESTRICTED = types.SimpleNamespace(
    Unpickler=_Unpickler, load=_restricted_load, __name__="restricted"
)
