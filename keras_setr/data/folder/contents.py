"""What the files of a folder hold: its classes and its colours."""

import collections
import functools
import math

from keras_setr.data.folder.problems import too_few_classes
from keras_setr.data.folder.problems import too_many_colors
from keras_setr.data.folder.scan import MAX_COLORS
from keras_setr.data.folder.scan import scan_pairs
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
        labels: `LabelSource`.
        image_format: `(channels, dtype)` of the images.
        layout_problems: tuple of str, about files that belong to no pair.
    """

    def __init__(
        self, directory, pairs, labels, image_format, layout_problems=()
    ):
        self.directory = directory
        self.pairs = pairs
        self.labels = labels
        self.image_format = image_format
        self.layout_problems = layout_problems
        self._scans = {}

    def scan(self, pairs):
        """`PairScan` of `pairs`, each file read once, by several threads."""
        new = [pair for pair in pairs if pair not in self._scans]
        self._scans.update(zip(new, scan_pairs(new, *self.image_format)))
        return [self._scans[pair] for pair in pairs]

    @property
    def found_num_classes(self):
        """The number of classes, even if it is too small."""
        if self.labels.num_classes is not None:
            return self.labels.num_classes
        return self.labels.rule.highest_label(self.raw_values()) + 1

    @property
    def num_classes(self):
        number = self.found_num_classes
        if number < 2:
            raise ValueError(too_few_classes(self))
        return number

    @property
    def classes(self):
        return self.labels.classes(self.num_classes, self.label_colors())

    def label_colors(self):
        """Dict of label -> colour in RGB masks; empty for masks of values."""
        if self.labels.colors is None and not self._first_mask_is_rgb():
            # Not worth a scan, should `num_classes` not need one either.
            return {}
        colors = {}
        if len(self.color_table) <= MAX_COLORS:
            for value, color in enumerate(self.color_table):
                colors.setdefault(int(self.labels.rule.lookup[value]), color)
        return colors

    def _first_mask_is_rgb(self):
        pair = self.pairs[0]
        if pair in self._scans:
            return self._scans[pair].colors is not None
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
        for scan in self.scan(self.pairs):
            found.update(scan.colors or ())
        return tuple(sorted(found))

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
        if len(self.color_table) > MAX_COLORS:
            # No table of classes, which is a problem of its own.
            return {}
        index = {color: value for value, color in enumerate(self.color_table)}
        return {
            index[color]: pixels
            for color, pixels in scan.colors.items()
            if color in index
        }

    def label_counts(self, scan):
        """Counter of label -> pixels of one mask, 255 for unlabelled."""
        labels = collections.Counter()
        for value, count in self.raw_counts(scan).items():
            labels[int(self.labels.rule.lookup[value])] += count
        return labels

    def image_sizes(self):
        """`(H, W)` of all images, or of a sample that has their median."""
        if all(pair in self._scans for pair in self.pairs):
            sizes = [scan.image_size for scan in self.scan(self.pairs)]
            return [size for size in sizes if size is not None]
        # Headers of some images, evenly spread, say enough of a median.
        step = math.ceil(len(self.pairs) / 256)
        return [self._size(pair.image) for pair in self.pairs[::step]]

    def _size(self, path):
        if self.image_format == (3, "uint8"):
            return image_size(path)
        return load_image(path, *self.image_format).shape[:2]
