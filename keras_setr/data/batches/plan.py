"""Which pair comes when and how it is augmented, the same for every reader."""

import functools
import threading

import numpy as np

from keras_setr import workers


class Epochs:
    """The batches of a training, each fixed by the seed and its number.

    Epoch `e` goes through the pairs in an order drawn from `(seed, e)`, and
    pair `i` is then augmented by a generator made of `(seed, e, i)`. So a
    batch depends on nothing but its number: not on who reads it, with how
    many threads, or on what was read before.

    Batches are numbered from the start of the training, in passes of
    `steps_per_epoch`. If that is not given, each pass is an epoch, and ends
    with a short batch, or without it. If it is, epoch follows epoch through
    the passes, and a batch may hold the end of one and the start of the next.

    Args:
        source: sequence with `len` and `source[i] -> (image, label)`, an
            `(H, W, C)` and an `(H, W)` array. May have `channels` and
            `image_dtype`, 3 and `"uint8"` by default, `file_name(i)` for the
            errors, and `undecoded(i)`; see `SegmentationSource`.
        batch_size, transform, shuffle, seed, drop_remainder, steps_per_epoch,
            cache, shard: as for `segmentation_batches`.
    """

    def __init__(
        self,
        source,
        batch_size,
        transform,
        shuffle,
        seed,
        drop_remainder,
        steps_per_epoch,
        cache,
        shard,
    ):
        self.source = source
        self.batch_size = int(batch_size)
        self.transform = transform
        self.shuffle = shuffle
        self.seed = int(seed)
        self.size = len(source)
        self.shard = shard
        self.in_full_batches = drop_remainder or steps_per_epoch is not None
        self._follow_on = steps_per_epoch is not None
        if steps_per_epoch is None:
            steps_per_epoch = (
                self.size // self.batch_size
                if drop_remainder
                else -(-self.size // self.batch_size)
            )
        self.steps_per_epoch = int(steps_per_epoch)
        self.image_shape = (
            *(int(side) for side in transform.crop_size),
            getattr(source, "channels", 3),
        )
        self.image_dtype = getattr(source, "image_dtype", "uint8")
        self._read = source.__getitem__
        if cache:
            self._read = _Memory(source)
        elif getattr(transform, "reads_slices", False):
            self._read = getattr(source, "undecoded", self._read)
        # Readers ask for one epoch, at its end for two.
        self.order = functools.lru_cache(maxsize=4)(self._order)

    def _order(self, epoch):
        """`(size,)` int64: the pairs of an epoch, one after the other."""
        if not self.shuffle:
            return np.arange(self.size)
        # `size` is no index, so no sample has the same key.
        rng = np.random.default_rng((self.seed, epoch, self.size))
        return rng.permutation(self.size)

    def pairs(self, steps):
        """The pairs of the batches `steps` of one pass.

        Args:
            steps: range of the numbers of batches.

        Returns:
            `(epochs, indices)`, int64 arrays with an entry for each pair.
        """
        # Places in the stream of all epochs, one after the other.
        if self._follow_on:
            first = steps.start * self.batch_size
            stop = steps.stop * self.batch_size
        else:
            epoch, step = divmod(steps.start, self.steps_per_epoch)
            first = epoch * self.size + step * self.batch_size
            stop = first + len(steps) * self.batch_size
            stop = min(stop, (epoch + 1) * self.size)
        epochs = np.arange(first, stop) // self.size
        orders = [
            self.order(epoch) for epoch in range(epochs[0], epochs[-1] + 1)
        ]
        start = first - epochs[0] * self.size
        return epochs, np.concatenate(orders)[start : start + len(epochs)]

    def members(self, steps):
        """The same, with index -1 for pairs that other workers read."""
        epochs, indices = self.pairs(steps)
        place = np.arange(len(indices))
        row = place % self.batch_size
        # Only the last batch may be short.
        size = np.minimum(len(indices) - place + row, self.batch_size)
        own = workers.owns(row, size, *self.shard)
        return epochs, np.where(own, indices, -1)

    def batch(self, step):
        """Batch `step`, read in this thread: `(images, labels)`."""
        return stack(
            [self.sample(*pair) for pair in zip(*self.members(one(step)))]
        )

    def sample(self, epoch, index):
        """Pair `index` as epoch `epoch` shows it.

        Returns:
            `(image, label)` of the crop's size, the label int32. For -1 a
            black image without labels.
        """
        if index < 0:
            image = np.zeros(self.image_shape, self.image_dtype)
            return image, np.full(self.image_shape[:2], 255, np.int32)
        image, label = self._read(int(index))
        rng = np.random.default_rng((self.seed, epoch, index))
        try:
            image, label = self.transform(image, label, rng)
        except Exception as error:
            raise ValueError(
                f"The transform failed on {self.file_name(index)}: {error!r}"
            ) from error
        expected = (self.image_shape, self.image_shape[:2], self.image_dtype)
        if (image.shape, label.shape, image.dtype.name) != expected:
            raise ValueError(
                "transform must return an image and a label of its crop_size="
                f"{self.image_shape[:2]}, the image with the "
                f"{self.image_shape[2]} channels of {self.image_dtype} of its "
                f"source. Received: {image.shape} of {image.dtype} and "
                f"{label.shape} for {self.file_name(index)}."
            )
        return image, label.astype(np.int32)

    def file_name(self, index):
        """The file of image `index`, or its number if it is in none."""
        if hasattr(self.source, "file_name"):
            return str(self.source.file_name(index))
        return f"pair {index}"


class Passes:
    """Which batches an iterator gets: those of the next pass.

    A pass is what one iterator gives. It counts once its second batch was
    taken, or its only one: an iterator that was left before only looked, as
    Keras does on JAX and torch before it trains, and the next one gets the
    same batches.

    Args:
        steps_per_epoch: int. Batches of a pass.
        initial_step: int. The number of the first batch. The first pass is
            what is left of the one that it lies in.
    """

    def __init__(self, steps_per_epoch, initial_step):
        self.steps_per_epoch = steps_per_epoch
        self.initial_step = initial_step
        self._step = initial_step
        self._lock = threading.Lock()

    def next(self):
        """Range of the numbers of the batches of the next pass."""
        return range(self._step, self._end(self._step))

    def took(self, step):
        """Take note that batch `step` was taken from an iterator."""
        end = self._end(step)
        first = max(end - self.steps_per_epoch, self.initial_step)
        if step > first or step == end - 1:
            with self._lock:
                self._step = max(self._step, end)

    def _end(self, step):
        return (step // self.steps_per_epoch + 1) * self.steps_per_epoch


def one(step):
    """The range of batch `step` alone."""
    return range(step, step + 1)


def stack(samples):
    """A list of `(image, label)` as `(images, labels)`."""
    images, labels = zip(*samples)
    return np.stack(images), np.stack(labels)


class _Memory:
    """Reads each pair of `source` once and hands out copies.

    Copies, because an augmentation may write into what it is given.
    """

    def __init__(self, source):
        self.source = source
        self.pairs = {}

    def __call__(self, index):
        # Two threads may both read a pair; they store the same.
        if index not in self.pairs:
            self.pairs[index] = self.source[index]
        image, label = self.pairs[index]
        return image.copy(), label.copy()
