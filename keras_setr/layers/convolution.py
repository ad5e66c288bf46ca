"""Convolution, batch norm and ReLU as the decoders use them."""

from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import number
from keras_setr.arguments import pair
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.layers.constructor import KERNEL
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.enlarged import convolve_enlarged
from keras_setr.layers.on_cpu import convolution
from keras_setr.layers.on_cpu import convolution_of_torch
from keras_setr.layers.on_cpu import product


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(filters=WIDTH, kernel_size=pair(1, 255), upsampling=FACTOR)
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` for `(B, h, w, C)`, in each backend's best way.

    Args:
        filters: int. Channels of the result.
        kernel_size: int. Odd height and width of the kernel.
        padding: `"same"`, which keeps the size, or `"valid"`.
        data_format: `"channels_last"`, whatever Keras' configuration says.
        upsampling: int. Factor by which maps are enlarged first, bilinearly.
        **kwargs: as for `keras.layers.Conv2D`.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        padding="same",
        data_format="channels_last",
        upsampling=1,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            padding=padding,
            data_format=data_format,
            **kwargs,
        )
        self.upsampling = upsampling
        if upsampling > 1 and not self._is_plain():
            raise ValueError(
                "With an upsampling a convolution keeps the size: padding "
                f"'same', strides 1 and an odd kernel; padding is {padding!r}, "
                f"strides are {self.strides}, kernel_size is {kernel_size}."
            )

    def convolution_op(self, inputs, kernel):
        return convolve_enlarged(
            inputs, kernel, self.upsampling, self._convolve
        )

    def compute_output_shape(self, input_shape):
        shape = enlarged(input_shape, self.upsampling)
        return super().compute_output_shape(shape)

    def get_config(self):
        return {**super().get_config(), "upsampling": self.upsampling}

    def _convolve(self, inputs, kernel):
        backend = keras.config.backend()
        if backend == "jax" and self._is_plain():
            kernel = ops.convert_to_tensor(kernel)
            if self.kernel_size == (1, 1):
                return product(inputs, kernel[0, 0])
            return convolution(inputs, kernel, self.dilation_rate[0])
        if backend != "torch" or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        # Given channels last, Keras copies the maps to channels first and
        # back before each convolution. As a view they need no copy.
        x = ops.transpose(inputs, (0, 3, 1, 2))
        x = ops.conv(
            x,
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format="channels_first",
        )
        return ops.transpose(x, (0, 2, 3, 1))

    def with_bias(
        self, inputs: Any, kernel: Any, bias: Any, use_relu: bool
    ) -> Any:
        """`convolution_op`, a bias and perhaps the ReLU.

        torch adds within the convolution, and the ReLU takes no further map.
        """
        if (
            keras.config.backend() != "torch"
            or not self._is_plain()
            or self.upsampling > 1
        ):
            x = self.convolution_op(inputs, kernel) + bias
            return ops.relu(x) if use_relu else x
        import torch

        x = convolution_of_torch(
            inputs,
            ops.convert_to_tensor(kernel),
            ops.convert_to_tensor(bias),
            self.dilation_rate[0],
        )
        return torch.relu_(x) if use_relu else x

    def _is_plain(self):
        """Whether it keeps the size, with an odd square kernel."""
        height, width = self.kernel_size
        return (
            height == width
            and height % 2 == 1
            and self.padding == "same"
            and self.strides == (1, 1)
            and len(set(self.dilation_rate)) == 1
            and self.groups == 1
            and self.data_format == "channels_last"
        )


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(momentum=number(0, 1), epsilon=number(0))
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm over the global batch, wherever the layer runs.

    The paper trains with synchronised batch norm (section 4.1). Statistics
    are reduced over the replicas of a `tf.distribute` strategy where there is
    one; under `keras.distribution` on JAX they are global by themselves; on a
    single device this is plain batch norm. None of this enters the config, so
    that a model saved anywhere loads everywhere. Defaults are those of the
    published weights: epsilon 1e-5 and momentum 0.9 (torch's 0.1).
    """

    def __init__(
        self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs: Any
    ) -> None:
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            strategy = tf.distribute.get_strategy()
            self.synchronized = strategy.num_replicas_in_sync > 1
        return super().call(inputs, training=training, mask=mask)

    def scale_and_shift(self) -> tuple[Any, Any]:
        """What inference does to each channel, `scale * x + shift`."""
        scale = ops.rsqrt(self.moving_variance + self.epsilon) * self.gamma
        return scale, self.beta - self.moving_mean * scale

    def get_config(self):
        config = super().get_config()
        config.pop("synchronized", None)
        return config


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    filters=WIDTH,
    kernel_size=KERNEL,
    use_bias=flag(),
    strides=FACTOR,
    dilation_rate=FACTOR,
    upsampling=FACTOR,
    use_activation=flag(),
    use_norm=flag(),
)
class ConvNormActivation(keras.layers.Layer):
    """Convolution, batch norm, ReLU: `(B, h, w, C)` to `(B, h, w, filters)`.

    Args:
        filters: int. Channels of the result.
        kernel_size: int. Odd height and width of the kernel.
        use_bias: bool. Bias before the norm: redundant, but part of the
            authors' checkpoints.
        strides: int s, which leaves `(ceil(h / s), ceil(w / s))`. Kernels are
            centred on the first pixel, as torch pads, on every backend.
        dilation_rate: int. Of the kernel.
        upsampling: int u. Maps are enlarged to `(B, u*h, u*w, C)` first,
            bilinearly.
        use_activation: bool. Whether the ReLU follows.
        use_norm: bool. `False` leaves the norm out and adds a bias, which is
            what inference makes of it; see `folded_weights`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        use_bias: bool = False,
        strides: int = 1,
        dilation_rate: int = 1,
        upsampling: int = 1,
        use_activation: bool = True,
        use_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.use_bias = use_bias
        self.strides = strides
        self.dilation_rate = dilation_rate
        self.upsampling = upsampling
        self.use_activation = use_activation
        self.use_norm = use_norm
        # "same" pads the end of even sides alone where strides are 2.
        self._padding = 0 if strides == 1 else kernel_size // 2 * dilation_rate
        self.convolution = Convolution(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation_rate,
            padding="same" if strides == 1 else "valid",
            upsampling=upsampling,
            use_bias=use_bias or not use_norm,
            # That of a torch convolution, which the published decoders keep:
            # uniform in +-1 / sqrt(fan_in), of variance 1 / (3 * fan_in).
            kernel_initializer=keras.initializers.VarianceScaling(
                scale=1 / 3, mode="fan_in", distribution="uniform"
            ),
            dtype=self.dtype_policy,
            name="convolution",
        )
        if use_norm:
            self.norm = BatchNormalization(dtype=self.dtype_policy, name="norm")

    def build(self, inputs_shape):
        batch, *sides, channels = inputs_shape
        sides = (s if s is None else s + 2 * self._padding for s in sides)
        self.convolution.build((batch, *sides, channels))
        if self.use_norm:
            self.norm.build(self.compute_output_shape(inputs_shape))

    def call(self, inputs, training=None):
        if self._padding:
            sides = (self._padding, self._padding)
            inputs = ops.pad(inputs, ((0, 0), sides, sides, (0, 0)))
        if training and self.use_norm:
            x = self.norm(self.convolution(inputs), training=training)
            return ops.relu(x) if self.use_activation else x
        # One pass over the maps less: the norm goes into the kernel.
        return self.convolution.with_bias(
            inputs, *self.folded_weights(), self.use_activation
        )

    def folded_weights(self) -> tuple[Any, Any]:
        """`(kernel, bias)` of the convolution that inference computes."""
        kernel, bias = self.convolution.kernel, self.convolution.bias
        if not self.use_norm:
            return kernel, bias
        kernel = ops.convert_to_tensor(kernel)
        scale, shift = self.norm.scale_and_shift()
        if self.use_bias:
            shift = shift + ops.cast(bias, shift.dtype) * scale
        dtype = kernel.dtype
        return kernel * ops.cast(scale, dtype), ops.cast(shift, dtype)

    def compute_output_shape(self, inputs_shape):
        shape = enlarged(strided(inputs_shape, self.strides), self.upsampling)
        return (*shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), **config_of(self, ConvNormActivation)}


def build_in_turn(layers, shape):
    """Build each layer on what the one before gives; the last one's shape."""
    for layer in layers:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape


def strided(shape, strides):
    """A shape `(B, h, w, C)` where every `strides`-th pixel is left."""
    batch, *sides, channels = shape
    sides = (None if s is None else -(-s // strides) for s in sides)
    return (batch, *sides, channels)


def enlarged(shape, factor):
    """A shape `(B, h, w, C)` with `factor` times the height and width."""
    batch, *sides, channels = shape
    sides = (None if s is None else s * factor for s in sides)
    return (batch, *sides, channels)


def build_classifier(num_classes, kernel_size, dtype, name="classifier"):
    """The convolution that gives one logit per class, N(0, 0.01) at first."""
    return Convolution(
        num_classes,
        kernel_size,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        dtype=dtype,
        name=name,
    )
