"""A folder of images and masks as training data."""

import copy
import dataclasses
import os
import pathlib
import warnings
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import index_of
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.classes import COLOR
from keras_setr.classes import Classes
from keras_setr.data.batches.source import SegmentationSource
from keras_setr.data.folder.class_names import read_class_names
from keras_setr.data.folder.contents import FolderContents
from keras_setr.data.folder.label_source import LabelSource
from keras_setr.data.folder.lists import assign_subsets
from keras_setr.data.folder.pairs import find_pairs
from keras_setr.data.folder.pairs import subset_of
from keras_setr.data.folder.problems import find_problems
from keras_setr.data.folder.problems import size_problem
from keras_setr.data.folder.problems import told_once
from keras_setr.data.folder.problems import without_problems
from keras_setr.data.folder.report import FolderReport
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.facts.label_rule import LabelRule
from keras_setr.files.images import load_image
from keras_setr.files.masks import load_mask
from keras_setr.tables import counted


class SegmentationFolder(SegmentationSource):
    """Pairs of images and masks in a folder: checked, counted, batched.

    `folder[i]` is an image `(H, W, 3)` uint8 and its label `(H, W)` uint8, in
    which 255 means unlabelled.

    ```python
    folder = SegmentationFolder("my_data")
    print(folder.report())
    folder.show(6)
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
        lists: dict of subset -> path of a text file, relative to `directory`,
            with the name of an image per line: `{"train": "train.txt",
            "val": "val.txt"}`. Pairs in no list are left out, which
            `report()` notes.
        class_names: sequence of str, or the path of a text file with a name
            per line, or of a JSON file with a list of names, or with an
            object of names and labels. Defaults to `classes.txt` or
            `classes.json` in the directory, if present.
        palette: sequence of `(red, green, blue)`, a colour per class, to draw
            with. Defaults to the colours of the masks if they are RGB.
        num_classes: int. Defaults to the number of names, else to what
            `label_map` or `colors` give, else to the largest label found
            plus one.
        ignore_values: int or sequence of int. Raw mask values that mean
            unlabelled. They and 255 become 255.
        label_map: dict of raw mask value -> label. Comes first: a key 255 is
            a class, so that `{0: 0, 255: 1}` reads black-and-white masks. A
            value that is neither a key nor ignored is an error.
        reduce_zero_label: bool. Whether 0 means unlabelled and the classes
            count from 1, as in ADE20K: 0 becomes 255, and all others one
            less. By default 0 is a class.
        colors: sequence of `(red, green, blue)` of RGB masks. The index of a
            colour is the raw value, to which `label_map`, `ignore_values` and
            `reduce_zero_label` apply. Defaults to the colours found, sorted;
            `report()` shows them.
        channels: int. Channels of the images, those of the model.
        image_dtype: `"uint8"`, or `"uint16"` for images of 16 bits, which are
            then passed on as they are.
        leave_out: `"problems"` reads all files at once and leaves out every
            pair with a problem, and all files without a pair; a warning and
            `report()` say which. By default they stay, and are errors.

    Attributes:
        pairs: tuple of `Pair(image, mask, subset)`, sorted.
        training: bool or None. What `batches()` is for: `split` and `subset`
            set it, and it is `None` in a folder that was not split.

    Raises:
        FileNotFoundError: the directory does not exist.
        ValueError: an argument does not fit, or there are no pairs.

    Warns:
        UserWarning: files were left out, as they have no pair or several, or
            as links lead in circles. `report()` lists them and `batches`
            refuses them.
    """

    @checked(
        directory=path(),
        images=optional(path()),
        masks=optional(path()),
        lists=optional(mapping(string(), path())),
        class_names=optional(
            either(path(), sequence(string(), minimum_length=1))
        ),
        palette=optional(sequence(COLOR)),
        colors=optional(sequence(COLOR)),
        num_classes=optional(integer(2, UNLABELLED)),
        channels=integer(1),
        image_dtype=choice("uint8", "uint16"),
        leave_out=optional(choice("problems")),
    )
    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        images: str | None = None,
        masks: str | None = None,
        lists: Any = None,
        class_names: Any = None,
        palette: Any = None,
        num_classes: int | None = None,
        ignore_values: Any = UNLABELLED,
        label_map: Any = None,
        reduce_zero_label: bool = False,
        colors: Any = None,
        channels: int = 3,
        image_dtype: str = "uint8",
        leave_out: str | None = None,
    ) -> None:
        self.directory = pathlib.Path(directory)
        rule = LabelRule(ignore_values, label_map, reduce_zero_label)
        notes: list[str] = []
        pairs, problems = find_pairs(directory, images, masks)
        if lists is not None:
            pairs = assign_subsets(
                pairs, lists, self.directory, problems, notes
            )
        if problems and leave_out is None:
            warnings.warn(
                f"{self.directory} has {counted(len(problems), 'problem')}, "
                f"the first: {problems[0].removesuffix('.')}. report() lists "
                "all.",
                stacklevel=3,  # above the check of the arguments
            )
        names, named_palette = read_class_names(class_names, self.directory)
        labels = LabelSource(
            rule,
            colors,
            names,
            named_palette if palette is None else palette,
            num_classes,
        )
        contents = FolderContents(
            self.directory,
            pairs,
            labels,
            (channels, image_dtype),
            problems,
            notes,
        )
        if leave_out is not None:
            contents = without_problems(contents)
            for note in contents.notes[len(notes) :]:
                warnings.warn(f"{self.directory}: {note}", stacklevel=3)
        self._contents = contents
        self.pairs = contents.pairs
        self.training = None
        self.channels = channels
        self.image_dtype = image_dtype

    def __repr__(self):
        return (
            f"SegmentationFolder({str(self.directory)!r}: "
            f"{counted(len(self), 'pair')}, training={self.training})"
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        pair = self._pair(index)
        contents = self._contents
        complete = contents.was_read(pair)
        image = load_image(
            pair.image, self.channels, self.image_dtype, complete=complete
        )
        mask = load_mask(pair.mask, complete=complete)
        problem = size_problem(pair, image.shape[:2], mask.shape[:2])
        if problem is not None:
            raise ValueError(problem)
        mask, colors = contents.raw_mask(mask, pair.mask)
        labels = contents.labels
        limit = labels.num_classes or UNLABELLED
        return image, labels.rule.labels(mask, pair.mask, limit, colors)

    @checked(index=integer())
    def file_name(self, index: int) -> str:
        """The path of image `index`."""
        return self._pair(index).image

    def _pair(self, index):
        return self.pairs[index_of(index, len(self), "pair")]

    @property
    def num_classes(self) -> int:
        """The number of classes; ignored values are not counted.

        Raises:
            ValueError: the masks hold fewer than two.
        """
        return self._contents.num_classes

    @property
    def classes(self) -> Any:
        """`Classes`: the names and colours of the labels."""
        return self._contents.classes

    @property
    def colors(self) -> Any:
        """The colour table of RGB masks; empty if the masks hold values.

        Found by a scan of the whole folder unless it was given.

        Raises:
            ValueError: the masks hold too many colours.
        """
        return self._contents.colors

    def scan(self) -> Any:
        """`PairScan` of every pair, in order.

        Each file is read once, by several threads; the splits of a folder
        share what was read.
        """
        return self._contents.scan(self.pairs)

    def report(self) -> Any:
        """What the folder holds and everything that is wrong with it.

        Returns:
            `FolderReport`; printed, a table.
        """
        return FolderReport.of(self._contents, self.pairs)

    def class_pixels(self) -> np.ndarray:
        """How many pixels each class has, by what `scan` counts.

        Returns:
            `(K,)` int64 array.
        """
        return self._label_counts().sum(axis=0)

    def class_weights(self) -> tuple[float, ...]:
        """A weight per class, from the shares of the pixels.

        Median frequency balancing (Eigen and Fergus, arXiv 1411.4734, section
        6.3.2): with `f_c` the share of class c among the labelled pixels of
        the images that show it, its weight is `median(f) / f_c`. A class
        that no image shows has weight 0.

        Returns:
            tuple of `num_classes` floats.
        """
        counts = self._label_counts()
        labelled = counts.sum(axis=1, keepdims=True)
        pixels, shown_in = counts.sum(0), ((counts > 0) * labelled).sum(0)
        found = pixels > 0
        frequency = pixels[found] / shown_in[found]
        weights = np.zeros(self.num_classes)
        weights[found] = np.median(frequency) / frequency
        return tuple(float(weight) for weight in weights)

    def _label_counts(self):
        """`(len(self), K)` int64: the pixels of each class in each mask."""
        counts = np.zeros((len(self), 256), "int64")
        for row, scan in zip(counts, self.scan()):
            for label, count in self._contents.label_counts(scan).items():
                row[label] = count
        return counts[:, : self.num_classes]

    def check(self) -> None:
        """Read every file and raise one error that names what is wrong.

        Raises:
            ValueError: names all problems, those of one kind once.
        """
        problems = list(find_problems(self._contents, self.pairs))
        if problems:
            lines = "\n".join(f"- {line}" for line in told_once(problems))
            if any(problem.pair for problem in problems):
                lines += (
                    "\nreport().problems lists each by itself, and "
                    'leave_out="problems" leaves out the pairs that have one'
                )
            raise ValueError(
                f"{self.directory} has {counted(len(problems), 'problem')}:\n"
                f"{lines}"
            )

    @checked(fraction=optional(number(above=0, below=1)), seed=integer(0))
    def split(
        self, fraction: float | None = None, seed: int = 0
    ) -> "tuple[SegmentationFolder, SegmentationFolder]":
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
        pairs = [pair for pair in self.pairs if pair.subset != "test"]
        if len(pairs) < 2:
            raise ValueError(
                "split needs at least 2 pairs outside of a test subset. "
                f"Received: {len(pairs)} in {self.directory}."
            )
        size = min(max(round(fraction * len(pairs)), 1), len(pairs) - 1)
        order = np.random.default_rng(seed).permutation(len(pairs))
        return self._divided(pairs, order[:size])

    @checked(number=integer(2), seed=integer(0))
    def folds(
        self, number: int, seed: int = 0
    ) -> "list[tuple[SegmentationFolder, SegmentationFolder]]":
        """Every pair in one validation part: cross-validation.

        ```python
        for train, val in folder.folds(5):
            ...
        ```

        Args:
            number: int. Of the folds, at most that of the pairs.
            seed: int. Seed of the draw.

        Returns:
            list of `(train, val)` as `split` gives them, whose `val` differ in
            size by at most one pair and have none in common. The folder's own
            `train` and `val` subsets are drawn from together; pairs of a
            subset `test` are in no part.

        Raises:
            ValueError: where there are fewer pairs than folds.
        """
        pairs = [pair for pair in self.pairs if pair.subset != "test"]
        if number > len(pairs):
            raise ValueError(
                "number of folds must be at most that of the pairs outside of "
                f"a test subset. Received: {number} for {len(pairs)} in "
                f"{self.directory}."
            )
        order = np.random.default_rng(seed).permutation(len(pairs))
        return [
            self._divided(pairs, order[first::number])
            for first in range(number)
        ]

    @checked(name=string())
    def subset(self, name: str) -> "SegmentationFolder":
        """The pairs of one subset; to train on if it is `"train"`.

        Args:
            name: `"train"`, `"val"`, `"test"` or another one that is found.
        """
        pairs = subset_of(self.pairs, name, self.directory)
        return self._part(pairs, training=pairs[0].subset == "train")

    @checked(classes=instance("a keras_setr.Classes", Classes))
    def read_as(self, classes: Classes) -> "SegmentationFolder":
        """The same pairs, their masks read as those that classes come from.

        Args:
            classes: `Classes`, such as those of a model that was trained on
                another folder.

        Returns:
            `SegmentationFolder`; itself where `classes` remember nothing or
            the same, or where it was told itself how masks are read.
        """
        masks, labels = classes.masks, self._contents.labels
        told = labels.colors is not None or not labels.rule.reads_labels
        if masks is None or told or self._contents.mask_values() == masks:
            return self
        options = masks.folder_options()
        colors = options.pop("colors")
        part = self._part(self.pairs, self.training)
        labels = dataclasses.replace(
            labels,
            rule=LabelRule(**options),
            colors=colors,
            num_classes=len(classes),
        )
        part._contents = dataclasses.replace(self._contents, labels=labels)
        return part

    def _divided(self, pairs, drawn):
        """Parts without and with the pairs of some indices."""
        drawn = {pairs[index] for index in drawn}
        return (
            self._part([p for p in pairs if p not in drawn], training=True),
            self._part([p for p in pairs if p in drawn], training=False),
        )

    def _part(self, pairs, training):
        part = copy.copy(self)
        part.pairs = tuple(pairs)
        part.training = training
        return part

    def _image_sizes(self):
        return self._contents.image_sizes()
