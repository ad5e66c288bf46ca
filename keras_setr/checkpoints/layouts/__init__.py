"""Which naming a checkpoint has, and how its tensors become ours."""

import contextlib
from typing import Any

from keras_setr.checkpoints.layouts.baselines import MMSegmentationFCN
from keras_setr.checkpoints.layouts.baselines import MMSegmentationFPN
from keras_setr.checkpoints.layouts.decoders import Authors
from keras_setr.checkpoints.layouts.decoders import MMSegmentation
from keras_setr.checkpoints.layouts.encoders import Encoder
from keras_setr.checkpoints.layouts.namings import ENCODERS
from keras_setr.checkpoints.layouts.resnets import RESNETS
from keras_setr.checkpoints.layouts.resnets import Hybrid
from keras_setr.checkpoints.layouts.resnets import ResNet
from keras_setr.checkpoints.plan import Found
from keras_setr.checkpoints.plan import Given
from keras_setr.checkpoints.tensors import Checkpoint
from keras_setr.classes import Classes

# By the tensors that a file with them has.
DECODERS = {
    (
        "decode_head.conv_seg.weight",
        "decode_head.up_convs.0.0.conv.weight",
    ): MMSegmentation,
    ("decode_head.convs.0.conv.weight",): MMSegmentationFCN,
    ("decode_head.scale_heads.0.0.conv.weight",): MMSegmentationFPN,
    ("decode_head.conv_0.weight",): Authors,
    ("decode_head.mlahead.head2.0.weight",): Authors,
}
# How many keys a message shows of a checkpoint that nobody knows.
_SHOWN = 5


class Layout:
    """A foreign checkpoint: an encoder, and a decoder if there is one.

    Attributes:
        name: str. The naming, for messages.
        checkpoint: `Checkpoint`.
        model_class: str. That of the segmenter, such as `"SETRPUP"`; `None`
            for an encoder alone.
        backbone_class: str. `"SETRBackbone"` or `"ResNetBackbone"`.
        saved: `None`. Of preset folders, the model as it was saved.
    """

    saved = None

    def __init__(
        self, checkpoint: Checkpoint, encoder: Any, decoder: Any, classes: Any
    ) -> None:
        self.checkpoint = checkpoint
        self._encoder = encoder
        self._decoder = decoder
        self._classes = classes
        self.name = (decoder or encoder.names).name
        self.model_class = decoder and decoder.model_class
        self.backbone_class = encoder.backbone_class

    def read(self, given: Given, encoder_only: bool = False) -> Found:
        """What the file holds, for a model with other arguments too.

        Args:
            given: `Given`. Arguments that the user gives; some of them tell
                what the file does not.
            encoder_only: bool. Whether to leave a decoder out.

        Raises:
            ValueError: where tensors are of other shapes than the naming's,
                or neither file nor user tells what is needed.
        """
        with self._naming_the_file():
            encoder, decoder = self._encoder, self._decoder
            backbone = encoder.arguments(given.encoder)
            rules, ignored = [*encoder.rules(backbone)], encoder.ignored
            if decoder is None:
                return Found(backbone, {}, tuple(rules), ignored)
            model = {}
            backbone |= decoder.backbone_arguments()
            if not encoder_only:
                model = decoder.arguments(given.model)
                model["classes"] = self._classes
                rules += decoder.rules()
            of_user = {*given.encoder, *given.model}
            notes = decoder.notes({*backbone, *model} - of_user)
            ignored += decoder.ignored
            return Found(backbone, model, tuple(rules), ignored, notes)

    def facts(self) -> dict[str, Any]:
        """What tells published files apart, by the arguments' names."""
        with self._naming_the_file():
            facts = self._encoder.facts()
            return facts | (self._decoder.facts() if self._decoder else {})

    @contextlib.contextmanager
    def _naming_the_file(self):
        try:
            yield
        except (ArithmeticError, LookupError, TypeError) as error:
            raise ValueError(
                f"{self.checkpoint.origin} has tensors named as in "
                f"{self.name}, but not of its shapes or settings "
                f"({type(error).__name__}: {error})."
            ) from error


def recognise(checkpoint: Checkpoint, classes: Any = None) -> Layout:
    """The layout of a checkpoint, from the names of its tensors.

    Args:
        checkpoint: `Checkpoint`.
        classes: `Classes`. Defaults to those that the file itself names.

    Raises:
        ValueError: where no known naming fits.
    """
    transformer = find_naming(checkpoint, ENCODERS)
    resnet = find_naming(checkpoint, RESNETS)
    encoder: Encoder | ResNet
    if transformer and resnet:
        encoder = Hybrid(ResNet(*resnet), *transformer)
    elif transformer:
        encoder = Encoder(*transformer)
    elif resnet:
        encoder = ResNet(*resnet)
    else:
        keys = list(checkpoint.tensors)
        known = [names.name for names in (*ENCODERS, *RESNETS)]
        known += dict.fromkeys(decoder.name for decoder in DECODERS.values())
        raise ValueError(
            f"{checkpoint.origin} has no layout that is known here. Its first "
            f"names: {', '.join(keys[:_SHOWN])}. Known: {', '.join(known)}."
        )
    if classes is None and "names" in checkpoint.metadata:
        try:
            classes = Classes(
                checkpoint.metadata["names"], checkpoint.metadata["palette"]
            )
        except ValueError as error:
            raise ValueError(
                f"{checkpoint.origin} names classes that cannot be: {error} "
                "Save its state_dict alone, or pass classes=."
            ) from error
    decoders = (
        decoder
        for signature, decoder in DECODERS.items()
        if all(name in checkpoint.tensors for name in signature)
    )
    decoder = next(decoders, None)
    return Layout(
        checkpoint, encoder, decoder and decoder(checkpoint, encoder), classes
    )


def find_naming(checkpoint, namings):
    """Which of some namings a checkpoint has.

    Args:
        checkpoint: `Checkpoint`.
        namings: records with `prefixes`, what files may have before every
            name, and `signature`, the names that all have to be there. The
            first that fits is taken.

    Returns:
        `(checkpoint, naming, prefix)`, or `None`.
    """
    for names in namings:
        for prefix in names.prefixes:
            if all(prefix + n in checkpoint.tensors for n in names.signature):
                return checkpoint, names, prefix
    return None
