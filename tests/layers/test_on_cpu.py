"""What is computed another way on CPUs is what the backend computes."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_setr.layers import on_cpu
from keras_setr.layers.convolution import Convolution
from keras_setr.layers.projection import Projection

rng = np.random.default_rng(0)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("bias", [True, False])
def test_a_large_product_of_torch_has_the_gradients_of_a_small_one(
    bias, monkeypatch
):
    import torch

    x = rng.normal(size=(2, 70, 96)).astype("float32")
    layer = Projection(128, use_bias=bias, bias_initializer="normal")
    layer.build(x.shape)

    def results():
        tokens = torch.tensor(x, requires_grad=True)
        y = layer(tokens)
        y.square().sum().backward()
        gradients = [w.value.grad.clone() for w in layer.trainable_weights]
        for weight in layer.trainable_weights:
            weight.value.grad = None
        return [y.detach(), tokens.grad, *gradients]

    found = {}
    for slow in (True, False):
        calls = []
        conv2d = torch.nn.functional.conv2d
        monkeypatch.setattr(
            torch.nn.functional,
            "conv2d",
            lambda *a, **k: calls.append(1) or conv2d(*a, **k),
        )
        monkeypatch.setattr(on_cpu, "_has_slow_mkl", lambda slow=slow: slow)
        found[slow] = results()
        monkeypatch.undo()
        assert len(calls) == slow
    for a, b in zip(found[True], found[False], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.backends("torch")
def test_a_program_that_is_exported_keeps_its_product(monkeypatch):
    import torch

    monkeypatch.setattr(on_cpu, "_has_slow_mkl", lambda: True)
    layer = Projection(256)
    layer.build((1, 64, 128))
    x = torch.zeros(1, 64, 128)
    program = torch.export.export(layer, (x,), strict=False)
    assert "conv2d" not in str(program.graph)


@pytest.mark.backends("jax")
@pytest.mark.parametrize(
    ("size", "kernel", "dilation", "block"),
    [
        ((7, 9), 3, 1, 20),  # rows that blocks of two do not divide
        ((8, 5), 3, 2, 1024),
        ((5, 40), 5, 1, 16),  # a row that is longer than a block
        ((6, 4), 1, 1, 1024),
    ],
)
def test_the_gradient_by_a_kernel_is_xlas(
    size, kernel, dilation, block, monkeypatch
):
    import jax

    monkeypatch.setattr(on_cpu, "_BLOCK", block)
    layer = Convolution(6, kernel, dilation_rate=dilation)
    x = rng.normal(size=(2, *size, 4)).astype("float32")
    layer.build(x.shape)
    upstream = rng.normal(size=(2, *size, 6)).astype("float32")

    def xla(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    value = layer.kernel.value
    actual, actual_vjp = jax.vjp(layer.convolution_op, x, value)
    expected, expected_vjp = jax.vjp(xla, x, value)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    for a, b in zip(actual_vjp(upstream), expected_vjp(upstream)):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_sum_that_is_computed_once_is_the_sum():
    x = ops.convert_to_tensor(rng.normal(size=(2, 3, 4)).astype("float32"))
    once = ops.convert_to_numpy(on_cpu.computed_once(x))
    np.testing.assert_array_equal(once, ops.convert_to_numpy(x))
    if keras.config.backend() == "jax":
        import jax

        gradient = jax.grad(lambda x: on_cpu.computed_once(x * x).sum())(x)
        np.testing.assert_array_equal(gradient, 2 * x)
