"""Bilinear and bicubic resampling that agrees on every backend.

`keras.ops.image.resize` follows each backend's own kernels: they differ in
the bicubic coefficient (-0.5 in TensorFlow and JAX, -0.75 in torch), none
offers `align_corners`, and the one of JAX is slow on CPU. The published
weights were trained with torch's definitions, which are therefore written out
here.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

INTERPOLATIONS = ("bilinear", "bicubic", "bicubic_antialiased")


def is_known(*lengths: Any) -> bool:
    """Whether all lengths are numbers, and none is open in a program."""
    return all(isinstance(length, int) for length in lengths)


def float_of(length: Any) -> Any:
    """A length as float32, or as torch has it where it is open.

    Args:
        length: int, integer scalar tensor, or an open length of a program.
    """
    if keras.config.backend() == "torch":
        import torch

        if isinstance(length, torch.SymInt):
            return torch.sym_float(length)
    return ops.cast(length, "float32")


def _cubic(distance, a):
    """Cubic convolution: the weight of a value so many values away."""
    d = ops.abs(distance)
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    return ops.where(d <= 1, near, ops.where(d < 2, far, 0.0))


def _antialiased_matrix(source, target):
    """torch's `interpolate(mode="bicubic", antialias=True)`, a = -0.5.

    The kernel is as wide as what it averages, and ends at the edges.
    """
    scale = source / float_of(target)
    centre = (ops.arange(0, target, dtype="float32") + 0.5) * scale
    place = ops.arange(0, source, dtype="float32") + 0.5
    distance = (place - centre[:, None]) / ops.maximum(scale, 1.0)
    matrix = _cubic(distance, -0.5)
    return matrix / ops.sum(matrix, axis=1, keepdims=True)


def resampling_matrix(source, target, interpolation="bilinear"):
    """The `(target, source)` matrix that resamples one axis.

    Half-pixel centres, edges repeated, no antialiasing but where it is asked
    for: torch's `interpolate(align_corners=False)`. With `source == target`
    it is the identity, exactly.

    Args:
        source: int. Length of the axis before.
        target: int or integer scalar tensor. Length of the axis after.
        interpolation: `"bilinear"`, `"bicubic"` (cubic convolution with
            a = -0.75) or `"bicubic_antialiased"`, which averages where the
            axis shrinks.
    """
    if interpolation == "bicubic_antialiased":
        return _antialiased_matrix(source, target)
    position = (ops.arange(0, target, dtype="float32") + 0.5) * (
        source / float_of(target)
    ) - 0.5
    if interpolation == "bilinear":
        position = ops.clip(position, 0.0, source - 1.0)
    below = ops.floor(position)
    t = position - below  # (target,) in [0, 1)
    if interpolation == "bilinear":
        taps = {0: 1.0 - t, 1: t}
    else:
        taps = {offset: _cubic(offset - t, -0.75) for offset in (-1, 0, 1, 2)}
    below = ops.cast(below, "int32")
    matrix = 0.0
    for offset, weight in taps.items():
        index = ops.clip(below + offset, 0, source - 1)
        matrix += weight[:, None] * ops.one_hot(index, source)
    return matrix


def bilinear_matrix(source, target, align_corners=False):
    """The `(target, source)` array that resizes one axis: torch's bilinear.

    That of `resampling_matrix` in NumPy's float64, for lengths that are known.
    """
    if align_corners:
        position = np.arange(target) * ((source - 1) / max(target - 1, 1))
    else:
        position = (np.arange(target) + 0.5) * (source / target) - 0.5
    position = np.clip(position, 0, source - 1)
    return np.maximum(0.0, 1.0 - abs(position[:, None] - np.arange(source)))


def resample_grid(grid, target_size, interpolation="bilinear"):
    """Resample a small `(h, w, D)` grid to `target_size`, `(H, W, D)`.

    Separable; `target_size` may hold tensors. Products of matrices alone:
    an einsum fixes lengths that are open on torch, and OpenVINO's products
    fail at open lengths of more axes.
    """
    height, width, dim = grid.shape
    rows = resampling_matrix(height, target_size[0], interpolation)
    columns = resampling_matrix(width, target_size[1], interpolation)
    x = ops.matmul(rows, ops.reshape(grid, (height, width * dim)))
    x = ops.swapaxes(ops.reshape(x, (-1, width, dim)), 0, 1)  # (w, H, D)
    x = ops.matmul(columns, ops.reshape(x, (width, -1)))  # (W, H * D)
    return ops.swapaxes(ops.reshape(x, (-1, target_size[0], dim)), 0, 1)


def resample_patches(kernel, patch_size):
    """The kernel of another patch size that gives the same tokens.

    By the pseudo-inverse of the bilinear resize of a patch (FlexiViT, arXiv
    2212.08013, section 3.4, equation 4), computed in NumPy. The resize has
    half-pixel centres, repeats edges, and averages over what it leaves out
    where it shrinks: torch's `interpolate(align_corners=False,
    antialias=True)`. A larger kernel gives a patch that was resized by it
    exactly the token that the patch had. A smaller one cannot: its tokens are
    the nearest ones, in the mean square over patches of independent pixels.

    Args:
        kernel: `(P, P, C, D)` array.
        patch_size: int. Q.

    Returns:
        `(Q, Q, C, D)` float32.
    """
    # Of a Kronecker product, the pseudo-inverse is that of its factors.
    rows, columns = (
        np.linalg.pinv(_patch_matrix(side, patch_size).T)
        for side in kernel.shape[:2]
    )
    kernel = np.einsum("Hh,hwcd->Hwcd", rows, kernel)
    return np.einsum("Ww,Hwcd->HWcd", columns, kernel).astype("float32")


def _patch_matrix(source, target):
    """The `(target, source)` matrix that resizes one axis of a patch."""
    ratio = source / target
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    distances = np.abs(centres[:, None] - np.arange(source))
    weights = np.maximum(0.0, 1.0 - distances / max(1.0, ratio))
    return weights / weights.sum(axis=1, keepdims=True)


def _interleave(phases, axis):
    """Stack `(.., n, ..)` phases so that output `s * i + p` is phase p at i."""
    stacked = ops.stack(phases, axis=axis + 1)
    shape = list(ops.shape(phases[0]))
    shape[axis] = shape[axis] * len(phases)
    return ops.reshape(stacked, shape)


def _upsample_axis(x, scale, axis):
    """Bilinear by an integer factor along one axis, as shifts and sums.

    Output `scale * i + p` lies `(p + 0.5) / scale - 0.5` source pixels from
    pixel i, so each phase p is one weighted sum of two neighbours.
    """
    first = ops.take(x, [0], axis=axis)
    last = ops.take(x, [-1], axis=axis)
    length = x.shape[axis]
    inner = [slice(None)] * len(x.shape)
    inner[axis] = slice(0, length - 1)
    before = ops.concatenate([first, x[tuple(inner)]], axis=axis)
    inner[axis] = slice(1, length)
    after = ops.concatenate([x[tuple(inner)], last], axis=axis)
    phases = []
    for p in range(scale):
        offset = (p + 0.5) / scale - 0.5
        neighbour = before if offset < 0 else after
        phases.append((1.0 - abs(offset)) * x + abs(offset) * neighbour)
    return _interleave(phases, axis)


def _resize_aligned(x, size):
    """Bilinear with the corner pixels' centres aligned."""
    for axis, target in ((1, size[0]), (2, size[1])):
        source = ops.shape(x)[axis]
        step = float_of(source - 1) / ops.maximum(float_of(target - 1), 1.0)
        position = ops.arange(0, target, dtype="float32") * step
        below = ops.minimum(ops.cast(position, "int32"), source - 1)
        above = ops.minimum(below + 1, source - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        t = ops.cast(
            ops.reshape(position - ops.cast(below, "float32"), shape), x.dtype
        )
        x = ops.take(x, below, axis=axis) * (1 - t) + t * ops.take(
            x, above, axis=axis
        )
    return x


def resize_bilinear(x, size, align_corners=False):
    """Resize `(B, h, w, C)` to `(B, *size, C)` without antialiasing.

    Equals torch's `interpolate(mode="bilinear")` with the same
    `align_corners`, and keeps the dtype of `x`.
    """
    height, width = x.shape[1], x.shape[2]
    known = is_known(height, width, *size)
    if known and (height, width) == tuple(size):
        return x
    if align_corners:
        return _resize_aligned(x, size)
    if not known and keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # Keras takes numbers alone for a size.
        return ops.cast(tf.image.resize(x, size), x.dtype)
    whole = known and size[0] % height == 0 and size[1] % width == 0
    if whole and keras.config.backend() == "jax":
        x = _upsample_axis(x, size[1] // width, axis=2)
        return _upsample_axis(x, size[0] // height, axis=1)
    resized = ops.image.resize(x, size, "bilinear", data_format="channels_last")
    return ops.cast(resized, x.dtype)


def upsample_bilinear(x, scale, align_corners=False):
    """Enlarge `(B, h, w, C)` by an integer factor, `(B, s*h, s*w, C)`."""
    if scale == 1:
        return x
    _, height, width, _ = ops.shape(x)
    return resize_bilinear(x, (height * scale, width * scale), align_corners)


def resize_nearest(x, size):
    """Resize `(B, h, w, C)` to `(B, *size, C)` by repeating pixels.

    Pixel i of n comes from pixel floor(i * h / n), as in torch's
    `interpolate(mode="nearest")`.
    """
    for axis, target in ((1, size[0]), (2, size[1])):
        source = ops.shape(x)[axis]
        index = ops.arange(0, target, dtype="int32") * source // target
        x = ops.take(x, index, axis=axis)
    return x
