"""The decoders' convolution, beside Keras' own."""

import keras
import numpy as np
import pytest

from keras_setr.layers.convolution import ConvNormActivation
from keras_setr.layers.convolution import Convolution


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": (2, 1)},
        {"padding": "valid"},
        {"dilation_rate": (2, 3)},
        {"groups": 2},
    ],
)
def test_a_convolution_is_kerass_whatever_its_arguments(options):
    ours = Convolution(6, 3, **options)
    theirs = keras.layers.Conv2D(
        6, 3, **{"padding": "same", **options}, data_format="channels_last"
    )
    x = np.random.default_rng(0).normal(size=(2, 7, 9, 4)).astype("float32")
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    expected = keras.ops.convert_to_numpy(theirs(x))
    actual = keras.ops.convert_to_numpy(ours(x))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    again = Convolution.from_config(ours.get_config())
    assert again.get_config() == ours.get_config()


@pytest.mark.parametrize(
    "options",
    [{}, {"dilation_rate": 2}, {"strides": 2}, {"use_activation": False}],
)
def test_a_unit_for_inference_is_its_parts_one_after_another(options):
    unit = ConvNormActivation(6, 3, use_bias=True, **options)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 9, 4)).astype("float32")
    unit.build(x.shape)
    norm = unit.norm
    for variable in (norm.gamma, norm.beta, norm.moving_mean):
        variable.assign(rng.normal(size=6))
    norm.moving_variance.assign(rng.uniform(0.2, 3.0, 6))
    unit.convolution.bias.assign(rng.normal(size=6))
    folded = ConvNormActivation(6, 3, use_norm=False, **options)
    folded.build(x.shape)
    folded.convolution.set_weights(
        [keras.ops.convert_to_numpy(w) for w in unit.folded_weights()]
    )
    side = 0 if options.get("strides", 1) == 1 else 1
    padded = keras.ops.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    expected = norm(unit.convolution(padded), training=False)
    if options.get("use_activation", True):
        expected = keras.ops.relu(expected)
    expected = keras.ops.convert_to_numpy(expected)
    for layer in (unit, folded):
        actual = keras.ops.convert_to_numpy(layer(x))
        np.testing.assert_allclose(actual, expected, atol=1e-5)
