"""How ResNets name their tensors, alone and in front of a transformer.

Sources: torchvision, mmsegmentation 1.2, timm's hybrid of ResNet and ViT, and
KerasHub, as their files have them. Strides, dilation and where a ResNet is
cut are not in a file.
"""

import dataclasses
import functools

from keras_setr.checkpoints.layouts.encoders import Encoder
from keras_setr.checkpoints.layouts.encoders import Part
from keras_setr.checkpoints.layouts.namings import CLASSIFIER
from keras_setr.checkpoints.layouts.namings import COUNTER
from keras_setr.checkpoints.layouts.namings import KERAS
from keras_setr.checkpoints.layouts.namings import TORCH
from keras_setr.checkpoints.layouts.namings import Arrays
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.transfer import TensorRule

_CUT = "the model is cut before this stage"

# Ours, in a bottleneck.
_PARTS = ("reduction", "spatial", "expansion", "shortcut")


@dataclasses.dataclass(frozen=True)
class ResNetNames:
    """What a naming calls the parts of a ResNet.

    Attributes:
        name: str. For messages.
        prefixes: tuple of str. What files may have before every name.
        arrays: `Arrays`. A framework's words.
        stem: `(convolution, norm)`, the start of their tensors' names.
        deep_stem: the same of three convolutions, or `()`.
        parts: `(convolution, norm)` of each of `_PARTS`, with `{s}` and `{b}`
            for the stage and the block, `{n}` for the stage from 1 on.
        statistics: `(mean, variance)` of a batch norm; `None` of group norms.
        ignored: tuple of `(pattern, reason)`.
    """

    name: str
    prefixes: tuple
    arrays: Arrays
    stem: tuple
    deep_stem: tuple
    parts: tuple
    statistics: tuple | None
    ignored: tuple = ()

    @property
    def signature(self):
        """Names of the tensors by which a file is known to have the naming."""
        expansion, _ = self.parts[2]
        return ((expansion + self.arrays.kernel).format(s=0, n=1, b=0),)


TORCHVISION = ResNetNames(
    name="torchvision or mmsegmentation ResNet",
    prefixes=("", "backbone."),
    arrays=TORCH,
    stem=("conv1.", "bn1."),
    deep_stem=(
        ("stem.0.", "stem.1."),
        ("stem.3.", "stem.4."),
        ("stem.6.", "stem.7."),
    ),
    parts=(
        *(
            (f"layer{{n}}.{{b}}.conv{i}.", f"layer{{n}}.{{b}}.bn{i}.")
            for i in (1, 2, 3)
        ),
        ("layer{n}.{b}.downsample.0.", "layer{n}.{b}.downsample.1."),
    ),
    statistics=("running_mean", "running_var"),
    ignored=((r"fc\..*", CLASSIFIER), COUNTER),
)
TIMM_HYBRID = ResNetNames(
    name="timm hybrid",
    prefixes=("patch_embed.backbone.", "backbone.patch_embed.backbone."),
    arrays=TORCH,
    stem=("stem.conv.", "stem.norm."),
    deep_stem=(),
    parts=(
        *(
            (
                f"stages.{{s}}.blocks.{{b}}.conv{i}.",
                f"stages.{{s}}.blocks.{{b}}.norm{i}.",
            )
            for i in (1, 2, 3)
        ),
        (
            "stages.{s}.blocks.{b}.downsample.conv.",
            "stages.{s}.blocks.{b}.downsample.norm.",
        ),
    ),
    statistics=None,
)
KERAS_HUB = ResNetNames(
    name="KerasHub ResNet",
    prefixes=("",),
    arrays=KERAS,
    stem=("conv1_conv/", "conv1_bn/"),
    deep_stem=(),
    parts=tuple(
        (f"stack{{s}}_block{{b}}_{i}_conv/", f"stack{{s}}_block{{b}}_{i}_bn/")
        for i in (1, 2, 3, 0)
    ),
    statistics=("moving_mean", "moving_variance"),
)

RESNETS = (TORCHVISION, TIMM_HYBRID, KERAS_HUB)


class ResNet(Part):
    """The ResNet of bottlenecks in one checkpoint, under one `ResNetNames`."""

    backbone_class = "ResNetBackbone"

    def _kernel(self, convolution, stage=0, block=0):
        name = self.prefix + convolution + self.names.arrays.kernel
        return name.format(s=stage, n=stage + 1, b=block)

    def _has(self, convolution, stage=0, block=0):
        return (
            self._kernel(convolution, stage, block) in self.checkpoint.tensors
        )

    @functools.cached_property
    def num_blocks(self):
        """Of each stage."""
        expansion = self.names.parts[2][0]
        counts = []
        while self._has(expansion, len(counts)):
            block = 0
            while self._has(expansion, len(counts), block):
                block += 1
            counts.append(block)
        return tuple(counts)

    @functools.cached_property
    def stem(self):
        """`(convolution, norm)` of each convolution of the stem."""
        if self._has(self.names.stem[0]):
            return (self.names.stem,)
        return self.names.deep_stem

    def _shape(self, convolution):
        """`(h, w, C, F)` of a kernel."""
        shape = self.checkpoint.shape(self._kernel(convolution))
        return self.names.arrays.patch_shape(shape)

    @property
    def channels(self):
        """Of the images."""
        return self._shape(self.stem[0][0])[2]

    @property
    def num_layers(self):
        """Stages."""
        return len(self.num_blocks)

    @property
    def last_stride(self):
        """Of the last stage in the image, where none is dilated."""
        return 4 * 2 ** (self.num_layers - 1)

    def facts(self):
        """What tells published files apart, by the arguments' names."""
        return {"num_blocks": self.num_blocks}

    def stem_arguments(self):
        """Arguments of `ResNetBackbone` beside strides and images."""
        names = self.names
        return {
            "num_blocks": self.num_blocks,
            "filters": self._shape(names.parts[0][0])[3],
            "deep_stem": len(self.stem) > 1,
            "norm": "group" if names.statistics is None else "batch",
        }

    def arguments(self, given):
        """Arguments of `ResNetBackbone` under which the tensors fit."""
        return {
            **self.stem_arguments(),
            "output_stride": self.last_stride,
            "image_shape": (None, None, self.channels),
        }

    def rules(self, arguments):
        """A `TensorRule` for each variable."""
        for index, names in enumerate(self.stem):
            yield from self._rules(f"stem/convolution_{index}", names)
        for stage, count in enumerate(self.num_blocks):
            for block in range(count):
                target = f"stage_{stage + 1}_block_{block + 1}"
                for part, names in zip(_PARTS, self.names.parts):
                    if self._has(names[0], stage, block):
                        yield from self._rules(
                            f"{target}/{part}", names, stage, block
                        )

    def _rules(self, target, names, stage=0, block=0):
        arrays = self.names.arrays
        convolution, norm = names
        found = [
            ("convolution/kernel", convolution + arrays.kernel),
            ("norm/gamma", norm + arrays.scale),
            ("norm/beta", norm + arrays.shift),
        ]
        if self.names.statistics is not None:
            mean, variance = self.names.statistics
            found.append(("norm/moving_mean", norm + mean))
            found.append(("norm/moving_variance", norm + variance))
        for ours, theirs in found:
            source = self.prefix + theirs
            yield TensorRule(
                f"{target}/{ours}",
                (source.format(s=stage, n=stage + 1, b=block),),
                arrays.convolution if ours.endswith("kernel") else same,
                _CUT,
            )


class Hybrid(Encoder):
    """A vision transformer behind a ResNet, as timm names them.

    Args:
        stem: `ResNet`.
        checkpoint, names, prefix: as for `Encoder`.
    """

    def __init__(self, stem, checkpoint, names, prefix):
        super().__init__(checkpoint, names, prefix)
        self._stem = stem

    @functools.cached_property
    def patch_shape(self):
        """Of patches in the image, where the kernel has those of the map."""
        height, width, _, dim = super().patch_shape
        stride = self._stem.last_stride
        return height * stride, width * stride, self._stem.channels, dim

    @property
    def ignored(self):
        return (*super().ignored, *self._stem.ignored)

    def arguments(self, given):
        stem = self._stem.stem_arguments()
        stem["output_stride"] = self._stem.last_stride
        return {**super().arguments(given), "stem": stem}

    def rules(self, arguments):
        yield from self._stem.rules(arguments)
        yield from super().rules(arguments)
