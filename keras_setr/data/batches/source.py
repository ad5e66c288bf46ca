"""What every set of pairs offers: batches to train on, and a look at it."""

import bisect
import dataclasses
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from keras_setr import visualization
from keras_setr.arguments import Hint
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import function
from keras_setr.arguments import index_of
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arrays import spread
from keras_setr.data.batches.batches import read
from keras_setr.data.batches.plan import OPTION_RULES
from keras_setr.data.batches.plan import BatchPlan
from keras_setr.data.batches.transforms import CROP_SIZE
from keras_setr.data.batches.transforms import CustomTransform
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform
from keras_setr.tables import counted

_LARGEST_CROP = 512


def _model(value):
    # Its class lies on a floor above.
    if hasattr(getattr(value, "backbone", None), "check_size"):
        return value
    raise TypeError


_MODEL = Rule("a model of keras_setr", _model)


def _augment(value):
    if isinstance(value, type):
        raise Hint(f"Pass an object of it: {value.__name__}(..).")
    return either(flag(), function()).take(value)


_AUGMENT = Rule(
    "True, False or a callable (image, label, rng) -> (image, label)", _augment
)


# None stands for a default that only the source can tell.
_OPTION_RULES = OPTION_RULES | {
    "shuffle": optional(flag()),
    "drop_remainder": optional(flag()),
}


class SegmentationSource:
    """A sequence of pairs of an image and its label; base of what reads them.

    `source[i]` is an image `(H, W, channels)` and its label `(H, W)` uint8, in
    which 255 means unlabelled. Subclasses have `__len__`, `__getitem__`,
    `classes`, `file_name` and `_image_sizes`.

    Attributes:
        training: bool or None. What `batches()` is for; `None` if that was
            not said.
        channels: int. Of the images.
        image_dtype: `"uint8"` or `"uint16"`.
    """

    training: bool | None = None
    channels = 3
    image_dtype = "uint8"

    if TYPE_CHECKING:

        def __len__(self) -> int: ...

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...

        @property
        def classes(self) -> Any: ...

        def _image_sizes(self) -> list[tuple[int, int]]: ...

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in range(len(self)):
            yield self[index]

    @property
    def num_classes(self) -> int:
        """The number of classes; ignored values are not counted."""
        return len(self.classes)

    def check(self) -> None:
        """Raise an error that names what is wrong with the files, if known."""

    def class_pixels(self) -> np.ndarray:
        """How many pixels each class has; all labels are read.

        Returns:
            `(K,)` int64 array.
        """
        number = self.num_classes
        counts = np.zeros(256, "int64")
        for index in range(len(self)):
            _, label = self[index]
            counts += np.bincount(label.ravel(), minlength=256)
        return counts[:number]

    def median_size(self) -> tuple[int, int]:
        """`(H, W)`: the median height and width of the images, in pixels."""
        height, width = np.median(self._image_sizes(), axis=0)
        return int(height), int(width)

    @checked(patch_size=integer(1, 512))
    def proposed_crop_size(self, patch_size: int = 16) -> tuple[int, int]:
        """A size to train at that fits the images: what `batches` takes.

        ```python
        crop_size = folder.proposed_crop_size()
        backbone = ks.SETRBackbone(**ks.T_SMALL, image_shape=(*crop_size, 3))
        ```

        Args:
            patch_size: int. That of the model.

        Returns:
            `(H, W)`, the largest multiples of the patches within the median
            height and width, at most 512 each and at least one patch.
        """
        height, width = (
            max(min(side, _LARGEST_CROP) // patch_size, 1) * patch_size
            for side in self.median_size()
        )
        return height, width

    @checked(
        *_OPTION_RULES,
        **_OPTION_RULES,
        batch_size=integer(1),
        crop_size=optional(CROP_SIZE),
        augment=optional(_AUGMENT),
        model=optional(_MODEL),
        balanced_crops=optional(number(0)),
        check=flag(),
    )
    def batches(
        self,
        batch_size: int,
        crop_size: int | tuple[int, int] | None = None,
        augment: bool | Callable[..., Any] | None = None,
        *,
        model: Any = None,
        balanced_crops: float | None = None,
        reader: str = "tf.data",
        initial_step: int = 0,
        check: bool = True,
        **options: Any,
    ) -> Any:
        """Batches `(images, labels)` for Keras' `fit`.

        Images are `(B, h, w, channels)` as stored, labels `(B, h, w)` int32
        with 255 for unlabelled. To train, pairs are shuffled and augmented as
        in the paper (`TrainingTransform`), anew in every epoch; colours only
        if they are 8-bit RGB. To validate, the middle of each image is taken,
        in order, and padded where it is smaller, never resized;
        `keras_setr.evaluate` measures on the whole images and is the exact
        figure.

        Each pass over the batches is the next epoch; see
        `segmentation_batches`.

        Args:
            batch_size: int.
            crop_size: int or `(H, W)`. Defaults to the size of `model`, else
                to `proposed_crop_size()`.
            augment: bool, or a callable `(image, label, rng) -> (image,
                label)` on uint8 arrays and a `numpy.random.Generator`, called
                by several threads; what it returns is cropped at random and
                padded, unless it has an attribute `crop_size`, which then
                says what it returns. Defaults to whether the pairs are to
                train on; if that was not said, they are.
            model: the model that they are for. The crops then have its size,
                or, where it takes any, whole patches of it.
            balanced_crops: float, p. Each crop lies over a pixel of a class
                that is drawn among those of its image, in proportion to f^-p
                with f the class's share of all pixels: 1 makes up for all
                rareness, 0 draws classes alike. By default crops lie
                anywhere.
            reader, initial_step: see `segmentation_batches`.
            check: bool. Read all files first and raise what `check()` finds.
            **options: `shuffle`, `seed`, `steps_per_epoch`, `drop_remainder`,
                `cache`, `shard` and `mixing` of `BatchPlan`. Here, `shuffle`
                defaults to `training`, or, if that was not said, to whether
                the pairs are augmented; `drop_remainder` to True when
                shuffling more than one batch, as other pairs are left out in
                each epoch, and all batches have one shape.

        Raises:
            ValueError: an argument does not fit, or the check failed.
        """
        if augment is None:
            augment = self.training is not False
        if options.get("shuffle") is None:
            options["shuffle"] = bool(
                augment if self.training is None else self.training
            )
        if options.get("drop_remainder") is None:
            options["drop_remainder"] = (
                options["shuffle"] and len(self) > batch_size
            )
        if check:
            self.check()
        else:
            # What must be found out about the whole, such as the colours of
            # RGB masks, is found before several threads would each do so.
            self[0]
        transform = self._transform(augment, crop_size, model)
        if model is not None:
            model.backbone.check_size(transform.crop_size, "crop_size")
        if balanced_crops is not None:
            transform = self._balanced(transform, balanced_crops)
        plan = BatchPlan(self, batch_size, transform, **options)
        return read(plan, reader, initial_step)

    def _transform(self, augment, crop_size, model):
        own_size = getattr(augment, "crop_size", None)
        if own_size is not None:
            if crop_size not in (None, tuple(own_size)):
                raise ValueError(
                    "crop_size must be that of augment, or be left out. "
                    f"Received: crop_size={crop_size} and "
                    f"augment.crop_size={tuple(own_size)}."
                )
            return augment
        if crop_size is None:
            crop_size = self._crop_size_of(model)
        if callable(augment):
            return CustomTransform(augment, crop_size)
        if augment:
            rgb = self.channels == 3 and self.image_dtype == "uint8"
            return TrainingTransform(crop_size, photometric=rgb)
        return EvaluationTransform(crop_size)

    def _balanced(self, transform, power):
        if not isinstance(transform, TrainingTransform):
            raise ValueError(
                "balanced_crops places the crops of a TrainingTransform, the "
                "default augmentation to train with. Received: "
                f"balanced_crops={power} with {transform!r}."
            )
        pixels = self.class_pixels()
        # A class that is nowhere is never drawn.
        shares = np.maximum(pixels, 1) / max(pixels.sum(), 1)
        weights = tuple(float(share**-power) for share in shares)
        return dataclasses.replace(transform, class_weights=weights)

    def _crop_size_of(self, model):
        """The size that a model takes, or one that fits images and patches."""
        if model is None:
            return self.proposed_crop_size()
        backbone = model.backbone
        fixed = backbone.image_shape[:2]
        if None not in fixed:
            return tuple(fixed)
        return tuple(
            free if known is None else known
            for known, free in zip(
                fixed, self.proposed_crop_size(backbone.size_multiple)
            )
        )

    @checked(
        count=integer(), columns=integer(), width=integer(1), alpha=number(0, 1)
    )
    def show(
        self,
        count: int = 6,
        columns: int = 3,
        width: int = 320,
        alpha: float = 0.5,
    ) -> Any:
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
                f"count={count} of {counted(len(self), 'pair')}, "
                f"columns={columns}."
            )
        pairs = map(self.__getitem__, spread(range(len(self)), count))
        return visualization.sheet(pairs, self.classes, columns, width, alpha)


class JoinedSources(SegmentationSource):
    """The pairs of several sources with the same classes, to train on.

    `load_dataset("ade20k", "train+validation")` joins splits of one dataset;
    this joins what comes from different ones.

    Args:
        sources: sequence of `SegmentationSource`.

    Raises:
        ValueError: the classes, channels or types of the images differ.
    """

    training = True

    def __init__(self, sources):
        self.sources = tuple(sources)
        first = self.sources[0]
        self.classes = first.classes
        self.channels = first.channels
        self.image_dtype = first.image_dtype
        for source in self.sources:
            if source.classes.names != first.classes.names:
                raise ValueError(
                    "sources must have the same classes in the same order. "
                    f"Received: {first!r} and {source!r}."
                )
            kinds = [
                f"{counted(part.channels, 'channel')} of {part.image_dtype}"
                for part in (first, source)
            ]
            if kinds[0] != kinds[1]:
                raise ValueError(
                    "sources must have images of the same channels and type. "
                    f"Received: {first!r} with {kinds[0]} and {source!r} with "
                    f"{kinds[1]}."
                )
        # Where each source ends.
        self._ends = list(itertools.accumulate(map(len, self.sources)))

    def __repr__(self):
        return f"JoinedSources({', '.join(map(repr, self.sources))})"

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, index):
        source, index = self._locate(index)
        return source[index]

    def file_name(self, index):
        """The file of image `index`."""
        source, index = self._locate(index)
        return source.file_name(index)

    def check(self):
        """Raise what is wrong with the first source that has something."""
        for source in self.sources:
            source.check()

    def class_pixels(self) -> np.ndarray:
        return sum(source.class_pixels() for source in self.sources)

    def _locate(self, index):
        """The source that holds pair `index`, and its number there."""
        index = index_of(index, len(self), "pair")
        number = bisect.bisect_right(self._ends, index)
        return self.sources[number], index - ([0] + self._ends)[number]

    def _image_sizes(self):
        return [s for source in self.sources for s in source._image_sizes()]
