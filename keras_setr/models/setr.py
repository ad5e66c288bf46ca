"""SETR with its three decoders (paper, section 3.3 and Figure 1)."""

import keras

from keras_setr.models.backbone import check_layers
from keras_setr.models.heads import MLAHead
from keras_setr.models.heads import MLANeck
from keras_setr.models.heads import UpsamplingHead
from keras_setr.models.segmenter import SETRSegmenter

# Z^l behind the auxiliary heads of T-Large (paper, section 4.1).
_NAIVE_AUXILIARY = (10, 15, 20)
_PUP_AUXILIARY = (10, 15, 20, 24)


def _scaled_layers(layers, num_layers):
    """T-Large's layers at the same relative depth of another encoder."""
    return tuple(sorted({-(-layer * num_layers // 24) for layer in layers}))


def _doublings(patch_size):
    """How many doublings bring patches back to pixels: 16 -> 4, 14 -> 4."""
    return max(1, (patch_size - 1).bit_length())


class _UpsamplingSegmenter(SETRSegmenter):
    """`SETRNaive` and `SETRPUP`: one `UpsamplingHead` on one Z^l."""

    def __init__(
        self,
        backbone,
        num_classes,
        feature_layer,
        auxiliary_layers,
        scales,
        kernel_size,
        filters,
        auxiliary_scales,
        auxiliary_kernel_size,
        auxiliary_filters,
        use_layer_norm,
        use_bias,
        preprocessor,
        classes,
        auxiliary_weight,
        ignore_class,
        **kwargs,
    ):
        self._check_num_classes(num_classes)
        depth = backbone.num_layers
        feature_layer = depth if feature_layer is None else feature_layer
        check_layers((feature_layer,), depth, "feature_layer")
        auxiliary_layers = tuple(auxiliary_layers)
        if auxiliary_layers:
            check_layers(auxiliary_layers, depth, "auxiliary_layers")

        # === Layers ===
        common = {
            "use_layer_norm": use_layer_norm,
            "use_bias": use_bias,
            "dtype": backbone.dtype_policy,
        }
        head = UpsamplingHead(
            num_classes,
            scales=scales,
            kernel_size=kernel_size,
            filters=filters,
            name="decode_head",
            **common,
        )
        auxiliary_heads = [
            UpsamplingHead(
                num_classes,
                scales=auxiliary_scales,
                kernel_size=auxiliary_kernel_size,
                filters=auxiliary_filters,
                name=f"auxiliary_head_{index}",
                **common,
            )
            for index in range(len(auxiliary_layers))
        ]

        # === Functional model ===
        features = backbone.features
        super().__init__(
            backbone,
            num_classes,
            logits=head(features[feature_layer]),
            auxiliary_logits=[
                auxiliary(features[layer])
                for auxiliary, layer in zip(auxiliary_heads, auxiliary_layers)
            ],
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            **kwargs,
        )

        # === Config ===
        self.feature_layer = feature_layer
        self.auxiliary_layers = auxiliary_layers
        self.scales = tuple(scales)
        self.kernel_size = kernel_size
        self.filters = filters
        self.auxiliary_scales = tuple(auxiliary_scales)
        self.auxiliary_kernel_size = auxiliary_kernel_size
        self.auxiliary_filters = auxiliary_filters
        self.use_layer_norm = use_layer_norm
        self.use_bias = use_bias

    def get_config(self):
        config = super().get_config()
        config.update(
            feature_layer=self.feature_layer,
            auxiliary_layers=self.auxiliary_layers,
            scales=self.scales,
            kernel_size=self.kernel_size,
            filters=self.filters,
            auxiliary_scales=self.auxiliary_scales,
            auxiliary_kernel_size=self.auxiliary_kernel_size,
            auxiliary_filters=self.auxiliary_filters,
            use_layer_norm=self.use_layer_norm,
            use_bias=self.use_bias,
        )
        return config


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRNaive(_UpsamplingSegmenter):
    """SETR with naive upsampling (paper, section 3.3 (1)).

    Z^L through a 1x1 convolution, batch norm, ReLU and a 1x1 convolution to
    the classes, then one bilinear step to the size of the image.

    Args:
        backbone: a `SETRBackbone`.
        num_classes: int, at least 2.
        feature_layer: int in 1..L, the decoder's input. Defaults to L.
        auxiliary_layers: sequence of int in 1..L, one auxiliary head each;
            `()` for none. Defaults to the paper's (10, 15, 20) of 24, or the
            same relative depths.
        scales: upsampling after each convolution of the head;
            mmsegmentation's is `(4,)`.
        kernel_size: int, of these convolutions.
        filters: int, their channels.
        auxiliary_scales, auxiliary_kernel_size, auxiliary_filters: the same
            for the auxiliary heads, by default the paper's 2-layer network.
        use_layer_norm: bool. LayerNorm at the head of each head.
        use_bias: bool. Bias before the heads' batch norms, as the authors'
            checkpoints have it.
        preprocessor: `"auto"` for a `SETRImageSegmenterPreprocessor` with the
            published mean and std, your own, or `None` for images that are
            normalised already.
        classes: `keras_setr.Classes` or its config, names and colours.
        auxiliary_weight: float. Of each auxiliary loss.
        ignore_class: int. The label that counts nowhere.

    Example:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_SMALL, image_shape=(480, 480, 3)
    )
    model = keras_setr.SETRNaive(backbone, num_classes=60)
    model.fit(images, labels, epochs=10)
    ```
    """

    def __init__(
        self,
        backbone,
        num_classes,
        feature_layer=None,
        auxiliary_layers=None,
        scales=(1,),
        kernel_size=1,
        filters=256,
        auxiliary_scales=(1,),
        auxiliary_kernel_size=1,
        auxiliary_filters=256,
        use_layer_norm=True,
        use_bias=False,
        preprocessor="auto",
        classes=None,
        auxiliary_weight=0.4,
        ignore_class=255,
        **kwargs,
    ):
        if auxiliary_layers is None:
            auxiliary_layers = _scaled_layers(
                _NAIVE_AUXILIARY, backbone.num_layers
            )
        super().__init__(
            backbone,
            num_classes,
            feature_layer=feature_layer,
            auxiliary_layers=auxiliary_layers,
            scales=scales,
            kernel_size=kernel_size,
            filters=filters,
            auxiliary_scales=auxiliary_scales,
            auxiliary_kernel_size=auxiliary_kernel_size,
            auxiliary_filters=auxiliary_filters,
            use_layer_norm=use_layer_norm,
            use_bias=use_bias,
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRPUP(_UpsamplingSegmenter):
    """SETR with progressive upsampling (paper, section 3.3 (2), Figure 1b).

    Z^L through 3x3 convolutions with batch norm and ReLU, each followed by a
    doubling, so that four doublings lead from patches of 16 to pixels. The
    last one follows the classifier, with which it commutes.

    Args:
        backbone: a `SETRBackbone`.
        num_classes: int, at least 2.
        feature_layer: int in 1..L, the decoder's input. Defaults to L.
        auxiliary_layers: sequence of int in 1..L, one auxiliary head each;
            `()` for none. Defaults to the paper's (10, 15, 20, 24) of 24, or
            the same relative depths. mmsegmentation leaves the last one out.
        scales: upsampling after each convolution of the head. Defaults to
            doublings up to half the image's size, `(2, 2, 2, 1)` for patches
            of 16; mmsegmentation's `(2, 2, 2, 2)` gives the same logits.
        kernel_size: int, of these convolutions.
        filters: int, their channels.
        auxiliary_scales, auxiliary_kernel_size, auxiliary_filters: the same
            for the auxiliary heads, by default the paper's 2-layer network;
            the authors' code has `(4,)` and 3, mmsegmentation `(4, 4)` and 3.
        use_layer_norm: bool. LayerNorm at the head of each head.
        use_bias: bool. Bias before the heads' batch norms, as the authors'
            checkpoints have it.
        preprocessor: `"auto"` for a `SETRImageSegmenterPreprocessor` with the
            published mean and std, your own, or `None` for images that are
            normalised already.
        classes: `keras_setr.Classes` or its config, names and colours.
        auxiliary_weight: float. Of each auxiliary loss.
        ignore_class: int. The label that counts nowhere.

    Example:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_LARGE, image_shape=(512, 512, 3)
    )
    model = keras_setr.SETRPUP(backbone, num_classes=150)
    model.fit(images, labels, epochs=10)
    labels = model.segment("street.jpg")
    ```
    """

    def __init__(
        self,
        backbone,
        num_classes,
        feature_layer=None,
        auxiliary_layers=None,
        scales=None,
        kernel_size=3,
        filters=256,
        auxiliary_scales=(1,),
        auxiliary_kernel_size=1,
        auxiliary_filters=256,
        use_layer_norm=True,
        use_bias=False,
        preprocessor="auto",
        classes=None,
        auxiliary_weight=0.4,
        ignore_class=255,
        **kwargs,
    ):
        if auxiliary_layers is None:
            auxiliary_layers = _scaled_layers(
                _PUP_AUXILIARY, backbone.num_layers
            )
        if scales is None:
            doublings = _doublings(backbone.patch_size)
            scales = (2,) * (doublings - 1) + (1,)
        super().__init__(
            backbone,
            num_classes,
            feature_layer=feature_layer,
            auxiliary_layers=auxiliary_layers,
            scales=scales,
            kernel_size=kernel_size,
            filters=filters,
            auxiliary_scales=auxiliary_scales,
            auxiliary_kernel_size=auxiliary_kernel_size,
            auxiliary_filters=auxiliary_filters,
            use_layer_norm=use_layer_norm,
            use_bias=use_bias,
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRMLA(SETRSegmenter):
    """SETR with multi-level feature aggregation (paper, section 3.3 (3)).

    M layers, evenly spaced, are projected, summed from the deepest to the
    shallowest, refined, enlarged fourfold, concatenated and classified. The
    text halves the channels at the first and third convolution of a stream:
    D, D / 2, D / 2, D / 4. Both published codes have 256, 128, 128 instead.

    Args:
        backbone: a `SETRBackbone`.
        num_classes: int, at least 2.
        feature_layers: sequence of int in 1..L, shallow first. Defaults to
            `(L / 4, L / 2, 3 * L / 4, L)`, rounded up.
        neck_filters: int. Channels after the first convolution. Defaults to
            D / 2; published codes 256.
        head_filters: `(int, int)`. Of the second and third convolution.
            Defaults to `(D / 2, D / 4)`; published codes `(128, 128)`.
        align_corners: bool. Of the fourfold upsampling; authors' code `True`.
        classifier_kernel_size: int. Authors' code 3.
        auxiliary: `"encoder"` for an auxiliary 2-layer head on each of the
            `feature_layers` (paper, section 4.1), `"neck"` for a classifier
            on each map of the neck (both published codes), or `None`.
        auxiliary_filters: int. Channels of the 2-layer heads.
        use_layer_norm: bool. LayerNorm on the encoder's features first.
        preprocessor, classes, auxiliary_weight, ignore_class: as for
            `SETRPUP`.

    Example:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_LARGE, image_shape=(512, 512, 3)
    )
    model = keras_setr.SETRMLA(backbone, num_classes=150)
    ```
    """

    def __init__(
        self,
        backbone,
        num_classes,
        feature_layers=None,
        neck_filters=None,
        head_filters=None,
        align_corners=False,
        classifier_kernel_size=1,
        auxiliary="encoder",
        auxiliary_filters=256,
        use_layer_norm=True,
        preprocessor="auto",
        classes=None,
        auxiliary_weight=0.4,
        ignore_class=255,
        **kwargs,
    ):
        self._check_num_classes(num_classes)
        depth, dim = backbone.num_layers, backbone.hidden_dim
        if feature_layers is None:
            feature_layers = _scaled_layers((6, 12, 18, 24), depth)
        feature_layers = tuple(feature_layers)
        check_layers(feature_layers, depth, "feature_layers")
        if auxiliary not in ("encoder", "neck", None):
            raise ValueError(
                'auxiliary must be "encoder", "neck" or None. Received: '
                f"{auxiliary!r}."
            )
        if neck_filters is None:
            neck_filters = dim // 2
        if head_filters is None:
            head_filters = (dim // 2, dim // 4)

        # === Layers ===
        policy = backbone.dtype_policy
        neck = MLANeck(
            neck_filters,
            use_layer_norm=use_layer_norm,
            dtype=policy,
            name="neck",
        )
        head = MLAHead(
            num_classes,
            head_filters,
            align_corners=align_corners,
            classifier_kernel_size=classifier_kernel_size,
            dtype=policy,
            name="decode_head",
        )
        on_encoder = auxiliary == "encoder"
        auxiliary_heads = [
            UpsamplingHead(
                num_classes,
                scales=(1,) if on_encoder else (),
                kernel_size=1,
                filters=auxiliary_filters,
                use_layer_norm=use_layer_norm and on_encoder,
                dtype=policy,
                name=f"auxiliary_head_{index}",
            )
            for index in range(len(feature_layers) if auxiliary else 0)
        ]

        # === Functional model ===
        features = [backbone.features[layer] for layer in feature_layers]
        maps = neck(features)
        super().__init__(
            backbone,
            num_classes,
            logits=head(maps),
            auxiliary_logits=[
                auxiliary_head(x)
                for auxiliary_head, x in zip(
                    auxiliary_heads, features if on_encoder else maps
                )
            ],
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            **kwargs,
        )

        # === Config ===
        self.feature_layers = feature_layers
        self.neck_filters = neck_filters
        self.head_filters = tuple(head_filters)
        self.align_corners = align_corners
        self.classifier_kernel_size = classifier_kernel_size
        self.auxiliary = auxiliary
        self.auxiliary_filters = auxiliary_filters
        self.use_layer_norm = use_layer_norm

    def get_config(self):
        config = super().get_config()
        config.update(
            feature_layers=self.feature_layers,
            neck_filters=self.neck_filters,
            head_filters=self.head_filters,
            align_corners=self.align_corners,
            classifier_kernel_size=self.classifier_kernel_size,
            auxiliary=self.auxiliary,
            auxiliary_filters=self.auxiliary_filters,
            use_layer_norm=self.use_layer_norm,
        )
        return config
