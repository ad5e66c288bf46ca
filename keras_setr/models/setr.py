"""SETR with its three decoders (paper, section 3.3 and Figure 1)."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.classes import Classes
from keras_setr.facts.decoders import LAYERS
from keras_setr.facts.decoders import scaled_layers
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import KERNEL
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.encoder import check_layers
from keras_setr.models.heads import MLAHead
from keras_setr.models.heads import MLANeck
from keras_setr.models.heads import UpsamplingHead
from keras_setr.models.heads import with_present_names
from keras_setr.models.segmenter import COMMON
from keras_setr.models.segmenter import SETRSegmenter


def _within_patch(upsampling, patch_size):
    """The factors, without those that enlarge beyond the pixels.

    Convolutions work at up to half the image's size; 16 times counts as the
    size for patches of 14, too.
    """
    limit = 2 ** (patch_size - 1).bit_length()
    fitting: list[int] = []
    for index, factor in enumerate(upsampling):
        last = index == len(upsampling) - 1
        enlarged = math.prod(fitting) * factor
        fits = enlarged <= (limit if last else limit // 2)
        fitting.append(factor if fits else 1)
    return tuple(fitting)


def _left_to_resize(upsampling, patch_size):
    """The factors of a head whose logits are resized to the image.

    A last factor that leads to the pixels stands behind the classifier, where
    it is that very resize. Left to it, the loss needs no logits, nor their
    gradient, at the size of the image.
    """
    if upsampling and math.prod(upsampling) == patch_size:
        return (*upsampling[:-1], 1)
    return upsampling


class _UpsamplingSegmenter(SETRSegmenter):
    """`SETRNaive` and `SETRPUP`: one `UpsamplingHead` on one Z^l.

    What `None` stands for differs between the two: `_auxiliary_layers` of
    T-Large, `_kernel_size`, and `_upsampling` of patches.
    """

    without_auxiliary = {"auxiliary_layers": ()}

    @checked(
        *("name", "trainable"),
        **COMMON,
        use_layer_norm=flag(),
        feature_layer=optional(integer()),
        auxiliary_layers=optional(sequence(integer())),
        upsampling=optional(sequence(FACTOR, maximum_length=16)),
        kernel_size=optional(KERNEL),
        filters=WIDTH,
        auxiliary_upsampling=sequence(FACTOR, maximum_length=16),
        auxiliary_kernel_size=KERNEL,
        auxiliary_filters=WIDTH,
        use_bias=flag(),
    )
    def __init__(
        self,
        backbone: SETRBackbone,
        num_classes: int,
        feature_layer: int | None = None,
        auxiliary_layers: Sequence[int] | None = None,
        upsampling: Sequence[int] | None = None,
        kernel_size: int | None = None,
        filters: int = 256,
        auxiliary_upsampling: Sequence[int] | None = (1,),
        auxiliary_kernel_size: int = 1,
        auxiliary_filters: int = 256,
        use_layer_norm: bool = True,
        use_bias: bool = False,
        preprocessor: Any = "auto",
        classes: Classes | None = None,
        auxiliary_weight: float = 0.4,
        ignore_class: int | None = 255,
        folded: bool = False,
        **kwargs: Any,
    ) -> None:
        depth = backbone.num_layers
        if feature_layer is None:
            feature_layer = depth
        check_layers((feature_layer,), depth, "feature_layer")
        if auxiliary_layers is None:
            auxiliary_layers = scaled_layers(self._auxiliary_layers, depth)
        if auxiliary_layers:
            check_layers(auxiliary_layers, depth, "auxiliary_layers")
        if upsampling is None:
            upsampling = self._upsampling(backbone.patch_size)
        if kernel_size is None:
            kernel_size = self._kernel_size

        # === Functional model ===
        def logits(layer, name, upsampling, kernel_size, filters):
            head = UpsamplingHead(
                num_classes,
                _left_to_resize(upsampling, backbone.patch_size),
                kernel_size,
                filters,
                use_layer_norm=use_layer_norm,
                use_bias=use_bias,
                use_batch_norm=not folded,
                dtype=backbone.dtype_policy,
                name=name,
            )
            return head(backbone.features[layer])

        main = upsampling, kernel_size, filters
        left = _left_to_resize(upsampling, backbone.patch_size)
        auxiliary = (
            auxiliary_upsampling,
            auxiliary_kernel_size,
            auxiliary_filters,
        )
        super().__init__(
            backbone,
            num_classes,
            logits(feature_layer, "decode_head", *main),
            [
                logits(layer, f"auxiliary_head_{index}", *auxiliary)
                for index, layer in enumerate(auxiliary_layers)
            ],
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            folded=folded,
            left_to_resize=math.prod(upsampling) // math.prod(left),
            **kwargs,
        )

        # === Config ===
        self.feature_layer = feature_layer
        self.auxiliary_layers = auxiliary_layers
        self.upsampling = upsampling
        self.kernel_size = kernel_size
        self.filters = filters
        self.auxiliary_upsampling = auxiliary_upsampling
        self.auxiliary_kernel_size = auxiliary_kernel_size
        self.auxiliary_filters = auxiliary_filters
        self.use_layer_norm = use_layer_norm
        self.use_bias = use_bias

    @classmethod
    def fit_to_patches(
        cls, arguments: dict[str, Any], patch_size: int
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        arguments = dict(arguments)
        notes = []
        for name in ("upsampling", "auxiliary_upsampling"):
            factors = tuple(arguments[name])
            fitting = _within_patch(factors, patch_size)
            if fitting != factors:
                notes.append(f"decoder kept: {name} {factors} -> {fitting}")
            arguments[name] = fitting
        count = len(arguments["upsampling"])
        needed = len(cls._upsampling(patch_size))
        if count < needed:
            notes.append(
                f"decoder kept: {count} convolutions, where patches of "
                f"{patch_size} would get {needed}; the rest is bilinear"
            )
        return arguments, tuple(notes)

    def get_config(self):
        own = config_of(self, _UpsamplingSegmenter)
        return {**own, **super().get_config()}

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_present_names(config))


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
        upsampling: sequence of int. Factor after each convolution of the
            head. Defaults to `(1,)`; mmsegmentation's is `(4,)`.
        kernel_size: int. Of these convolutions, by default 1.
        filters, auxiliary_upsampling, auxiliary_kernel_size,
            auxiliary_filters, use_layer_norm, use_bias, preprocessor,
            classes, auxiliary_weight, ignore_class, folded: as for `SETRPUP`.

    Example:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_SMALL, image_shape=(480, 480, 3)
    )
    model = keras_setr.SETRNaive(backbone, num_classes=60)
    model.fit(images, labels, epochs=10)
    ```
    """

    _auxiliary_layers = LAYERS["naive", 24]
    _kernel_size = 1

    @staticmethod
    def _upsampling(patch_size):
        return (1,)


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
        upsampling: sequence of int. Factor after each convolution of the
            head. Defaults to doublings up to half the image's size,
            `(2, 2, 2, 1)` for patches of 16; mmsegmentation's `(2, 2, 2, 2)`
            gives the same logits.
        kernel_size: int. Of these convolutions, by default 3.
        filters: int. Their channels.
        auxiliary_upsampling, auxiliary_kernel_size, auxiliary_filters: the
            same for the auxiliary heads, by default the paper's 2-layer
            network; the authors' code has `(4,)` and 3, mmsegmentation
            `(4, 4)` and 3.
        use_layer_norm: bool. LayerNorm at the head of each head.
        use_bias: bool. Bias before the heads' batch norms, as the authors'
            checkpoints have it.
        preprocessor: `"auto"` for a `SETRImageSegmenterPreprocessor` with the
            published mean and std of RGB, your own, or `None` for images
            that are normalised already.
        classes: `keras_setr.Classes` or its config, names and colours.
        auxiliary_weight: float of at least 0. Of each auxiliary loss.
        ignore_class: int. The label that counts nowhere, or `None`.
        folded: bool. What `for_inference` sets: no batch norm, no training.

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

    _auxiliary_layers = LAYERS["pup", 24]
    _kernel_size = 3

    @staticmethod
    def _upsampling(patch_size):
        # How many doublings bring patches back to pixels: 16 -> 4, 14 -> 4.
        doublings = max(1, (patch_size - 1).bit_length())
        return (2,) * (doublings - 1) + (1,)


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
        preprocessor, classes, auxiliary_weight, ignore_class, folded: as for
            `SETRPUP`.

    Example:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_LARGE, image_shape=(512, 512, 3)
    )
    model = keras_setr.SETRMLA(backbone, num_classes=150)
    ```
    """

    without_auxiliary = {"auxiliary": None}

    @checked(
        *("name", "trainable"),
        **COMMON,
        use_layer_norm=flag(),
        feature_layers=optional(sequence(integer())),
        neck_filters=optional(WIDTH),
        head_filters=optional(sequence(WIDTH, length=2)),
        align_corners=flag(),
        classifier_kernel_size=KERNEL,
        auxiliary=choice("encoder", "neck", None),
        auxiliary_filters=WIDTH,
    )
    def __init__(
        self,
        backbone: SETRBackbone,
        num_classes: int,
        feature_layers: Sequence[int] | None = None,
        neck_filters: int | None = None,
        head_filters: tuple[int, int] | None = None,
        align_corners: bool = False,
        classifier_kernel_size: int = 1,
        auxiliary: str | None = "encoder",
        auxiliary_filters: int = 256,
        use_layer_norm: bool = True,
        preprocessor: Any = "auto",
        classes: Classes | None = None,
        auxiliary_weight: float = 0.4,
        ignore_class: int | None = 255,
        folded: bool = False,
        **kwargs: Any,
    ) -> None:
        depth, dim = backbone.num_layers, backbone.hidden_dim
        if feature_layers is None:
            feature_layers = scaled_layers(LAYERS["mla", 24], depth)
        check_layers(feature_layers, depth, "feature_layers")
        if neck_filters is None:
            neck_filters = dim // 2
        if head_filters is None:
            head_filters = (dim // 2, dim // 4)

        # === Functional model ===
        policy = backbone.dtype_policy
        features = [backbone.features[layer] for layer in feature_layers]
        neck = MLANeck(
            neck_filters,
            use_layer_norm=use_layer_norm,
            use_batch_norm=not folded,
            dtype=policy,
            name="neck",
        )
        head = MLAHead(
            num_classes,
            head_filters,
            align_corners=align_corners,
            classifier_kernel_size=classifier_kernel_size,
            use_batch_norm=not folded,
            dtype=policy,
            name="decode_head",
        )
        on_encoder = auxiliary == "encoder"
        auxiliary_heads = [
            UpsamplingHead(
                num_classes,
                upsampling=(1,) if on_encoder else (),
                kernel_size=1,
                filters=auxiliary_filters,
                use_layer_norm=use_layer_norm and on_encoder,
                use_batch_norm=not folded,
                dtype=policy,
                name=f"auxiliary_head_{index}",
            )
            for index in range(len(feature_layers) if auxiliary else 0)
        ]
        maps = neck(features)
        inputs = features if on_encoder else maps
        super().__init__(
            backbone,
            num_classes,
            head(maps),
            [head(x) for head, x in zip(auxiliary_heads, inputs)],
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            folded=folded,
            **kwargs,
        )

        # === Config ===
        self.feature_layers = feature_layers
        self.neck_filters = neck_filters
        self.head_filters = head_filters
        self.align_corners = align_corners
        self.classifier_kernel_size = classifier_kernel_size
        self.auxiliary = auxiliary
        self.auxiliary_filters = auxiliary_filters
        self.use_layer_norm = use_layer_norm

    def get_config(self):
        return {**config_of(self, SETRMLA), **super().get_config()}
