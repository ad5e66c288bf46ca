"""What the files of a folder hold: its classes and its colours."""

import collections
import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from keras_setr.classes import MaskValues
from keras_setr.data.folder.label_source import LabelSource
from keras_setr.data.folder.problems import too_few_classes
from keras_setr.data.folder.problems import too_many_colors
from keras_setr.data.folder.scan import MAX_COLORS
from keras_setr.data.folder.scan import scan_pairs
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.files.images import image_size
from keras_setr.files.masks import load_mask
from keras_setr.files.masks import mask_to_labels


@dataclasses.dataclass(eq=False)
class FolderContents:
    """The pairs of a whole folder, and what reading them tells.

    The parts of a folder share one: a class that only the training pairs hold
    is a class of the others too, and a file is read once for all of them.

    Args:
        directory: pathlib.Path.
        pairs: tuple of `Pair`.
        labels: `LabelSource`.
        image_format: `(channels, dtype)` of the images.
        layout_problems: sequence of str, about files that belong to no pair.
        notes: sequence of str, about files that were left out as asked for.
        scans: dict of `Pair` -> `PairScan` of files that were read already.
    """

    directory: pathlib.Path
    pairs: tuple
    labels: LabelSource
    image_format: tuple
    layout_problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    scans: dict = dataclasses.field(default_factory=dict)

    def scan(self, pairs):
        """`PairScan` of `pairs`, each file read once, by several threads."""
        new = [pair for pair in pairs if pair not in self.scans]
        self.scans.update(zip(new, scan_pairs(new, *self.image_format)))
        return [self.scans[pair] for pair in pairs]

    def without(self, pairs, notes):
        """The same without some pairs, and without problems of the layout."""
        left = tuple(pair for pair in self.pairs if pair not in pairs)
        notes = (*self.notes, *notes)
        return dataclasses.replace(
            self, pairs=left, layout_problems=(), notes=notes
        )

    @functools.cached_property
    def found_num_classes(self):
        """The number of classes, even if it is too small."""
        if self.labels.num_classes is not None:
            return self.labels.num_classes
        values = self.raw_values() - set(self.stray_values)
        return self.labels.rule.highest_label(values) + 1

    @functools.cached_property
    def stray_values(self):
        """Raw values that look like mistakes, sorted; see `find_stray`.

        Where the number of classes is known, what lies beyond is an error
        anyhow.
        """
        if self.labels.num_classes is not None:
            return ()
        images, pixels = collections.Counter(), collections.Counter()
        for scan in self.scan(self.pairs):
            counts = self.raw_counts(scan)
            pixels.update(counts)
            images.update(counts.keys())
        lookup = self.labels.rule.lookup
        labels = {v: int(lookup[v]) for v in pixels if lookup[v] != UNLABELLED}
        return find_stray(labels, pixels, images)

    @property
    def num_classes(self):
        number = self.found_num_classes
        if number < 2:
            errors = [e for s in self.scan(self.pairs) for e in s.errors]
            if errors and not self.raw_values():
                raise ValueError(
                    "num_classes is told by the masks, and none of them can "
                    f"be read. The first problem: {errors[0]}"
                )
            raise ValueError(too_few_classes(self))
        return number

    @property
    def classes(self):
        classes = self.labels.classes(self.num_classes, self.label_colors())
        return dataclasses.replace(classes, masks=self.mask_values())

    def mask_values(self):
        """What `Classes` remember; `None` where raw values are labels."""
        rule = self.labels.rule
        # In another folder some may be missing, and the others would move up.
        colors = self.color_table if self._has_colors() else ()
        if rule.reads_labels and not colors:
            return None
        label_map = rule.label_map and tuple(rule.label_map.items())
        return MaskValues(
            rule.ignored, label_map, rule.reduce_zero_label, colors or None
        )

    def label_colors(self):
        """Dict of label -> colour in RGB masks; empty for masks of values."""
        colors = {}
        if self._has_colors():
            for value, color in enumerate(self.color_table):
                colors.setdefault(int(self.labels.rule.lookup[value]), color)
        return colors

    def _has_colors(self):
        """Whether colours stand for classes, as far as the first mask tells.

        It is not worth a scan, should `num_classes` not need one either.
        """
        if self.labels.colors is None and not self._first_mask_is_rgb():
            return False
        return len(self.color_table) <= MAX_COLORS

    def _first_mask_is_rgb(self):
        pair = self.pairs[0]
        if pair in self.scans:
            return self.scans[pair].colors is not None
        return load_mask(pair.mask).ndim == 3

    @property
    def colors(self):
        if len(self.color_table) > MAX_COLORS:
            raise ValueError(too_many_colors(self))
        return self.color_table

    @functools.cached_property
    def color_table(self):
        """The colours given, or else all that are found, however many."""
        if self.labels.colors is not None:
            return self.labels.colors
        found = set()
        if not self.holds_grey:
            for scan in self.scan(self.pairs):
                found.update(scan.colors or ())
        return tuple(sorted(found))

    @functools.cached_property
    def holds_grey(self):
        """Whether the RGB masks are grey values, saved in three channels.

        So they are where no pixel of any has a colour; the values count then,
        not which of them there are.
        """
        if self.labels.colors is not None:
            return False
        tables = [scan.colors for scan in self.scan(self.pairs)]
        # An empty one stands for too many colours.
        return {} not in tables and all(
            red == green == blue
            for table in tables
            for red, green, blue in table or ()
        )

    def raw_mask(self, mask, path):
        """`(H, W)` raw values of a mask, and the colours that they stand for.

        Args:
            mask: from `load_mask`.
            path: where it came from, for errors.
        """
        if mask.ndim == 2:
            if self.labels.colors is not None:
                raise ValueError(
                    f"{path} must hold colours, as colors= say what they "
                    "mean. Received: a mask of values; leave colors out."
                )
            return mask, ()
        if self.holds_grey:
            return np.ascontiguousarray(mask[..., 0]), ()
        return mask_to_labels(mask, self.colors, path), self.colors

    def raw_areas(self, scan):
        """Set of raw values that form areas in one mask; see `PairScan`."""
        if scan.colors is None:
            return scan.areas
        return self._by_value(dict.fromkeys(scan.areas)).keys()

    def was_read(self, pair):
        """Whether a scan has found both of its files to be whole."""
        scan = self.scans.get(pair)
        return scan is not None and not scan.errors

    def raw_values(self):
        """Set of all raw values in the masks."""
        found = set()
        for scan in self.scan(self.pairs):
            found.update(self.raw_counts(scan))
        return found

    def raw_counts(self, scan):
        """Dict of raw value -> pixels of one mask; unknown colours left out."""
        if scan.colors is None:
            return scan.values or {}
        return self._by_value(scan.colors)

    def _by_value(self, colors):
        """A dict of colour -> anything with raw values for its keys."""
        if self.holds_grey:
            return {red: of for (red, *_), of in colors.items()}
        if len(self.color_table) > MAX_COLORS:
            # No table of classes, which is a problem of its own.
            return {}
        index = {color: value for value, color in enumerate(self.color_table)}
        return {index[c]: of for c, of in colors.items() if c in index}

    def label_counts(self, scan):
        """Counter of label -> pixels of one mask, 255 for unlabelled."""
        labels = collections.Counter()
        for value, count in self.raw_counts(scan).items():
            labels[int(self.labels.rule.lookup[value])] += count
        return labels

    def image_sizes(self):
        """`(H, W)` of all images, or of a sample that has their median."""
        if all(pair in self.scans for pair in self.pairs):
            sizes = [scan.image_size for scan in self.scan(self.pairs)]
            return [size for size in sizes if size is not None]
        # Headers of some images, evenly spread, say enough of a median.
        step = math.ceil(len(self.pairs) / 256)
        return [
            image_size(pair.image, *self.image_format)
            for pair in self.pairs[::step]
        ]


# Labels that are further apart than this, and than twice the number of labels
# below, are no neighbours.
_FAR = 24
# Closer ones are mistakes where they are next to nothing.
_NEAR, _RARE = 3, 1e-3


def find_stray(labels, pixels, images):
    """Raw values whose labels lie far above all others.

    One value of 200 among those of 0..5 makes no 201 classes, and 0, 85, 170
    are no 171. A few images of a data set with many classes are another
    matter: there, several labels lie apart, and they fill areas.

    Args:
        labels: dict of raw value -> label.
        pixels, images: dicts of raw value -> how many hold it.
    """
    total = sum(pixels.values())
    known, last, far = 0, -1, []
    rare = {value for value in labels if pixels[value] < _RARE * total}
    for value in sorted(labels, key=labels.get):
        gap = labels[value] - last - 1
        alone = value in rare and images[value] == 1 and len(labels) > 2
        least = max(_NEAR, known) if alone else max(_FAR, 2 * known)
        if gap >= least:
            far.append(value)
        else:
            known, last = known + 1, labels[value]
    if 2 < len(far) < known and not rare.issuperset(far):
        return ()
    return tuple(sorted(far))
