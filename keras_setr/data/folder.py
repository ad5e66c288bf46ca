"""A folder of images and masks as training data."""

import collections
import copy
import math
import operator
import os
import pathlib

import numpy as np

from keras_setr.classes import Classes
from keras_setr.classes import default_palette
from keras_setr.data.images import image_size
from keras_setr.data.images import load_image
from keras_setr.data.images import load_mask
from keras_setr.data.images import mask_to_labels
from keras_setr.data.labels import LabelRule
from keras_setr.data.layouts import SUBSETS
from keras_setr.data.layouts import find_pairs
from keras_setr.data.pipeline import segmentation_batches
from keras_setr.data.report import FolderReport
from keras_setr.data.scan import MAX_COLORS
from keras_setr.data.scan import scan_pairs
from keras_setr.data.transforms import UNLABELLED
from keras_setr.data.transforms import CustomTransform
from keras_setr.data.transforms import EvaluationTransform
from keras_setr.data.transforms import TrainingTransform


class SegmentationFolder:
    """Pairs of images and masks in a folder: checked, counted, batched.

    `folder[i]` is an image `(H, W, 3)` uint8 and its label `(H, W)` uint8, in
    which 255 means unlabelled.

    ```python
    folder = SegmentationFolder("my_data")
    print(folder.report())
    train, val = folder.split(0.2, seed=0)
    model.fit(train.batches(8), validation_data=val.batches(8))
    ```

    Args:
        directory: path. Holds `images/` and `masks/`, or another accepted
            layout, which is found by itself; the error for an unknown one
            lists them.
        images, masks: templates such as `"left/{split}/{name}_rgb.png"` and
            `"fine/{split}/{name}_ids.png"`, or folders, relative to
            `directory`, for any other layout. `{name}` may match folders.
        class_names: sequence of str, or the path of a text file with a name
            per line. Defaults to `classes.txt` in the directory, if present.
        palette: sequence of `(red, green, blue)`, a colour per class, to draw
            with. Defaults to the colours of the masks if they are RGB.
        num_classes: int. Defaults to the number of names, else to what
            `label_map` or `colors` give, else to the largest label found
            plus one.
        ignore_class: int or sequence of int. Raw mask values that mean
            unlabelled. They and 255 become 255.
        label_map: dict of raw mask value -> label. Comes first: a key 255 is
            a class, so that `{0: 0, 255: 1}` reads black-and-white masks. A
            value that is neither a key nor ignored is an error.
        colors: sequence of `(red, green, blue)` of RGB masks. The index of a
            colour is the raw value, to which `label_map` and `ignore_class`
            apply. Defaults to the colours found, sorted; `report()` shows
            them.

    Attributes:
        pairs: tuple of `Pair(image, mask, subset)`, sorted.
        training: bool or None. What `batches()` is for: `split` and `subset`
            set it, and it is `None` in a folder that was not split.

    Raises:
        FileNotFoundError: the directory does not exist.
        ValueError: an argument does not fit, or files do not pair up.
    """

    def __init__(
        self,
        directory,
        *,
        images=None,
        masks=None,
        class_names=None,
        palette=None,
        num_classes=None,
        ignore_class=255,
        label_map=None,
        colors=None,
    ):
        self.directory = pathlib.Path(directory)
        self.pairs = find_pairs(directory, images, masks)
        self.training = None
        self._names = _read_names(class_names, self.directory)
        self._palette = palette
        self._rule = LabelRule(ignore_class, label_map)
        self._colors = _check_colors(colors)
        self._declared = self._declared_num_classes(num_classes)
        # Splits share these: a class that only `train` holds is a class of
        # `val` too, and a file is scanned once for all of them.
        self._whole = self
        self._facts = {}
        if palette is not None and self._declared is not None:
            # A palette that does not fit fails here, not when it is drawn.
            self._named(self._declared)

    def _declared_num_classes(self, num_classes):
        """The number of classes the arguments give; `None` if they do not."""
        names = self._names
        if num_classes is None and names is not None:
            num_classes = len(names)
        if num_classes is not None:
            if (
                not isinstance(num_classes, (int, np.integer))
                or not 2 <= num_classes <= UNLABELLED
            ):
                raise ValueError(
                    f"num_classes must be an integer in 2..{UNLABELLED}, with "
                    "the background counted as a class. Received: "
                    f"{num_classes!r}."
                )
            if names is not None and len(names) != num_classes:
                raise ValueError(
                    "num_classes must be the number of class names. Received: "
                    f"num_classes={num_classes} and {len(names)} names."
                )
        label_map = self._rule.label_map
        if label_map is not None:
            needed = self._rule.highest_label(label_map) + 1
            if num_classes is not None and needed > num_classes:
                raise ValueError(
                    f"label_map must map to 0..{num_classes - 1} or "
                    f"{UNLABELLED}, as there are {num_classes} classes. "
                    f"Received: label {needed - 1}."
                )
            return num_classes or needed
        if self._colors is not None:
            needed = self._rule.highest_label(range(len(self._colors))) + 1
            return num_classes or needed
        return num_classes

    def __repr__(self):
        return (
            f"SegmentationFolder({str(self.directory)!r}: {len(self)} pairs, "
            f"training={self.training})"
        )

    def __len__(self):
        return len(self.pairs)

    def __iter__(self):
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index):
        pair = self.pairs[operator.index(index)]
        image = load_image(pair.image)
        mask = load_mask(pair.mask)
        problem = _size_problem(pair, image.shape[:2], mask.shape[:2])
        if problem is not None:
            raise ValueError(problem)
        colors = ()
        if mask.ndim == 3:
            colors = self.colors
            mask = mask_to_labels(mask, colors, pair.mask)
        limit = self._declared or UNLABELLED
        if self._rule.is_wrong(limit)[mask].any():
            values = np.unique(mask)
            raise ValueError(
                self._rule.problem(pair.mask, values, limit, colors)
            )
        return image, self._rule.lookup[mask].astype(np.uint8)

    @property
    def num_classes(self):
        """The number of classes; ignored values are not counted.

        Raises:
            ValueError: the masks hold fewer than two.
        """
        number = self._whole._find_num_classes()
        if number < 2:
            raise ValueError(self._whole._too_few_classes(number))
        return number

    def _find_num_classes(self):
        if self._declared is None:
            return self._rule.highest_label(self._found_values()) + 1
        return self._declared

    @property
    def classes(self):
        """`Classes`: the names and colours of the labels."""
        return self._whole._named(self.num_classes)

    def _named(self, number):
        palette = self._palette
        if palette is None:
            palette = list(default_palette(number))
            for label, color in self._label_colors().items():
                if label < number:
                    palette[label] = color
        names = self._names or Classes.numbered(number).names
        return Classes(names, palette)

    def _label_colors(self):
        """Dict of label -> colour in RGB masks; empty for masks of values."""
        if self._colors is None and not self._first_mask_is_rgb():
            # Not worth a scan, should `num_classes` not need one either.
            return {}
        colors = {}
        table = self._color_table()
        if len(table) <= MAX_COLORS:
            for value, color in enumerate(table):
                colors.setdefault(int(self._rule.lookup[value]), color)
        return colors

    def _first_mask_is_rgb(self):
        pair = self.pairs[0]
        if pair in self._facts:
            return self._facts[pair].colors is not None
        return load_mask(pair.mask).ndim == 3

    @property
    def colors(self):
        """The colour table of RGB masks; empty if the masks hold values.

        Found by a scan of the whole folder unless it was given.

        Raises:
            ValueError: the masks hold too many colours.
        """
        table = self._whole._color_table()
        if len(table) > MAX_COLORS:
            raise ValueError(self._whole._too_many_colors())
        return table

    def _color_table(self):
        """The colours given, or else all that are found, however many."""
        if self._colors is None:
            found = set()
            for facts in self.scan():
                found.update(facts.colors or ())
            self._colors = tuple(sorted(found))
        return self._colors

    def scan(self):
        """`PairFacts` of every pair, in order.

        Each file is read once, by several threads; the splits of a folder
        share what was read.
        """
        new = [pair for pair in self.pairs if pair not in self._facts]
        self._facts.update(zip(new, scan_pairs(new)))
        return [self._facts[pair] for pair in self.pairs]

    def _found_values(self):
        """All raw values in the masks."""
        found = set()
        for facts in self.scan():
            found.update(self._raw_counts(facts))
        return found

    def _raw_counts(self, facts):
        """Dict of raw value -> pixels of one mask; unknown colours left out."""
        if facts.colors is None:
            return facts.values or {}
        table = self._whole._color_table()
        if len(table) > MAX_COLORS:
            # No table of classes, which is a problem of its own.
            return {}
        index = {color: value for value, color in enumerate(table)}
        return {
            index[color]: pixels
            for color, pixels in facts.colors.items()
            if color in index
        }

    def report(self):
        """What the folder holds and everything that is wrong with it.

        Returns:
            `FolderReport`; printed, a table.
        """
        scanned = self.scan()
        number = self._whole._find_num_classes()
        pixels = collections.Counter()
        images = collections.Counter()
        for facts in scanned:
            labels = collections.Counter()
            for value, count in self._raw_counts(facts).items():
                labels[int(self._rule.lookup[value])] += count
            pixels.update(labels)
            images.update(labels.keys())
        sizes = [facts.image_size for facts in scanned if facts.image_size]
        return FolderReport(
            directory=str(self.directory),
            subsets=dict(collections.Counter(p.subset for p in self.pairs)),
            sizes=dict(collections.Counter(sizes)),
            classes=self._whole._named(number),
            pixels=tuple(pixels[label] for label in range(number)),
            images=tuple(images[label] for label in range(number)),
            unlabelled=pixels[UNLABELLED],
            colors=self._whole._label_colors(),
            problems=tuple(self._problems()),
        )

    def check(self):
        """Read every file and raise one error that names what is wrong.

        Raises:
            ValueError: names the first ten problems; `report()` lists all.
        """
        problems = list(self._problems())
        if problems:
            lines = "\n".join(f"- {problem}" for problem in problems[:10])
            more = len(problems) - 10
            rest = f"\nand {more} more; report() lists all" if more > 0 else ""
            raise ValueError(
                f"{self.directory} has {len(problems)} problems:\n{lines}{rest}"
            )

    def _problems(self):
        """Sentences about the folder, then about its files."""
        number = self._whole._find_num_classes()
        yield from self._whole._folder_problems(number)
        for pair, facts in zip(self.pairs, self.scan()):
            yield from facts.errors
            if facts.image_size and facts.mask_size:
                yield from _if_any(
                    _size_problem(pair, facts.image_size, facts.mask_size)
                )
            colors = ()
            if facts.colors is not None:
                colors = self._whole._color_table()
                yield from _if_any(_unknown_colors(pair, facts, colors))
            values = self._raw_counts(facts)
            yield from _if_any(
                self._rule.problem(pair.mask, values, number, colors)
            )

    def _folder_problems(self, number):
        with_colors = []
        with_values = []
        for pair, facts in zip(self.pairs, self.scan()):
            if facts.colors is not None:
                with_colors.append(pair.mask)
            elif facts.values is not None:
                with_values.append(pair.mask)
        if with_colors and with_values:
            yield (
                f"{len(with_colors)} masks hold RGB colours, as "
                f"{with_colors[0]}, and {len(with_values)} hold values, as "
                f"{with_values[0]}; save all in one way"
            )
        if len(self._color_table()) > MAX_COLORS:
            yield self._too_many_colors()
        elif with_colors or with_values:
            if number < 2 or self._is_black_and_white():
                yield self._too_few_classes(number)

    def _too_many_colors(self):
        return (
            f"{self.directory} has RGB masks of {len(self._colors)} different "
            f"colours, and at most {MAX_COLORS} can stand for classes; save "
            "them without smoothed edges, or pass colors="
        )

    def _is_black_and_white(self):
        """Whether 255 looks like a class and yet counts as unlabelled."""
        white_is_ignored = self._rule.lookup[255] == UNLABELLED
        return white_is_ignored and self._found_values() == {0, 255}

    def _too_few_classes(self, number):
        if self._is_black_and_white():
            return (
                f"the masks of {self.directory} hold only 0 and 255, and 255 "
                "means unlabelled; if it is a class, pass "
                "label_map={0: 0, 255: 1}"
            )
        ignored = " and ".join(map(str, self._rule.ignored))
        return (
            f"num_classes must be at least 2, but the masks of "
            f"{self.directory} give {number}: they hold only the values "
            f"{sorted(self._found_values())}, of which {ignored} would mean "
            "unlabelled; pass num_classes= or class_names= if there are more"
        )

    def split(self, fraction=None, seed=0):
        """Two folders, one to train on and one to validate with.

        Args:
            fraction: float. Share of the pairs that the second part gets,
                drawn at random; both parts get at least one. Defaults to the
                folder's own `train` and `val` subsets, else to 0.2.
            seed: int. Seed of the draw.

        Returns:
            `(train, val)` with `training` True and False. They have the
            classes of the whole folder. Pairs of a subset `test` are in
            neither: `subset("test")` gives them.
        """
        subsets = {pair.subset for pair in self.pairs}
        if fraction is None:
            if {"train", "val"} <= subsets:
                return self.subset("train"), self.subset("val")
            fraction = 0.2
        if not 0 < fraction < 1:
            raise ValueError(
                "fraction must lie between 0 and 1, such as 0.2 to validate "
                f"with a fifth. Received: {fraction}."
            )
        pairs = [pair for pair in self.pairs if pair.subset != "test"]
        if len(pairs) < 2:
            raise ValueError(
                "split needs at least 2 pairs outside of a test subset. "
                f"Received: {len(pairs)} in {self.directory}."
            )
        size = min(max(round(fraction * len(pairs)), 1), len(pairs) - 1)
        drawn = np.random.default_rng(seed).permutation(len(pairs))[:size]
        drawn = {pairs[index] for index in drawn}
        return (
            self._part([p for p in pairs if p not in drawn], training=True),
            self._part([p for p in pairs if p in drawn], training=False),
        )

    def subset(self, name):
        """The pairs of one subset; to train on if it is `"train"`.

        Args:
            name: `"train"`, `"val"`, `"test"` or another one that is found.
        """
        name = SUBSETS.get(name, name)
        pairs = [pair for pair in self.pairs if pair.subset == name]
        if not pairs:
            found = sorted({p.subset for p in self.pairs if p.subset})
            raise ValueError(
                f"name must be a subset of {self.directory}. Received: "
                f"{name!r}; it has {', '.join(found) or 'no subsets'}."
            )
        return self._part(pairs, training=name == "train")

    def _part(self, pairs, training):
        part = copy.copy(self)
        part.pairs = tuple(pairs)
        part.training = training
        return part

    def batches(
        self,
        batch_size,
        crop_size=None,
        augment=None,
        shuffle=None,
        seed=0,
        repeat=False,
        drop_remainder=None,
        cache=False,
        check=True,
    ):
        """A `tf.data.Dataset` of `(images, labels)` for Keras' `fit`.

        Images are `(B, h, w, 3)` uint8 in 0..255, labels `(B, h, w)` int32
        with 255 for unlabelled. To train, pairs are shuffled and augmented as
        in the paper (`TrainingTransform`), anew in every epoch. To validate,
        the middle of each image is taken, in order, and padded where it is
        smaller, never resized; `keras_setr.evaluate` measures on the whole
        images and is the exact figure.

        Args:
            batch_size: int.
            crop_size: int or `(H, W)`. Defaults to the smallest multiples of
                16 that hold the folder's median height and width, at most
                512 each.
            augment: bool, or a callable `(image, label, rng) -> (image,
                label)` on uint8 arrays and a `numpy.random.Generator`, called
                by several threads; what it returns is cropped at random and
                padded, unless it has an attribute `crop_size`, which then
                says what it returns. Defaults to whether the folder is to
                train on; a folder that was not split is.
            shuffle: bool. Defaults to `training`; in a folder that was not
                split, to whether it is augmented.
            seed: int. The same seed gives the same epochs.
            repeat: bool. Without end, for `steps_per_epoch`.
            drop_remainder: bool. Leave out a short last batch. Defaults to
                True when shuffling more than one batch, as other pairs are
                left out in each epoch, and all batches have one shape.
            cache: bool. Keep the decoded pairs in memory: 4 bytes a pixel.
            check: bool. Read all files first and raise what `check()` finds.

        Raises:
            ValueError: an argument does not fit, or the check failed.
        """
        if check:
            self.check()
        else:
            # Finds the colour table of RGB masks, if it must be found, before
            # several threads would each do so.
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
            repeat=repeat,
            drop_remainder=drop_remainder,
            cache=cache,
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
            crop_size = self._whole._default_crop_size()
        crop_size = tuple(crop_size)
        if callable(augment):
            return CustomTransform(augment, crop_size)
        if augment:
            return TrainingTransform(crop_size)
        return EvaluationTransform(crop_size)

    def _default_crop_size(self):
        if all(pair in self._facts for pair in self.pairs):
            sizes = [facts.image_size for facts in self.scan()]
            sizes = [size for size in sizes if size is not None]
        else:
            # Headers of some images, evenly spread, say enough of a median.
            step = math.ceil(len(self.pairs) / 256)
            sizes = [image_size(pair.image) for pair in self.pairs[::step]]
        median = np.median(sizes, axis=0)
        return tuple(min(16 * math.ceil(side / 16), 512) for side in median)


def _if_any(problem):
    return [] if problem is None else [problem]


def _size_problem(pair, image_shape, mask_shape):
    if tuple(image_shape) == tuple(mask_shape):
        return None
    return (
        f"{pair.mask} is {mask_shape[0]}x{mask_shape[1]} (height x width), "
        f"but {pair.image} is {image_shape[0]}x{image_shape[1]}; a mask must "
        "have the size of its image, so export one of them again"
    )


def _unknown_colors(pair, facts, known):
    unknown = sorted(set(facts.colors).difference(known))
    if not unknown:
        return None
    others = f" and {len(unknown) - 1} others" if len(unknown) > 1 else ""
    return (
        f"{pair.mask} holds colour {unknown[0]} in "
        f"{facts.colors[unknown[0]]} pixels{others}, which the {len(known)} "
        "known colours do not include; add it to colors or correct the mask"
    )


def _read_names(class_names, directory):
    if class_names is None:
        class_names = directory / "classes.txt"
        if not class_names.is_file():
            return None
    if not isinstance(class_names, (str, os.PathLike)):
        return tuple(class_names)
    # "-sig": Windows editors put a mark before the first name.
    text = pathlib.Path(class_names).read_text(encoding="utf-8-sig")
    names = [line.strip() for line in text.rstrip().split("\n")]
    if "" in names:
        raise ValueError(
            f"{class_names} must hold a class name in every line. Received: "
            f"line {names.index('') + 1} is empty; its number minus one is a "
            "label, so remove it or name it."
        )
    return tuple(names)


def _check_colors(colors):
    if colors is None:
        return None
    colors = tuple(tuple(int(c) for c in color) for color in colors)
    for color in colors:
        if len(color) != 3 or not all(0 <= c <= 255 for c in color):
            raise ValueError(
                "colors must hold (red, green, blue) in 0..255. Received: "
                f"{color}."
            )
        if colors.count(color) > 1:
            raise ValueError(
                "colors must be distinct, as each stands for one raw value. "
                f"Received: {color} {colors.count(color)} times."
            )
    if not 0 < len(colors) <= MAX_COLORS:
        raise ValueError(
            f"colors must hold 1 to {MAX_COLORS} colours. Received: "
            f"{len(colors)}."
        )
    return colors
