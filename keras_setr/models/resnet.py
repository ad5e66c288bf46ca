"""ResNets as encoders: whole, dilated, or cut (arXiv 1512.03385)."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import sequence
from keras_setr.facts.encoders import RESNETS
from keras_setr.layers.constructor import DEPTH
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import config_of
from keras_setr.layers.residual import CONVOLUTIONS
from keras_setr.layers.residual import Bottleneck
from keras_setr.layers.residual import ResNetStem
from keras_setr.models import keras_internals
from keras_setr.models.encoder import IMAGE_SHAPE
from keras_setr.models.encoder import Encoder

RESNET_50 = dict(RESNETS["resnet50"])
RESNET_101 = dict(RESNETS["resnet101"])

# Strides of the stem, and with it of stage 1.
_STEM_STRIDE = 4
# Where the images' size is not known.
_NATIVE_SIDE = 512


@keras.saving.register_keras_serializable(package="keras_setr")
class ResNetBackbone(Encoder):
    """A ResNet of bottlenecks that keeps the features of all of its stages.

    Calling it maps images `(B, H, W, C)` of any size to the last stage,
    `(B, H / S, W / S, D)` for output stride S, rounded up. `features` holds
    each stage, 1-based.

    ResNet-50 has 23,508,032 parameters, and 53,120 moving statistics:

        stem     7 * 7 * 3 * 64 + 2 * 64                     =      9,536
        stage 1  3 blocks to  256, 64 inside                  =    215,808
        stage 2  4 blocks to  512, 128 inside                 =  1,219,584
        stage 3  6 blocks to 1024, 256 inside                 =  7,098,368
        stage 4  3 blocks to 2048, 512 inside                 = 14,964,736

    where a block from C to 4 F channels, F inside, has
    C F + 9 F F + 4 F F + 12 F, and the first of a stage 4 C F + 8 F more.

    KerasHub's `ResNetBackbone` has no dilation; its presets of bottlenecks
    without pre-activation load here by `from_preset`.

    Args:
        num_blocks: sequence of int. Blocks of each stage; `RESNET_50` and
            `RESNET_101` are the published ones.
        output_stride: int, 8, 16 or 32. From where on stages keep the size
            of their input.
        late_stages: `"dilated"` or `"cut"`. What happens to the stages that
            would go beyond `output_stride`. Dilated, they see as far as
            before: the 3x3 kernels of a stage are spread by 2, 4, .., those
            of its first block half as far, as in mmsegmentation
            (`contract_dilation`). Cut, they are left out.
        filters: int. Channels inside stage 1; each stage doubles them.
        deep_stem: bool. Three 3x3 convolutions for the 7x7 one, as in
            mmsegmentation's `ResNetV1c`.
        norm: `"batch"`, or `"group"` for the ResNet of Google's hybrid: group
            norm, weight-standardised convolutions, TensorFlow's padding.
            `None` has biases in the place of batch norm, which
            `for_inference` of a model folds into them.
        image_shape: `(int, int, int)`. Height, width and channels of the
            images; height and width may be `None`.
        dtype: a Keras dtype or policy.

    Raises:
        ValueError: where the stages end before `output_stride`.
    """

    @checked(
        *("name", "trainable"),
        num_blocks=sequence(DEPTH, minimum_length=1, maximum_length=7),
        output_stride=choice(8, 16, 32),
        late_stages=choice("dilated", "cut"),
        # The last stage gives 32 times as many.
        filters=FACTOR,
        deep_stem=flag(),
        norm=choice(*CONVOLUTIONS),
        image_shape=IMAGE_SHAPE,
    )
    def __init__(
        self,
        num_blocks: Sequence[int] = RESNET_50["num_blocks"],
        output_stride: int = 32,
        late_stages: str = "dilated",
        filters: int = 64,
        deep_stem: bool = False,
        norm: str | None = "batch",
        image_shape: Sequence[int | None] = (None, None, 3),
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        last_stride = _STEM_STRIDE * 2 ** (len(num_blocks) - 1)
        if output_stride > last_stride:
            raise ValueError(
                f"output_stride must be at most {last_stride}, that of "
                f"{len(num_blocks)} stages. Received: {output_stride}."
            )

        # === Functional model ===
        images = keras.Input(image_shape, name="images")
        x = ResNetStem(
            filters, deep=deep_stem, norm=norm, dtype=dtype, name="stem"
        )(images)
        self.features, depths = {}, {"stem": 0}
        stride, dilation = _STEM_STRIDE, 1
        for stage, count in enumerate(num_blocks, start=1):
            strides, first_dilation = 1, dilation
            if stage > 1 and stride < output_stride:
                strides, stride = 2, 2 * stride
            elif stage > 1:
                dilation *= 2
            if dilation > 1 and late_stages == "cut":
                break
            for index in range(count):
                name = f"stage_{stage}_block_{index + 1}"
                depths[name] = stage
                x = Bottleneck(
                    filters * 2 ** (stage - 1),
                    strides if index == 0 else 1,
                    first_dilation if index == 0 else dilation,
                    norm=norm,
                    dtype=dtype,
                    name=name,
                )(x)
            self.features[stage] = x
        super().__init__(inputs=images, outputs=x, dtype=dtype, **kwargs)
        self._depths = depths

        self.num_layers = len(self.features)

        # === Config ===
        self.num_blocks = num_blocks
        self.output_stride = output_stride
        self.late_stages = late_stages
        self.filters = filters
        self.deep_stem = deep_stem
        self.norm = norm
        self.image_shape = image_shape
        keras_internals.register_parameters(self)

    @property
    def hidden_dim(self) -> int:
        """Channels of the last stage."""
        return self.features[self.num_layers].shape[-1]

    @property
    def is_dilated(self) -> bool:
        """Whether a stage keeps the size of the one before."""
        return self.output_stride < _STEM_STRIDE * 2 ** (self.num_layers - 1)

    @property
    def arguments(self) -> dict[str, Any]:
        """What its layers are made of: not the images, names nor policy."""
        arguments = config_of(self, ResNetBackbone)
        return {
            name: value
            for name, value in arguments.items()
            if name not in ("image_shape", "dtype")
        }

    def apply_to(self, images: Any) -> Any:
        """The last stage of images, by the same layers, one after another."""
        x = images
        for layer in self.layers[1:]:
            x = layer(x)
        return x

    @property
    def summary_line(self) -> str:
        blocks = ", ".join(map(str, self.num_blocks[: self.num_layers]))
        return (
            f"ResNet of {blocks} blocks, {self.hidden_dim} channels, output "
            f"stride {self.output_stride}"
        )

    @property
    def native_size(self) -> tuple[int, ...]:
        """`(H, W)` of `image_shape`, 512 where it is not known."""
        return tuple(side or _NATIVE_SIDE for side in self.image_shape[:2])

    @property
    def depths(self) -> dict[str, int]:
        return dict(self._depths)

    def get_config(self):
        return {**config_of(self, ResNetBackbone), **super().get_config()}
