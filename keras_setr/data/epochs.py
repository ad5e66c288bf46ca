"""Which pair comes when and how it is augmented, the same for every reader."""

import functools

import numpy as np

from keras_setr import workers


class Epochs:
    """The batches of a training, each fixed by the seed and its number.

    Epoch `e` goes through the pairs in an order drawn from `(seed, e)`, and
    pair `i` is then augmented by a generator made of `(seed, e, i)`. So a
    batch depends on nothing but its number: not on who reads it, with how
    many threads, or on what was read before.

    Batches are numbered from the start of the training. Each epoch ends with
    a short batch, or without it; with `repeat`, epoch follows epoch, and a
    batch may hold the end of one and the start of the next.

    Args:
        source: sequence with `len` and `source[i] -> (image, label)`, an
            `(H, W, C)` and an `(H, W)` array. May have `channels` and
            `image_dtype`, 3 and `"uint8"` by default, and `file_name(i)`
            for the errors.
        batch_size, transform, shuffle, seed, repeat, drop_remainder, cache:
            as for `segmentation_batches`.
        shard: `(worker, num_workers)`. The rows of other workers stay blank.
    """

    def __init__(
        self,
        source,
        batch_size,
        transform,
        shuffle,
        seed,
        repeat,
        drop_remainder,
        cache,
        shard,
    ):
        self.source = source
        self.batch_size = int(batch_size)
        self.transform = transform
        self.shuffle = shuffle
        self.seed = int(seed)
        self.repeat = repeat
        self.size = len(source)
        self.shard = shard
        self.steps_per_epoch = (
            self.size // self.batch_size
            if drop_remainder
            else -(-self.size // self.batch_size)
        )
        self.image_shape = (
            *(int(side) for side in transform.crop_size),
            getattr(source, "channels", 3),
        )
        self.image_dtype = getattr(source, "image_dtype", "uint8")
        self._read = _Memory(source) if cache else source.__getitem__
        # Readers ask for one epoch, at its end for two.
        self.order = functools.lru_cache(maxsize=4)(self._order)

    def _order(self, epoch):
        """`(size,)` int64: the pairs of an epoch, one after the other.

        Pairs that belong to other workers are -1.
        """
        order = np.arange(self.size)
        if self.shuffle:
            # `size` is no index, so no sample has the same key.
            rng = np.random.default_rng((self.seed, epoch, self.size))
            order = rng.permutation(self.size)
        if self.shard[1] > 1:
            order[~self._own(epoch)] = -1
        return order

    def _own(self, epoch):
        """`(size,)` bool: the pairs of an epoch that this worker reads."""
        # With `repeat`, batches do not begin anew in each epoch.
        first = epoch * self.size if self.repeat else 0
        row = (first + np.arange(self.size)) % self.batch_size
        size = np.full(self.size, self.batch_size)
        if not self.repeat:
            short = self.size % self.batch_size
            size[self.size - short :] = short
        return workers.owns(row, size, *self.shard)

    def start(self, step):
        """`(epoch, position)` of the first pair of batch `step`."""
        if self.repeat:
            return divmod(step * self.batch_size, self.size)
        epoch, step = divmod(step, self.steps_per_epoch)
        return epoch, step * self.batch_size

    def members(self, step):
        """`[(epoch, index), ...]` of the pairs of batch `step`."""
        epoch, position = self.start(step)
        members = []
        while len(members) < self.batch_size:
            order = self.order(epoch)
            part = order[position : position + self.batch_size - len(members)]
            members += [(epoch, int(index)) for index in part]
            if not self.repeat:
                break
            epoch, position = epoch + 1, 0
        return members

    def sample(self, epoch, index):
        """Pair `index` as epoch `epoch` shows it.

        Returns:
            `(image, label)` of the crop's size, the label int32. Of a pair of
            another worker, -1, nothing is read: the image is 0, the label
            unlabelled.
        """
        if index < 0:
            image = np.zeros(self.image_shape, self.image_dtype)
            return image, np.full(self.image_shape[:2], 255, np.int32)
        image, label = self._read(int(index))
        rng = np.random.default_rng((self.seed, epoch, index))
        try:
            image, label = self.transform(image, label, rng)
        except Exception as error:
            name = getattr(self.source, "file_name", lambda index: None)(index)
            path = "" if name is None else f" ({name})"
            raise ValueError(
                f"The transform failed on pair {index}{path}: {error!r}"
            ) from error
        expected = (self.image_shape, self.image_shape[:2], self.image_dtype)
        if (image.shape, label.shape, image.dtype.name) != expected:
            raise ValueError(
                "transform must return an image and a label of its crop_size="
                f"{self.image_shape[:2]}, the image with the "
                f"{self.image_shape[2]} channels of {self.image_dtype} of its "
                f"source. Received: {image.shape} of {image.dtype} and "
                f"{label.shape} for pair {index}."
            )
        return image, label.astype(np.int32)


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
