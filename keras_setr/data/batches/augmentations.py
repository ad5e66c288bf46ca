"""What is drawn and done to an image and its labels, in NumPy and OpenCV.

The paper's augmentation (section 4.1, "Implementation details": random
resize with ratio 0.5 to 2, random cropping, random horizontal flipping) and
the two parts that its released configurations add: the limit on the share of
one class in a crop, and photometric distortion. Every function takes and
gives `(H, W, C)` images, uint8 or uint16, and `(H, W)` uint8 labels in which
255 means unlabelled, and draws only from the `numpy.random.Generator` it is
handed. All but photometric distortion take any number of channels.
"""

import math

import numpy as np

from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.opencv import cv2

# round((123.675, 116.28, 103.53)), the ImageNet mean on the scale 0..255:
# what the reference pads with, which is 0 after normalisation.
PADDING_COLOR = (124, 116, 104)


def resized_size(size, ratio, base_scale=None):
    """`(H, W)` of an image of `size` resized to `ratio` times `base_scale`.

    The largest size of the image's own aspect ratio whose longer side is
    within the longer side of `int(ratio * base_scale)` and whose shorter side
    is within its shorter side. An image of (512, 683) at ratio 1 and
    base_scale (512, 2048): min(2048 / 683, 512 / 512) = 1, hence (512, 683).

    Args:
        size: `(H, W)` of the image.
        ratio: positive float.
        base_scale: `(H, W)`; of which only the longer and the shorter side
            matter. Defaults to `size`.
    """
    height, width = size
    scaled = [int(side * ratio) for side in base_scale or size]
    factor = min(
        max(scaled) / max(height, width), min(scaled) / min(height, width)
    )
    return (
        max(int(height * factor + 0.5), 1),
        max(int(width * factor + 0.5), 1),
    )


def resize_label(label, size):
    """The label at `size`: of each pixel the nearest's, so none is invented."""
    # OpenCV's sizes are (width, height).
    return cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)


def resize_region(image, size, box):
    """Rows and columns `box` of the image resized bilinearly to `size`.

    Equal, pixel by pixel, to resizing the whole and cutting `box` out. What
    lies beyond the box at the bottom and at the right is not computed: at
    ratio 2 on Cityscapes, on average 41 % of the pixels are. What lies above
    and to the left is: OpenCV starts each resize at the same phase of the
    pixel grid, and its warps, which take any phase, round positions.

    Args:
        image: `(H, W, C)`.
        size: `(h, w)` of the whole image once resized.
        box: `(rows, columns)`, slices within `size`.
    """
    scale_y, scale_x = (new / old for new, old in zip(size, image.shape))
    bottom, right = (part.stop for part in box)
    # Two more than the last row and column that are read, so that the count
    # of rows and columns that come out cannot round below the box.
    source = image[
        : math.ceil(bottom / scale_y) + 2, : math.ceil(right / scale_x) + 2
    ]
    resized = cv2.resize(
        source,
        None,
        fx=scale_x,
        fy=scale_y,
        interpolation=cv2.INTER_LINEAR,
    )
    # OpenCV drops a channel axis of 1.
    return resized.reshape(*resized.shape[:2], image.shape[2])[box]


def random_crop(image, label, rng, crop_size, category_limit=0.75):
    """Cut a random box of `crop_size` out of both; see `draw_crop`."""
    box = draw_crop(label, rng, crop_size, category_limit)
    return image[box], label[box]


def draw_crop(label, rng, crop_size, category_limit=0.75):
    """A random box of `crop_size`, or of the label where that is smaller.

    A box is taken if it holds at least two classes and none has
    `category_limit` or more of its labelled pixels. Otherwise another one is
    drawn, ten times at most; the last is taken as it comes.

    Args:
        crop_size: `(H, W)`.
        category_limit: float. 1 or more takes the first box.

    Returns:
        `(rows, columns)`, slices within the label.
    """
    height, width = label.shape
    crop_height, crop_width = crop_size
    free_height = max(height - crop_height, 0)
    free_width = max(width - crop_width, 0)

    def draw():
        top = int(rng.integers(free_height + 1))
        left = int(rng.integers(free_width + 1))
        return (
            slice(top, min(top + crop_height, height)),
            slice(left, min(left + crop_width, width)),
        )

    box = draw()
    if category_limit < 1 and (free_height or free_width):
        for _ in range(10):
            if _is_varied(label[box], category_limit):
                break
            box = draw()
    return box


def draw_balanced_crop(label, rng, crop_size, class_weights):
    """A random box of `crop_size` over a pixel of a class that is drawn.

    The class is drawn among those of the label, by their weights, and the
    pixel among those of the class; of all boxes in the label that hold it
    one is drawn. Without any such class it is a box like any other.

    Args:
        crop_size: `(H, W)`.
        class_weights: sequence of K numbers.

    Returns:
        `(rows, columns)`, slices within the label.
    """
    pixels = np.bincount(label.ravel(), minlength=len(class_weights))
    shown = pixels[: len(class_weights)] > 0
    weights = np.where(shown, class_weights, 0.0)
    if not weights.any():
        return draw_crop(label, rng, crop_size, category_limit=1)
    chosen = rng.choice(len(weights), p=weights / weights.sum())
    place = rng.integers(pixels[chosen])
    pixel = np.unravel_index(
        np.flatnonzero(label == chosen)[place], label.shape
    )
    starts = (
        int(rng.integers(max(at - crop + 1, 0), min(at, side - crop) + 1))
        if side > crop
        else 0
        for at, crop, side in zip(pixel, crop_size, label.shape)
    )
    return tuple(
        slice(start, min(start + crop, side))
        for start, crop, side in zip(starts, crop_size, label.shape)
    )


def _is_varied(label, category_limit):
    # Three times as fast as np.bincount; (256, 1) in OpenCV 4, (256,) in 5.
    pixels = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel()
    pixels = pixels[:UNLABELLED].astype(np.int64)
    return (
        np.count_nonzero(pixels) > 1
        and pixels.max() < category_limit * pixels.sum()
    )


def random_flip(image, label, rng, probability=0.5):
    """Mirror left and right with `probability`."""
    if rng.random() < probability:
        flipped = cv2.flip(image, 1)
        return flipped.reshape(image.shape), cv2.flip(label, 1)
    return image, label


def photometric_distortion(image, rng):
    """Change brightness, contrast, saturation and hue, each half the time.

    Brightness by -32..32; contrast by a factor 0.5..1.5, either before or
    after the other two, with equal chances; saturation by a factor 0.5..1.5;
    hue by -36..34 degrees. Each step clips to 0..255 and drops the fraction,
    as the reference does.

    Raises:
        ValueError: the image is not 8-bit RGB, and has no hue.
    """
    if image.dtype != np.uint8 or image.shape[2] != 3:
        raise ValueError(
            "Photometric distortion takes 8-bit RGB images. Received: "
            f"{image.dtype} {image.shape}; pass "
            "TrainingTransform(..., photometric=False)."
        )
    if rng.random() < 0.5:
        image = _scale_values(image, shift=rng.uniform(-32, 32))
    contrast_first = rng.random() < 0.5
    if contrast_first:
        image = _random_contrast(image, rng)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _scale_values(hsv[..., 1], factor=rng.uniform(0.5, 1.5))
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        # OpenCV keeps hue in 0..179, two degrees a step; 18 is excluded.
        turned = (np.arange(256) + rng.integers(-18, 18)) % 180
        hsv[..., 0] = cv2.LUT(hsv[..., 0], turned.astype(np.uint8))
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not contrast_first:
        image = _random_contrast(image, rng)
    return image


def _random_contrast(image, rng):
    if rng.random() < 0.5:
        image = _scale_values(image, factor=rng.uniform(0.5, 1.5))
    return image


def _scale_values(values, factor=1.0, shift=0.0):
    # uint8 has 256 values, so the arithmetic is done once for each of them.
    table = np.arange(256, dtype=np.float32) * factor + shift
    return cv2.LUT(values, np.clip(table, 0, 255).astype(np.uint8))


def pad_to(image, label, size):
    """Extend to `size` at the bottom and right, unlabelled, in the mean colour.

    The mean is that of ImageNet; images other than 8-bit RGB, whose mean
    nobody knows, are extended with 0.

    Raises:
        ValueError: the image is larger than `size`.
    """
    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image, label
    bottom, right = size[0] - height, size[1] - width
    if bottom < 0 or right < 0:
        raise ValueError(
            "size must be at least the image's own in height and width. "
            f"Received: size={tuple(size)} for an image of {height, width}; "
            "crop it first."
        )
    padded = np.zeros((*size, image.shape[2]), image.dtype)
    if image.dtype == np.uint8 and image.shape[2] == 3:
        padded[height:] = PADDING_COLOR
        padded[:height, width:] = PADDING_COLOR
    padded[:height, :width] = image
    labels = np.full(size, UNLABELLED, label.dtype)
    labels[:height, :width] = label
    return padded, labels


def center_crop(image, label, crop_size):
    """Cut out the middle box of `crop_size`, or of the image where smaller."""
    box = tuple(
        slice(max(side - crop, 0) // 2, max(side - crop, 0) // 2 + crop)
        for side, crop in zip(label.shape, crop_size)
    )
    return image[box], label[box]
