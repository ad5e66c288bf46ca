"""Which naming a checkpoint has, and how its tensors become ours."""

from keras_setr.checkpoints.layouts.decoders import DECODERS
from keras_setr.checkpoints.layouts.encoders import Encoder
from keras_setr.checkpoints.layouts.namings import ENCODERS

# How many keys a message shows of a checkpoint that nobody knows.
_SHOWN = 5


class Layout:
    """An encoder, and a decoder if the checkpoint has one.

    Attributes:
        name: str. The naming, for messages.
        model: `"SETRNaive"`, `"SETRPUP"`, `"SETRMLA"` or `None`.
        num_classes: int or `None`.
        ignored: sequence of `(pattern, reason)`, as `transfer` takes it.
    """

    def __init__(self, checkpoint, encoder, decoder):
        self.checkpoint = checkpoint
        self._encoder = encoder
        self._decoder = decoder
        self.name = (decoder or encoder.names).name
        self.model = decoder and decoder.model
        self.ignored = encoder.ignored + (decoder.ignored if decoder else ())

    def backbone_arguments(self, given):
        """Arguments of `SETRBackbone` under which the tensors fit."""
        arguments = self._encoder.arguments(given)
        if self._decoder:
            arguments.update(self._decoder.backbone_arguments())
        return arguments

    def model_arguments(self, given):
        """Arguments of the segmenter beside its backbone; `{}` without one."""
        return self._decoder.arguments(given) if self._decoder else {}

    def encoder_copies(self, given):
        return self._encoder.copies(given)

    def decoder_copies(self):
        return self._decoder.copies() if self._decoder else ()


def recognise(checkpoint):
    """The layout of a checkpoint, from the names of its tensors.

    Raises:
        ValueError: where no known naming fits.
    """
    encoder = Encoder.find(checkpoint)
    if encoder is None:
        keys = list(checkpoint.tensors)
        known = [names.name for names in ENCODERS] + [d.name for d in DECODERS]
        raise ValueError(
            f"{checkpoint.origin} has no layout that is known here. Its first "
            f"names: {', '.join(keys[:_SHOWN])}. Known: {', '.join(known)}."
        )
    decoder = next((d for d in DECODERS if d.found(checkpoint)), None)
    return Layout(checkpoint, encoder, decoder and decoder(checkpoint, encoder))
