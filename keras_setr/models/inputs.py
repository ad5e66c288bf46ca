"""What people hand to `fit`, `predict` and `segment`, checked."""

import os
import sys
import warnings

import keras
import numpy as np

from keras_setr.classes import allowed_labels
from keras_setr.classes import check_labels
from keras_setr.layers.embedding import check_multiple_of_patch


def is_path(x):
    return isinstance(x, (str, os.PathLike))


def is_tf_dataset(x):
    return hasattr(x, "element_spec")


class Preprocessed(keras.utils.PyDataset):
    """The batches of a `PyDataset`, each passed through a function.

    Args:
        dataset: `keras.utils.PyDataset`.
        function: callable `(x, y, sample_weight) -> batch`.
    """

    def __init__(self, dataset, function):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset = dataset
        self._function = function

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __getitem__(self, index):
        return self._function(
            *keras.utils.unpack_x_y_sample_weight(self._dataset[index])
        )

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()


def preprocessed(data, function):
    """Data of any kind, passed through a function, once.

    Args:
        data: a `PyDataset`, a `tf.data.Dataset`, arrays `(x, y)` or
            `(x, y, sample_weight)`, or None.
        function: callable `(x, y, sample_weight) -> batch`.
    """
    if isinstance(data, Preprocessed):
        # Keras' fit evaluates on what it was given.
        return data
    if isinstance(data, keras.utils.PyDataset):
        return Preprocessed(data, function)
    if is_tf_dataset(data):
        import tensorflow as tf

        mapped = data.map(function, num_parallel_calls=tf.data.AUTOTUNE)
        return mapped.prefetch(tf.data.AUTOTUNE)
    return data if data is None else function(*data)


def check_image(image, channels, name):
    """One `(H, W, C)` array, or an error that calls it `name`."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"An image must have shape (height, width, {channels}), as the "
            f"model has {channels} input channels. Received {name} of shape "
            f"{image.shape}."
        )
    if 0 in image.shape:
        raise ValueError(f"{name} is empty: its shape is {image.shape}.")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = int(np.size(image) - np.isfinite(image).sum())
        raise ValueError(
            f"{name} holds {bad} values that are NaN or infinite. Images "
            "must be finite numbers, 0..255 where the model has a "
            "preprocessor."
        )
    if image.dtype.kind not in "uif":
        raise ValueError(
            "An image must hold integers or floats. Received "
            f"{name} of dtype {image.dtype}."
        )
    return image


def iterate_images(x, channels, normalises, load):
    """`(H, W, C)` arrays from paths, arrays, lists and batched datasets.

    Args:
        x: a sequence of paths and `(H, W, C)` arrays of any sizes, an array
            `(B, H, W, C)`, or a `tf.data.Dataset` (or other iterable) of
            images, batches, or `(images, labels)`.
        channels: int. C.
        normalises: bool. Whether the model normalises 0..255 itself.
        load: callable from a path to `(H, W, C)`.
    """
    count = 0
    for element in x:
        if is_path(element):
            images, name = [load(element)], str(element)
        else:
            if isinstance(element, tuple):
                element = element[0]
            element = np.asarray(element)
            images = element if element.ndim == 4 else [element]
            name = None
        for image in images:
            name_or_index = name or f"image {count}"
            image = check_image(image, channels, name_or_index)
            if normalises and image.dtype.kind == "f" and 0 < image.max() <= 1:
                warnings.warn(
                    f"{name_or_index} holds floats up to {image.max():.3g}, "
                    "but the model's preprocessor expects 0..255. Multiply "
                    "by 255, or set preprocessor=None for images that are "
                    "normalised already.",
                    stacklevel=2,
                )
            yield image
            count += 1


def count_images(x):
    """How many images `x` holds, or `None` where only reading it tells."""
    if is_tf_dataset(x) or not hasattr(x, "__len__"):
        return None
    return len(x)


def in_tf_graph(x):
    """Whether `x` is a symbolic TensorFlow tensor, as inside tf.data."""
    if "tensorflow" not in sys.modules:
        return False
    import tensorflow as tf

    return tf.is_tensor(x) and not tf.executing_eagerly()


def check_fit_data(model, x, y, validation_data):
    """Check what `fit` is given, as far as it shows before it is read.

    Args:
        model: `SETRSegmenter`.
        x, y, validation_data: as for `fit`.
    """
    _check_training_data(model, x, y)
    if isinstance(validation_data, (tuple, list)):
        _check_training_data(model, *validation_data[:2])
    elif validation_data is not None:
        _check_training_data(model, validation_data, None)


def _check_training_data(model, x, y):
    channels = model.backbone.image_shape[-1]
    patch_size = model.backbone.patch_size
    if is_tf_dataset(x):
        check_element_spec(x.element_spec, channels, patch_size)
    elif hasattr(x, "__array__") or isinstance(x, (list, tuple)):
        check_training_arrays(
            x, y, channels, patch_size, model.num_classes, model.ignore_class
        )
    _check_size(model, x)


def _check_size(model, x):
    """Raise where batches have another size than the model takes."""
    if (position := getattr(x, "position", None)) is not None:
        size = position.plan.image_shape[:2]
    elif is_tf_dataset(x):
        spec = x.element_spec
        images = spec[0] if isinstance(spec, tuple) else spec
        size = tuple(images.shape)[1:3] if images.shape.rank else (None, None)
    elif hasattr(x, "shape"):
        size = tuple(x.shape[1:3])
    else:
        return
    fixed = model.backbone.image_shape[:2]
    if None in size or all(f in (None, s) for f, s in zip(fixed, size)):
        return
    patch_size = model.backbone.patch_size
    channels = model.backbone.image_shape[-1]
    ways = ["pass images of the model's size"]
    if position is not None:
        ways = ["pass batches(.., model=model) for crops of the model's size"]
    if not any(side % patch_size for side in size):
        ways.append(f"build it with image_shape={(*size, channels)}")
    raise ValueError(
        f"The data holds images of {size[0]} x {size[1]}, but the model was "
        f"built for {fixed[0]} x {fixed[1]} (height x width): "
        f"{', or '.join(ways)}."
    )


def check_training_arrays(x, y, channels, patch_size, num_classes, ignore):
    """Check images `(B, H, W, C)` and labels `(B, H, W[, 1])` before `fit`."""
    x = np.asarray(x)
    if x.ndim != 4:
        raise ValueError(
            "x must have shape (batch, height, width, channels). Received: "
            f"{x.shape}."
        )
    check_multiple_of_patch(*x.shape[1:3], patch_size)
    for index, image in enumerate(x):
        check_image(image, channels, f"x[{index}]")
    if y is None:
        return
    y = np.asarray(y)
    labels = y[..., 0] if y.ndim == 4 and y.shape[-1] == 1 else y
    if labels.shape != x.shape[:3]:
        raise ValueError(
            "y must hold one label per pixel of x, shape "
            f"{x.shape[:3]} or {(*x.shape[:3], 1)}. Received: {y.shape}."
        )
    if labels.dtype.kind not in "uib":
        raise ValueError(
            f"y must hold integer class labels. Received dtype {labels.dtype}."
        )
    check_labels(labels, num_classes, ignore, "y")


def check_element_spec(spec, channels, patch_size):
    """Check the known shapes of a `tf.data.Dataset` of `(images, labels)`."""
    images = spec[0] if isinstance(spec, tuple) else spec
    shape = images.shape
    if shape.rank is None:
        return
    shape = tuple(shape)
    if len(shape) != 4 or shape[-1] not in (None, channels):
        raise ValueError(
            "A dataset must give batches of images (batch, height, width, "
            f"{channels}). Received elements of shape {shape}."
        )
    check_multiple_of_patch(shape[1], shape[2], patch_size)


def assert_batch(x, y, patch_size, num_classes, ignore_class):
    """Checks inside a tf.data pipeline, on every batch as it comes.

    Shapes and values are only known there for datasets that do not declare
    them; a label out of range would train on garbage without an error.
    """
    import tensorflow as tf

    size = tf.shape(x)[1:3]
    checks = [
        tf.debugging.assert_equal(
            size % patch_size,
            0,
            message="Image height and width must be multiples of "
            f"patch_size={patch_size}.",
        )
    ]
    if x.dtype.is_floating:
        checks.append(
            tf.debugging.assert_all_finite(
                x, "Images hold values that are NaN or infinite."
            )
        )
    if y is not None and y.dtype.is_integer:
        values = tf.cast(y, tf.int32)
        allowed = (values == ignore_class) | (
            (values >= 0) & (values < num_classes)
        )
        checks.append(
            tf.debugging.assert_equal(
                tf.reduce_all(allowed),
                True,
                message="A label is out of range: "
                f"{allowed_labels(num_classes, [ignore_class])}.",
                summarize=1,
            )
        )
    with tf.control_dependencies([c for c in checks if c is not None]):
        return tf.identity(x)
