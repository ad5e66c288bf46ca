"""The baselines that the paper trains beside SETR (section 4.1)."""

from typing import Any

import keras

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.classes import Classes
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.models.baseline_heads import FCNHead
from keras_setr.models.baseline_heads import FeaturePyramid
from keras_setr.models.baseline_heads import SemanticFPNHead
from keras_setr.models.encoder import check_layers
from keras_setr.models.resnet import ResNetBackbone
from keras_setr.models.segmenter import COMMON
from keras_setr.models.segmenter import SETRSegmenter

_RULES = COMMON | {
    "backbone": instance("a ResNetBackbone", ResNetBackbone),
    "filters": WIDTH,
    "dropout_rate": number(0, below=1),
}


@keras.saving.register_keras_serializable(package="keras_setr")
class FCN(SETRSegmenter):
    """A dilated fully convolutional network (arXiv 1411.4038).

    The last stage of a ResNet through two 3x3 convolutions, a third one over
    these and the stage itself, and a classifier; then one bilinear step to
    the size of the image. An auxiliary head of one convolution reads the
    stage before.

    The baseline of the paper's Tables 1, 3, 4 and 5, on ResNet-50 or
    ResNet-101 with output stride 8. With 19 classes and the deep stem of
    mmsegmentation the first has 49,497,734 parameters:

        ResNet-50, deep stem  23,508,032 + 19,232          = 23,527,264
        two convolutions      9 * (2048 + 512) * 512       = 11,796,480
        third convolution     9 * (2048 + 512) * 512       = 11,796,480
        their batch norms     3 * 2 * 512                  =      3,072
        classifier            512 * 19 + 19                =      9,747
        auxiliary head        9 * 1024 * 256 + 2 * 256     =  2,359,808
        its classifier        256 * 19 + 19                =      4,883

    Args:
        backbone: a `ResNetBackbone`.
        num_classes: int, at least 2.
        auxiliary_stage: int in 1..L, the auxiliary head's input, or `None`
            for no such head.
        filters: int. Channels of the head's convolutions.
        auxiliary_filters: int. Of the auxiliary head's.
        dropout_rate: float. Of channels before the classifiers.
        align_corners: bool. Of the last resize; mmsegmentation has `True` for
            crops of 769 x 769.
        dilation_rate: int. Of the heads' convolutions, the third one apart;
            mmsegmentation's D6 has 6, on a ResNet of output stride 16.
        preprocessor, classes, auxiliary_weight, ignore_class, folded: as for
            `SETRPUP`.

    Example:

    ```python
    backbone = keras_setr.ResNetBackbone(
        **keras_setr.RESNET_50, output_stride=8, image_shape=(512, 512, 3)
    )
    model = keras_setr.FCN(backbone, num_classes=150)
    ```
    """

    backbone_cls = ResNetBackbone
    without_auxiliary = {"auxiliary_stage": None}

    @checked(
        *("name", "trainable"),
        **_RULES,
        auxiliary_stage=optional(integer()),
        auxiliary_filters=WIDTH,
        align_corners=flag(),
        dilation_rate=FACTOR,
    )
    def __init__(
        self,
        backbone: ResNetBackbone,
        num_classes: int,
        auxiliary_stage: int | None = 3,
        filters: int = 512,
        auxiliary_filters: int = 256,
        dropout_rate: float = 0.1,
        align_corners: bool = False,
        dilation_rate: int = 1,
        preprocessor: Any = "auto",
        classes: Classes | None = None,
        auxiliary_weight: float = 0.4,
        ignore_class: int | None = 255,
        folded: bool = False,
        **kwargs: Any,
    ) -> None:
        depth = backbone.num_layers
        if auxiliary_stage is not None:
            check_layers((auxiliary_stage,), depth, "auxiliary_stage")

        # === Functional model ===
        common = {
            "dilation_rate": dilation_rate,
            "dropout_rate": dropout_rate,
            "use_batch_norm": not folded,
            "dtype": backbone.dtype_policy,
        }
        head = FCNHead(num_classes, filters, name="decode_head", **common)
        auxiliary = []
        if auxiliary_stage is not None:
            auxiliary_head = FCNHead(
                num_classes,
                auxiliary_filters,
                num_convolutions=1,
                concatenate_input=False,
                name="auxiliary_head_0",
                **common,
            )
            auxiliary = [auxiliary_head(backbone.features[auxiliary_stage])]
        super().__init__(
            backbone,
            num_classes,
            head(backbone.features[depth]),
            auxiliary,
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            folded=folded,
            align_corners=align_corners,
            **kwargs,
        )

        # === Config ===
        self.auxiliary_stage = auxiliary_stage
        self.filters = filters
        self.auxiliary_filters = auxiliary_filters
        self.dropout_rate = dropout_rate
        self.align_corners = align_corners
        self.dilation_rate = dilation_rate

    def get_config(self):
        return {**config_of(self, FCN), **super().get_config()}


@keras.saving.register_keras_serializable(package="keras_setr")
class SemanticFPN(SETRSegmenter):
    """Semantic segmentation on a feature pyramid (arXiv 1901.02446).

    All stages of a ResNet are fused from the smallest map to the largest,
    enlarged to the size of the largest, a quarter of the image's, summed and
    classified. There is no auxiliary head.

    The baseline of the paper's Table 1(b), on ResNet-50 or ResNet-101 without
    dilation. With 19 classes and the deep stem of mmsegmentation the first
    has 28,497,907 parameters:

        ResNet-50, deep stem  23,508,032 + 19,232             = 23,527,264
        1x1 convolutions      (256 + .. + 2048) * 256 + 1,024 =    984,064
        3x3 convolutions      4 * (9 * 256 * 256 + 256)       =  2,360,320
        of four streams       4 * 9 * 256 * 128               =  1,179,648
        of two, and of one    3 * 9 * 128 * 128               =    442,368
        their batch norms     7 * 2 * 128                     =      1,792
        classifier            128 * 19 + 19                   =      2,451

    Args:
        backbone: a `ResNetBackbone` whose stages halve the size, so that
            `output_stride` is 32 for four of them.
        num_classes: int, at least 2.
        neck_filters: int. Channels of the pyramid.
        filters: int. Of the convolutions behind it.
        dropout_rate: float. Of channels before the classifier.
        preprocessor, classes, auxiliary_weight, ignore_class, folded: as for
            `SETRPUP`.

    Raises:
        ValueError: where a stage is as large as the one before.

    Example:

    ```python
    backbone = keras_setr.ResNetBackbone(
        **keras_setr.RESNET_50, image_shape=(512, 512, 3)
    )
    model = keras_setr.SemanticFPN(backbone, num_classes=150)
    ```
    """

    backbone_cls = ResNetBackbone

    @checked(*("name", "trainable"), **_RULES, neck_filters=WIDTH)
    def __init__(
        self,
        backbone: ResNetBackbone,
        num_classes: int,
        neck_filters: int = 256,
        filters: int = 128,
        dropout_rate: float = 0.1,
        preprocessor: Any = "auto",
        classes: Classes | None = None,
        auxiliary_weight: float = 0.4,
        ignore_class: int | None = 255,
        folded: bool = False,
        **kwargs: Any,
    ) -> None:
        if backbone.is_dilated:
            raise ValueError(
                "backbone must have stages of ever smaller maps. Received: "
                f"output_stride={backbone.output_stride} with "
                f"{backbone.num_layers} stages; leave output_stride at 32."
            )

        # === Functional model ===
        policy = backbone.dtype_policy
        neck = FeaturePyramid(neck_filters, dtype=policy, name="neck")
        head = SemanticFPNHead(
            num_classes,
            filters,
            dropout_rate=dropout_rate,
            use_batch_norm=not folded,
            dtype=policy,
            name="decode_head",
        )
        super().__init__(
            backbone,
            num_classes,
            head(neck([*backbone.features.values()])),
            (),
            preprocessor=preprocessor,
            classes=classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            folded=folded,
            **kwargs,
        )

        # === Config ===
        self.neck_filters = neck_filters
        self.filters = filters
        self.dropout_rate = dropout_rate

    def get_config(self):
        return {**config_of(self, SemanticFPN), **super().get_config()}
