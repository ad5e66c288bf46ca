"""Layers computed anew in the backward pass, with all that is random."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_setr.layers import TransformerBlock
from tests import tiny

BACKEND = keras.config.backend()
RANDOMNESS = {
    "dropout": {"dropout_rate": 0.3},
    "attention dropout": {"attention_dropout_rate": 0.3},
    "drop path": {"drop_path_rate": 0.5},
    "all": {
        "dropout_rate": 0.3,
        "attention_dropout_rate": 0.3,
        "drop_path_rate": 0.5,
        "layer_scale_init": 0.5,
    },
}


def array(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def stack(rematerialize, **options):
    """Two layers on tokens `(None, 7, 12)`, the same at every call."""
    keras.utils.set_random_seed(0)
    tokens = x = keras.Input((7, 12))
    for name in ("block_1", "block_2"):
        x = TransformerBlock(
            3, 20, rematerialize=rematerialize, name=name, **options
        )(x)
    model = keras.Model(tokens, x)
    tiny.set_weights_by_path(model, scale=0.5)
    return model


def gradients(model):
    """Of the sum of the outputs' squares, by the tokens and all weights."""
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).normal(size=(5, 7, 12)).astype("float32")

    if BACKEND == "tensorflow":
        import tensorflow as tf

        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(model(x, training=True) ** 2)
            weights = [v.value for v in model.trainable_variables]
            return tape.gradient(loss, [x, *weights])

        return tf.function(step)(tf.constant(x))
    if BACKEND == "jax":
        import jax

        def loss(trainable, x, state):
            y, state = model.stateless_call(trainable, state, x, training=True)
            return (y**2).sum(), state

        step = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
        (weights, tokens), state = step(
            [v.value for v in model.trainable_variables],
            ops.array(x),
            [v.value for v in model.non_trainable_variables],
        )
        for variable, value in zip(model.non_trainable_variables, state):
            variable.assign(value)
        return [tokens, *weights]
    x = ops.array(x).requires_grad_()
    (model(x, training=True) ** 2).sum().backward()
    return [x.grad, *(v.value.grad for v in model.trainable_variables)]


@pytest.mark.parametrize(
    "randomness, policy",
    [
        ("all", "float32"),
        ("all", "mixed_bfloat16"),
        # One by one, should all together fail.
        *(
            pytest.param(name, "float32", marks=pytest.mark.backends("torch"))
            for name in RANDOMNESS
            if name != "all"
        ),
    ],
)
def test_gradients_and_random_state_are_those_without(randomness, policy):
    keras.config.set_dtype_policy(policy)
    plain, again = (
        stack(rematerialize, **RANDOMNESS[randomness])
        for rematerialize in (False, True)
    )
    # Compilers round bfloat16 where they like, so that the same masks give
    # gradients that differ by some of its steps of 2^-8.
    rounds = policy == "mixed_bfloat16" and BACKEND != "torch"
    tolerance = 0.05 if rounds else 1e-6
    expected = [array(g) for g in gradients(plain)]
    received = [array(g) for g in gradients(again)]
    for a, b in zip(received, expected, strict=True):
        scale = max(np.abs(b).max(), 1e-6)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)
    for a, b in zip(
        again.non_trainable_variables,
        plain.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_array_equal(array(a), array(b))


def test_a_fit_ends_with_the_weights_of_one_without():
    trained = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(0)
        model = tiny.smallest(
            num_layers=2, rematerialize=rematerialize, **RANDOMNESS["all"]
        )
        tiny.set_weights_by_path(model)
        model.compile(learning_rate=0.01, metrics=None)
        model.fit(tiny.images(6), tiny.labels(6), batch_size=3, verbose=0)
        trained.append([array(v) for v in model.weights])
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
