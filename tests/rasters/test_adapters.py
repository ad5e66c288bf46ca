"""What other libraries hand over, read and written by rectangles."""

import mmap

import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from keras_setr.rasters.adapters import as_source
from keras_setr.rasters.adapters import give_back
from tests.rasters.test_segmenting import SIZE
from tests.rasters.test_segmenting import narrow
from tests.rasters.test_segmenting import raster
from tests.rasters.test_segmenting import segmenter

pytestmark = pytest.mark.no_backend


def segment(source, sink, **options):
    return ks.segment_raster(segmenter(), source, sink, verbose=0, **options)


# === Arrays ===


@pytest.mark.parametrize(
    "shape, channels, size",
    [
        ((7, 9, 3), 3, (7, 9)),
        ((3, 7, 9), 3, (7, 9)),
        ((3, 7, 3), 3, (3, 7)),  # both fit: the channels are last
        ((7, 9), 1, (7, 9)),
        ((1, 7, 9), 1, (7, 9)),
    ],
)
def test_the_axis_of_the_channels_is_told_by_its_length(shape, channels, size):
    source = as_source(np.zeros(shape, np.uint8), channels)
    assert source.size == size
    pixels, empty = source.read((1, 3), (2, 6))
    assert pixels.shape == (2, 4, channels) and empty is None


def test_memmaps_are_read_and_written_and_remember_the_way(tmp_path):
    x = raster()
    np.save(tmp_path / "x.npy", x)
    sink = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", "u1", SIZE)
    run = segment(np.load(tmp_path / "x.npy", mmap_mode="r"), sink)
    assert run.complete
    expected = segmenter().segment(x)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    assert not (tmp_path / "y.npy.progress").exists()


def test_only_pages_that_the_file_has_are_given_back(tmp_path):
    np.save(tmp_path / "x.npy", raster())
    for mode, kept in (("c", 7), ("r+", 7)):
        array = np.load(tmp_path / "x.npy", mmap_mode=mode)
        array[0, 0] = 7
        give_back(array)
        assert array[0, 0, 0] == kept
    assert isinstance(array.base, mmap.mmap)


def test_zarr_arrays_by_their_chunks(tmp_path):
    zarr = pytest.importorskip("zarr")
    x = raster()
    source = zarr.create_array(
        str(tmp_path / "x"), shape=x.shape, chunks=(16, 16, 3), dtype="u1"
    )
    source[:] = x
    sink = zarr.create_array(
        str(tmp_path / "y"), shape=SIZE, chunks=(16, 16), dtype="u1"
    )
    options = {"resume": tmp_path / "p", "memory": narrow(chunks=(16, 16))}
    for worker in range(2):
        run = segment(source, sink, shard=(worker, 2), **options)
    assert run.complete and run.plan.chunks == (16, 16)
    np.testing.assert_array_equal(sink[:], segmenter().segment(x))


def test_a_tiff_by_tifffile(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    x, sink = raster(), np.zeros(SIZE, np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", x, photometric="rgb")
    segment(tifffile.memmap(tmp_path / "x.tif", mode="r"), sink)
    np.testing.assert_array_equal(sink, segmenter().segment(x))


# === Slides ===


class Slide:
    """As OpenSlide: places by pixels of level 0, sizes by those of a level."""

    level_downsamples = (1.0, 2.0)

    def __init__(self, array, alpha):
        self.pixels = np.concatenate([array, alpha[..., None]], -1)
        h, w = alpha.shape
        self.level_dimensions = ((w, h), (w // 2, h // 2))

    def read_region(self, place, level, size):
        step = 2**level
        (x, y), (w, h) = place, size
        part = self.pixels[y : y + h * step : step, x : x + w * step : step]
        return Image.fromarray(part, "RGBA")


@pytest.mark.parametrize("level", (0, 1))
def test_a_level_of_a_slide(level):
    x, alpha = raster((76, 108)), np.full((76, 108), 255, np.uint8)
    alpha[:20, :40] = 0
    source = ks.rasters.SlideLevel(Slide(x, alpha), level)
    step = 2**level
    size = (76 // step, 108 // step)
    assert source.shape == (*size, 3)
    sink = np.zeros(size, np.uint8)
    segment(source, sink)
    white = np.where(alpha[..., None] == 0, 255, x).astype(np.uint8)
    expected = segmenter().segment(white[::step, ::step])
    empty = alpha[::step, ::step] == 0
    assert (sink[empty] == 255).all()
    np.testing.assert_array_equal(sink[~empty], expected[~empty])


def test_a_slide_without_a_level_is_its_finest_and_others_are_refused():
    slide = Slide(raster((76, 108)), np.full((76, 108), 255, np.uint8))
    assert as_source(slide, 3).size == (76, 108)
    with pytest.raises(ValueError, match="the slide's 2, from 0. Received: 2"):
        ks.rasters.SlideLevel(slide, 2)
    with pytest.raises(ValueError, match="A slide has 3 channels"):
        as_source(slide, 4)
