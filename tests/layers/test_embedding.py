"""Patches, positions and special tokens."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

from keras_setr.layers import FeatureMap
from keras_setr.layers import PatchEmbedding
from keras_setr.layers import RotaryPositions
from keras_setr.layers import TokenEmbedding


def test_a_patch_is_one_product_with_the_kernel():
    layer = PatchEmbedding(hidden_dim=5, patch_size=2)
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype("float32")
    y = array(layer(x))
    assert y.shape == (1, 2, 3, 5)
    kernel, bias = (array(w) for w in layer.weights)
    # Patch in row 1, column 2: pixels 2..3 by 4..5.
    expected = np.einsum("hwc,hwcd->d", x[0, 2:4, 4:6], kernel) + bias
    np.testing.assert_allclose(y[0, 1, 2], expected, atol=1e-5)


def test_sizes_the_patch_does_not_divide_are_refused_with_a_size_that_fits():
    layer = PatchEmbedding(hidden_dim=5, patch_size=16)
    with pytest.raises(ValueError, match=r"\(30, 48\).*\(32, 48\)"):
        layer(np.zeros((1, 30, 48, 3)))


def test_tokens_are_class_registers_then_patches_row_by_row():
    layer = TokenEmbedding((2, 3), num_register_tokens=2)
    patches = np.arange(6.0).reshape(1, 2, 3, 1).repeat(4, axis=3)
    layer.build(patches.shape)
    for weight, value in (
        (layer.class_token, 100),
        (layer.class_position, 20),
        (layer.register_tokens, 50),
        (layer.positions, 1000),
    ):
        weight.assign(np.full(weight.shape, value))
    tokens = array(layer(patches.astype("float32")))
    assert tokens.shape == (1, 9, 4)
    expected = [120, 50, 50, 1000, 1001, 1002, 1003, 1004, 1005]
    np.testing.assert_allclose(tokens[0, :, 0], expected)
    folded = FeatureMap(num_prefix_tokens=3)(tokens, patches)
    np.testing.assert_allclose(array(folded), patches + 1000)


def test_positions_stretch_with_the_image():
    layer = TokenEmbedding((1, 2), use_class_token=False)
    layer.build((1, 1, 2, 1))
    layer.positions.assign([[[0.0], [4.0]]])
    tokens = array(layer(np.zeros((1, 1, 4, 1), "float32")))
    np.testing.assert_allclose(tokens[0, :, 0], [0, 1, 3, 4])


def test_without_positions_tokens_are_the_patches():
    layer = TokenEmbedding(None, num_register_tokens=1)
    patches = np.arange(6.0).reshape(1, 2, 3, 1).repeat(4, axis=3)
    layer.build(patches.shape)
    assert [w.name for w in layer.weights] == ["class_token", "register_tokens"]
    layer.class_token.assign(np.full((1, 4), 7.0))
    layer.register_tokens.assign(np.full((1, 4), 8.0))
    tokens = array(layer(patches.astype("float32")))
    np.testing.assert_allclose(tokens[0, :, 0], [7, 8, 0, 1, 2, 3, 4, 5])


def test_angles_are_those_of_the_patchs_centre():
    # Two rows lie at -1/2 and 1/2, one column at 0. Of the base 16, heads of
    # width 8 have the periods 1 and 16^(1/2) = 4: turns of -1/2 and -1/8.
    layer = RotaryPositions(head_dim=8, num_prefix_tokens=1, base=16.0)
    cosine, sine = array(layer(np.zeros((1, 2, 1, 6), "float32")))
    assert cosine.shape == (3, 4)
    half = 0.5**0.5
    np.testing.assert_allclose(cosine[0], [1, 1, 1, 1])
    np.testing.assert_allclose(sine[0], [0, 0, 0, 0])
    np.testing.assert_allclose(cosine[1], [-1, half, 1, 1], atol=1e-6)
    np.testing.assert_allclose(sine[1], [0, -half, 0, 0], atol=1e-6)
    np.testing.assert_allclose(sine[2], [0, half, 0, 0], atol=1e-6)


def test_rotary_positions_take_heads_of_a_multiple_of_4():
    with pytest.raises(ValueError, match="head_dim must be a multiple of 4"):
        RotaryPositions(head_dim=6)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="bilinear.*bicubic.*'nearest'"):
        TokenEmbedding((1, 2), interpolation="nearest")
