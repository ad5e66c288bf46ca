"""The three transforms of a pair: to train, to evaluate, and of one's own.

They draw only from the `numpy.random.Generator` that they are handed; what
they are made of is in `augmentations`.
"""

import dataclasses

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import function
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import sequence
from keras_setr.data.batches.augmentations import center_crop
from keras_setr.data.batches.augmentations import draw_balanced_crop
from keras_setr.data.batches.augmentations import draw_crop
from keras_setr.data.batches.augmentations import pad_to
from keras_setr.data.batches.augmentations import photometric_distortion
from keras_setr.data.batches.augmentations import random_crop
from keras_setr.data.batches.augmentations import random_flip
from keras_setr.data.batches.augmentations import resize_label
from keras_setr.data.batches.augmentations import resize_region
from keras_setr.data.batches.augmentations import resized_size

CROP_SIZE = pair(1, 16_384)


@checked(
    crop_size=CROP_SIZE,
    base_scale=optional(pair(1)),
    scale_range=sequence(number(above=0), length=2),
    category_limit=number(0),
    flip=number(0, 1),
    photometric=flag(),
    class_weights=optional(sequence(number(0), minimum_length=1)),
)
@dataclasses.dataclass(frozen=True)
class TrainingTransform:
    """The paper's augmentation: `(image, label, rng) -> (image, label)`.

    Random resize, random crop, random flip, photometric distortion, and
    padding of what came out smaller than the crop, in this order.

    Args:
        crop_size: `(H, W)` of what comes out, or an int for both.
        base_scale: `(H, W)` that `scale_range` multiplies; see
            `resized_size`. Defaults to each image's own size. The paper's
            runs have (512, 2048) on ADE20K, (1025, 2049) on Cityscapes and
            (520, 520) on Pascal Context.
        scale_range: lowest and highest ratio.
        category_limit: float. See `random_crop`.
        flip: float. Probability of mirroring.
        photometric: bool. Whether colours are distorted.
        class_weights: sequence of K numbers. Places each crop over a pixel of
            a class that is drawn by them among those of the image, in place
            of the `category_limit`; see `draw_balanced_crop`. None by
            default.
    """

    crop_size: tuple
    base_scale: tuple | None = None
    scale_range: tuple = (0.5, 2.0)
    category_limit: float = 0.75
    flip: float = 0.5
    photometric: bool = True
    class_weights: tuple | None = None

    def __post_init__(self):
        low, high = self.scale_range
        if low > high:
            raise ValueError(
                "scale_range must be (low, high) with low <= high. "
                f"Received: {self.scale_range}."
            )

    def __call__(
        self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        _check_sizes(image, label)
        # The label alone decides where to crop, so it goes first and the
        # image is only resized as far as the crop shows it.
        ratio = rng.uniform(*self.scale_range)
        size = resized_size(label.shape, ratio, self.base_scale)
        label = resize_label(label, size)
        if self.class_weights is None:
            box = draw_crop(label, rng, self.crop_size, self.category_limit)
        else:
            box = draw_balanced_crop(
                label, rng, self.crop_size, self.class_weights
            )
        image, label = resize_region(image, size, box), label[box]
        image, label = random_flip(image, label, rng, self.flip)
        if self.photometric:
            image = photometric_distortion(image, rng)
        return pad_to(image, label, self.crop_size)


@checked(crop_size=CROP_SIZE)
@dataclasses.dataclass(frozen=True)
class EvaluationTransform:
    """The middle `crop_size`, padded, never resized; draws nothing.

    Args:
        crop_size: `(H, W)` of what comes out, or an int for both.
    """

    crop_size: tuple

    def __call__(
        self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        _check_sizes(image, label)
        image, label = center_crop(image, label, self.crop_size)
        return pad_to(image, label, self.crop_size)


@checked(augment=function(), crop_size=CROP_SIZE, category_limit=number(0))
@dataclasses.dataclass(frozen=True)
class CustomTransform:
    """A function of the user's, then `random_crop` and padding to one size.

    Args:
        augment: callable `(image, label, rng) -> (image, label)`. May change
            the size; what it returns is checked.
        crop_size: `(H, W)` of what comes out, or an int for both.
        category_limit: float. See `random_crop`.
    """

    augment: object
    crop_size: tuple
    category_limit: float = 0.75

    def __call__(self, image, label, rng):
        given = self.augment(image, label, rng)
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise ValueError(
                "augment must return (image, label). Received: "
                f"{type(given).__name__}."
            )
        image, label = given
        check_pair("augment must return", image, label)
        image, label = random_crop(
            image, label, rng, self.crop_size, self.category_limit
        )
        return pad_to(image, label, self.crop_size)


def _check_sizes(image, label):
    sizes = np.shape(image)[:2], np.shape(label)
    if len(sizes[1]) != 2 or sizes[0] != sizes[1]:
        raise ValueError(
            "image and label must have one height and width, and the label no "
            f"channels. Received: {np.shape(image)} and {sizes[1]}."
        )


def check_pair(rule, image, label):
    """Raise a ValueError starting with `rule` unless image and label fit."""
    image_shape, label_shape = np.shape(image), np.shape(label)
    dtypes = [str(getattr(array, "dtype", "none")) for array in (image, label)]
    if (
        len(image_shape) != 3
        or image_shape[:2] != label_shape
        or dtypes[0] not in ("uint8", "uint16")
        or dtypes[1] != "uint8"
    ):
        raise ValueError(
            f"{rule} an image (H, W, C), uint8 or uint16, and a label (H, W), "
            f"uint8. Received: image {image_shape} {dtypes[0]}, label "
            f"{label_shape} {dtypes[1]}."
        )
