"""A preset written on one backend is read on the others.

Each writes the same weights into it, under the same names, and reads from it
the logits that test_parity.py compares on all of them. Its configurations are
of Python's values alone.

`python tests/checkpoints/test_exchange.py` writes what that is anew.
"""

import json
import pathlib
import sys
import tempfile
import zlib

import h5py
import keras
import numpy as np

import keras_setr as ks
from tests import tiny

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
CONTENTS = GOLDENS / "preset.json"


def write(folder):
    model = tiny.build(
        "mla", position_grid=(3, 2), classes=ks.Classes(list("abcde"))
    )
    tiny.set_weights_by_path(model, scale=0.3)
    model.save_to_preset(str(folder))


def contents(folder):
    """Each file, of weights with the shape and checksum of each array."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        arrays = {}

        def add(place, array):
            if isinstance(array, h5py.Dataset):
                checksum = zlib.crc32(np.ascontiguousarray(array[()]))
                kind = f"{array.dtype}{list(array.shape)}"
                arrays[place] = f"{kind} {checksum:08x}"

        if path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(add)
        found[path.relative_to(folder).as_posix()] = arrays
    return found


def test_presets_are_the_same_on_every_backend(tmp_path):
    write(tmp_path / "preset")
    assert contents(tmp_path / "preset") == json.loads(CONTENTS.read_text())
    model = ks.SETRMLA.from_preset(str(tmp_path / "preset"))
    assert model.classes.names == tuple("abcde")
    with np.load(GOLDENS / "tiny_models.npz") as goldens:
        expected = goldens["mla_logits"]
    np.testing.assert_allclose(
        model.predict(tiny.images(), verbose=0),
        expected,
        atol=1e-4 * np.abs(expected).max(),
    )


if __name__ == "__main__":
    sys.path.insert(0, str(GOLDENS.parents[1]))
    with tempfile.TemporaryDirectory() as directory:
        written = pathlib.Path(directory) / "preset"
        write(written)
        text = json.dumps(contents(written), indent=1, sort_keys=True)
    CONTENTS.write_text(text + "\n")
    print(f"{CONTENTS} written on {keras.config.backend()}")
