"""Normalisation of images, kept with the model's preset."""

import keras
import keras_hub

from keras_setr.models.backbone import SETRBackbone

# On RGB in 0..255; what every published SETR was trained with.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRImageConverter(keras_hub.layers.ImageConverter):
    """(image - mean) / std per channel, `(.., H, W, C)` kept.

    Args:
        mean: sequence of float, one per channel, for values in 0..255, or in
            0..65535 for images of 16 bits.
        std: sequence of float, one per channel.
    """

    backbone_cls = SETRBackbone

    def __init__(self, mean=IMAGENET_MEAN, std=IMAGENET_STD, **kwargs):
        mean, std = tuple(mean), tuple(std)
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(
                "mean and std must hold one number per channel, std above 0. "
                f"Received: mean={mean}, std={std}."
            )
        # In float32 whatever the policy: bfloat16 cannot tell 254 from 255
        # after the subtraction.
        kwargs["dtype"] = "float32"
        super().__init__(
            scale=[1 / s for s in std],
            offset=[-m / s for m, s in zip(mean, std)],
            **kwargs,
        )
        self.mean = mean
        self.std = std

    @property
    def image_dtype(self):
        """`"uint16"` if mean or std lie above what 8 bits hold, or `"uint8"`.

        Image files are read as that.
        """
        return "uint16" if max(self.mean + self.std) > 255 else "uint8"

    def get_config(self):
        config = super().get_config()
        for derived in ("scale", "offset", "dtype"):
            config.pop(derived)
        config.update(mean=self.mean, std=self.std)
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

    def __init__(self, image_converter=None, **kwargs):
        if image_converter is None:
            image_converter = SETRImageConverter()
        super().__init__(image_converter=image_converter, **kwargs)
