"""Attention in parts against the whole matrix, and what it is lowered to."""

import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_setr as ks
from keras_setr.layers import attention
from keras_setr.models import keras_internals

BACKEND = keras.config.backend()
# 23 x 25 patches and a class token: 576 tokens, which neither the blocks of
# queries nor their number divides.
SIZE, TOKENS = (92, 100), 576


def result_and_gradients(function, *arrays):
    """Of `(query, key, value)`, and of the sum of its squares by each."""
    if BACKEND == "jax":
        import jax

        def total(*tensors):
            result = function(*tensors)
            return ops.sum(result**2), result

        gradients, result = jax.jit(
            jax.grad(total, argnums=(0, 1, 2), has_aux=True)
        )(*arrays)
        return result, gradients
    import tensorflow as tf

    @tf.function
    def both(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = function(*tensors)
            total = ops.sum(result**2)
        return result, tape.gradient(total, tensors)

    return both(*(tf.constant(array) for array in arrays))


def in_whole(query, key, value):
    return attention.weighted_sum(attention.probabilities(query, key), value)


@pytest.mark.backends("tensorflow", "jax")
@pytest.mark.parametrize("parts", ("_by_heads", "_by_queries"))
def test_parts_attend_as_the_whole(parts, monkeypatch):
    monkeypatch.setattr(attention, "_QUERIES", 5)  # 21 in blocks
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(2, 21, 3, 4)).astype("float32") for _ in range(3)
    ]
    expected = result_and_gradients(in_whole, *arrays)
    found = result_and_gradients(getattr(attention, parts), *arrays)
    for a, b in zip(
        keras.tree.flatten(found), keras.tree.flatten(expected), strict=True
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(a), ops.convert_to_numpy(b), atol=1e-5
        )


def test_half_precision_sums_in_full():
    # 4096 equal keys in bfloat16, whose sum of ones would stop at 256.
    x = ops.ones((1, 4096, 1, 4), "bfloat16")
    found = attention.attend(x, x, x)
    np.testing.assert_array_equal(ops.convert_to_numpy(found), 1.0)


def segmenter(**options):
    backbone = ks.SETRBackbone(
        num_layers=1,
        hidden_dim=16,
        num_heads=2,
        patch_size=4,
        image_shape=(*SIZE, 3),
        **options,
    )
    return ks.SETRNaive(backbone, 5, filters=8, auxiliary_layers=(1,))


def matrices(text):
    """Shapes with two axes of all tokens, or of all tokens but the class."""
    shapes = set(re.findall(r"tensor<((?:\d+x)+)\w+>", text))
    rows = (TOKENS, TOKENS - 1)
    return [
        shape
        for shape in shapes
        if sum(shape.split("x").count(str(n)) for n in rows) >= 2
    ]


@pytest.mark.backends("jax")
@pytest.mark.parametrize("rematerialize", (False, True))
def test_training_is_lowered_for_accelerators_without_the_matrix(rematerialize):
    import jax

    model = segmenter(rematerialize=rematerialize)
    model.compile(learning_rate=0.01, total_steps=10)
    x = np.zeros((2, *SIZE, 3), "float32")
    y = np.zeros((2, *SIZE), "int32")
    keras_internals.build_scores(model)
    model.optimizer.build(model.trainable_variables)
    state = [
        [v.value for v in group]
        for group in model._variables_of_a_step(model.optimizer.variables)
    ]
    for platform in ("tpu", "cuda"):
        exported = jax.export.export(
            jax.jit(model.train_step), platforms=[platform]
        )(tuple(state), (x, y, None))
        text = exported.mlir_module()
        assert f"x{TOKENS}x" in text
        assert not matrices(text)


@pytest.mark.backends("jax")
def test_windows_are_lowered_for_accelerators_without_the_matrix(monkeypatch):
    import jax

    model = segmenter()
    x = np.zeros((3, *SIZE, 3), "float32")

    def lowered(platform):
        step = jax.jit(lambda x: model(x))
        return jax.export.export(step, platforms=[platform])(x).mlir_module()

    for platform in ("tpu", "cuda"):
        assert not matrices(lowered(platform))
    monkeypatch.setattr(attention, "LONG", TOKENS + 1)
    assert matrices(lowered("tpu")) == [f"3x2x{TOKENS}x{TOKENS}x"]


@pytest.mark.backends("tensorflow")
def test_the_training_step_compiles_with_xla(monkeypatch):
    monkeypatch.setattr(attention, "runs_on_cpu", lambda: False)
    model = segmenter()
    model.compile(learning_rate=0.01, total_steps=10, jit_compile=True)
    x = np.zeros((2, *SIZE, 3), "float32")
    y = np.zeros((2, *SIZE), "int32")
    assert np.isfinite(model.train_on_batch(x, y)[0])
