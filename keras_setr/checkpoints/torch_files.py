"""Files that `torch.save` has written, read without running what they say.

Such a file is a pickle, which names functions to be called, and the bytes of
storages. Here a pickle can only name what stands in the tables below, and what
it gets for a name is a record of this module: nothing of torch, NumPy or the
process can be called or changed. Shapes come from the pickle; the bytes of a
tensor are read when it is asked for, and never beyond its storage.
"""

import dataclasses
import io
import math
import os
import pickle
import struct
import zipfile

import numpy as np

# What legacy files, from before torch 1.6, begin with: three small pickles.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# The largest published pickle, with its training log, has 2 MB.
_MOST_PICKLE_BYTES = 256 << 20
_SIZE = struct.Struct("<q")
_LOCAL_HEADER = 30  # bytes of a zip archive before a record's name

# torch's storages and types -> NumPy's, or the name of one of ml_dtypes.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "UntypedStorage": "u1",
}
_DTYPES = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "float8_e4m3fn",
    "float8_e5m2": "float8_e5m2",
    "float8_e4m3fnuz": "float8_e4m3fnuz",
    "float8_e5m2fnuz": "float8_e5m2fnuz",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint64": "u8",
    "uint32": "u4",
    "uint16": "u2",
    "uint8": "u1",
    "bool": "?",
}
# Training logs and settings that mmsegmentation 0.x and others store beside
# the weights. They are replaced by something that does nothing.
_METADATA_PACKAGES = (
    "argparse",
    "datetime",
    "mmcv",
    "mmengine",
    "mmseg",
    "numpy",
    "pathlib",
    "_codecs",
)
_METADATA_NAMES = (
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "slice"),
    ("builtins", "complex"),
    ("__builtin__", "set"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "_reconstructor"),
    ("torch", "device"),
    ("torch", "Generator"),
    ("torch.serialization", "_get_layout"),
)


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A run of values in a file.

    Attributes:
        key: str. Its name in the file.
        dtype: str. A value of `_STORAGES`.
        count: int. Values, as the pickle declares.
    """

    key: str
    dtype: str
    count: int


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A view of a storage: all that the pickle tells of a tensor.

    Attributes:
        storage: `_Storage`.
        offset: int. Values before the first.
        shape, stride: tuples of int.
        dtype: str. A value of `_DTYPES`.
    """

    storage: _Storage
    offset: int
    shape: tuple
    stride: tuple
    dtype: str

    @property
    def extent(self):
        """Values from the first to the last, with what lies between."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride))


def read_torch_file(path):
    """What a file holds, and how its tensors are read.

    Args:
        path: str.

    Returns:
        `(content, read)`: dicts, lists and numbers with `StoredTensor` in the
        place of tensors; and a callable from one of these to its values, an
        array of its own.

    Raises:
        ValueError: the file is damaged or of another kind, or names what no
            file of weights needs; the message says which.
    """
    with open(path, "rb") as file:
        try:
            if not file.read(1):
                raise ValueError("it is empty (0 bytes)")
            if zipfile.is_zipfile(file):
                content, storages = _read_archive(file)
            else:
                file.seek(0)
                content, storages = _read_legacy(file)
        # A damaged pickle leads anywhere.
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise ValueError(
                f"{path} cannot be read: {reason}. Download it again, unless "
                "it is a file of another kind."
            ) from error
    return content, lambda tensor: _read_tensor(path, tensor, storages)


def _read_archive(file):
    """A zip archive: the pickle, and a record for each storage."""
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: info for info in archive.infolist()}
        pickles = [n for n in records if n.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("the archive holds no data.pkl, as torch's do")
        folder = pickles[0].partition("/")[0]
        if records[pickles[0]].file_size > _MOST_PICKLE_BYTES:
            raise ValueError(
                f"its data.pkl is larger than {_MOST_PICKLE_BYTES}"
            )
        order = f"{folder}/byteorder"
        if order in records and archive.read(order) != b"little":
            raise ValueError("its numbers are in big-endian order")
        content = _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()
    storages = {}
    prefix = f"{folder}/data/"
    for name, info in records.items():
        if name.startswith(prefix):
            storages[name[len(prefix) :]] = _record_place(file, info)
    return content, storages


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the bytes of a storage are.

    Attributes:
        start, size: int. Bytes in the file.
        record: name of the archive's record, if it is compressed.
    """

    start: int
    size: int
    record: str | None = None


def _record_place(file, info):
    if info.compress_type != zipfile.ZIP_STORED:
        return _Place(0, info.file_size, info.filename)
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    # The lengths of the name and of what torch aligns the bytes with.
    lengths = struct.unpack("<HH", header[26:30])
    start = info.header_offset + _LOCAL_HEADER + sum(lengths)
    end = os.fstat(file.fileno()).st_size
    return _Place(start, max(min(info.file_size, end - start), 0))


def _read_legacy(file):
    """Pickles one after another, and then each storage with its length."""
    if _Unpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("it does not begin as torch's files do")
    if _Unpickler(file).load() != _LEGACY_PROTOCOL:
        raise ValueError("it is of another version of torch's format")
    if not _Unpickler(file).load().get("little_endian", True):
        raise ValueError("its numbers are in big-endian order")
    unpickler = _Unpickler(file)
    content = unpickler.load()
    found = {storage.key: storage for storage in unpickler.storages}
    storages = {}
    size = os.fstat(file.fileno()).st_size
    for key in _Unpickler(file).load():
        (count,) = _SIZE.unpack(file.read(_SIZE.size))
        bytes_ = count * numpy_dtype(found[str(key)].dtype).itemsize
        start = file.tell()
        if not 0 <= bytes_ <= size - start:
            raise ValueError("it is cut: a storage is longer than the rest")
        storages[str(key)] = _Place(start, bytes_)
        file.seek(start + bytes_)
    return content, storages


def numpy_dtype(name):
    """NumPy's type of a name, or that of the package ml_dtypes."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def _read_tensor(path, tensor, storages):
    dtype = numpy_dtype(tensor.dtype)
    place = storages.get(tensor.storage.key)
    if place is None:
        raise ValueError(f"the file lacks its storage {tensor.storage.key}")
    start = tensor.offset * dtype.itemsize
    size = tensor.extent * dtype.itemsize
    declared = tensor.storage.count * numpy_dtype(tensor.storage.dtype).itemsize
    if start + size > min(declared, place.size):
        raise ValueError(
            f"it takes bytes {start} to {start + size} of a storage that has "
            f"{min(declared, place.size)}"
        )
    if place.record is not None:
        with zipfile.ZipFile(path) as archive:
            with archive.open(place.record) as file:
                content = file.read(start + size)[start:]
    else:
        content = read_bytes(path, place.start + start, size)
    values = np.frombuffer(content, dtype)
    strides = [stride * dtype.itemsize for stride in tensor.stride]
    view = np.lib.stride_tricks.as_strided(
        values, tensor.shape, strides, writeable=False
    )
    return np.array(view)


def read_bytes(path, start, size):
    """Some bytes of a file.

    Raises:
        EOFError: the file ends before.
    """
    with open(path, "rb") as file:
        file.seek(start)
        content = file.read(size)
    if len(content) != size:
        raise EOFError(f"the file ends after {len(content)} of {size} bytes")
    return content


# === The pickle ===


class _Dict(dict):
    """A dict of the file; what it carries beside its items is dropped."""

    def __setstate__(self, state):
        pass


class _Sealed(type):
    """The class of classes that a pickle cannot change."""

    def __setattr__(cls, name, value):
        raise pickle.UnpicklingError("it wants to change a class")


class _Inert(dict, metaclass=_Sealed):
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

    def add(self, item):
        pass


class _Named:
    """What a pickle gets for the name of a type: nothing can be set on it."""

    __slots__ = ("_value",)

    def __init__(self, value):
        object.__setattr__(self, "_value", value)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("it wants to change a type of torch")

    @property
    def value(self):
        return self._value


class _Builder(_Named):
    """What a pickle gets for the name of a function: it can be called."""

    __slots__ = ()

    def __call__(self, *args):
        return self._value(*args)


def _integers(values):
    values = tuple(values)
    if not all(type(v) is int and 0 <= v < 2**62 for v in values):
        raise ValueError(f"{values} are no sizes of a tensor")
    return values


def _build_tensor(storage, offset, shape, stride, *rest):
    """As `torch._utils._rebuild_tensor_v2`; `rest` is of training."""
    return _tensor(storage, offset, shape, stride, storage.dtype)


def _build_typed_tensor(storage, offset, shape, stride, *rest):
    """As `torch._utils._rebuild_tensor_v3`, with a type behind two others."""
    return _tensor(storage, offset, shape, stride, rest[2].value)


def _tensor(storage, offset, shape, stride, dtype):
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor has no storage")
    (offset,), shape, stride = map(_integers, ((offset,), shape, stride))
    if len(shape) != len(stride):
        raise ValueError(f"a tensor has shape {shape} and strides {stride}")
    tensor = StoredTensor(storage, offset, shape, stride, dtype)
    # Repeated values would be more than the file holds.
    if max(math.prod(shape), offset + tensor.extent) > max(
        storage.count, storage.count * _size(storage.dtype) // _size(dtype)
    ):
        raise ValueError(
            f"a tensor of shape {shape}, {offset} values behind the start of "
            f"its storage, is larger than that storage of {storage.count}"
        )
    return tensor


def _size(dtype):
    return numpy_dtype(dtype).itemsize


def _build_parameter(tensor, *rest):
    return tensor


def _build_subclass(build, kind, arguments, state):
    """As `torch._tensor._rebuild_from_type_v2`."""
    return build(*arguments)


_BUILDERS = {
    ("collections", "OrderedDict"): _Dict,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
    ("torch._utils", "_rebuild_tensor"): _build_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _build_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _build_typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _build_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _build_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _build_subclass,
}


class _Unpickler(pickle.Unpickler):
    """Builds `StoredTensor` records, and nothing that a file could run."""

    def __init__(self, file):
        # As torch reads what Python 2 has written.
        super().__init__(file, encoding="utf-8")
        self.storages = []

    def find_class(self, module, name):
        if (module, name) in _BUILDERS:
            return _Builder(_BUILDERS[module, name])
        if module in ("torch", "torch.storage"):
            if name in _STORAGES:
                return _Named(_STORAGES[name])
            if module == "torch" and name in _DTYPES:
                return _Named(_DTYPES[name])
        if (module, name) in _METADATA_NAMES or (
            "." not in name and module.split(".")[0] in _METADATA_PACKAGES
        ):
            return _Inert
        raise pickle.UnpicklingError(
            f"it wants to run {module}.{name}, which no file of weights "
            "needs. Nothing was run. If you trust the file, save its "
            "state_dict alone, as .safetensors for example"
        )

    def persistent_load(self, identity):
        kind, *rest = identity
        if kind not in ("storage", b"storage"):
            return _Inert()
        storage_type, key, _, count = rest[:4]
        (count,) = _integers((count,))
        storage = _Storage(str(key), storage_type.value, count)
        self.storages.append(storage)
        return storage
