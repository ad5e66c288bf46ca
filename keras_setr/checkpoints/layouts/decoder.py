"""What the decoders of mmsegmentation and of the authors have in common."""

from keras_setr.checkpoints.layouts.namings import from_torch_convolution
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.transfer import TensorRule
from keras_setr.facts.decoders import CLASSES
from keras_setr.facts.decoders import LAYERS
from keras_setr.tables import counted

COUNTER = (r".*\.num_batches_tracked", "torch's count of batches")


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

    ignored: tuple = (COUNTER,)

    def __init__(self, checkpoint, encoder):
        self.checkpoint = checkpoint
        self.encoder = encoder

    @property
    def model_class(self):
        """The name of the model's class."""
        return CLASSES[self.decoder]

    def backbone_arguments(self):
        # MLA's encoder drops the class token before the first layer.
        return {"use_class_token": False} if self.decoder == "mla" else {}

    def facts(self):
        """What tells published files apart."""
        return {"num_classes": self.num_classes}

    def notes(self, taken):
        """What to say of arguments that no tensor tells.

        Args:
            taken: dict of those that the user has not given.
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
        while pattern % count in self.checkpoint:
            count += 1
        return count

    def _convolution(self, target, source, convert=from_torch_convolution):
        yield TensorRule(f"{target}/kernel", (f"{source}.weight",), convert)
        if f"{source}.bias" in self.checkpoint:
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
