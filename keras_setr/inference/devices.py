"""What blending on a device needs of each backend, and nothing else.

Maps lie flat on the device, `(P, C)`, row after row of an image with pixels of
C values, in arrays longer than any image: `start` is the place of a pixel and
`pitch` the length of a row, numbers that a compiled function takes as they
come. So one compilation serves images of all sizes.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

# Pixels of the pieces in which JAX is sent an image: of one size each, for
# whatever runs on it compiles anew for another. What the last one is filled
# up with is less than 1 / 16 of an image of 128 x 128.
_PIECES = (2**18, 2**14, 2**10)


class Device:
    """One backend's arrays, and functions over them.

    This one is NumPy's, where nothing is compiled and the host is the device.
    A function may change its first argument, which is then not used again,
    and return it.

    Attributes:
        is_cpu: bool. Whether the device is the host's processor.
    """

    is_cpu = True

    def compile(self, function: Callable, changes: bool = False) -> Callable:
        """The function, compiled once for each set of shapes.

        Args:
            function: callable over arrays of the device and NumPy's.
            changes: bool. Whether its first argument is changed.
        """
        return function

    def zeros(self, length: int, channels: int, dtype: str) -> Any:
        """`(P, C)` that `add` may change."""
        return np.zeros((length, channels), dtype)

    def upload(self, pixels: np.ndarray, length: int) -> Any:
        """`(n, C)` as it is to the device, there filled up to `(P, C)`."""
        room = length - len(pixels)
        return np.pad(pixels, ((0, room), (0, 0)))

    def fetch(self, values: Any) -> Any:
        """The same structure of arrays, on the host."""
        return values

    def cut(self, pixels: Any, start: Any, pitch: Any, size: tuple) -> Any:
        """`(h, w, C)` from `(P, C)`."""
        return _block_of(pixels, start, pitch, size).copy()

    def add(self, pixels: Any, block: Any, start: Any, pitch: Any) -> Any:
        """`(P, C)` with `(h, w, C)` added, in place where that is possible."""
        _block_of(pixels, start, pitch, block.shape[:2])[...] += block
        return pixels


def _block_of(pixels, start, pitch, size):
    step, item = pixels.strides
    return np.lib.stride_tricks.as_strided(
        pixels[start:], (*size, pixels.shape[1]), (pitch * step, step, item)
    )


class _Torch(Device):
    """Nothing is compiled: each operation takes any shape."""

    def __init__(self, device):
        self._device = device
        self.is_cpu = device.type == "cpu"

    def compile(self, function, changes=False):
        import torch

        return torch.inference_mode()(function)

    def zeros(self, length, channels, dtype):
        import torch

        # A function that is compiled for inference may change it.
        with torch.inference_mode():
            return torch.zeros(
                (length, channels),
                dtype=getattr(torch, dtype),
                device=self._device,
            )

    def upload(self, pixels, length):
        import torch

        filled = torch.empty(
            (length, pixels.shape[1]),
            dtype=torch.from_numpy(pixels[:0]).dtype,
            device=self._device,
        )
        filled[: len(pixels)] = torch.from_numpy(pixels)
        return filled

    def fetch(self, values):
        return keras.tree.map_structure(lambda v: v.cpu().numpy(), values)

    def cut(self, pixels, start, pitch, size):
        shape, strides = self._place(pixels, pitch, size)
        return pixels.as_strided(shape, strides, int(start) * strides[1])

    def add(self, pixels, block, start, pitch):
        shape, strides = self._place(pixels, pitch, block.shape[:2])
        place = pixels.as_strided(shape, strides, int(start) * strides[1])
        place += block
        return pixels

    @staticmethod
    def _place(pixels, pitch, size):
        channels = pixels.shape[1]
        return (*size, channels), (int(pitch) * channels, channels, 1)


class _TensorFlow(Device):
    """Each change copies what is changed.

    Only a variable would not, and a strategy in whose scope this runs would
    make one on each of its devices.
    """

    def __init__(self, device):
        self._device = device
        self.is_cpu = "CPU" in device

    def compile(self, function, changes=False):
        import tensorflow as tf

        compiled = tf.function(function, jit_compile=True, autograph=False)

        def run(*arguments):
            with tf.device(self._device):
                # Tensors where functions are run as they stand, too: NumPy 1
                # makes 64 bits of what is computed with its own numbers.
                return compiled(
                    *(
                        tf.constant(a) if isinstance(a, np.ndarray) else a
                        for a in arguments
                    )
                )

        return run

    def zeros(self, length, channels, dtype):
        import tensorflow as tf

        with tf.device(self._device):
            return tf.zeros((length, channels), dtype)

    def upload(self, pixels, length):
        import tensorflow as tf

        with tf.device(self._device):
            room = length - len(pixels)
            return tf.pad(tf.constant(pixels), ((0, room), (0, 0)))

    def fetch(self, values):
        return keras.tree.map_structure(np.asarray, values)

    def cut(self, pixels, start, pitch, size):
        import tensorflow as tf

        return tf.gather(pixels, _places(start, pitch, size))

    def add(self, pixels, block, start, pitch):
        import tensorflow as tf

        places = _places(start, pitch, block.shape[:2])
        return tf.tensor_scatter_nd_add(pixels, places[..., None], block)


def _places(start, pitch, size):
    """`(h, w)` of the pixels of a block."""
    rows = ops.arange(size[0])[:, None] * pitch
    return start + rows + ops.arange(size[1])


class _JAX(Device):
    """What is changed is given up, so that XLA writes into its place."""

    def __init__(self, device, placement):
        self.is_cpu = device.platform == "cpu"
        self._placement = placement
        self._put = self.compile(_put, changes=True)

    def compile(self, function, changes=False):
        import jax

        return jax.jit(
            function,
            donate_argnums=(0,) if changes else (),
            out_shardings=self._placement,
        )

    def zeros(self, length, channels, dtype):
        import jax.numpy as jnp

        return jnp.zeros((length, channels), dtype, device=self._placement)

    def upload(self, pixels, length):
        import jax

        filled = self.zeros(length, pixels.shape[1], pixels.dtype)
        starts, pieces, start = [], [], 0
        for size in _PIECES:
            while len(pixels) - start >= size or (
                size == _PIECES[-1] and start < len(pixels)
            ):
                piece = pixels[start : start + size]
                if len(piece) < size:
                    piece = np.pad(piece, ((0, size - len(piece)), (0, 0)))
                starts.append(np.int32(start))
                pieces.append(piece)
                start += size
        pieces = jax.device_put(pieces, self._placement)
        for start, piece in zip(starts, pieces):
            filled = self._put(filled, piece, start)
        return filled

    def fetch(self, values):
        import jax

        return jax.device_get(values)

    def cut(self, pixels, start, pitch, size):
        import jax

        height, width = size
        shape = (width, pixels.shape[1])
        return jax.vmap(
            lambda row: jax.lax.dynamic_slice(pixels, (row, 0), shape)
        )(start + ops.arange(height) * pitch)

    def add(self, pixels, block, start, pitch):
        import jax

        # Whole rows at a time, not pixel by pixel.
        rows = jax.lax.ScatterDimensionNumbers(
            update_window_dims=(1, 2),
            inserted_window_dims=(),
            scatter_dims_to_operand_dims=(0,),
        )
        starts = start + ops.arange(block.shape[0]) * pitch
        return jax.lax.scatter_add(
            pixels,
            starts[:, None],
            block,
            rows,
            indices_are_sorted=True,
            unique_indices=True,
        )


def _put(filled, piece, start):
    import jax

    return jax.lax.dynamic_update_slice(filled, piece, (start, 0))


def build_device(variable: Any = None, placement: Any = None) -> Device:
    """The device on which a variable lies.

    Args:
        variable: `keras.Variable`.
        placement: JAX's sharding of what blending holds, each of several
            devices a copy, or None.
    """
    backend = keras.config.backend()
    if backend == "torch":
        return _Torch(variable.value.device)
    if backend == "tensorflow":
        return _TensorFlow(variable.value.device)
    if backend == "jax":
        return _JAX(next(iter(variable.value.devices())), placement)
    return Device()
