"""Normalisation of images, kept with the model's preset."""

from typing import Any

import keras
import keras_hub
import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arrays import ValueRange
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.models.backbone import SETRBackbone
from keras_setr.tables import counted

# On RGB in 0..255; what every published SETR was trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# Of `keras_hub.layers.ImageConverter`, which enter its config.
_RESIZING = (
    "image_size",
    "interpolation",
    "antialias",
    "crop_to_aspect_ratio",
    "pad_to_aspect_ratio",
    "bounding_box_format",
)


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRImageConverter(keras_hub.layers.ImageConverter):
    """(image - mean) / std per channel, `(.., H, W, C)` kept.

    Args:
        mean: sequence of float, one per channel, for values in 0..255, or in
            0..65535 for images of 16 bits.
        std: sequence of float above 0, one per channel.
        folded: bool. Images stay as they are, for a model of `for_inference`
            whose patches' embedding normalises.

    Attributes:
        image_dtype: `"uint16"` if mean or std lie above what 8 bits hold, or
            `"uint8"`. Image files are read as that.
    """

    backbone_cls = SETRBackbone

    @checked(
        *KERAS_ARGUMENTS,
        *_RESIZING,
        mean=sequence(number(), minimum_length=1),
        std=sequence(number(above=0), minimum_length=1),
        folded=flag(),
    )
    def __init__(
        self,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        folded: bool = False,
        **kwargs: Any,
    ) -> None:
        if len(mean) != len(std):
            raise ValueError(
                "mean and std must hold one number per channel. "
                f"Received: mean={mean}, std={std}."
            )
        # In float32 whatever the policy: bfloat16 cannot tell 254 from 255
        # after the subtraction.
        kwargs["dtype"] = "float32"
        super().__init__(
            scale=None if folded else [1 / s for s in std],
            offset=None if folded else [-m / s for m, s in zip(mean, std)],
            # As our layers have it, whatever Keras' configuration says.
            data_format="channels_last",
            **kwargs,
        )
        self.mean = mean
        self.std = std
        self.folded = folded
        self.image_dtype = "uint16" if max(mean + std) > 255 else "uint8"

    def get_config(self):
        config = super().get_config()
        for derived in ("scale", "offset", "dtype"):
            config.pop(derived)
        config.update(mean=self.mean, std=self.std, folded=self.folded)
        return config


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRImageSegmenterPreprocessor(
    keras_hub.models.ImageSegmenterPreprocessor
):
    """Normalises images; labels pass unchanged.

    Args:
        image_converter: a `SETRImageConverter`. Defaults to one with the
            statistics of the published models.
    """

    backbone_cls = SETRBackbone
    image_converter_cls = SETRImageConverter

    @checked(
        *KERAS_ARGUMENTS,
        *("resize_output_mask", "config_file"),
        image_converter=optional(
            instance(
                "a KerasHub image converter", keras_hub.layers.ImageConverter
            )
        ),
    )
    def __init__(self, image_converter: Any = None, **kwargs: Any) -> None:
        if image_converter is None:
            image_converter = SETRImageConverter()
        super().__init__(image_converter=image_converter, **kwargs)


def published_preprocessor(channels):
    """What `preprocessor="auto"` stands for.

    Raises:
        ValueError: where the images are not RGB.
    """
    if channels != len(IMAGENET_MEAN):
        raise ValueError(
            'preprocessor="auto" normalises RGB. Received: image_shape='
            f"(.., {channels}). Pass preprocessor="
            "SETRImageSegmenterPreprocessor(SETRImageConverter(mean=(..), "
            f"std=(..))) with {counted(channels, 'number')} each, or "
            "preprocessor=None for images that are normalised already."
        )
    return SETRImageSegmenterPreprocessor()


def check_keeps_size(preprocessor):
    """Raise where a preprocessor resizes images, whose labels stay.

    So do KerasHub's for a classifier.
    """
    converter = getattr(preprocessor, "image_converter", None)
    size = getattr(converter, "image_size", None)
    if size is not None:
        raise ValueError(
            "preprocessor must leave images at their size, as windows and "
            f"labels have it. Received: image_size={size} of its "
            f"{type(converter).__name__}; set "
            "preprocessor.image_converter.image_size = None."
        )


def value_range_of(preprocessor):
    """The `ValueRange` that a preprocessor normalises.

    Any is right without one, with one of another kind, or with one whose
    statistics are those of another range.
    """
    converter = getattr(preprocessor, "image_converter", None)
    dtype = getattr(converter, "image_dtype", None)
    if dtype is None or max(converter.mean + converter.std) <= 1:
        return ValueRange(None)
    return ValueRange(int(np.iinfo(dtype).max))


def zero_of(preprocessor):
    """The values that a preprocessor normalises to 0, float32.

    One per channel, or one of all. Without a converter it is 0 itself.
    """
    converter = getattr(preprocessor, "image_converter", None)
    # Of ours, that of a folded one too, whose model normalises.
    found = getattr(converter, "mean", None)
    if found is None:
        scale = getattr(converter, "scale", None)
        offset = getattr(converter, "offset", None)
        found = -np.asarray(0 if offset is None else offset, "float64")
        found = found / (1 if scale is None else np.asarray(scale))
    return np.asarray(found, "float32")
