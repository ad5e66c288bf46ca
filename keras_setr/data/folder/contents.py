"""What the masks of a folder hold: its classes, colours and problems."""

import collections
import math

import numpy as np

from keras_setr.classes import Classes
from keras_setr.classes import default_palette
from keras_setr.data.folder.report import FolderReport
from keras_setr.data.folder.scan import MAX_COLORS
from keras_setr.data.folder.scan import scan_pairs
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.files.images import image_size
from keras_setr.files.images import load_image
from keras_setr.files.images import load_mask


class FolderContents:
    """The pairs of a whole folder, and what reading them tells.

    The parts of a folder share one: a class that only the training pairs hold
    is a class of the others too, and a file is read once for all of them.

    Args:
        directory: pathlib.Path.
        pairs: tuple of `Pair`.
        layout_problems: tuple of str, about files that belong to no pair.
        rule: `LabelRule`.
        colors: tuple of `(red, green, blue)`, or `None` to find them.
        names, palette: tuples, or `None`.
        num_classes: int, or `None` if the arguments do not give it.
        channels, image_dtype: of the images.
    """

    def __init__(
        self,
        directory,
        pairs,
        layout_problems,
        rule,
        colors,
        names,
        palette,
        num_classes,
        channels,
        image_dtype,
    ):
        self.directory = directory
        self.pairs = pairs
        self.layout_problems = layout_problems
        self.rule = rule
        self.declared = num_classes
        self._colors = colors
        self._names = names
        self._palette = palette
        self._image_format = (channels, image_dtype)
        self._facts = {}
        if palette is not None and num_classes is not None:
            # A palette that does not fit fails here, not when it is drawn.
            self._named(num_classes)

    @property
    def num_classes(self):
        number = self._find_num_classes()
        if number < 2:
            raise ValueError(self._too_few_classes(number))
        return number

    def _find_num_classes(self):
        if self.declared is None:
            return self.rule.highest_label(self._found_values()) + 1
        return self.declared

    @property
    def classes(self):
        return self._named(self.num_classes)

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
                colors.setdefault(int(self.rule.lookup[value]), color)
        return colors

    def _first_mask_is_rgb(self):
        pair = self.pairs[0]
        if pair in self._facts:
            return self._facts[pair].colors is not None
        return load_mask(pair.mask).ndim == 3

    @property
    def colors(self):
        table = self._color_table()
        if len(table) > MAX_COLORS:
            raise ValueError(self._too_many_colors())
        return table

    def _color_table(self):
        """The colours given, or else all that are found, however many."""
        if self._colors is None:
            found = set()
            for facts in self.scan(self.pairs):
                found.update(facts.colors or ())
            self._colors = tuple(sorted(found))
        return self._colors

    def scan(self, pairs):
        """`PairFacts` of `pairs`, each file read once, by several threads."""
        new = [pair for pair in pairs if pair not in self._facts]
        self._facts.update(zip(new, scan_pairs(new, *self._image_format)))
        return [self._facts[pair] for pair in pairs]

    def _found_values(self):
        """All raw values in the masks."""
        found = set()
        for facts in self.scan(self.pairs):
            found.update(self._raw_counts(facts))
        return found

    def _raw_counts(self, facts):
        """Dict of raw value -> pixels of one mask; unknown colours left out."""
        if facts.colors is None:
            return facts.values or {}
        table = self._color_table()
        if len(table) > MAX_COLORS:
            # No table of classes, which is a problem of its own.
            return {}
        index = {color: value for value, color in enumerate(table)}
        return {
            index[color]: pixels
            for color, pixels in facts.colors.items()
            if color in index
        }

    def _label_counts(self, facts):
        """Counter of label -> pixels of one mask, 255 for unlabelled."""
        labels = collections.Counter()
        for value, count in self._raw_counts(facts).items():
            labels[int(self.rule.lookup[value])] += count
        return labels

    def report(self, pairs):
        """`FolderReport` of `pairs`."""
        scanned = self.scan(pairs)
        number = self._find_num_classes()
        pixels = collections.Counter()
        images = collections.Counter()
        for facts in scanned:
            labels = self._label_counts(facts)
            pixels.update(labels)
            images.update(labels.keys())
        sizes = [facts.image_size for facts in scanned if facts.image_size]
        return FolderReport(
            directory=str(self.directory),
            subsets=dict(collections.Counter(p.subset for p in pairs)),
            sizes=dict(collections.Counter(sizes)),
            classes=self._named(number),
            pixels=tuple(pixels[label] for label in range(number)),
            images=tuple(images[label] for label in range(number)),
            unlabelled=pixels[UNLABELLED],
            colors=self._label_colors(),
            problems=tuple(self.problems(pairs)),
        )

    def class_weights(self, pairs):
        """See `SegmentationFolder.class_weights`."""
        number = self.num_classes
        pixels, shown_in = np.zeros(number), np.zeros(number)
        for facts in self.scan(pairs):
            counts = self._label_counts(facts)
            labelled = sum(n for label, n in counts.items() if label < number)
            for label, count in counts.items():
                if label < number:
                    pixels[label] += count
                    shown_in[label] += labelled
        found = pixels > 0
        frequency = pixels[found] / shown_in[found]
        weights = np.zeros(number)
        weights[found] = np.median(frequency) / frequency
        return tuple(float(weight) for weight in weights)

    def problems(self, pairs):
        """Sentences about the folder, then about the files of `pairs`."""
        yield from self.layout_problems
        number = self._find_num_classes()
        yield from self._folder_problems(pairs, number)
        for pair, facts in zip(pairs, self.scan(pairs)):
            yield from facts.errors
            if facts.image_size and facts.mask_size:
                yield from _if_any(
                    size_problem(pair, facts.image_size, facts.mask_size)
                )
            colors = ()
            if facts.colors is not None:
                colors = self._color_table()
                yield from _if_any(_unknown_colors(pair, facts, colors))
            values = self._raw_counts(facts)
            yield from _if_any(
                self.rule.problem(pair.mask, values, number, colors)
            )

    def _folder_problems(self, pairs, number):
        with_colors = []
        with_values = []
        for pair, facts in zip(pairs, self.scan(pairs)):
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
        white_is_ignored = self.rule.lookup[255] == UNLABELLED
        return white_is_ignored and self._found_values() == {0, 255}

    def _too_few_classes(self, number):
        if self._is_black_and_white():
            return (
                f"the masks of {self.directory} hold only 0 and 255, and 255 "
                "means unlabelled; if it is a class, pass "
                "label_map={0: 0, 255: 1}"
            )
        ignored = " and ".join(map(str, self.rule.ignored))
        return (
            f"num_classes must be at least 2, but the masks of "
            f"{self.directory} give {number}: they hold only the values "
            f"{sorted(self._found_values())}, of which {ignored} would mean "
            "unlabelled; pass num_classes= or class_names= if there are more"
        )

    def image_sizes(self):
        """`(H, W)` of all images, or of a sample that has their median."""
        if all(pair in self._facts for pair in self.pairs):
            sizes = [facts.image_size for facts in self.scan(self.pairs)]
            return [size for size in sizes if size is not None]
        # Headers of some images, evenly spread, say enough of a median.
        step = math.ceil(len(self.pairs) / 256)
        return [self._size(pair.image) for pair in self.pairs[::step]]

    def _size(self, path):
        if self._image_format == (3, "uint8"):
            return image_size(path)
        return load_image(path, *self._image_format).shape[:2]


def size_problem(pair, image_shape, mask_shape):
    """A sentence about an image and a mask of two sizes; else `None`."""
    if tuple(image_shape) == tuple(mask_shape):
        return None
    return (
        f"{pair.mask} is {mask_shape[0]}x{mask_shape[1]} (height x width), "
        f"but {pair.image} is {image_shape[0]}x{image_shape[1]}; a mask must "
        "have the size of its image, so export one of them again"
    )


def _if_any(problem):
    return [] if problem is None else [problem]


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
