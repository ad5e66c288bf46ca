"""Which pair comes when and how it is augmented, the same for every reader."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any
from typing import ClassVar

import numpy as np

from keras_setr import workers
from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import function
from keras_setr.arguments import having
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import shard
from keras_setr.data.batches.mixing import Mixing
from keras_setr.data.batches.transforms import CROP_SIZE
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.tables import counted

_STEPS = instance("a range of the numbers of batches", range)
# Of the fields that have a default.
OPTION_RULES = {
    "shuffle": flag(),
    "seed": integer(0),
    "steps_per_epoch": optional(integer(1)),
    "drop_remainder": flag(),
    "cache": flag(),
    "shard": optional(shard()),
    "mixing": optional(instance("a keras_setr.data.Mixing", Mixing)),
}


@checked(
    source=having("a sequence of (image, label)", "__len__", "__getitem__"),
    batch_size=integer(1),
    transform=function(),
    **OPTION_RULES,
)
@dataclasses.dataclass(frozen=True, eq=False)
class BatchPlan:
    """The batches of a training, each fixed by the seed and its number.

    Epoch `e` goes through the pairs in an order drawn from `(seed, e)`, and
    pair `i` is then augmented by a generator made of `(seed, e, i)`, and mixed
    with others by further ones made of the same. So a batch depends on
    nothing but its number: not on who reads it, with how many threads, or on
    what was read before.

    Batches are numbered from the start of the training, in passes of
    `num_batches`. By default each pass is an epoch, and ends with a short
    batch, or without it. With `steps_per_epoch`, epoch follows epoch through
    the passes, and a batch may hold the end of one and the start of the next.

    Args:
        source: sequence with `len` and `source[i] -> (image, label)`, an
            `(H, W, C)` array and an `(H, W)` uint8 array. Read by several
            threads. May have `channels` and `image_dtype`, 3 and `"uint8"` by
            default, and `file_name(i)` for the errors; see
            `SegmentationSource`.
        batch_size: int.
        transform: callable `(image, label, rng) -> (image, label)` with
            attribute `crop_size`, such as `TrainingTransform`.
        shuffle: bool. A new order in every epoch.
        seed: int, not negative. The same seed gives the same epochs.
        steps_per_epoch: int. Batches of a pass, all of them full, for recipes
            that count in steps. By default a pass is one epoch.
        drop_remainder: bool. Leave out the last batch of an epoch if it is
            short.
        cache: bool. Keep what `source` gives in memory, before augmentation:
            4 bytes a pixel of RGB images.
        shard: `(worker, num_workers)`, for a job of several workers:
            `run.shard` of `keras_setr.distribute()`. Only the rows of each
            batch that this worker computes are read; the others are black
            images without labels, which `fit` leaves out.
        mixing: `Mixing`, by which augmented samples are mixed with those of
            other pairs, augmented in their own way.

    Attributes:
        image_shape: `(h, w, C)` of the images that come out.

    Raises:
        ValueError: an argument does not fit, or no batch would come out.
    """

    source: Any
    batch_size: int
    transform: Any
    shuffle: bool = False
    seed: int = 0
    steps_per_epoch: int | None = None
    drop_remainder: bool = False
    cache: bool = False
    shard: tuple | None = None
    mixing: Mixing | None = None

    image_shape: ClassVar[tuple[int, int, int]]
    _read_pair: ClassVar[Callable]

    def __post_init__(self):
        crop_size = CROP_SIZE.check(
            "transform.crop_size", getattr(self.transform, "crop_size", None)
        )
        shape = (*crop_size, getattr(self.source, "channels", 3))
        object.__setattr__(self, "image_shape", shape)
        if not self.num_pairs:
            raise ValueError(
                f"source must hold a pair at least. Received: {self.source!r}."
            )
        if not self.num_batches:
            raise ValueError(
                "batch_size must not exceed the number of pairs with "
                f"drop_remainder=True. Received: batch_size={self.batch_size} "
                f"for {counted(self.num_pairs, 'pair')}; pass batch_size="
                f"{self.num_pairs} or drop_remainder=False."
            )
        read = _Memory(self.source) if self.cache else self.source.__getitem__
        object.__setattr__(self, "_read_pair", read)

    @property
    def num_pairs(self) -> int:
        """Pairs of an epoch."""
        return len(self.source)

    @property
    def num_batches(self) -> int:
        """Batches of a pass."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if self.drop_remainder:
            return self.num_pairs // self.batch_size
        return -(-self.num_pairs // self.batch_size)

    @property
    def all_full(self) -> bool:
        """Whether every batch has `batch_size` pairs."""
        return self.drop_remainder or self.steps_per_epoch is not None

    @property
    def image_dtype(self) -> str:
        return getattr(self.source, "image_dtype", "uint8")

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """`(B, h, w)` of a full batch, that of all workers."""
        return self.batch_size, *self.image_shape[:2]

    @property
    def settings(self) -> dict[str, Any]:
        """What makes a batch what it is, as far as JSON can say it."""
        settings = {
            "pairs": self.num_pairs,
            "batch_size": self.batch_size,
            "image_shape": self.image_shape,
            "shuffle": self.shuffle,
            "seed": self.seed,
        }
        weights = getattr(self.transform, "class_weights", None)
        if weights is not None:
            settings["class_weights"] = weights
        if self.mixing is not None:
            settings["mixing"] = dataclasses.asdict(self.mixing)
        return settings

    @checked(step=integer(0))
    def files(self, step: int) -> Any:
        """The files that the images of batch `step` come from.

        Returns:
            tuple of str, an entry for each image; `"pair 3"` if the source
            knows no file name.
        """
        _, indices = self.pairs(range(step, step + 1))
        return tuple(self._file_name(int(index)) for index in indices)

    @checked(steps=_STEPS)
    def pairs(self, steps: Any) -> Any:
        """The pairs of the batches `steps` of one pass.

        Args:
            steps: range of the numbers of batches.

        Returns:
            `(epochs, indices)`, int64 arrays with an entry for each pair.
        """
        size = self.num_pairs
        # Places in the stream of all epochs, one after the other.
        if self.steps_per_epoch is not None:
            first = steps.start * self.batch_size
            stop = steps.stop * self.batch_size
        else:
            epoch, step = divmod(steps.start, self.num_batches)
            first = epoch * size + step * self.batch_size
            stop = first + len(steps) * self.batch_size
            stop = min(stop, (epoch + 1) * size)
        epochs = np.arange(first, stop) // size
        orders = [
            _order(self.shuffle, self.seed, epoch, size)
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
        ]
        start = first - epochs[0] * size
        return epochs, np.concatenate(orders)[start : start + len(epochs)]

    @checked(steps=_STEPS)
    def pairs_to_read(self, steps: Any) -> Any:
        """The same, with index -1 for pairs that other workers read."""
        epochs, indices = self.pairs(steps)
        if self.shard is None:
            return epochs, indices
        place = np.arange(len(indices))
        row = place % self.batch_size
        # Only the last batch may be short.
        size = np.minimum(len(indices) - place + row, self.batch_size)
        own = workers.computes_row(row, size, *self.shard)
        return epochs, np.where(own, indices, -1)

    @checked(step=integer(0))
    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch `step`, read in this thread: `(images, labels)`."""
        return stack(self.samples(step))

    @checked(step=integer(0), map=function())
    def samples(self, step: int, map: Callable[..., Any] = map) -> Any:
        """An iterator of the samples of batch `step`.

        Args:
            step: int.
            map: callable like Python's own, by which they are read.
        """
        return map(self.sample, *self.pairs_to_read(range(step, step + 1)))

    @checked(epoch=integer(0), index=integer(-1))
    def sample(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pair `index` as epoch `epoch` shows it.

        Returns:
            `(image, label)` of the crop's size, the label int32. For -1 a
            black image without labels.
        """
        if index < 0:
            image = np.zeros(self.image_shape, self.image_dtype)
            return image, np.full(self.image_shape[:2], UNLABELLED, np.int32)
        rng = np.random.default_rng((self.seed, epoch, index))
        image, label = self._augmented(index, rng)
        if self.mixing is not None:
            rng = np.random.default_rng((self.seed, epoch, index, 1))

            def draw():
                other = int(rng.integers(self.num_pairs))
                return self._augmented(other, rng)

            image, label = self.mixing(image, label, rng, draw)
        return image, label.astype(np.int32)

    def _augmented(self, index, rng):
        """Pair `index` by the transform."""
        image, label = self._read_pair(int(index))
        try:
            image, label = self.transform(image, label, rng)
        except Exception as error:
            raise ValueError(
                f"The transform failed on {self._file_name(index)}: {error!r}"
            ) from error
        expected = (self.image_shape, self.image_shape[:2], self.image_dtype)
        if (image.shape, label.shape, image.dtype.name) != expected:
            raise ValueError(
                "transform must return an image and a label of its crop_size="
                f"{self.image_shape[:2]}, the image with the "
                f"{counted(self.image_shape[2], 'channel')} of "
                f"{self.image_dtype} of its source. Received: {image.shape} "
                f"of {image.dtype} and {label.shape} for "
                f"{self._file_name(index)}."
            )
        return image, label

    def _file_name(self, index):
        if hasattr(self.source, "file_name"):
            return str(self.source.file_name(index))
        return f"pair {index}"


def stack(samples):
    """Some `(image, label)` as `(images, labels)`."""
    images, labels = zip(*samples)
    return np.stack(images), np.stack(labels)


# Readers ask for one epoch, at its end for two; several may be read in turn.
@functools.lru_cache(maxsize=16)
def _order(shuffle, seed, epoch, size):
    """`(size,)` int64: the pairs of an epoch, one after the other."""
    if not shuffle:
        return np.arange(size)
    # `size` is no index, so no sample has the same key.
    return np.random.default_rng((seed, epoch, size)).permutation(size)


class _Memory:
    """Reads each pair of `source` once and hands out copies.

    Copies, because an augmentation may write into what it is given. Another
    process, to which it is pickled, reads for itself.
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

    def __reduce__(self):
        return _Memory, (self.source,)
