"""Files of tensors: what is read, and what is refused."""

import argparse
import collections
import importlib
import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from keras_setr.checkpoints import tensors
from keras_setr.checkpoints import torch_files

pytestmark = pytest.mark.no_backend

ARRAY = np.arange(6, dtype="float32").reshape(2, 3)


def check(checkpoint, name="weight"):
    assert checkpoint.shape(name) == (2, 3)
    value = checkpoint.tensors[name].read()
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, ARRAY)


def test_each_kind_of_file_gives_shapes_and_float32_values(tmp_path):
    half = ARRAY.astype("float16")
    safetensors.numpy.save_file({"weight": half}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", weight=ARRAY)
    np.savez_compressed(tmp_path / "b.npz", weight=half)
    torch.save({"weight": torch.from_numpy(half)}, tmp_path / "a.pth")
    torch.save({"weight": torch.tensor(ARRAY).bfloat16()}, tmp_path / "a.bin")
    for name in ("a.safetensors", "a.npz", "b.npz", "a.pth", "a.bin"):
        check(tensors.read_file(tmp_path / name))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("container", ["state_dict", "model", None])
def test_torch_files_old_and_new_nested_and_not(tmp_path, zipped, container):
    state = collections.OrderedDict(weight=torch.from_numpy(ARRAY))
    content = {container: state, "epoch": 3} if container else state
    path = tmp_path / "file.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    check(tensors.read_file(path))


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"module.weight": torch.from_numpy(ARRAY)}, path)
    check(tensors.read_file(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_beside_the_weights_are_not_run(tmp_path, zipped):
    path = tmp_path / "file.pth"
    content = {
        "model": {"weight": torch.from_numpy(ARRAY)},
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    check(tensors.read_file(path))


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, zipped):
    path, trace = tmp_path / "file.pth", tmp_path / "trace"
    content = {"weight": torch.from_numpy(ARRAY), "x": Hostile(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"file.pth.*wants to run \w+.system"):
        tensors.read_file(path)
    assert not trace.exists()
    # The same, hidden in what torch itself would call to read a storage.
    inner = pickle.dumps(Hostile(trace))

    class Nested:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner,)

    torch.save({"x": Nested()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="wants to run torch.storage"):
        tensors.read_file(path)
    assert not trace.exists()


def test_class_names_come_from_mmsegmentation_0_and_1(tmp_path):
    state = {"weight": torch.from_numpy(ARRAY)}
    for meta in (
        {"CLASSES": ("bed ", "road"), "PALETTE": [[1, 2, 3], [4, 5, 6]]},
        {
            "dataset_meta": {
                "classes": ("bed ", "road"),
                "palette": [[1, 2, 3], [4, 5, 6]],
            }
        },
    ):
        path = tmp_path / "file.pth"
        torch.save({"meta": meta, "state_dict": state}, path)
        assert tensors.read_file(path).metadata == {
            "names": ["bed", "road"],
            "palette": [[1, 2, 3], [4, 5, 6]],
        }


def test_a_folder_of_hugging_face_joins_its_parts(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ValueError, match="must hold model.safetensors"):
        tensors.read_folder(tmp_path)
    for index, name in enumerate(("weight", "bias"), start=1):
        safetensors.numpy.save_file(
            {name: ARRAY}, tmp_path / f"model-0000{index}-of-00002.safetensors"
        )
    checkpoint = tensors.read_folder(tmp_path)
    check(checkpoint)
    check(checkpoint, "bias")
    assert checkpoint.metadata["config"] == {"model_type": "vit"}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_a_cut_file_is_named(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    if suffix == ".pth":
        torch.save({"weight": torch.from_numpy(ARRAY)}, path)
    elif suffix == ".npz":
        np.savez(path, weight=ARRAY)
    else:
        safetensors.numpy.save_file({"weight": ARRAY}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"file{suffix}"):
        tensors.read_file(path)


def test_files_of_other_kinds_and_without_tensors_are_named(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="photo.jpg.*Received: .jpg"):
        tensors.read_file(tmp_path / "photo.jpg")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="empty.pth holds no tensors"):
        tensors.read_file(tmp_path / "empty.pth")


def test_torch_files_are_read_without_torch(tmp_path, monkeypatch):
    path = tmp_path / "file.pth"
    torch.save({"weight": torch.from_numpy(ARRAY)}, path)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    check(tensors.read_file(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_views_parameters_and_types_are_read_as_torch_reads_them(
    tmp_path, zipped
):
    whole = torch.arange(24.0).reshape(4, 6)
    content = {
        "turned": whole.t()[1:3],
        "part": whole[2:, 1::2],
        "parameter": torch.nn.Parameter(whole),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "double": whole.double(),
        "bfloat": whole.bfloat16(),
        "long": whole.long(),
        "flags": whole > 7,
    }
    if zipped:
        content["float8"] = whole.to(torch.float8_e4m3fn)
        content["unsigned"] = whole.to(torch.uint16)
    path = tmp_path / "file.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = tensors.read_file(path).tensors
    assert set(found) == set(content)
    for name, tensor in content.items():
        assert found[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(
            found[name].read(), tensor.detach().float().numpy()
        )


def test_safetensors_of_every_type_are_read(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    content = {
        "bfloat": whole.bfloat16(),
        "half": whole.half(),
        "float8": whole.to(torch.float8_e5m2),
        "long": whole.long(),
        "flags": whole > 2,
    }
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(content, path, {"format": "pt"})
    found = tensors.read_file(path).tensors
    for name, tensor in content.items():
        np.testing.assert_array_equal(found[name].read(), tensor.float())


def pickled(name, *opcodes):
    """A pickle that gets what stands for a name, and then does something."""
    module, _, name = name.rpartition(".")
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"".join(opcodes)


def archive(path, pickle_bytes, **storages):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle_bytes)
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)


# Opcodes: a dict with one item, as state of what lies on the stack.
STATE = [b"}", b"X\x01\0\0\0a", b"K\x01", b"s"]


@pytest.mark.parametrize(
    "name",
    [
        "torch._utils._rebuild_tensor_v2",
        "torch.FloatStorage",
        "torch.float32",
        "collections.OrderedDict",
        "argparse.Namespace",
        "numpy.dtype",
        "builtins.set",
    ],
)
@pytest.mark.parametrize("slots", [True, False])
def test_what_a_name_stands_for_cannot_be_changed(tmp_path, name, slots):
    # BUILD with a state: of attributes, or in a pair, of slots.
    state = [b"N", *STATE, b"\x86"] if slots else STATE
    archive(tmp_path / "a.pth", pickled(name, *state, b"b."))
    with pytest.raises(ValueError, match="a.pth cannot be read"):
        tensors.read_file(tmp_path / "a.pth")
    module, _, name = name.rpartition(".")
    assert not hasattr(getattr(importlib.import_module(module), name), "a")
    for own in (torch_files._Inert, torch_files._Dict):
        assert not hasattr(own, "a")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "builtins.getattr",
        "numpy.load.__globals__",
        "torch._utils._rebuild_tensor_v2.__globals__",
        "torch.MyFloatStorage",
        "torch.load",
        "torch.storage._load_from_bytes",
    ],
)
def test_names_are_exact(tmp_path, name):
    module, _, last = name.partition(".")
    if name.count(".") == 1:
        content = pickled(name, b".")
    else:
        # A dotted name, in the way of protocol 4.
        strings = [s.encode() for s in (module, last)]
        content = b"\x80\x04" + b"".join(
            b"\x8c" + bytes([len(s)]) + s for s in strings
        )
        content += b"\x93."
    archive(tmp_path / "a.pth", content)
    with pytest.raises(ValueError, match=f"wants to run {name}, which no"):
        tensors.read_file(tmp_path / "a.pth")


def stored(shape, stride, offset=0, count=6):
    """The pickle of a dict of one tensor whose storage is named 0."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if value is Tensor:
                return ("storage", torch.FloatStorage, "0", "cpu", count)

    class Tensor:
        def __reduce__(self):
            build = torch._utils._rebuild_tensor_v2
            return build, (Tensor, offset, shape, stride, False, None)

    file = io.BytesIO()
    Pickler(file, 2).dump({"weight": Tensor()})
    return file.getvalue()


@pytest.mark.parametrize(
    "shape, stride, offset, count, message",
    [
        ((2, 3), (3, 1), 1, 6, "larger than that storage of 6"),
        ((2, 3), (4, 1), 0, 6, "larger than that storage of 6"),
        ((10**9, 10**9), (0, 0), 0, 6, "larger than that storage of 6"),
        ((2, 3), (-3, 1), 3, 6, "are no sizes"),
        ((-2, 3), (3, 1), 0, 6, "are no sizes"),
        ((2, 3), (3,), 0, 6, "shape \\(2, 3\\) and strides \\(3,\\)"),
        (("2", 3), (3, 1), 0, 6, "are no sizes"),
    ],
)
def test_tensors_stay_within_their_storage(
    tmp_path, shape, stride, offset, count, message
):
    path = tmp_path / "a.pth"
    archive(path, stored(shape, stride, offset, count), **{"0": bytes(24)})
    with pytest.raises(ValueError, match=f"a.pth cannot be read.*{message}"):
        tensors.read_file(path)


def test_a_storage_that_is_shorter_than_declared_ends_there(tmp_path):
    path = tmp_path / "a.pth"
    neighbour = b"secret" * 9
    archive(path, stored((2, 3), (3, 1)), **{"0": bytes(20), "1": neighbour})
    tensor = tensors.read_file(path).tensors["weight"]
    with pytest.raises(
        ValueError, match="a.pth.*'weight'.*0 to 24 of a storage that has 20"
    ):
        tensor.read()
    archive(path, stored((2, 3), (3, 1)), **{"1": neighbour})
    with pytest.raises(ValueError, match="'weight'.*lacks its storage 0"):
        tensors.read_file(path).tensors["weight"].read()


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pth"])
def test_bytes_that_went_missing_since_are_named(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    large = np.arange(40_000, dtype="float32")
    if kind == "safetensors":
        safetensors.numpy.save_file({"weight": large}, path)
    elif kind == "npz":
        np.savez(path, weight=large)
    else:
        torch.save({"weight": torch.from_numpy(large)}, path)
    tensor = tensors.read_file(path).tensors["weight"]
    content = path.read_bytes()
    path.write_bytes(content[:1000] + content[:1000])
    with pytest.raises(ValueError, match=f"a.{kind}.*tensor 'weight'"):
        tensor.read()


def test_values_that_are_no_numbers_are_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, ok=ARRAY, objects=np.array([{}]), text=np.array(["a"]))
    found = tensors.read_file(path).tensors
    check(tensors.Checkpoint("a", {"weight": found["ok"]}))
    for name in ("objects", "text"):
        with pytest.raises(ValueError, match=f"a.npz.*tensor '{name}'"):
            found[name].read()


def test_a_wrong_checksum_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, weight=np.arange(5000, dtype="float32"))
    content = bytearray(path.read_bytes())
    content[9000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.npz.*'weight'.*CRC"):
        tensors.read_file(path).tensors["weight"].read()


def npy_header(shape):
    file = io.BytesIO()
    entry = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, entry)
    return file.getvalue()


def test_headers_that_promise_terabytes_take_no_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("weight.npy", npy_header((2**20, 2**20)) + bytes(8))
    with pytest.raises(ValueError, match="a.npz.*'weight'.*should have"):
        tensors.read_file(tmp_path / "a.npz")
    table = json.dumps(
        {
            "weight": {
                "dtype": "F32",
                "shape": [2**20, 2**20],
                "data_offsets": [0, 2**42],
            }
        }
    ).encode()
    for content in (
        struct.pack("<Q", len(table)) + table + bytes(8),
        struct.pack("<Q", 2**60) + table,
        struct.pack("<Q", 2) + b"[]",
        b"\0" * 4,
    ):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="a.safetensors is no complete"):
            tensors.read_file(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x80\x02K\x01.", b"PK\x03\x04", b"\0" * 600]
)
def test_what_is_no_torch_file_is_named(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.pth cannot be read: .+ Download"):
        tensors.read_file(path)
