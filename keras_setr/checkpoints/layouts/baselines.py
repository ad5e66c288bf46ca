"""How mmsegmentation names FCN and Semantic FPN, on a ResNet."""

import functools
import math
import os
import re
from typing import NamedTuple

from keras_setr.checkpoints.layouts.decoders import Decoder
from keras_setr.facts.baselines import FCN_D6
from keras_setr.facts.baselines import FCN_D8

# The strides of a ResNet's stages where a configuration does not give them.
_STRIDES = (1, 2, 2, 2)
# fcn_r50-d8_512x1024_.., fcn-d6_r101-d16_4xb2-.., as FCN are named.
_NAME = re.compile(r"fcn([-_]d(?P<dilation>\d+))?_r\d+b?-d(?P<stride>\d+)_")


def _listed(arguments):
    return ", ".join(f"{name}={value}" for name, value in arguments.items())


class _Settings(NamedTuple):
    """Arguments, and where they were read.

    `is_told` is `False` of those that are assumed.
    """

    arguments: dict
    where: str
    is_told: bool = True


class _Baseline(Decoder):
    """A baseline of mmsegmentation's, on a ResNet."""

    name = "mmsegmentation"

    def backbone_arguments(self):
        return {}

    def _stages(self, target, source, positions):
        """Convolutions with norms, at their positions in a torch sequence."""
        for index, position in enumerate(positions):
            stage = f"{source}.{position}"
            yield from self._conv_norm(
                f"{target}_{index}", f"{stage}.conv", f"{stage}.bn"
            )


class MMSegmentationFCN(_Baseline):
    """Its FCN, with the auxiliary head of the published ones."""

    decoder = "fcn"

    @functools.cached_property
    def _settings(self):
        """What no tensor tells."""
        if model := self.checkpoint.metadata.get("settings"):
            head = model["decode_head"]
            strides = model["backbone"].get("strides", _STRIDES)
            arguments = {
                "output_stride": 4 * math.prod(strides),  # 4 of the stem
                "dilation_rate": head.get("dilation", 1),
                "align_corners": head.get("align_corners", False),
            }
            return _Settings(arguments, "of the configuration in the file")
        name = os.path.basename(self.checkpoint.origin)
        if told := _NAME.search(name):
            arguments = {
                "output_stride": int(told["stride"]),
                "dilation_rate": int(told["dilation"] or 1),
            }
            return _Settings(arguments, "of the file's name")
        return _Settings(
            FCN_D8,
            "assumed, as neither a configuration in the file nor its name "
            f"tells; mmsegmentation's D6 has {_listed(FCN_D6)}",
            is_told=False,
        )

    def facts(self):
        told = self.backbone_arguments() if self._settings.is_told else {}
        return super().facts() | told

    def notes(self, taken):
        found = self._settings.arguments
        shown = {name: found[name] for name in found if name in taken}
        return (f"{_listed(shown)}, {self._settings.where}",) if shown else ()

    def backbone_arguments(self):
        stride = self._settings.arguments["output_stride"]
        return {"output_stride": stride}

    @functools.cached_property
    def has_auxiliary(self):
        return "auxiliary_head.conv_seg.weight" in self.checkpoint.tensors

    def arguments(self, given):
        shape = self._shape
        arguments = {
            "num_classes": self.num_classes,
            "filters": shape("decode_head.convs.0.conv.weight")[0],
            "auxiliary_stage": None,
            **self._settings.arguments,
        }
        del arguments["output_stride"]  # the encoder's
        if self.has_auxiliary:
            first = "auxiliary_head.convs.0.conv.weight"
            arguments.update(
                auxiliary_stage=self.encoder.num_layers - 1,
                auxiliary_filters=shape(first)[0],
            )
        return arguments

    def rules(self):
        head = "decode_head"
        yield from self._stages(f"{head}/convolution", f"{head}.convs", (0, 1))
        joint = f"{head}.conv_cat"
        yield from self._conv_norm(
            f"{head}/joint", f"{joint}.conv", f"{joint}.bn"
        )
        yield from self._convolution(f"{head}/classifier", f"{head}.conv_seg")
        if self.has_auxiliary:
            target, source = "auxiliary_head_0", "auxiliary_head"
            yield from self._stages(
                f"{target}/convolution", f"{source}.convs", (0,)
            )
            yield from self._convolution(
                f"{target}/classifier", f"{source}.conv_seg"
            )


class MMSegmentationFPN(_Baseline):
    """Its Semantic FPN."""

    decoder = "semantic_fpn"

    def arguments(self, given):
        shape = self._shape
        return {
            "num_classes": self.num_classes,
            "neck_filters": shape("neck.lateral_convs.0.conv.weight")[0],
            "filters": shape("decode_head.scale_heads.0.0.conv.weight")[0],
        }

    def rules(self):
        for level in range(self.encoder.num_layers):
            for ours, theirs in (
                ("projection", "lateral_convs"),
                ("fusion", "fpn_convs"),
            ):
                yield from self._convolution(
                    f"neck/{ours}_{level}", f"neck.{theirs}.{level}.conv"
                )
            # The doublings between them are counted, too.
            yield from self._stages(
                f"decode_head/stream_{level}_convolution",
                f"decode_head.scale_heads.{level}",
                range(0, 2 * max(1, level), 2),
            )
        yield from self._convolution(
            "decode_head/classifier", "decode_head.conv_seg"
        )
