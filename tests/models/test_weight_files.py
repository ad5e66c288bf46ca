"""What Keras writes for a model, on a disk that fills meanwhile."""

import contextlib
import errno
import os
import resource

import h5py
import numpy as np
import pytest

from keras_setr.files.whole import RaisingFile
from keras_setr.training import BestWeights
from tests import tiny

pytestmark = pytest.mark.no_backend

MODEL = tiny.build("pup")
LIMIT = 30_000


@contextlib.contextmanager
def full_disk(size=LIMIT):
    """No file grows beyond some bytes, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _best(path):
    callback = BestWeights(path, "loss", "min")
    callback.set_model(MODEL)
    callback.on_train_begin()
    callback.on_epoch_end(0, {"loss": 1.0})


SAVED = {
    "save_weights": (MODEL.save_weights, "a.weights.h5"),
    "an encoder's save_weights": (MODEL.backbone.save_weights, "a.weights.h5"),
    "save": (MODEL.save, "a.keras"),
    "the best weights": (_best, "a.weights.h5"),
    "a preset": (MODEL.save_to_preset, "preset"),
    "an encoder's preset": (MODEL.backbone.save_to_preset, "preset"),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_full_disk_is_an_error_that_names_the_file_and_keeps_the_old(
    name, tmp_path, capfd
):
    save, file = SAVED[name]
    path = tmp_path / file
    save(path)
    before = content(tmp_path)
    assert max(map(len, before.values())) > LIMIT
    with full_disk(), pytest.raises(OSError) as error:
        save(path)
    assert error.value.errno == errno.EFBIG
    assert str(path) in str(error.value)
    assert content(tmp_path) == before
    # Neither HDF5 nor Python says more.
    assert "Traceback" not in capfd.readouterr().err
    save(path)
    assert content(tmp_path).keys() == before.keys()


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("room", [0, 100, 3000, 9000, 41_000])
def test_hdf5_goes_on_after_a_file_that_found_no_room(room, tmp_path):
    array = np.arange(10_000, dtype="float32")

    def write(name):
        with RaisingFile(tmp_path / name) as file, h5py.File(file, "w") as h5:
            for index in range(4):
                h5[f"part {index}"] = array

    with full_disk(room), pytest.raises(OSError, match="too large"):
        write("small.h5")
    write("large.h5")
    with h5py.File(tmp_path / "large.h5") as h5:
        np.testing.assert_array_equal(h5["part 3"], array)


def test_a_wrong_end_is_told_with_the_path_that_was_given(tmp_path):
    for save in (MODEL.save_weights, MODEL.backbone.save_weights):
        with pytest.raises(ValueError, match="filepath=.*/a.h5"):
            save(tmp_path / "a.h5")
    assert not content(tmp_path)


def damaged(how, tmp_path):
    path = tmp_path / "a.weights.h5"
    MODEL.save_weights(path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif how == "of another model":
        tiny.build("naive").save_weights(path)
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1")
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "no HDF5, or damaged; .*truncated"),
        ("text", "no HDF5, or damaged"),
        ("of another model", "a SETRPUP like this one"),
        ("a pipe", "regular|pipe"),
    ],
)
def test_what_holds_no_weights_of_the_model_is_named(how, words, tmp_path):
    path = damaged(how, tmp_path)
    with pytest.raises(ValueError, match=words) as error:
        tiny.build("pup").load_weights(path)
    assert str(path) in str(error.value)


def test_weights_that_are_nan_are_warned_about(tmp_path):
    model, path = tiny.build("naive"), tmp_path / "a.weights.h5"
    broken = model.trainable_variables[3]
    broken.assign(broken * np.nan)
    model.save_weights(path)
    with pytest.warns(UserWarning, match="NaN .* 1 variable") as warned:
        tiny.build("naive").load_weights(path)
    assert str(path) in str(warned[0].message)
