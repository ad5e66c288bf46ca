"""Convolutions of maps that are enlarged first, computed at the size before.

Enlarging is linear and treats all channels alike. With U the bilinear
enlargement, K_t the matrix of a kernel's pixel t and S_t the shift to it,

    conv(U x) = sum over t of S_t U (x K_t),

so that the products with the kernel may come first, of as many pixels as the
small map has: `factor ** 2` times fewer. What is left is a weighted sum of
neighbours, along the rows and along the columns, whose weights are constants.
"""

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_setr.layers.gradients import by_upstream
from keras_setr.layers.on_cpu import computes_at_once
from keras_setr.layers.on_cpu import convolution_of_torch
from keras_setr.layers.on_cpu import runs_on_cpu
from keras_setr.layers.resampling import bilinear_matrix
from keras_setr.layers.resampling import upsample_bilinear

# Channels below which the sums of neighbours outweigh the products.
_CHANNELS = 64
# Rows of a block of an almost empty matrix.
_ROWS = 32


def convolve_enlarged(x: Any, kernel: Any, factor: int, convolve: Any) -> Any:
    """`convolve(upsample_bilinear(x, factor), kernel)`, on CPUs for less.

    Args:
        x: `(B, h, w, C)`.
        kernel: `(s, s, C, D)`, s odd.
        factor: int. Of the enlargement.
        convolve: function of a map and the kernel, a convolution that keeps
            the size; used where it is the faster way.

    Returns:
        `(B, factor * h, factor * w, D)`.
    """

    kernel = ops.convert_to_tensor(kernel)
    if tuple(kernel.shape[:2]) == (1, 1):
        return upsample_bilinear(convolve(x, kernel), factor)

    def plainly(x, kernel):
        return convolve(upsample_bilinear(x, factor), kernel)

    if factor == 1 or not _pays(x, kernel):
        return plainly(x, kernel)

    def products_first(x, kernel):
        return _products_first(x, kernel, factor)

    if keras.config.backend() == "jax":
        import jax

        return jax.lax.platform_dependent(
            x, kernel, cpu=products_first, default=plainly
        )
    return products_first(x, kernel) if runs_on_cpu() else plainly(x, kernel)


def _pays(x, kernel):
    _, height, width, channels = x.shape
    single = all(
        keras.backend.standardize_dtype(a.dtype) == "float32"
        for a in (x, kernel)
    )
    return (
        None not in (height, width)
        and min(channels, kernel.shape[-1]) >= _CHANNELS
        and single
        and computes_at_once()
    )


def _products_first(x, kernel, factor):
    _, height, width, _ = x.shape
    side, _, _, filters = kernel.shape
    size = factor * height, factor * width
    rows = _weights(height, factor, side)
    rows = [rows[:, :, t] for t in range(side)]
    columns = _weights(width, factor, side).reshape(size[1], -1)

    @ops.custom_gradient
    def compute(x, *kernels):
        maps = []
        for matrix in kernels:
            y = _products(x, matrix)  # (B, h, w, s * D)
            y = ops.reshape(y, (-1, width * side, filters))
            y = _sum_of_products([columns], [y])  # (B * h, W, D)
            maps.append(ops.reshape(y, (-1, height, size[1] * filters)))
        y = _sum_of_products(rows, maps)

        @by_upstream
        def gradients(upstream):
            upstream = ops.reshape(upstream, (-1, size[0], size[1] * filters))
            by_x, by_kernels = 0, []
            for weights, matrix in zip(rows, kernels):
                y = _sum_of_products([weights.T], [upstream])
                y = ops.reshape(y, (-1, size[1], filters))
                y = _sum_of_products([columns.T], [y])  # (B * h, w * s, D)
                y = ops.reshape(y, (-1, height, width, side * filters))
                by_x += _products(y, ops.transpose(matrix))
                by_kernels.append(_gradient_by_matrix(x, y))
            return by_x, *by_kernels

        return ops.reshape(y, (-1, *size, filters)), gradients

    return compute(x, *(_matrix(kernel, row) for row in range(side)))


def _matrix(kernel, row):
    """A row of the kernel's pixels, `(C, s * D)`."""
    side, _, channels, filters = kernel.shape
    matrix = ops.transpose(kernel[row], (1, 0, 2))
    return ops.reshape(matrix, (channels, side * filters))


def _products(x, matrix):
    """`(B, h, w, C)` by `(C, N)`, `(B, h, w, N)`."""
    if keras.config.backend() != "torch":
        return ops.matmul(x, matrix)
    return convolution_of_torch(x, matrix[None, None])


def _gradient_by_matrix(x, upstream):
    """That of `_products`, `(C, N)`."""
    channels, filters = x.shape[-1], upstream.shape[-1]
    if keras.config.backend() != "torch":
        x = ops.reshape(x, (-1, channels))
        return ops.matmul(
            ops.transpose(x), ops.reshape(upstream, (-1, filters))
        )
    import torch

    gradient = torch.nn.grad.conv2d_weight(
        x.permute(0, 3, 1, 2),
        (filters, channels, 1, 1),
        upstream.permute(0, 3, 1, 2),
    )
    return gradient[:, :, 0, 0].T


# torch comes here with each batch.
@functools.lru_cache(maxsize=16)
def _weights(size, factor, side):
    """What `(M, n, s)`, M = factor * n, makes of products along an axis.

    Pixel M of the result is the sum over the kernel's pixels t of the
    enlarged products with t at M + t - s // 2, which are zero outside.

    Args:
        size: int. n.
        factor: int.
        side: int. s.
    """
    margin = side // 2
    enlarged = bilinear_matrix(size, factor * size)
    padded = np.pad(enlarged, ((margin, margin), (0, 0)))
    shifted = [padded[t : t + factor * size] for t in range(side)]
    return np.stack(shifted, axis=-1).astype("float32")


def _sum_of_products(matrices, maps):
    """The sum of matrices `(M, K)` by maps `(B, K, N)`, `(B, M, N)`.

    The matrices are constants whose rows have few neighbouring entries other
    than zero: for a block of rows, only what lies between is multiplied.
    """
    used = np.any([matrix != 0 for matrix in matrices], axis=0)
    blocks = []
    for first in range(0, len(used), _ROWS):
        rows = slice(first, first + _ROWS)
        columns = used[rows].any(axis=0)
        columns = slice(columns.argmax(), len(columns) - columns[::-1].argmax())
        blocks.append((rows, columns))
    return ops.concatenate(
        [
            sum(
                ops.matmul(matrix[rows, columns], x[:, columns])
                for matrix, x in zip(matrices, maps)
            )
            for rows, columns in blocks
        ],
        axis=1,
    )
