"""A recipe made small enough to run in seconds, and data for it."""

import dataclasses
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.data.batches.source import SegmentationSource
from keras_setr.facts.decoders import scaled_layers
from keras_setr.opencv import cv2
from keras_setr.training.recipes.recipe import Recipe

_FACTOR = 1 / 16
_STEPS = 2
# The least depth at which no two layers that heads read, such as 20 and 24 of
# T-Large, fall into one.
_NUM_LAYERS = 6
# Width and heads in place of the published encoders', by their depth.
_ENCODERS = {24: (32, 4), 12: (24, 3)}
# A ResNet, alone or in front of a transformer.
_RESNET = {"num_blocks": (1, 1, 1, 1), "filters": 4}
_DECODERS: dict[str, dict[str, Any]] = {
    "naive": {"filters": 8, "auxiliary_filters": 8},
    "pup": {"filters": 8, "auxiliary_filters": 8},
    "fcn": {"filters": 8, "auxiliary_filters": 8},
    "semantic_fpn": {"neck_filters": 8, "filters": 8},
    "mla": {"neck_filters": 8, "head_filters": (4, 4), "auxiliary_filters": 8},
}
# Of datasets whose images differ: the most common size.
_IMAGE_SIZES = {
    "ade20k": (512, 683),
    "pascal_context": (375, 500),
    "pascal_context_59": (375, 500),
}


@checked(recipe=instance("a Recipe", Recipe))
def miniature(recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
    """The recipe at a sixteenth of its sizes, and a small model for it.

    Everything else stays: decoder, classes, relative depth of the layers that
    are read, augmentation, learning rates, test protocol.

    Args:
        recipe: `Recipe`.

    Returns:
        `(recipe, options)`: a `Recipe` of 2 steps of 2, from random weights,
        and the arguments of its `build_model`.
    """
    small = dataclasses.replace(
        recipe.scaled(_FACTOR),
        steps=_STEPS,
        batch_size=2,
        pretraining=None,
        stem_pretraining=None,
    )
    options = dict(_DECODERS[recipe.decoder])
    if "num_blocks" in recipe.encoder_shape:
        return dataclasses.replace(small, small_shape=_RESNET), options
    if recipe.encoder == "hybrid":
        options["stem"] = _RESNET
    depth = recipe.encoder_shape["num_layers"]
    hidden_dim, num_heads = _ENCODERS[depth]
    small = dataclasses.replace(
        small,
        feature_layers=scaled_layers(
            recipe.feature_layers, _NUM_LAYERS, of=depth
        ),
        auxiliary_layers=scaled_layers(
            recipe.auxiliary_layers, _NUM_LAYERS, of=depth
        ),
        small_shape={
            "num_layers": _NUM_LAYERS,
            "hidden_dim": hidden_dim,
            "num_heads": num_heads,
        },
    )
    return small, options


class GeneratedImages(SegmentationSource):
    """Patches of colour with the classes and the label values of a dataset.

    The values are drawn as the official files have them, those that are not
    trained on included, and become labels by the dataset's own rule. Sizes
    are those of a recipe's images; where they differ between the images of
    the dataset, every other one stands upright.

    Args:
        recipe: `Recipe`.
        num_images: int.
        training: bool. Whether they are to train on.
        seed: int.
    """

    @checked(
        recipe=instance("a Recipe", Recipe),
        num_images=integer(1),
        training=flag(),
        seed=integer(0),
    )
    def __init__(
        self, recipe: Recipe, num_images: int, training: bool, seed: int = 0
    ) -> None:
        self._facts = recipe.facts
        self._num_images = num_images
        self._seed = seed
        self._scale = recipe.image_scale
        self.training = training

    @property
    def classes(self) -> Any:
        return self._facts.classes

    def __len__(self) -> int:
        return self._num_images

    @checked(index=integer())
    def file_name(self, index: int) -> str:
        return f"generated {index}"

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self._seed, index))
        facts = self._facts
        values = [*facts.label_map, *facts.ignored]
        patches = rng.choice(np.array(values, np.uint8), size=(4, 6))
        height, width = self._size(index)
        mask = cv2.resize(
            patches, (width, height), interpolation=cv2.INTER_NEAREST
        )
        label = facts.label_rule.apply(mask, self.num_classes)
        # A colour per value, and noise.
        image = np.stack([mask, 255 - mask, mask // 2 + 64], axis=-1)
        noise = rng.integers(-16, 17, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8), label

    def _size(self, index):
        size = self._facts.image_size
        if size is None:
            size = _IMAGE_SIZES[self._facts.name][:: (-1) ** index]
        return tuple(round(side * self._scale) for side in size)

    def _image_sizes(self):
        return [self._size(index) for index in range(len(self))]
