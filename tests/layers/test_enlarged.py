"""Convolutions of enlarged maps are those of the maps, enlarged."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_setr.layers import enlarged
from keras_setr.layers.convolution import Convolution
from keras_setr.layers.resampling import upsample_bilinear
from tests import tiny

rng = np.random.default_rng(0)
CASES = [  # height, width, factor, kernel
    (5, 7, 2, 3),
    (1, 3, 2, 7),  # a kernel that is larger than the map
    (4, 1, 3, 5),
    (9, 6, 4, 3),
]


def convolved(x, kernel, upstream, factor):
    """The map, and its gradients by `x` and `kernel` for `upstream`."""
    layer = Convolution(
        kernel.shape[-1], kernel.shape[0], upsampling=factor, use_bias=False
    )

    def run(x, kernel):
        return layer.convolution_op(x, kernel)

    backend = keras.config.backend()
    if backend == "jax":
        import jax

        @tiny.program
        def values(x, kernel, upstream):
            y, gradients = jax.vjp(run, x, kernel)
            return y, *gradients(upstream)

        return values(x, kernel, upstream)
    if backend == "tensorflow":
        import tensorflow as tf

        # Keras hands variables on as they are.
        x, kernel = tf.constant(x), tf.Variable(kernel)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run(x, kernel)
        return y, *tape.gradient(y, (x, kernel), upstream)
    import torch

    x, kernel = (torch.tensor(a, requires_grad=True) for a in (x, kernel))
    y = run(x, kernel)
    y.backward(torch.tensor(upstream))
    return y.detach(), x.grad, kernel.grad


@pytest.mark.parametrize(("height", "width", "factor", "side"), CASES)
def test_products_first_are_the_convolution(
    height, width, factor, side, monkeypatch
):
    monkeypatch.setattr(enlarged, "_ROWS", 6)
    x = rng.normal(size=(2, height, width, 4)).astype("float32")
    kernel = rng.normal(size=(side, side, 4, 3)).astype("float32")
    size = (2, factor * height, factor * width, 3)
    upstream = rng.normal(size=size).astype("float32")
    plain = convolved(x, kernel, upstream, factor)
    monkeypatch.setattr(enlarged, "_CHANNELS", 1)
    calls = []
    monkeypatch.setattr(
        enlarged,
        "upsample_bilinear",
        lambda *args: calls.append(1) or upsample_bilinear(*args),
    )
    first = convolved(x, kernel, upstream, factor)
    # On JAX the plain way is written down too, for other devices.
    assert not calls or keras.config.backend() == "jax"
    for a, b in zip(first, plain, strict=True):
        a, b = ops.convert_to_numpy(a), ops.convert_to_numpy(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_a_kernel_of_one_pixel_meets_the_small_map():
    layer = Convolution(3, 1, upsampling=4)
    layer.build((None, None, None, 5))
    seen = []
    convolve = layer._convolve
    layer._convolve = lambda x, k: seen.append(x.shape) or convolve(x, k)
    x = ops.convert_to_tensor(rng.normal(size=(1, 3, 2, 5)).astype("float32"))
    y = layer(x)
    assert seen == [(1, 3, 2, 5)]
    assert (
        tuple(y.shape) == (1, 12, 8, 3) == layer.compute_output_shape(x.shape)
    )
    matrix = ops.reshape(layer.kernel, (5, 3))
    expected = ops.matmul(upsample_bilinear(x, 4), matrix) + layer.bias
    np.testing.assert_allclose(
        ops.convert_to_numpy(y), ops.convert_to_numpy(expected), atol=1e-5
    )


def test_what_pays_is_wide_single_and_of_known_size(monkeypatch):
    def pays(shape, filters=64, dtype="float32"):
        x = keras.KerasTensor(shape, dtype)
        return enlarged._pays(x, keras.KerasTensor((3, 3, 64, filters), dtype))

    assert pays((None, 4, 5, 64))
    assert not pays((2, None, 5, 64))
    assert not pays((2, 4, 5, 64), dtype="bfloat16")
    assert not pays((2, 4, 5, 64), filters=19)


@pytest.mark.backends("torch")
def test_a_program_that_is_exported_keeps_its_convolution():
    import torch

    layer = Convolution(64, 3, upsampling=2)
    layer.build((1, 4, 4, 64))
    x = torch.zeros(1, 4, 4, 64)
    graph = str(torch.export.export(layer, (x,), strict=False).graph)
    assert "upsample" in graph
    assert "matmul" not in graph


@pytest.mark.backends("jax")
def test_only_cpus_take_the_detour():
    import jax

    layer = Convolution(64, 3, upsampling=2)
    layer.build((1, 8, 8, 64))
    x = jax.numpy.zeros((1, 8, 8, 64))
    programs = {
        platform: jax.export.export(jax.jit(layer), platforms=[platform])(
            x
        ).mlir_module()
        for platform in ("cpu", "tpu", "cuda")
    }
    for platform, program in programs.items():
        assert ("stablehlo.convolution" in program) == (platform != "cpu")


@pytest.mark.parametrize("options", [{"padding": "valid"}, {"strides": 2}])
def test_a_convolution_that_changes_the_size_enlarges_nothing(options):
    with pytest.raises(ValueError, match="keeps the size"):
        Convolution(4, 3, upsampling=2, **options)
