"""What people hand to `fit` and `evaluate`, checked."""

import numpy as np

from keras_setr.arrays import check_image
from keras_setr.arrays import differ
from keras_setr.arrays import unpack
from keras_setr.classes import allowed_labels
from keras_setr.classes import check_labels
from keras_setr.layers.embedding import check_multiple_of_patch
from keras_setr.losses import takes_one_hot
from keras_setr.models.preprocessor import value_range_of


class Expected:
    """What a model takes to be fitted or evaluated, and the checks of it.

    Args:
        model: `SETRSegmenter`.
        needs_labels: bool.
    """

    def __init__(self, model, needs_labels=False):
        backbone = model.backbone
        self.channels = backbone.image_shape[-1]
        self.size = tuple(backbone.image_shape[:2])
        self.size_multiple = backbone.size_multiple
        self.num_classes = model.num_classes
        self.ignore_class = model.ignore_class
        self.loss = model.loss
        self.needs_labels = needs_labels
        self.value_range = value_range_of(model.preprocessor)

    def check_arrays(self, x, y=None, sample_weight=None, prefix=""):
        """Check images, labels and weights of a batch or a whole set.

        Args:
            x, y, sample_weight: arrays, or None.
            prefix: str. Before the names of the three in messages.
        """
        name = f"{prefix}x"
        if x is None or x.ndim != 4:
            raise ValueError(
                f"{name} must have shape (batch, height, width, channels). "
                f"Received: {None if x is None else x.shape}."
            )
        if not len(x):
            raise ValueError(f"{name} is empty: its shape is {x.shape}.")
        self._check_channels(x.shape, name)
        self.check_size(x.shape[1:3])
        for index, image in enumerate(x):
            check_image(image, self.channels, f"{name}[{index}]")
        self.value_range.check(x, name)
        self._check_labels(y, x.shape, f"{prefix}y")
        if sample_weight is not None:
            check_weights(sample_weight, x.shape, f"{prefix}sample_weight")

    def _check_channels(self, shape, name):
        """An error that knows torch's order of the axes."""
        channels = self.channels
        if shape[-1] != channels and shape[1] == channels:
            raise ValueError(
                f"{name} must have its channels last, (batch, height, width, "
                f"{channels}). Received: {tuple(shape)}, which has them "
                f"first; pass np.moveaxis({name}, 1, -1)."
            )

    def check_size(self, size, way="pass images of the model's size"):
        """Check a height and a width, each an int or None.

        Args:
            size: `(height, width)`.
            way: str. How to come by the right size.
        """
        check_multiple_of_patch(*size, self.size_multiple)
        if None in size or not differ(self.size, size):
            return
        raise ValueError(
            f"The data holds images of {size[0]} x {size[1]}, but the model "
            f"was built for {self.size[0]} x {self.size[1]} (height x width): "
            f"{way}, or build it with image_shape={(*size, self.channels)}."
        )

    def _check_labels(self, y, image_shape, name):
        if y is None:
            if self.needs_labels:
                raise ValueError(
                    f"{name} must hold labels, one per pixel of the images. "
                    "Received: none. Pass fit(images, labels), or batches of "
                    "(images, labels)."
                )
            return
        labels = y[..., 0] if y.ndim == 4 and y.shape[-1] == 1 else y
        if labels.shape == (*image_shape[:3], self.num_classes):
            self._check_takes_one_hot(labels.shape, name)
            within = (labels >= 0) & (labels <= 1)
            if not within.all():
                raise ValueError(
                    f"{name} is one-hot and must lie in 0..1. Received: "
                    f"{labels[~within][0]}."
                )
            return
        if labels.shape != image_shape[:3]:
            raise ValueError(
                f"{name} must hold one label per pixel of x, shape "
                f"{image_shape[:3]} or {(*image_shape[:3], 1)}. Received: "
                f"{y.shape}."
            )
        if labels.dtype.kind not in "uib":
            raise ValueError(
                f"{name} must hold integer class labels. Received dtype "
                f"{labels.dtype}."
            )
        check_labels(labels, self.num_classes, self.ignore_class, name)

    def check_counted(self, y, name):
        """Raise where not one pixel of a whole set counts."""
        ignored = self.ignore_class
        if y is not None and ignored is not None and (y == ignored).all():
            raise ValueError(
                f"{name} must hold a class in some pixel. Received: {ignored}, "
                "the model's ignore_class, in all of them."
            )

    def _check_takes_one_hot(self, shape, name):
        if not takes_one_hot(self.loss):
            raise ValueError(
                f"{name} is one-hot, but the model's loss takes one integer "
                f"per pixel. Received: {shape}. Pass "
                f"{name}.argmax(-1), or compile with a loss for one-hot "
                "labels, such as keras.losses.CategoricalCrossentropy("
                "from_logits=True)."
            )

    def check_spec(self, spec):
        """Check the known shapes of a `tf.data.Dataset`."""
        images, labels, _ = unpack(spec)
        if labels is None and self.needs_labels:
            raise ValueError(
                "The dataset must give batches of (images, labels). "
                f"Received: elements without labels, {spec}."
            )
        if images.shape.rank is None:
            return
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[-1] not in (None, self.channels):
            raise ValueError(
                "A dataset must give batches of images (batch, height, width, "
                f"{self.channels}). Received elements of shape {shape}"
                + ("; pass dataset.batch(8)." if len(shape) == 3 else ".")
            )
        self.check_size(shape[1:3])
        if labels is None or labels.shape.rank is None:
            return
        labels_shape = tuple(labels.shape)
        one_hot = labels_shape[-1:] == (self.num_classes,)
        if len(labels_shape) == 4 and one_hot:
            self._check_takes_one_hot(labels_shape, "y")
        if len(labels_shape) not in (3, 4) or differ(shape[:3], labels_shape):
            raise ValueError(
                "A dataset must give one label per pixel, (batch, height, "
                f"width). Received: labels of shape {labels_shape} with "
                f"images of shape {shape}."
            )

    def check_in_graph(self, x, y):
        """The same inside a tf.data pipeline, on every batch as it comes.

        Shapes and values are only known there for datasets that do not
        declare them; a label out of range would train on garbage without an
        error.
        """
        import tensorflow as tf

        size = tf.shape(x)[1:3]
        checks = [
            tf.debugging.assert_equal(
                size % self.size_multiple,
                0,
                message="Image height and width must be multiples of "
                f"patch_size={self.size_multiple}.",
            )
        ]
        if x.dtype.is_floating:
            checks.append(
                tf.debugging.assert_all_finite(
                    x, "Images hold values that are NaN or infinite."
                )
            )
        if self.value_range.limit is not None and x.dtype != tf.uint8:
            is_float = x.dtype.is_floating
            value_range = self.value_range

            def check_extremes(low, high):
                value_range.check_extremes(low, high, is_float, "A batch")

            extremes = [
                tf.cast(reduce(x), tf.float32)
                for reduce in (tf.reduce_min, tf.reduce_max)
            ]
            checks.append(tf.numpy_function(check_extremes, extremes, []))
        if y is not None and y.dtype.is_integer:
            values = tf.cast(y, tf.int32)
            allowed = (values == self.ignore_class) | (
                (values >= 0) & (values < self.num_classes)
            )
            ignored = [self.ignore_class]
            checks.append(
                tf.debugging.assert_equal(
                    tf.reduce_all(allowed),
                    True,
                    message="A label is out of range: "
                    f"{allowed_labels(self.num_classes, ignored)}.",
                    summarize=1,
                )
            )
        with tf.control_dependencies([c for c in checks if c is not None]):
            return tf.identity(x)


def check_weights(weights, image_shape, name):
    """Check weights per image or per pixel of images `(B, H, W, C)`."""
    batch, pixels = image_shape[:1], tuple(image_shape[:3])
    if weights.shape not in (batch, pixels, (*pixels, 1)):
        raise ValueError(
            f"{name} must hold one weight per image, shape {batch}, or one "
            f"per pixel, {pixels} or {(*pixels, 1)}. Received: "
            f"{weights.shape}."
        )
    if weights.dtype.kind not in "uifb":
        raise ValueError(
            f"{name} must hold numbers. Received dtype {weights.dtype}."
        )
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"{name} must hold finite numbers of at least 0. Received: "
            f"{weights.min()} to {weights.max()}."
        )
