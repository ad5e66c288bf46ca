"""Products and convolutions where a backend's own way is slow on CPUs.

The results are those of the backend's own operation, in another order of
summation.
"""

import contextlib
import contextvars
import functools
import pathlib
import platform
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

# Multiplications below which the detour costs as much as it gains.
_WORTH_IT = 2**20
# Pixels whose products with all neighbours stay in the cache.
_BLOCK = 1024


def product(x: Any, kernel: Any) -> Any:
    """`(.., C)` by a matrix `(C, D)`, `(.., D)`.

    torch multiplies by MKL, which keeps its fast kernels for Intel's
    processors: on AMD's, oneDNN's convolution of a single pixel takes half
    the time, forward and backward.

    Args:
        x: `(.., C)`.
        kernel: `(C, D)`.
    """
    kernel = ops.convert_to_tensor(kernel)
    channels, units = kernel.shape
    if (
        keras.config.backend() != "torch"
        or x.dtype != kernel.dtype
        or not _multiplies_by_onednn(x)
        # Last: an export would take it for a bound on the batch.
        or x.numel() * units < _WORTH_IT
    ):
        return ops.matmul(x, kernel)
    import torch

    # The matrix as a map of D pixels, the rows as kernels: neither is copied.
    # Dilation means nothing to one pixel, but keeps torch on a single thread
    # from a convolution that multiplies by MKL again.
    y = torch.nn.functional.conv2d(
        kernel.reshape(1, channels, units, 1),
        x.reshape(-1, channels, 1, 1),
        dilation=2,
    )
    return y.reshape(*x.shape[:-1], units)


def convolution_of_torch(
    x: Any, kernel: Any, bias: Any = None, dilation_rate: int = 1
) -> Any:
    """A convolution on torch that keeps the size, by a view of the maps.

    Given channels last, Keras copies them to channels first and back.

    Args:
        x: `(B, h, w, C)`.
        kernel: `(s, s, C, D)`, s odd.
        bias: `(D,)`, or None.
        dilation_rate: int.

    Returns:
        `(B, h, w, D)`.
    """
    import torch

    y = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2),
        kernel.permute(3, 2, 0, 1),
        bias,
        padding="same",
        dilation=dilation_rate,
    )
    return y.permute(0, 2, 3, 1)


def _multiplies_by_onednn(x: Any) -> bool:
    """Whether torch computes here, in float32, at once and on an AMD.

    Args:
        x: tensor of torch.
    """
    import torch

    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and computes_at_once()
        and _has_slow_mkl()
    )


_exporting = contextvars.ContextVar("exporting", default=False)


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """In a `with`: every operation as it is published, for exported files.

    Their runtimes have ways of their own, and converters know no others.
    """
    token = _exporting.set(True)
    try:
        yield
    finally:
        _exporting.reset(token)


def computes_at_once() -> bool:
    """`False` where a program is written down for a file instead."""
    if _exporting.get():
        return False
    if keras.config.backend() != "torch":
        return True
    import torch

    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def runs_on_cpu() -> bool:
    """Whether the backend computes on CPUs here."""
    if keras.config.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # Physical devices: asking for logical ones would fix their number.
        accelerators = ("GPU", "TPU")
        return not (
            any(tf.config.list_physical_devices(a) for a in accelerators)
            or isinstance(
                tf.distribute.get_strategy(), tf.distribute.TPUStrategy
            )
        )
    import torch

    return not torch.accelerator.is_available()


@functools.cache
def _has_slow_mkl():
    import torch

    backends = torch.backends.mkl, torch.backends.mkldnn
    if not all(backend.is_available() for backend in backends):
        return False
    described = platform.processor()
    if (cpuinfo := pathlib.Path("/proc/cpuinfo")).is_file():
        described += cpuinfo.read_text()
    return "AuthenticAMD" in described


def convolution(x: Any, kernel: Any, dilation_rate: int = 1) -> Any:
    """A convolution on JAX that keeps the size, for training steps.

    XLA takes the gradient by the kernel as a convolution whose window is the
    map, which takes CPUs several times as long as the two others. It is a sum
    of products as well, one for each pixel of the kernel.

    Args:
        x: `(B, h, w, C)`.
        kernel: `(s, s, C, D)`, s odd.
        dilation_rate: int.

    Returns:
        `(B, h, w, D)`.
    """
    import jax

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            rhs_dilation=(dilation_rate, dilation_rate),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def forward(x, kernel):
        return convolve(x, kernel), (x, kernel)

    def backward(kept, gradient):
        x, kernel = kept

        def by_xla(x, gradient):
            return jax.vjp(lambda k: convolve(x, k), kernel)[1](gradient)[0]

        def by_products(x, gradient):
            total = _gradient_by_kernel(
                x, gradient, kernel.shape, dilation_rate
            )
            return total.astype(kernel.dtype)

        (by_x,) = jax.vjp(lambda x: convolve(x, kernel), x)[1](gradient)
        by_kernel = jax.lax.platform_dependent(
            x, gradient, cpu=by_products, default=by_xla
        )
        return by_x, by_kernel

    convolved = jax.custom_vjp(convolve)
    convolved.defvjp(forward, backward)
    return convolved(x, kernel)


def _gradient_by_kernel(x, gradient, shape, dilation_rate):
    """`(s, s, C, D)` float32, summed over blocks of rows on JAX."""
    import jax
    import jax.numpy as jnp

    side, _, channels, filters = shape
    _, height, width, _ = x.shape
    rows = max(1, min(height, _BLOCK // width))
    count = -(-height // rows)
    margin = side // 2 * dilation_rate
    missing = count * rows - height
    x = jnp.pad(
        x,
        ((0, 0), (margin, margin + missing), (margin, margin), (0, 0)),
    )
    gradient = jnp.pad(gradient, ((0, 0), (0, missing), (0, 0), (0, 0)))

    def add_block(index, total):
        part = jax.lax.dynamic_slice_in_dim(
            x, index * rows, rows + 2 * margin, axis=1
        )
        by_output = jax.lax.dynamic_slice_in_dim(
            gradient, index * rows, rows, axis=1
        ).reshape(-1, filters)
        products = []
        for i in range(0, side * dilation_rate, dilation_rate):
            for j in range(0, side * dilation_rate, dilation_rate):
                pixels = part[:, i : i + rows, j : j + width]
                products.append(
                    jnp.dot(
                        pixels.reshape(-1, channels).T,
                        by_output,
                        preferred_element_type="float32",
                    )
                )
        return total + jnp.stack(products)

    total = jnp.zeros((side * side, channels, filters), "float32")
    return jax.lax.fori_loop(0, count, add_block, total).reshape(shape)


def computed_once(x: Any) -> Any:
    """`x`, not computed anew by whatever reads it, nor its gradient.

    On CPUs, XLA fuses the sum over all layers into each that reads it, and so
    with its gradient: their time grows with the square of the depth. It does
    not do so with a division, be it by a one that it cannot foresee.

    Args:
        x: tensor of any shape.
    """
    if keras.config.backend() != "jax":
        return x
    import jax

    def divided(x):
        first = jax.lax.stop_gradient(x).reshape(-1)[0]
        return x / (first * 0 + 1)

    return jax.lax.platform_dependent(x, cpu=divided, default=lambda x: x)
