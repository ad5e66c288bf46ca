"""The record of one published file of weights."""

import dataclasses
from typing import Any

from keras_setr.facts.decoders import CLASSES


@dataclasses.dataclass(frozen=True)
class Preset:
    """One published file of weights.

    Attributes:
        name: str. What `from_preset` takes.
        decoder: a key of `facts.decoders.CLASSES`, or `None` for an encoder
            alone.
        description: str.
        parameters: int. Of the model without its auxiliary heads, or of the
            encoder.
        dataset: str. `keras_setr.data.DATASETS` has its facts; for encoders,
            what they were trained on.
        url: str. Where the file is, or, for files that have no fixed address
            (`file` is `None`), the page that links to it.
        file: str or `None`. Its name.
        sha256: str or `None`. The first digits of its hash, or `None` where
            none is published.
        license: str. Of the weights, an SPDX name, or Hugging Face's for one
            that SPDX has not.
        source: str. Who published it.
        miou, miou_multi_scale: float or `None`, percent.
        image_size: int, or `(H, W)`. Of the training crops.
        size, family: str. Of the encoder, in `facts/encoders.py`; of a
            ResNet the size alone.
        gated: bool. Whether its licence has to be accepted, on the page
            `url`, before there is anything to download.
        backbone_class: str. `"SETRBackbone"` or `"ResNetBackbone"`.
        arguments: dict. What the model needs and its file does not tell.
    """

    name: str
    decoder: str | None
    description: str
    parameters: int
    dataset: str
    url: str
    file: str | None
    sha256: str | None
    license: str
    source: str
    miou: float | None = None
    miou_multi_scale: float | None = None
    image_size: int | tuple[int, int] = 512
    size: str = "large"
    family: str = "vit"
    gated: bool = False
    backbone_class: str = "SETRBackbone"
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def model_class(self) -> str | None:
        """The name of the class, or `None` for an encoder alone."""
        return self.decoder and CLASSES[self.decoder]

    @property
    def downloads(self) -> bool:
        """Whether the file has an address to fetch it from."""
        return self.file is not None
