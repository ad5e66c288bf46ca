"""The cross-entropy of logits that are enlarged, tile by tile.

Logits of 32 x 32 against labels of 512 x 512 and 150 classes are 157 MB an
image when they are resized, and so is their gradient. Here neither stands in
memory: a tile of pixels is resized, its loss and its gradient by the small
logits are taken at once, and the tile is forgotten. The loss is a weighted
sum, so that the gradient of whatever is made of it is a multiple of this one.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_setr.layers.gradients import by_upstream
from keras_setr.layers.on_cpu import runs_on_cpu
from keras_setr.layers.resampling import bilinear_matrix

# Of one image's tile in float32. On CPUs it stays in the cache; TensorFlow
# copies the gradient at each tile, and takes fewer of them. Accelerators want
# to be filled.
_TILE_BYTES = 2**23 if keras.config.backend() == "tensorflow" else 2**21
_TILE_BYTES_OF_ACCELERATORS = 2**25


class _Axis:
    """One axis in tiles of equal length.

    Attributes:
        count, length: int. Tiles, and pixels of each; the last tile may reach
            beyond the axis.
        starts: `(count,)` int32, where the tiles' part of the source begins.
        matrices: `(count, length, n)` float32, which resize that part of n.
    """

    def __init__(self, source, target, align_corners, length):
        self.count = -(-target // length)
        self.length = -(-target // self.count)
        padded = np.arange(self.count * self.length).clip(max=target - 1)
        tiles = bilinear_matrix(source, target, align_corners)[padded]
        tiles = tiles.reshape(self.count, self.length, source)
        used = tiles.any(axis=1)
        first, behind = used.argmax(1), source - used[:, ::-1].argmax(1)
        self.span = int((behind - first).max())
        self.starts = np.minimum(first, source - self.span).astype("int32")
        self.matrices = np.stack(
            [
                tile[:, start : start + self.span]
                for tile, start in zip(tiles, self.starts)
            ]
        ).astype("float32")
        self.padding = self.count * self.length - target


def _tile_length(num_classes, size):
    tile = _TILE_BYTES if runs_on_cpu() else _TILE_BYTES_OF_ACCELERATORS
    pixels = tile // (4 * num_classes)
    return min(max(math.isqrt(pixels), 8), max(size))


def _add_at(array, part, row, column):
    """`array` with `part` added from `(row, column)` on, in place if it can.

    The array is `(h, w, B, K)`, so that TensorFlow can address its pixels,
    and the part `(B, r, c, K)`.
    """
    backend = keras.config.backend()
    part = ops.transpose(part, (1, 2, 0, 3))
    rows, columns = part.shape[:2]
    if backend == "tensorflow":
        import tensorflow as tf

        places = tf.stack(
            tf.meshgrid(
                row + tf.range(rows), column + tf.range(columns), indexing="ij"
            ),
            axis=-1,
        )
        return tf.tensor_scatter_nd_add(array, places, part)
    if backend == "jax":
        import jax

        start = (row, column, 0, 0)
        there = jax.lax.dynamic_slice(array, start, part.shape)
        return jax.lax.dynamic_update_slice(array, there + part, start)
    array[row : row + rows, column : column + columns] += part
    return array


def _losses_and_gradient(z, label, weight, smoothing):
    """`weight` times the loss of each pixel, and the gradient by `z`.

    Args:
        z: `(B, R, C, K)`, which torch writes over.
        label: `(B, R, C, 1)`.
        weight: `(B, R, C, 1)`.
        smoothing: float. Share of the mean over all classes.
    """
    if smoothing:
        uniform = smoothing / z.shape[-1]
        mean = ops.mean(z, axis=-1, keepdims=True)
    on_torch = keras.config.backend() == "torch"
    largest = ops.max(z, axis=-1, keepdims=True)
    if on_torch:
        # A comparison with all classes would be two more passes.
        label = label.long()
        at_label = z.gather(-1, label)
        z = z.sub_(largest).exp_()
    else:
        is_label = label == ops.arange(z.shape[-1], dtype="int32")
        at_label = ops.sum(ops.where(is_label, z, 0.0), -1, keepdims=True)
        z = ops.exp(z - largest)
    total = ops.sum(z, axis=-1, keepdims=True)
    if smoothing:
        at_label = at_label + smoothing * (mean - at_label)
    losses = weight * (largest + ops.log(total) - at_label)
    certain = (1.0 - smoothing) * weight
    if on_torch:
        z = z.mul_(weight / total).scatter_add_(-1, label, -certain)
    else:
        z = z * (weight / total)
        z = ops.where(is_label, z - certain, z)
    if smoothing:
        z = z - uniform * weight
    return ops.where(weight > 0, losses, 0.0), z


def resized_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any,
    label_smoothing: float = 0.0,
    align_corners: bool = False,
) -> Any:
    """The weighted sum of the pixels' cross-entropy, a float32 scalar.

    With z the logits resized bilinearly to the size of the labels,

        sum over pixels i of w_i * (log(sum_k exp(z_ik)) - z_i,y_i)

    Args:
        labels: `(B, H, W)` integers in 0..K-1.
        logits: `(B, h, w, K)`, h and w known; computed in float32.
        weights: `(B, H, W)` float32. No gradient passes through them.
        label_smoothing: float. Share of the mean of the loss over all classes.
        align_corners: bool. Of the resize.
    """
    _, height, width = labels.shape
    _, h, w, num_classes = logits.shape
    length = _tile_length(num_classes, (height, width))
    rows = _Axis(h, height, align_corners, length)
    columns = _Axis(w, width, align_corners, length)

    def padded(x):
        return ops.pad(x, ((0, 0), (0, rows.padding), (0, columns.padding)))

    labels = padded(ops.cast(labels, "int32"))
    weights = padded(ops.stop_gradient(weights))

    @ops.custom_gradient
    def total(logits):
        small = ops.cast(logits, "float32")
        batch = ops.shape(small)[0]
        row_starts, column_starts, row_matrices, column_matrices = (
            ops.convert_to_tensor(x)
            for x in (
                rows.starts,
                columns.starts,
                rows.matrices,
                columns.matrices,
            )
        )

        def add_tile(index, sums):
            loss, gradient = sums
            i, j = index // columns.count, index % columns.count
            row, column = row_starts[i], column_starts[j]
            by_row, by_column = row_matrices[i], column_matrices[j]
            start = (i * rows.length, j * columns.length)
            size = (rows.length, columns.length)
            span = (rows.span, columns.span)

            z = _slice(small, (row, column), span)
            z = ops.reshape(z, (-1, rows.span, columns.span * num_classes))
            z = ops.matmul(by_row, z)  # (B, R, c * K)
            z = ops.reshape(z, (-1, rows.length, columns.span, num_classes))
            z = ops.matmul(by_column, z)  # (B, R, C, K)
            losses, z = _losses_and_gradient(
                z,
                _slice(labels, start, size)[..., None],
                _slice(weights, start, size)[..., None],
                label_smoothing,
            )
            z = ops.matmul(ops.transpose(by_column), z)
            z = ops.reshape(z, (-1, rows.length, columns.span * num_classes))
            z = ops.matmul(ops.transpose(by_row), z)
            z = ops.reshape(z, (-1, *span, num_classes))
            return loss + ops.sum(losses), _add_at(gradient, z, row, column)

        sums = ops.zeros(()), ops.zeros((h, w, batch, num_classes))
        count = rows.count * columns.count
        if count == 1:
            loss, gradient = add_tile(0, sums)
        else:
            loss, gradient = ops.fori_loop(0, count, add_tile, sums)
        gradient = ops.cast(ops.transpose(gradient, (2, 0, 1, 3)), logits.dtype)

        @by_upstream
        def gradients(upstream):
            return gradient * ops.cast(upstream, gradient.dtype)

        return loss, gradients

    return total(logits)


def _slice(x, start, size):
    """`(B, *size, ..)` of `(B, H, W, ..)`, from `start` on."""
    if keras.config.backend() == "torch":
        x = x.narrow(1, int(start[0]), size[0])
        return x.narrow(2, int(start[1]), size[1])
    batch, _, _, *others = ops.shape(x)
    starts = (0, *start, *(0 for _ in others))
    return ops.slice(x, starts, (batch, *size, *others))
