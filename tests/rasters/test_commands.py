"""`keras-setr segment` into one file."""

import numpy as np
import pytest

from keras_setr_commands.main import main
from tests import tiny

# What it takes is the same on the other backends.
pytestmark = pytest.mark.backends("torch")

SIZE = (41, 67)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a preset and a raster, and the model."""
    folder = tmp_path_factory.mktemp("commands")
    model = tiny.smallest()
    tiny.set_weights_by_path(model, scale=0.5)
    model.save_to_preset(folder / "preset")
    np.save(folder / "x.npy", tiny.images(1, SIZE)[0])
    return folder, model


def test_a_raster_is_segmented_by_two_workers(files, capsys):
    folder, model = files
    line = ["segment", folder / "preset", folder / "x.npy"]
    line += ["--out", folder / "y.npy", "--flip", "--memory", "0.002"]
    assert main([*line, "--dry-run"]) == 0
    # Rows of windows begin at 0, 10, 20 and 25; the last two go together.
    assert "41 x 67 x 3: 3 bands" in capsys.readouterr().out
    assert main([*line, "--shard", "1/2"]) == 0
    assert "others are to come" in capsys.readouterr().out
    assert not (folder / "y.npy").exists()
    assert main([*line, "--shard", "2/2"]) == 0
    assert "2 bands segmented, 0 there already, in" in capsys.readouterr().out
    expected = model.segment(np.load(folder / "x.npy"), flip=True)
    np.testing.assert_array_equal(np.load(folder / "y.npy"), expected)
    assert main(line) == 2
    assert "say --overwrite to replace it" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0


def test_what_the_library_refuses_is_one_line(files, capsys):
    folder, _ = files
    line = ["segment", folder / "preset", folder / "x.npy"]
    line += ["--out", folder / "z.npy"]
    assert main([*line, "--memory", "1e-6"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("keras-setr segment: error: --memory must be at")
    assert not (folder / "z.npy").exists()
