"""Resampling against hand-worked values and NumPy."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from keras_setr.layers import resampling
from tests import tiny


def matrices(sizes, interpolation):
    """Of each `(source, target)`."""

    def make():
        return [resampling.resampling_matrix(*s, interpolation) for s in sizes]

    return [array(matrix) for matrix in tiny.program(make)()]


def row(values):
    """A `(1, 1, n, 1)` image."""
    return np.asarray(values, "float32")[None, None, :, None]


def test_doubling_a_row_takes_quarters_of_the_neighbours():
    # (0, 4, 8) doubled: outputs lie at -1/4, 1/4, 3/4, 5/4, 7/4, 9/4.
    x = resampling.upsample_bilinear(row([0, 4, 8]), 2)
    assert array(x).shape == (1, 2, 6, 1)
    np.testing.assert_allclose(array(x)[0, 1, :, 0], [0, 1, 3, 5, 7, 8])


def test_aligned_corners_keep_the_corners():
    # (0, 6) to four: thirds of the way.
    x = resampling.resize_bilinear(row([0, 6]), (1, 4), align_corners=True)
    np.testing.assert_allclose(array(x)[0, 0, :, 0], [0, 2, 4, 6], atol=1e-6)


@pytest.mark.parametrize("scale", (2, 3, 4))
@pytest.mark.parametrize("align_corners", (False, True))
def test_upsampling_agrees_with_the_definition(scale, align_corners):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5, 4)).astype("float32")

    def positions(n):
        target = np.arange(n * scale)
        if align_corners:
            return target * (n - 1) / (n * scale - 1)
        return np.clip((target + 0.5) / scale - 0.5, 0, n - 1)

    expected = x
    for axis, n in ((1, 3), (2, 5)):
        position = positions(n)
        below = np.floor(position).astype(int)
        above = np.minimum(below + 1, n - 1)
        t = (position - below).reshape(
            [-1 if a == axis else 1 for a in range(4)]
        )
        expected = (1 - t) * expected.take(below, axis) + t * expected.take(
            above, axis
        )

    @tiny.program
    def upsample(x):
        return resampling.upsample_bilinear(x, scale, align_corners)

    actual = upsample(x)
    np.testing.assert_allclose(array(actual), expected, atol=1e-5)


@pytest.mark.parametrize("interpolation", resampling.INTERPOLATIONS)
def test_a_grid_resampled_to_its_own_size_is_itself(interpolation):
    grid = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")

    @tiny.program
    def resample(grid):
        return resampling.resample_grid(grid, (3, 5), interpolation)

    same = resample(grid)
    np.testing.assert_array_equal(array(same), grid)


@pytest.mark.parametrize("interpolation", resampling.INTERPOLATIONS)
def test_rows_of_a_resampling_matrix_sum_to_one(interpolation):
    sizes = ((3, 7), (7, 3), (4, 4))
    for (source, target), matrix in zip(
        sizes, matrices(sizes, interpolation), strict=True
    ):
        assert matrix.shape == (target, source)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


def test_bicubic_weights_are_those_of_cubic_convolution():
    # Doubling puts output 3 a quarter behind pixel 1, at 1.25. With
    # a = -3/4 the taps at distances 5/4, 1/4, 3/4 and 7/4 weigh
    # a(d^3 - 5d^2 + 8d - 4) and (a + 2)d^3 - (a + 3)d^2 + 1.
    (matrix,) = matrices([(4, 8)], "bicubic")
    expected = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]
    np.testing.assert_allclose(matrix[3], expected, atol=1e-6)


def test_antialiased_bicubic_weights_are_as_wide_as_what_they_average():
    # Four to two: the centres lie at 1 and 3, a value's distance counts half.
    # With a = -1/2 the weights at 1/4, 3/4 and 5/4 are 111, 29 and -9 / 128;
    # the first row sees -1/4, 1/4, 3/4 and 5/4, and is divided by its sum.
    (matrix,) = matrices([(4, 2)], "bicubic_antialiased")
    weights = np.array([111, 111, 29, -9]) / 242
    np.testing.assert_allclose(matrix, [weights, weights[::-1]], atol=1e-6)


def test_height_and_width_are_not_swapped():
    grid = np.arange(2, dtype="float32").reshape(2, 1, 1)
    tall = array(resampling.resample_grid(grid, (4, 3)))
    np.testing.assert_allclose(tall[:, 2, 0], [0, 0.25, 0.75, 1])
