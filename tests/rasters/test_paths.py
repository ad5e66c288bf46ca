"""GeoTIFFs keep where they lie, how they are tiled and what has no data."""

import sys

import numpy as np
import pytest

import keras_setr as ks
from tests.rasters.test_segmenting import NAMES
from tests.rasters.test_segmenting import Ends
from tests.rasters.test_segmenting import raster
from tests.rasters.test_segmenting import segmenter

pytestmark = pytest.mark.no_backend


def segment(source, sink, **options):
    return ks.segment_raster(segmenter(), source, sink, verbose=0, **options)


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio")


@pytest.fixture
def write(rasterio, tmp_path):
    """A function that writes `(H, W, C)` as a GeoTIFF, to its path."""

    def write(x, **profile):
        options = {
            "driver": "GTiff",
            "height": x.shape[0],
            "width": x.shape[1],
            "count": x.shape[2],
            "dtype": x.dtype.name,
            "crs": "EPSG:32633",
            "transform": rasterio.Affine(0.5, 0, 400_000, 0, -0.5, 5_800_000),
            **profile,
        }
        with rasterio.open(tmp_path / "x.tif", "w", **options) as target:
            target.write(x.transpose(2, 0, 1))
        return tmp_path / "x.tif"

    return write


def test_labels_lie_where_the_source_lies(rasterio, write, tmp_path):
    x = raster()
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 16}
    source = write(x, **tiles)
    run = segment(source, tmp_path / "y.tif", flip=True)
    with rasterio.open(tmp_path / "y.tif") as found:
        expected = segmenter().segment(x, flip=True)
        np.testing.assert_array_equal(found.read(1), expected)
        assert found.crs.to_epsg() == 32633 and found.dtypes == ("uint8",)
        assert found.transform.c == 400_000 and found.transform.a == 0.5
        assert found.block_shapes == [(16, 32)] and found.nodata == 255
        palette = segmenter().classes.palette
        for label, color in enumerate(palette):
            assert found.colormap(1)[label][:3] == tuple(color)
        assert found.tags()["classes"] == '["dark", "middle", "bright"]'
    assert run.complete
    assert {p.name for p in tmp_path.iterdir()} == {"x.tif", "y.tif"}


def test_probabilities_are_bands_with_the_names_of_classes(
    rasterio, write, tmp_path
):
    x = raster()
    segment(write(x), tmp_path / "y.tif", output="probabilities")
    with rasterio.open(tmp_path / "y.tif") as found:
        assert found.descriptions == NAMES and found.nodata is None
        assert found.block_shapes == [(512, 512)] * 3
        shares = found.read().transpose(1, 2, 0) / 255
    expected = segmenter().segment(x, "probabilities")
    np.testing.assert_allclose(shares, expected, atol=0.501 / 255)


@pytest.mark.parametrize("by", ("nodata", "alpha"))
def test_what_a_dataset_masks_has_no_data(rasterio, write, tmp_path, by):
    x = raster()
    x[:12, :20] = 0
    empty = (x == 0).all(axis=-1)
    options, given = {"nodata": 0}, x
    if by == "alpha":
        options = {"photometric": "rgb", "alpha": "yes"}
        given = np.concatenate([x, 255 * ~empty[..., None]], -1)
    path = write(given.astype(np.uint8), **options)
    bands = (1, 2, 3) if by == "alpha" else None
    segment(path, tmp_path / "y.tif", bands=bands)
    with rasterio.open(tmp_path / "y.tif") as found:
        labels = found.read(1)
    assert (labels[empty] == 255).all()
    expected = segmenter().segment(x)
    np.testing.assert_array_equal(labels[~empty], expected[~empty])


def test_open_datasets_and_their_bands(rasterio, write, tmp_path):
    x = raster(channels=5)
    with rasterio.open(write(x)) as source:
        for bands in (None, (1, 2), (1, 2, 6)):
            with pytest.raises(ValueError, match="bands must be 3 of 1..5"):
                segment(source, tmp_path / "y.npy", bands=bands)
        segment(source, tmp_path / "y.npy", bands=(4, 2, 1))
    expected = segmenter().segment(x[..., [3, 1, 0]])
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_a_run_that_breaks_off_leaves_the_file_of_before(rasterio, tmp_path):
    (tmp_path / "y.tif").write_text("before")
    with pytest.raises(OSError, match="3 of 6 bands are written"):
        segment(Ends(raster(), 20), tmp_path / "y.tif")
    assert (tmp_path / "y.tif").read_text() == "before"
    segment(raster(), tmp_path / "y.tif")
    with rasterio.open(tmp_path / "y.tif") as found:
        expected = segmenter().segment(raster())
        np.testing.assert_array_equal(found.read(1), expected)


def test_a_kill_at_the_end_is_made_up_for(tmp_path, monkeypatch):
    from keras_setr.rasters import segmenting

    target = tmp_path / "y.npy"
    finish = segmenting.PathSink.finish
    monkeypatch.setattr(segmenting.PathSink, "finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        segment(raster(), target)
    assert not target.exists()

    def then_die(self):
        finish(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(segmenting.PathSink, "finish", then_die)
    with pytest.raises(KeyboardInterrupt):
        segment(raster(), target)
    monkeypatch.setattr(segmenting.PathSink, "finish", finish)
    run = segment(raster(), target)
    assert run.complete and run.written == 0 and run.kept == 6
    np.testing.assert_array_equal(
        np.load(target), segmenter().segment(raster())
    )
    assert [path.name for path in tmp_path.iterdir()] == ["y.npy"]


def test_a_geotiff_without_rasterio_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (tmp_path / "x.tif").write_text("")
    for source, sink in (
        (tmp_path / "x.tif", tmp_path / "y.npy"),
        (raster(), tmp_path / "y.tif"),
    ):
        with pytest.raises(ImportError, match=r"install keras-setr\[rasters\]"):
            segment(source, sink)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]


def test_a_file_that_is_no_raster(rasterio, tmp_path):
    (tmp_path / "x.tif").write_text("nothing")
    with pytest.raises(ValueError, match="x.tif cannot be read: "):
        segment(tmp_path / "x.tif", tmp_path / "y.tif")


def test_more_than_255_classes_take_16_bits(rasterio, tmp_path):
    classes = ks.Classes.numbered(300)

    class Spread:
        def run(self, images, names):
            logits = np.zeros((*images.shape[:3], 300), np.float32)
            logits[..., 280] = 1
            return {"logits": logits}

    model = segmenter(Spread(), classes=classes)
    x = raster((8, 12))
    x[:2, :3] = 0
    ks.segment_raster(model, x, tmp_path / "y.tif", nodata=0, verbose=0)
    with rasterio.open(tmp_path / "y.tif") as found:
        assert found.dtypes == ("uint16",) and found.nodata == 65535
        assert set(np.unique(found.read(1))) == {280, 65535}
