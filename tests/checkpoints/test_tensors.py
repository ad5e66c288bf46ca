"""Files of tensors: what is read, and what is refused."""

import argparse
import collections
import json
import os
import pickle

import numpy as np
import pytest
import safetensors.numpy
import torch

from keras_setr.checkpoints import tensors

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


def test_torch_files_without_torch_name_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "file.pth"
    path.write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ImportError, match=r"keras-setr\[torch\]"):
        tensors.read_file(path)
