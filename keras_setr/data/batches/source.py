"""What every set of pairs offers: batches to train on, and a look at it."""

import math

import numpy as np

from keras_setr import visualization
from keras_setr.data.batches.batches import segmentation_batches
from keras_setr.data.batches.transforms import CustomTransform
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform


def crop_size_for(sizes):
    """Multiples of 16 that hold the median of `(H, W)`, at most 512 each."""
    median = np.median(sizes, axis=0)
    return tuple(min(16 * math.ceil(side / 16), 512) for side in median)


class SegmentationSource:
    """A sequence of pairs of an image and its label; base of what reads them.

    `source[i]` is an image `(H, W, channels)` and its label `(H, W)` uint8, in
    which 255 means unlabelled. Subclasses have `__len__`, `__getitem__`,
    `classes`, `file_name` and `_default_crop_size`.

    Attributes:
        training: bool or None. What `batches()` is for; `None` if that was
            not said.
        channels: int. Of the images.
        image_dtype: `"uint8"` or `"uint16"`.
    """

    training = None
    channels = 3
    image_dtype = "uint8"

    def __iter__(self):
        for index in range(len(self)):
            yield self[index]

    def undecoded(self, index):
        """Pair `index` for a transform that needs slices of the image only.

        The image has `shape`, `dtype` and `image[rows, columns]`; it may be
        decoded as far as those reach.
        """
        return self[index]

    @property
    def num_classes(self):
        """The number of classes; ignored values are not counted."""
        return len(self.classes)

    def check(self):
        """Raise an error that names what is wrong with the files, if known."""

    def batches(
        self,
        batch_size,
        crop_size=None,
        augment=None,
        shuffle=None,
        seed=0,
        steps_per_epoch=None,
        drop_remainder=None,
        cache=False,
        check=True,
        reader="tf.data",
        initial_step=0,
        shard=None,
    ):
        """Batches `(images, labels)` for Keras' `fit`.

        Images are `(B, h, w, channels)` as stored, labels `(B, h, w)` int32
        with 255 for unlabelled. To train, pairs are shuffled and augmented as
        in the paper (`TrainingTransform`), anew in every epoch; colours only
        if they are 8-bit RGB. To validate, the middle of each image is taken,
        in order, and padded where it is smaller, never resized;
        `keras_setr.evaluate` measures on the whole images and is the exact
        figure.

        Args:
            batch_size: int.
            crop_size: int or `(H, W)`. Defaults to the smallest multiples of
                16 that hold the median height and width, at most 512 each.
            augment: bool, or a callable `(image, label, rng) -> (image,
                label)` on uint8 arrays and a `numpy.random.Generator`, called
                by several threads; what it returns is cropped at random and
                padded, unless it has an attribute `crop_size`, which then
                says what it returns. Defaults to whether the pairs are to
                train on; if that was not said, they are.
            shuffle: bool. Defaults to `training`; if that was not said, to
                whether the pairs are augmented.
            seed: int. The same seed gives the same epochs.
            steps_per_epoch: int. Batches of a pass, all of them full, if that
                is not to be one epoch; see `segmentation_batches`.
            drop_remainder: bool. Leave out a short last batch. Defaults to
                True when shuffling more than one batch, as other pairs are
                left out in each epoch, and all batches have one shape.
            cache: bool. Keep the decoded pairs in memory: 4 bytes a pixel.
            check: bool. Read all files first and raise what `check()` finds.
            reader: `"tf.data"`, `"threads"` (no TensorFlow) or `"grain"`, all
                with the same batches; see `segmentation_batches`.
            initial_step: int. The batch to start with, counted from the start
                of the training; see `batches_from`.
            shard: `(worker, num_workers)`. Of each batch, read only the part
                of one worker of several: `run.shard` of `ks.distribute()`.

        Raises:
            ValueError: an argument does not fit, or the check failed.
        """
        if check:
            self.check()
        else:
            # What must be found out about the whole, such as the colours of
            # RGB masks, is found before several threads would each do so.
            self[0]
        if augment is None:
            augment = self.training is not False
        if not isinstance(augment, bool) and not callable(augment):
            raise ValueError(
                "augment must be True, False or a callable (image, label, "
                f"rng) -> (image, label). Received: {augment!r}."
            )
        if shuffle is None:
            shuffle = bool(augment)
            if self.training is not None:
                shuffle = self.training
        if drop_remainder is None:
            drop_remainder = shuffle and len(self) > batch_size
        return segmentation_batches(
            self,
            batch_size,
            self._transform(augment, crop_size),
            shuffle=shuffle,
            seed=seed,
            steps_per_epoch=steps_per_epoch,
            drop_remainder=drop_remainder,
            cache=cache,
            reader=reader,
            initial_step=initial_step,
            shard=shard,
        )

    def _transform(self, augment, crop_size):
        if isinstance(crop_size, (int, np.integer)):
            crop_size = (crop_size, crop_size)
        own_size = getattr(augment, "crop_size", None)
        if own_size is not None:
            if crop_size is not None and tuple(crop_size) != tuple(own_size):
                raise ValueError(
                    "crop_size must be that of augment, or be left out. "
                    f"Received: crop_size={tuple(crop_size)} and "
                    f"augment.crop_size={tuple(own_size)}."
                )
            return augment
        if crop_size is None:
            crop_size = self._default_crop_size()
        crop_size = tuple(crop_size)
        if callable(augment):
            return CustomTransform(augment, crop_size)
        if augment:
            return self._training_transform(crop_size)
        return EvaluationTransform(crop_size)

    def _training_transform(self, crop_size):
        rgb = self.channels == 3 and self.image_dtype == "uint8"
        return TrainingTransform(crop_size, photometric=rgb)

    def show(self, count=6, columns=3, width=320, alpha=0.5):
        """The first pairs as overlays in rows, with a legend below.

        Args:
            count: int. How many, evenly spread over all pairs.
            columns: int. Pictures in a row.
            width: int. Pixels of each picture.
            alpha: float in 0..1. Share of the class colours.

        Returns:
            A `PIL.Image`, which notebooks display; elsewhere `.show()` or
            `.save(path)` it. Unlabelled pixels are darkened. Of more than
            three channels the first three are shown, 16 bits as 8.
        """
        count = min(count, len(self))
        if count < 1 or columns < 1:
            raise ValueError(
                "count and columns must be at least 1. Received: "
                f"count={count} of {len(self)} pairs, columns={columns}."
            )
        spread = (number * len(self) // count for number in range(count))
        pairs = (self[index] for index in spread)
        return visualization.sheet(pairs, self.classes, columns, width, alpha)
