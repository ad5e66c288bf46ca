"""The decoders' convolution, beside Keras' own."""

import keras
import numpy as np
import pytest

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
