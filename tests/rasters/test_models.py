"""Rasters by models of Keras, on each backend."""

import numpy as np
import pytest

import keras_setr as ks
from tests import tiny

SIZE = (41, 101)


@pytest.fixture(scope="module")
def model():
    model = tiny.smallest()
    tiny.set_weights_by_path(model, scale=0.5)
    return model


@pytest.mark.parametrize(
    "options", ({}, {"flip": True}, {"stride": (9, 13), "batch_size": 3})
)
def test_labels_are_those_of_segment(model, options):
    (x,), sink = tiny.images(1, SIZE), np.zeros(SIZE, np.uint8)
    plan = ks.rasters.plan_raster(
        SIZE, 5, (16, 24), **{"batch_size": 4, **options}
    )
    run = ks.segment_raster(
        model, x, sink, memory=plan.bytes_of(30), verbose=0, **options
    )
    assert len(run.plan.stripes()) > 1
    expected = model.segment(x, **options)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(sink, expected)


def test_a_run_goes_on_only_with_the_same_weights(model, tmp_path):
    (x,) = tiny.images(1, SIZE)
    target = tmp_path / "labels.npy"

    class Torn:
        shape, dtype = x.shape, x.dtype

        def __getitem__(self, place):
            assert place[0].stop <= 30
            return x[place]

    with pytest.raises(OSError, match="bands are written"):
        ks.segment_raster(model, Torn(), target, verbose=0)
    other = tiny.smallest()
    with pytest.raises(ValueError, match="another model"):
        ks.segment_raster(other, x, target, verbose=0)
    assert ks.segment_raster(model, x, target, verbose=0).kept
    np.testing.assert_array_equal(np.load(target), model.segment(x))


def test_segment_takes_mapped_arrays(model, tmp_path):
    (x,) = tiny.images(1, SIZE)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(model.segment(mapped), model.segment(x))
