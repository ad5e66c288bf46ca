"""The parts of a ResNet: its stem and its bottlenecks (arXiv 1512.03385)."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.layers.constructor import KERNEL
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.convolution import ConvNormActivation
from keras_setr.layers.convolution import Convolution
from keras_setr.layers.convolution import build_in_turn
from keras_setr.layers.convolution import strided

_GROUPS = 32
_GROUP_NORM_EPSILON = 1e-5
# Of the variance of a kernel; timm's for the hybrid, not that of BiT.
_KERNEL_EPSILON = 1e-8


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    filters=WIDTH,
    kernel_size=KERNEL,
    strides=FACTOR,
    dilation_rate=FACTOR,
    use_activation=flag(),
)
class StandardizedConvNorm(keras.layers.Layer):
    """Weight-standardised convolution, group norm, ReLU (arXiv 1903.10520).

    `(B, h, w, C)` becomes `(B, ceil(h / s), ceil(w / s), filters)` for strides
    s, padded as TensorFlow pads: of even sides the end alone. Each kernel is
    used with mean 0 and variance 1.

    Args:
        filters: int. Channels of the result. Up to 32 groups of them are
            normalised.
        kernel_size, strides, dilation_rate, use_activation: as for
            `ConvNormActivation`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        dilation_rate: int = 1,
        use_activation: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.use_activation = use_activation
        self.convolution = Convolution(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation_rate,
            use_bias=False,
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.norm = keras.layers.GroupNormalization(
            groups=min(_GROUPS, filters),
            epsilon=_GROUP_NORM_EPSILON,
            dtype=self.dtype_policy,
            name="norm",
        )

    def build(self, inputs_shape):
        self.convolution.build(inputs_shape)
        self.norm.build(self.compute_output_shape(inputs_shape))

    def call(self, inputs, training=None):
        kernel = ops.cast(self.convolution.kernel, "float32")
        axes = (0, 1, 2)
        kernel = kernel - ops.mean(kernel, axes, keepdims=True)
        variance = ops.mean(ops.square(kernel), axes, keepdims=True)
        kernel = kernel * ops.rsqrt(variance + _KERNEL_EPSILON)
        kernel = ops.cast(kernel, self.compute_dtype)
        x = self.norm(self.convolution.convolution_op(inputs, kernel))
        return ops.relu(x) if self.use_activation else x

    def compute_output_shape(self, inputs_shape):
        return (*strided(inputs_shape, self.strides)[:-1], self.filters)

    def get_config(self):
        own = config_of(self, StandardizedConvNorm)
        return {**super().get_config(), **own}


# Which convolutions a ResNet has, by its `norm`.
CONVOLUTIONS: dict[str | None, Callable[..., Any]] = {
    "batch": ConvNormActivation,
    "group": StandardizedConvNorm,
    None: functools.partial(ConvNormActivation, use_norm=False),
}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    filters=WIDTH,
    deep=flag(),
    norm=choice(*CONVOLUTIONS),
)
class ResNetStem(keras.layers.Layer):
    """A quarter of the size: `(B, H, W, C)` to `(B, H / 4, W / 4, filters)`.

    A 7x7 convolution with stride 2, or three of 3x3, then the largest of 3x3
    with stride 2. Sizes are rounded up.

    Args:
        filters: int. Channels of the result.
        deep: bool. Three convolutions, the first two of half the channels
            (arXiv 1812.01187, ResNet-C).
        norm: as for `ResNetBackbone`.
    """

    def __init__(
        self,
        filters: int = 64,
        deep: bool = False,
        norm: str | None = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.deep = deep
        self.norm = norm
        half = max(1, filters // 2)
        rows = ((half, 3, 2), (half, 3, 1), (filters, 3, 1))
        self.convolutions = [
            CONVOLUTIONS[norm](
                width,
                kernel_size,
                strides=strides,
                dtype=self.dtype_policy,
                name=f"convolution_{index}",
            )
            for index, (width, kernel_size, strides) in enumerate(
                rows if deep else ((filters, 7, 2),)
            )
        ]

    def build(self, images_shape):
        build_in_turn(self.convolutions, images_shape)

    def call(self, images, training=None):
        x = images
        for convolution in self.convolutions:
            x = convolution(x, training=training)
        padding = "same"
        if self.norm != "group":
            # Behind a ReLU nothing is smaller than the zeros around the map.
            x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            padding = "valid"
        return ops.max_pool(x, 3, 2, padding, data_format="channels_last")

    def compute_output_shape(self, images_shape):
        return (*strided(strided(images_shape, 2), 2)[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), **config_of(self, ResNetStem)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    filters=WIDTH,
    strides=FACTOR,
    dilation_rate=FACTOR,
    norm=choice(*CONVOLUTIONS),
)
class Bottleneck(keras.layers.Layer):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, then a ReLU.

    `(B, h, w, C)` becomes `(B, h / s, w / s, 4 * filters)` for strides s,
    rounded up. The stride is that of the 3x3 convolution; the shortcut is a
    1x1 convolution where size or channels change.

    Args:
        filters: int. Channels of the first two convolutions.
        strides, dilation_rate: int. Of the 3x3 convolution.
        norm: as for `ResNetBackbone`.
    """

    EXPANSION = 4

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        dilation_rate: int = 1,
        norm: str | None = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.norm = norm

    def build(self, inputs_shape):
        wide = self.EXPANSION * self.filters
        self.reduction = self._convolution("reduction", self.filters, 1)
        self.spatial = self._convolution(
            "spatial",
            self.filters,
            3,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
        )
        last = {"use_activation": False}
        self.expansion = self._convolution("expansion", wide, 1, **last)
        self.shortcut = None
        if self.strides > 1 or inputs_shape[-1] != wide:
            self.shortcut = self._convolution(
                "shortcut", wide, 1, strides=self.strides, **last
            )
            self.shortcut.build(inputs_shape)
        build_in_turn(
            (self.reduction, self.spatial, self.expansion), inputs_shape
        )

    def _convolution(self, name, *arguments, **options):
        return CONVOLUTIONS[self.norm](
            *arguments, **options, dtype=self.dtype_policy, name=name
        )

    def call(self, inputs, training=None):
        x = self.reduction(inputs, training=training)
        x = self.spatial(x, training=training)
        x = self.expansion(x, training=training)
        if self.shortcut is not None:
            inputs = self.shortcut(inputs, training=training)
        return ops.relu(x + inputs)

    def compute_output_shape(self, inputs_shape):
        shape = strided(inputs_shape, self.strides)
        return (*shape[:-1], self.EXPANSION * self.filters)

    def get_config(self):
        return {**super().get_config(), **config_of(self, Bottleneck)}
