"""The decoders (paper, section 3.3) and the auxiliary heads (section 4.1).

`UpsamplingHead` is the naive decoder, PUP and every auxiliary head, told
apart by their arguments; `MLANeck` and `MLAHead` are MLA. Their variants, in
the order paper / authors' code / mmsegmentation:

| part            | arguments                                              |
|-----------------|--------------------------------------------------------|
| Naive           | kernel_size=1, upsampling (1,) / (1,) / (4,)           |
| Naive auxiliary | kernel_size=1, upsampling (1,) / (1,) / (4,) or (4, 4) |
| PUP             | kernel_size=3, upsampling (2, 2, 2, 1) / same / (2,)*4 |
| PUP auxiliary   | (1,) kernel 1 / (4,) kernel 3 / (4, 4) kernel 3        |
| MLA neck        | filters D / 2, one 1x1, sum, 3x3 / 256 / 256           |
| MLA head        | (D / 2, D / 4) / (128, 128) / (128, 128)               |
| MLA classifier  | 1x1 / 3x3, align_corners=True / 1x1                    |

A last factor of 1 leaves the last upsampling to the resize that brings the
logits to the size of the image.
"""

import math

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import sequence
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.layers.constructor import KERNEL
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.convolution import ConvNormActivation
from keras_setr.layers.convolution import build_classifier
from keras_setr.layers.convolution import build_in_turn
from keras_setr.layers.convolution import enlarged
from keras_setr.layers.resampling import resize_bilinear
from keras_setr.layers.resampling import upsample_bilinear

# The published decoders' LayerNorms; torch's default is 1e-5, theirs 1e-6.
_LAYER_NORM_EPSILON = 1e-6


# `scales` are those of a test in the rest of the package.
_FORMER_NAMES = {
    "scale": "upsampling",
    "scales": "upsampling",
    "auxiliary_scales": "auxiliary_upsampling",
}


def with_present_names(config):
    """A config, be it of a file from before `upsampling` had this name."""
    return {_FORMER_NAMES.get(name, name): v for name, v in config.items()}


def _classify_upsampled(x, classifier, factor, align_corners=False):
    """Classify `x` enlarged by `factor`, at the lower resolution if possible.

    A 1x1 convolution commutes with bilinear upsampling, whose weights sum to
    one: run first, it costs factor^2 times less and the result is the same.
    """
    if classifier.kernel_size == (1, 1):
        return upsample_bilinear(classifier(x), factor, align_corners)
    return classifier(upsample_bilinear(x, factor, align_corners))


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    num_classes=integer(1),
    upsampling=sequence(FACTOR, maximum_length=16),
    kernel_size=KERNEL,
    filters=WIDTH,
    use_layer_norm=flag(),
    use_bias=flag(),
    classifier_kernel_size=KERNEL,
    use_batch_norm=flag(),
)
class UpsamplingHead(keras.layers.Layer):
    """Convolutions with upsampling between, then a classifier.

    `(B, h, w, D)` becomes float logits `(B, s*h, s*w, K)`, s the product of
    `upsampling`: [LayerNorm] then, for each factor, convolution, batch norm,
    ReLU and bilinear upsampling; then one convolution to K classes.

    Args:
        num_classes: int. K.
        upsampling: sequence of int. Factor after each convolution; its
            length is the number of convolutions. Empty: the classifier alone.
        kernel_size: int. Of these convolutions.
        filters: int. Channels of these convolutions.
        use_layer_norm: bool. Normalise the encoder's features first, as both
            published codes do (the paper does not say).
        use_bias: bool. Bias of the convolutions before their batch norm.
        classifier_kernel_size: int.
        use_batch_norm: bool. Of the convolutions; see `ConvNormActivation`.
    """

    def __init__(
        self,
        num_classes,
        upsampling=(2, 2, 2, 1),
        kernel_size=3,
        filters=256,
        use_layer_norm=True,
        use_bias=False,
        classifier_kernel_size=1,
        use_batch_norm=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.upsampling = upsampling
        self.kernel_size = kernel_size
        self.filters = filters
        self.use_layer_norm = use_layer_norm
        self.use_bias = use_bias
        self.classifier_kernel_size = classifier_kernel_size
        self.use_batch_norm = use_batch_norm

        policy = self.dtype_policy
        if use_layer_norm:
            self.norm = keras.layers.LayerNormalization(
                epsilon=_LAYER_NORM_EPSILON, dtype=policy, name="norm"
            )
        self.convolutions = [
            ConvNormActivation(
                filters,
                kernel_size,
                use_bias=use_bias,
                use_norm=use_batch_norm,
                # The factor behind one convolution is that before the next.
                upsampling=factor,
                dtype=policy,
                name=f"convolution_{index}",
            )
            for index, factor in enumerate((1, *upsampling)[:-1])
        ]
        self.classifier = build_classifier(
            num_classes, classifier_kernel_size, policy
        )

    def build(self, features_shape):
        shape = tuple(features_shape)
        if self.use_layer_norm:
            self.norm.build(shape)
        self.classifier.build(build_in_turn(self.convolutions, shape))

    def call(self, features, training=None):
        *_, x = self._convolved(features, training)
        factor = (1, *self.upsampling)[-1]
        return _classify_upsampled(x, self.classifier, factor)

    def _convolved(self, features, training=None):
        """The normalised features, then the map behind each convolution."""
        x = self.norm(features) if self.use_layer_norm else features
        yield x
        for convolution in self.convolutions:
            x = convolution(x, training=training)
            yield x

    def stages(self, features):
        """A list of the maps behind each convolution, enlarged."""
        _, *maps = self._convolved(features)
        return [
            upsample_bilinear(x, factor)
            for x, factor in zip(maps, self.upsampling)
        ]

    def compute_output_shape(self, features_shape):
        shape = enlarged(features_shape, math.prod(self.upsampling))
        return (*shape[:-1], self.num_classes)

    def get_config(self):
        return {**super().get_config(), **config_of(self, UpsamplingHead)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_present_names(config))


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    filters=WIDTH,
    use_layer_norm=flag(),
    use_batch_norm=flag(),
)
class MLANeck(keras.layers.Layer):
    """Fuse M encoder layers top-down (paper, section 3.3, "MLA").

    A list of M features `(B, h, w, D)`, shallow first, becomes a list of M
    maps `(B, h, w, filters)` in the same order: each is projected by a 1x1
    convolution, all deeper ones are added to it, and a 3x3 convolution
    follows.

    Args:
        filters: int. The paper halves the channels: D / 2.
        use_layer_norm: bool. Normalise each input first.
        use_batch_norm: bool. Of the convolutions; see `ConvNormActivation`.
    """

    def __init__(
        self, filters, use_layer_norm=True, use_batch_norm=True, **kwargs
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.use_layer_norm = use_layer_norm
        self.use_batch_norm = use_batch_norm

    def build(self, features_shapes):
        policy = self.dtype_policy
        self.norms, self.projections, self.fusions = [], [], []
        for index, shape in enumerate(features_shapes):
            if self.use_layer_norm:
                norm = keras.layers.LayerNormalization(
                    epsilon=_LAYER_NORM_EPSILON,
                    dtype=policy,
                    name=f"norm_{index}",
                )
                norm.build(shape)
                self.norms.append(norm)
            projection = ConvNormActivation(
                self.filters,
                1,
                use_norm=self.use_batch_norm,
                dtype=policy,
                name=f"projection_{index}",
            )
            projection.build(shape)
            self.projections.append(projection)
            fusion = ConvNormActivation(
                self.filters,
                3,
                use_norm=self.use_batch_norm,
                dtype=policy,
                name=f"fusion_{index}",
            )
            fusion.build(projection.compute_output_shape(shape))
            self.fusions.append(fusion)

    def call(self, features, training=None):
        fused = []
        deeper = None
        for index in reversed(range(len(features))):
            x = features[index]
            if self.use_layer_norm:
                x = self.norms[index](x)
            x = self.projections[index](x, training=training)
            deeper = x if deeper is None else deeper + x
            fused.append(self.fusions[index](deeper, training=training))
        return fused[::-1]

    def compute_output_shape(self, features_shapes):
        return [(*shape[:-1], self.filters) for shape in features_shapes]

    def get_config(self):
        return {**super().get_config(), **config_of(self, MLANeck)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    num_classes=integer(1),
    filters=sequence(WIDTH, length=2),
    upsampling=FACTOR,
    align_corners=flag(),
    classifier_kernel_size=KERNEL,
    use_batch_norm=flag(),
)
class MLAHead(keras.layers.Layer):
    """Two convolutions a stream, upsampled, concatenated and classified.

    A list of M maps `(B, h, w, C)` becomes float logits `(B, 4h, 4w, K)`
    (paper, section 3.3: "upscaled 4x by bilinear operation after the third
    layer ... channel-wise concatenation").

    Args:
        num_classes: int. K.
        filters: `(int, int)`. Channels of each stream's two 3x3 convolutions;
            the paper's are (D / 2, D / 4).
        upsampling: int. Factor before the concatenation.
        align_corners: bool. Of that upsampling; the authors' code has `True`.
        classifier_kernel_size: int. The authors' code has 3.
        use_batch_norm: bool. Of the convolutions; see `ConvNormActivation`.
    """

    def __init__(
        self,
        num_classes,
        filters,
        upsampling=4,
        align_corners=False,
        classifier_kernel_size=1,
        use_batch_norm=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.upsampling = upsampling
        self.align_corners = align_corners
        self.classifier_kernel_size = classifier_kernel_size
        self.use_batch_norm = use_batch_norm
        self.classifier = build_classifier(
            num_classes, classifier_kernel_size, self.dtype_policy
        )

    def build(self, maps_shapes):
        self.streams = []
        for index, shape in enumerate(maps_shapes):
            stream = [
                ConvNormActivation(
                    filters,
                    3,
                    use_norm=self.use_batch_norm,
                    dtype=self.dtype_policy,
                    name=f"stream_{index}_convolution_{layer}",
                )
                for layer, filters in enumerate(self.filters)
            ]
            build_in_turn(stream, shape)
            self.streams.append(stream)
        channels = len(maps_shapes) * self.filters[-1]
        self.classifier.build((*maps_shapes[0][:-1], channels))

    def call(self, maps, training=None):
        outputs = self._streamed(maps, training)
        x = ops.concatenate(outputs, axis=-1)  # (B, h, w, M * filters[-1])
        return _classify_upsampled(
            x, self.classifier, self.upsampling, self.align_corners
        )

    def _streamed(self, maps, training=None):
        outputs = []
        for x, stream in zip(maps, self.streams):
            for convolution in stream:
                x = convolution(x, training=training)
            outputs.append(x)
        return outputs

    def stages(self, maps):
        """A list of the map behind each stream, enlarged."""
        return [
            upsample_bilinear(x, self.upsampling, self.align_corners)
            for x in self._streamed(maps)
        ]

    def compute_output_shape(self, maps_shapes):
        shape = enlarged(maps_shapes[0], self.upsampling)
        return (*shape[:-1], self.num_classes)

    def get_config(self):
        return {**super().get_config(), **config_of(self, MLAHead)}

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_present_names(config))


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(*KERAS_ARGUMENTS, align_corners=flag())
class ResizeLogits(keras.layers.Layer):
    """Bring logits `(B, h, w, K)` to the size of the images, in float32.

    Called with the logits and the images `(B, H, W, C)`; bilinear.

    Args:
        align_corners: bool. Whether the corner pixels' centres stay in place.
    """

    def __init__(self, align_corners=False, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.align_corners = align_corners

    def call(self, logits, images):
        return self.resize(logits, ops.shape(images)[1:3])

    def resize(self, logits, size):
        """`(B, h, w, K)` of any precision to `(B, *size, K)` float32."""
        logits = ops.cast(logits, "float32")
        return resize_bilinear(logits, size, self.align_corners)

    def compute_output_shape(self, logits_shape, images_shape):
        return (*images_shape[:3], logits_shape[-1])

    def get_config(self):
        return {**super().get_config(), **config_of(self, ResizeLogits)}
