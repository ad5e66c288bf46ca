"""The decoders of the paper's baselines, as mmsegmentation has them."""

from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import dropped
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.layers.constructor import DEPTH
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.convolution import ConvNormActivation
from keras_setr.layers.convolution import Convolution
from keras_setr.layers.convolution import build_classifier
from keras_setr.layers.convolution import build_in_turn
from keras_setr.layers.resampling import resize_bilinear
from keras_setr.layers.resampling import resize_nearest
from keras_setr.layers.resampling import upsample_bilinear


def _dropout(rate, dtype):
    """Whole channels are dropped, as before every classifier of these."""
    return keras.layers.SpatialDropout2D(
        rate, data_format="channels_last", dtype=dtype, name="dropout"
    )


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    num_classes=integer(1),
    filters=WIDTH,
    num_convolutions=DEPTH,
    dilation_rate=FACTOR,
    concatenate_input=flag(),
    dropout_rate=dropped(),
    use_batch_norm=flag(),
)
class FCNHead(keras.layers.Layer):
    """3x3 convolutions and a classifier (arXiv 1411.4038).

    `(B, h, w, D)` becomes float logits `(B, h, w, K)`.

    Args:
        num_classes: int. K.
        filters: int. Channels of the convolutions.
        num_convolutions: int. One after another.
        dilation_rate: int. Of these.
        concatenate_input: bool. Whether one more reads the features beside
            what came of them.
        dropout_rate: float. Of channels before the classifier.
        use_batch_norm: bool. Of the convolutions; see `ConvNormActivation`.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int = 512,
        num_convolutions: int = 2,
        dilation_rate: int = 1,
        concatenate_input: bool = True,
        dropout_rate: float = 0.1,
        use_batch_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.num_convolutions = num_convolutions
        self.dilation_rate = dilation_rate
        self.concatenate_input = concatenate_input
        self.dropout_rate = dropout_rate
        self.use_batch_norm = use_batch_norm
        policy = self.dtype_policy
        common = {"use_norm": use_batch_norm, "dtype": policy}
        self.convolutions = [
            ConvNormActivation(
                filters,
                3,
                dilation_rate=dilation_rate,
                name=f"convolution_{index}",
                **common,
            )
            for index in range(num_convolutions)
        ]
        if concatenate_input:
            self.joint = ConvNormActivation(filters, 3, name="joint", **common)
        self.dropout = _dropout(dropout_rate, policy)
        self.classifier = build_classifier(num_classes, 1, policy)

    def build(self, features_shape):
        shape = tuple(features_shape)
        shape = build_in_turn(self.convolutions, shape)
        if self.concatenate_input:
            self.joint.build((*shape[:-1], shape[-1] + features_shape[-1]))
        self.classifier.build(shape)

    def call(self, features, training=None):
        x = self.stages(features, training)[-1]
        return self.classifier(self.dropout(x, training=training))

    def stages(self, features, training=None):
        """A list of the maps behind each convolution."""
        x, maps = features, []
        for convolution in self.convolutions:
            x = convolution(x, training=training)
            maps.append(x)
        if self.concatenate_input:
            x = ops.concatenate([features, x], axis=-1)
            maps.append(self.joint(x, training=training))
        return maps

    def compute_output_shape(self, features_shape):
        return (*features_shape[:-1], self.num_classes)

    def get_config(self):
        return {**super().get_config(), **config_of(self, FCNHead)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(*KERAS_ARGUMENTS, filters=WIDTH)
class FeaturePyramid(keras.layers.Layer):
    """A feature pyramid network (arXiv 1612.03144).

    A list of M maps `(B, h_l, w_l, D_l)`, the largest first, becomes a list
    of M maps `(B, h_l, w_l, filters)`: each is projected by a 1x1
    convolution, the next smaller one is added to it, its pixels repeated, and
    a 3x3 convolution follows. All have biases, none a norm.

    Args:
        filters: int.
    """

    def __init__(self, filters: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, maps_shapes):
        self.projections, self.fusions = [], []
        for index, shape in enumerate(maps_shapes):
            projection = self._convolution(1, f"projection_{index}")
            projection.build(shape)
            self.projections.append(projection)
            fusion = self._convolution(3, f"fusion_{index}")
            fusion.build((*shape[:-1], self.filters))
            self.fusions.append(fusion)

    def _convolution(self, kernel_size, name):
        return Convolution(
            self.filters, kernel_size, dtype=self.dtype_policy, name=name
        )

    def call(self, maps):
        fused = []
        smaller = None
        for index in reversed(range(len(maps))):
            x = self.projections[index](maps[index])
            if smaller is not None:
                x = x + resize_nearest(smaller, ops.shape(x)[1:3])
            fused.append(self.fusions[index](x))
            smaller = x
        return fused[::-1]

    def compute_output_shape(self, maps_shapes):
        return [(*shape[:-1], self.filters) for shape in maps_shapes]

    def get_config(self):
        return {**super().get_config(), **config_of(self, FeaturePyramid)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    num_classes=integer(1),
    filters=WIDTH,
    dropout_rate=dropped(),
    use_batch_norm=flag(),
)
class SemanticFPNHead(keras.layers.Layer):
    """Enlarge all maps to the first one's size, sum and classify.

    A list of M maps, each of half the size of the one before, becomes float
    logits `(B, h, w, K)` of the first one's size (arXiv 1901.02446, section
    3.1). Map l goes through `max(1, l - 1)` 3x3 convolutions with batch norm
    and ReLU, each but the first map's followed by a doubling.

    Args:
        num_classes: int. K.
        filters: int. Channels of the convolutions.
        dropout_rate: float. Of channels before the classifier.
        use_batch_norm: bool. Of the convolutions; see `ConvNormActivation`.
    """

    def __init__(
        self,
        num_classes: int,
        filters: int = 128,
        dropout_rate: float = 0.1,
        use_batch_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.filters = filters
        self.dropout_rate = dropout_rate
        self.use_batch_norm = use_batch_norm
        self.dropout = _dropout(dropout_rate, self.dtype_policy)
        self.classifier = build_classifier(num_classes, 1, self.dtype_policy)

    def build(self, maps_shapes):
        self.streams = []
        for level, shape in enumerate(maps_shapes):
            stream = [
                ConvNormActivation(
                    self.filters,
                    3,
                    use_norm=self.use_batch_norm,
                    dtype=self.dtype_policy,
                    name=f"stream_{level}_convolution_{index}",
                )
                for index in range(max(1, level))
            ]
            build_in_turn(stream, shape)
            self.streams.append(stream)
        self.classifier.build((*maps_shapes[0][:-1], self.filters))

    def call(self, maps, training=None):
        total = sum(self._streamed(maps, training))
        return self.classifier(self.dropout(total, training=training))

    def _streamed(self, maps, training=None):
        size = ops.shape(maps[0])[1:3]
        for level, (x, stream) in enumerate(zip(maps, self.streams)):
            for convolution in stream:
                x = convolution(x, training=training)
                if level:
                    x = upsample_bilinear(x, 2)
            # Sizes that were rounded up are a pixel too large here.
            yield resize_bilinear(x, size)

    def stages(self, maps):
        """A list of the map behind each stream, of the first one's size."""
        return list(self._streamed(maps))

    def compute_output_shape(self, maps_shapes):
        return (*maps_shapes[0][:-1], self.num_classes)

    def get_config(self):
        return {**super().get_config(), **config_of(self, SemanticFPNHead)}
