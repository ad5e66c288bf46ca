"""The transformer layer against NumPy."""

import math

import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

from keras_setr.layers import MLP
from keras_setr.layers import SelfAttention
from keras_setr.layers import TransformerBlock


def tokens(batch=2, length=7, width=12):
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, length, width)).astype("float32")


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def randomise(layer):
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))


def test_attention_is_equations_1_and_2():
    layer = SelfAttention(num_heads=3)
    x = tokens()
    layer.build(x.shape)
    randomise(layer)
    kernel, bias, out_kernel, out_bias = (array(w) for w in layer.weights)
    qkv = x @ kernel + bias  # columns: [q; k; v], heads of 4 each
    heads, maps = [], []
    for head in range(3):
        q, k, v = (
            qkv[..., part * 12 + head * 4 : part * 12 + head * 4 + 4]
            for part in range(3)
        )
        weights = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(4))
        maps.append(weights)
        heads.append(weights @ v)
    expected = np.concatenate(heads, axis=-1) @ out_kernel + out_bias
    np.testing.assert_allclose(array(layer(x)), expected, atol=1e-3)
    np.testing.assert_allclose(
        array(layer.attention_maps(x)), np.stack(maps, 1), atol=1e-4
    )


def test_rotations_make_scores_depend_on_the_distance_alone():
    # Token i turns by i / 10: q_i . k_j depends on i - j where all are equal.
    layer = SelfAttention(num_heads=3)
    x = np.repeat(tokens(batch=1, length=1), 7, axis=1)
    layer.build(x.shape)
    randomise(layer)
    angles = np.arange(7.0)[:, None] / 10 * np.ones((1, 2))  # (N, d / 2)
    rotations = np.stack([np.cos(angles), np.sin(angles)]).astype("float32")
    rotations = ops.convert_to_tensor(rotations)
    maps = array(layer.attention_maps(x, rotations))[0, 0]
    scores = np.log(maps) - np.log(np.diag(maps))[:, None]
    np.testing.assert_allclose(scores[1:, 1:], scores[:-1, :-1], atol=1e-4)
    assert np.abs(scores[0, 1:]).min() > 1e-3
    plain = array(layer.attention_maps(x))
    np.testing.assert_allclose(plain, 1 / 7, atol=1e-6)


def test_keys_without_bias_are_those_of_a_bias_of_zero():
    joint = SelfAttention(num_heads=3)
    parts = SelfAttention(num_heads=3, use_key_bias=False)
    x = tokens()
    for layer in (joint, parts):
        layer.build(x.shape)
    randomise(parts)
    query, value = array(parts.query_bias), array(parts.value_bias)
    joint.qkv.kernel.assign(array(parts.qkv.kernel))
    joint.qkv.bias.assign(np.concatenate([query, 0 * query, value]))
    joint.projection.set_weights(parts.projection.get_weights())
    assert parts.count_params() == joint.count_params() - 12
    np.testing.assert_allclose(array(parts(x)), array(joint(x)), atol=1e-4)


def test_long_sequences_attend_like_short_ones():
    # From 512 tokens on, JAX on CPUs takes another path.
    layer = SelfAttention(num_heads=3)
    x = tokens(length=600)
    layer.build(x.shape)
    weights = array(layer.attention_maps(x))
    value = array(layer.qkv(x))[..., 24:].reshape(2, 600, 3, 4)
    mixed = np.einsum("bhnm,bmhd->bnhd", weights, value).reshape(2, 600, 12)
    expected = mixed @ array(layer.projection.kernel)
    np.testing.assert_allclose(array(layer(x)), expected, atol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads=5, width 12"):
        SelfAttention(num_heads=5)(tokens())


def test_the_mlp_has_the_exact_gelu():
    layer = MLP(mlp_dim=12)
    layer.build((1, 1, 12))
    for dense in (layer.expansion, layer.projection):
        dense.kernel.assign(np.eye(12))
    x = np.linspace(-3, 3, 12, dtype="float32").reshape(1, 1, 12)
    expected = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x[0, 0]]
    np.testing.assert_allclose(array(layer(x))[0, 0], expected, atol=1e-6)


def test_a_gated_mlp_multiplies_by_the_silu_of_its_gate():
    layer = MLP(mlp_dim=12, use_gate=True)
    layer.build((1, 1, 12))
    identity = np.eye(12)
    layer.expansion.kernel.assign(np.concatenate([identity, 2 * identity], 1))
    layer.projection.kernel.assign(identity)
    x = np.linspace(-3, 3, 12, dtype="float32").reshape(1, 1, 12)
    expected = [v / (1 + math.exp(-v)) * 2 * v for v in x[0, 0]]
    np.testing.assert_allclose(array(layer(x))[0, 0], expected, atol=1e-5)


def test_a_block_adds_both_branches_to_its_input():
    block = TransformerBlock(num_heads=3, mlp_dim=5, layer_scale_init=0.5)
    x = tokens()
    block(x)
    randomise(block)
    y = x + array(
        block.attention(block.attention_norm(x)) * block.attention_scale.scale
    )
    z = y + array(block.mlp(block.mlp_norm(y)) * block.mlp_scale.scale)
    np.testing.assert_allclose(array(block(x)), z, rtol=1e-4, atol=1e-4)


def test_a_dropped_path_leaves_the_sample_as_it_is():
    block = TransformerBlock(num_heads=3, mlp_dim=5, drop_path_rate=0.5)
    x = np.repeat(tokens(batch=1), 64, axis=0)
    change = np.abs(array(block(x, training=True)) - x).max(axis=(1, 2))
    # A quarter of 64 samples drops both branches, all in all three outcomes
    # or more occur; without training none is dropped.
    assert 4 <= (change == 0).sum() <= 32
    assert np.abs(array(block(x)) - x).max(axis=(1, 2)).min() > 0


def test_the_result_does_not_depend_on_a_dropout_rate_without_training():
    x = tokens()
    plain = TransformerBlock(num_heads=3, mlp_dim=5)
    dropping = TransformerBlock(
        num_heads=3, mlp_dim=5, dropout_rate=0.3, attention_dropout_rate=0.3
    )
    plain(x), dropping(x)
    for a, b in zip(
        dropping.trainable_weights, plain.trainable_weights, strict=True
    ):
        a.assign(b)
    np.testing.assert_allclose(array(dropping(x)), array(plain(x)), atol=1e-6)
    assert np.abs(array(dropping(x, training=True) - plain(x))).max() > 0
