"""The built-in names: published models and the encoders they start from."""

import dataclasses
from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import optional
from keras_setr.checkpoints.presets.encoders import ENCODERS
from keras_setr.checkpoints.presets.preset import Preset
from keras_setr.checkpoints.presets.segmenters import SEGMENTERS
from keras_setr.facts.decoders import CLASSES

_BACKBONES = ("SETRBackbone", "ResNetBackbone")
PRESETS = {preset.name: preset for preset in (*SEGMENTERS, *ENCODERS)}


@checked(
    model_class=optional(choice(*CLASSES.values())),
    backbone_class=optional(choice(*_BACKBONES)),
)
def presets_of(
    model_class: str | None = None, backbone_class: str | None = None
) -> dict[str, dict[str, Any]]:
    """The built-in names that a class can load, as plain dicts.

    Args:
        model_class: the name of a segmenter, for its published models and
            encoders alone; or `None`, for all models.
        backbone_class: `"SETRBackbone"` or `"ResNetBackbone"`, for what has
            such an encoder; or `None`, for all.

    Returns:
        dict from name to a dict of `Preset`'s other attributes.
    """
    return loadable(model_class, backbone_class)


def loadable(model_class=None, backbone_class=None):
    """The same; for subclasses, of which there are none, an empty dict."""
    facts = {}
    for name, preset in PRESETS.items():
        of_model = preset.model_class in (model_class, None)
        of_encoder = backbone_class in (preset.backbone_class, None)
        if (model_class is None or of_model) and of_encoder:
            facts[name] = dataclasses.asdict(preset) | {
                "model": preset.model_class
            }
            del facts[name]["name"]
    return facts


__all__ = ["PRESETS", "Preset", "presets_of"]
