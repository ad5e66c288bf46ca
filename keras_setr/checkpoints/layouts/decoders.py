"""How mmsegmentation and the authors' code name SETR's decoders.

Both keep the encoder under `backbone.`. Files hold the weights of the heads
but not which encoder layers feed them, nor their upsampling factors; these
are the published ones.
"""

import functools

import numpy as np

from keras_setr.checkpoints.layouts.namings import COUNTER
from keras_setr.checkpoints.layouts.namings import from_torch_convolution
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.transfer import TensorRule
from keras_setr.facts.decoders import CLASSES
from keras_setr.facts.decoders import LAYERS
from keras_setr.tables import counted

_UNUSED = "made, but never used by the authors' code"


def norm(target, source):
    yield TensorRule(f"{target}/gamma", (f"{source}.weight",), same)
    yield TensorRule(f"{target}/beta", (f"{source}.bias",), same)


def batch_norm(target, source):
    yield from norm(target, source)
    for ours, theirs in (("mean", "mean"), ("variance", "var")):
        yield TensorRule(
            f"{target}/moving_{ours}", (f"{source}.running_{theirs}",), same
        )


class Decoder:
    """One of the two codes' decoders in a checkpoint."""

    name: str
    ignored: tuple = (COUNTER,)

    def __init__(self, checkpoint, encoder):
        self.checkpoint = checkpoint
        self.encoder = encoder
        self.model_class = CLASSES[self.decoder]

    @property
    def num_classes(self):
        return self._shape("decode_head.conv_seg.weight")[0]

    def backbone_arguments(self):
        # MLA's encoder drops the class token before the first layer.
        return {"use_class_token": False} if self.decoder == "mla" else {}

    def facts(self):
        """What tells published files apart."""
        return {"num_classes": self.num_classes}

    def notes(self, taken):
        """What to say of arguments that no tensor tells.

        Args:
            taken: set of those that the user has not given.
        """
        return ()

    def rules(self):
        if self.decoder == "mla":
            yield from self._mla_rules()
            return
        yield from self._head_rules("decode_head", "decode_head")
        for index in range(self.num_auxiliary):
            yield from self._head_rules(
                f"auxiliary_head_{index}", f"auxiliary_head.{index}"
            )

    def _count(self, pattern):
        """How many of `pattern` % 0, 1, .. there are."""
        count = 0
        while pattern % count in self.checkpoint.tensors:
            count += 1
        return count

    def _convolution(self, target, source, convert=from_torch_convolution):
        yield TensorRule(f"{target}/kernel", (f"{source}.weight",), convert)
        if f"{source}.bias" in self.checkpoint.tensors:
            yield TensorRule(f"{target}/bias", (f"{source}.bias",), same)

    def _conv_norm(self, target, convolution, norm):
        yield from self._convolution(f"{target}/convolution", convolution)
        yield from batch_norm(f"{target}/norm", norm)

    def _layers(self, count, argument, given):
        """The encoder layers that `count` heads read."""
        if argument in given:
            return tuple(given[argument])
        num_layers = self.encoder.num_layers
        layers = LAYERS.get((self.decoder, num_layers), ())
        if count > len(layers):
            raise ValueError(
                f"{self.checkpoint.origin} has {counted(count, 'head')} on an "
                f"encoder of {counted(num_layers, 'layer')} and does not tell "
                f"which layers feed them. Pass {argument}=(..), {count} of "
                f"the layers 1 to {num_layers}."
            )
        return layers[:count]

    def _shape(self, name):
        return self.checkpoint.shape(name)


class MMSegmentation(Decoder):
    """mmsegmentation, 0.x and 1.x alike."""

    name = "mmsegmentation"

    @functools.cached_property
    def levels(self):
        return self._count("neck.mla.channel_proj.%d.conv.weight")

    @functools.cached_property
    def decoder(self):
        if self.levels:
            return "mla"
        kernel = self._shape("decode_head.up_convs.0.0.conv.weight")[-1]
        return "naive" if kernel == 1 else "pup"

    @functools.cached_property
    def num_auxiliary(self):
        return self._count("auxiliary_head.%d.conv_seg.weight")

    def arguments(self, given):
        shape = self._shape
        arguments = {"num_classes": self.num_classes}
        if self.levels:
            arguments.update(
                feature_layers=self._layers(
                    self.levels, "feature_layers", given
                ),
                neck_filters=shape("neck.mla.channel_proj.0.conv.weight")[0],
                head_filters=tuple(
                    shape(f"decode_head.up_convs.0.{j}.conv.weight")[0]
                    for j in range(2)
                ),
                auxiliary="neck" if self.num_auxiliary else None,
            )
            return arguments
        main = "decode_head.up_convs.%d.0.conv.weight"
        kernel = shape(main % 0)[-1]
        arguments.update(
            auxiliary_layers=self._layers(
                self.num_auxiliary, "auxiliary_layers", given
            ),
            upsampling=(2 if kernel == 3 else 4,) * self._count(main),
            kernel_size=kernel,
            filters=shape(main % 0)[0],
        )
        if self.num_auxiliary:
            auxiliary = "auxiliary_head.0.up_convs.%d.0.conv.weight"
            arguments.update(
                auxiliary_upsampling=(4,) * self._count(auxiliary),
                auxiliary_kernel_size=shape(auxiliary % 0)[-1],
                auxiliary_filters=shape(auxiliary % 0)[0],
            )
        return arguments

    def _head_rules(self, target, source):
        if f"{source}.norm.weight" in self.checkpoint.tensors:
            yield from norm(f"{target}/norm", f"{source}.norm")
        count = self._count(source + ".up_convs.%d.0.conv.weight")
        for index in range(count):
            stage = f"{source}.up_convs.{index}.0"
            yield from self._conv_norm(
                f"{target}/convolution_{index}", f"{stage}.conv", f"{stage}.bn"
            )
        yield from self._convolution(
            f"{target}/classifier", f"{source}.conv_seg"
        )

    def _mla_rules(self):
        """Behind the sums, mmsegmentation lists the deepest level first."""
        levels = self.levels
        for level in range(levels):
            other = levels - 1 - level
            yield from norm(f"neck/norm_{level}", f"neck.norm.{level}")
            for ours, theirs in (
                ("projection", f"neck.mla.channel_proj.{level}"),
                ("fusion", f"neck.mla.feat_extract.{other}"),
            ):
                yield from self._conv_norm(
                    f"neck/{ours}_{level}", f"{theirs}.conv", f"{theirs}.bn"
                )
            for index in range(2):
                stage = f"decode_head.up_convs.{other}.{index}"
                yield from self._conv_norm(
                    f"decode_head/stream_{level}_convolution_{index}",
                    f"{stage}.conv",
                    f"{stage}.bn",
                )
        yield from self._convolution(
            "decode_head/classifier",
            "decode_head.conv_seg",
            self._streams_reversed,
        )
        for index in range(self.num_auxiliary):
            yield from self._convolution(
                f"auxiliary_head_{levels - 1 - index}/classifier",
                f"auxiliary_head.{index}.conv_seg",
            )

    def _streams_reversed(self, kernel):
        """The channels of the concatenated streams, shallow first."""
        kernel = from_torch_convolution(kernel)  # (h, w, M * C, K)
        h, w, channels, classes = kernel.shape
        streams = kernel.reshape(h, w, self.levels, -1, classes)
        return streams[:, :, ::-1].reshape(h, w, channels, classes)


class Authors(Decoder):
    """github.com/fudan-zvg/SETR."""

    name = "SETR authors"
    ignored = (
        COUNTER,
        (r"(decode_head|auxiliary_head\.\d+)\.conv_seg\..*", _UNUSED),
        (r"(decode_head|auxiliary_head\.\d+)\.syncbn_fc_\d+\..*", _UNUSED),
    )

    @functools.cached_property
    def decoder(self):
        if "decode_head.cls.weight" in self.checkpoint.tensors:
            return "mla"
        # One convolution and the classifier, or four.
        return "naive" if self.stages == 1 else "pup"

    @functools.cached_property
    def num_auxiliary(self):
        mla = self.decoder == "mla"
        name = "aux" if mla else "conv_0"
        return self._count(f"auxiliary_head.%d.{name}.weight")

    @functools.cached_property
    def stages(self):
        """Convolutions before the classifier of naive and PUP."""
        return self._count("decode_head.conv_%d.weight") - 1

    @property
    def num_classes(self):
        mla = self.decoder == "mla"
        last = "cls" if mla else f"conv_{self.stages}"
        return self._shape(f"decode_head.{last}.weight")[0]

    def arguments(self, given):
        shape = self._shape
        if self.decoder == "mla":
            return {
                "num_classes": self.num_classes,
                "feature_layers": self._layers(4, "feature_layers", given),
                "neck_filters": shape("backbone.mla.mla_p2.0.weight")[0],
                "head_filters": tuple(
                    shape(f"decode_head.mlahead.head2.{j}.weight")[0]
                    for j in (0, 3)
                ),
                "align_corners": True,
                "classifier_kernel_size": shape("decode_head.cls.weight")[-1],
                "auxiliary": "neck" if self.num_auxiliary else None,
            }
        stages = self.stages
        arguments = {
            "num_classes": self.num_classes,
            "auxiliary_layers": self._layers(
                self.num_auxiliary, "auxiliary_layers", given
            ),
            "upsampling": (2,) * (stages - 1) + (1,),
            "kernel_size": shape("decode_head.conv_0.weight")[-1],
            "filters": shape("decode_head.conv_0.weight")[0],
            "use_bias": True,
        }
        if self.num_auxiliary:
            first = "auxiliary_head.0.conv_0.weight"
            # Their PUP enlarges the map, their naive head does not.
            factor = 1 if self.decoder == "naive" else 4
            arguments.update(
                auxiliary_upsampling=(factor,),
                auxiliary_kernel_size=shape(first)[-1],
                auxiliary_filters=shape(first)[0],
            )
        return arguments

    def _head_rules(self, target, source):
        yield from norm(f"{target}/norm", f"{source}.norm")
        stages = self._count(source + ".conv_%d.weight") - 1
        for index in range(stages):
            yield from self._conv_norm(
                f"{target}/convolution_{index}",
                f"{source}.conv_{index}",
                f"{source}.syncbn_fc_{index}",
            )
        yield from self._convolution(
            f"{target}/classifier", f"{source}.conv_{stages}"
        )

    def _mla_rules(self):
        for level in range(4):
            # Their level p2 is the shallowest.
            p = f"backbone.mla.mla_p{level + 2}"
            yield from norm(f"neck/norm_{level}", f"backbone.norm_{level}")
            yield from self._conv_norm(
                f"neck/projection_{level}", f"{p}_1x1.0", f"{p}_1x1.1"
            )
            yield from self._conv_norm(
                f"neck/fusion_{level}", f"{p}.0", f"{p}.1"
            )
            head = f"decode_head.mlahead.head{level + 2}"
            for index in range(2):
                yield from self._conv_norm(
                    f"decode_head/stream_{level}_convolution_{index}",
                    f"{head}.{3 * index}",
                    f"{head}.{3 * index + 1}",
                )
        yield from self._convolution(
            "decode_head/classifier", "decode_head.cls"
        )
        for index in range(self.num_auxiliary):
            target = f"auxiliary_head_{index}/classifier"
            source = f"auxiliary_head.{index}.aux"
            yield from self._convolution(target, source)
            if f"{source}.bias" not in self.checkpoint.tensors:
                # Theirs has none.
                yield TensorRule(
                    f"{target}/bias",
                    (),
                    lambda: np.zeros(self.num_classes, "float32"),
                )
