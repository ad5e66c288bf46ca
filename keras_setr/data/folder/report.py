"""The table that `SegmentationFolder.report()` prints."""

import collections
import dataclasses

from keras_setr.data.folder.problems import find_problems
from keras_setr.data.folder.problems import told_once
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.tables import counted
from keras_setr.tables import percent
from keras_setr.tables import printable
from keras_setr.tables import text_table


@dataclasses.dataclass(frozen=True)
class FolderReport:
    """What a folder holds and what is wrong with it; `print` shows a table.

    Args:
        directory: str.
        subsets: dict of subset (`None` where there is none) -> pairs.
        sizes: dict of image `(H, W)` -> images.
        classes: `Classes`.
        pixels: tuple of int. Pixels of each class over all masks.
        images: tuple of int. Images that contain each class.
        unlabelled: int. Pixels that are ignored.
        colors: dict of label -> `(red, green, blue)` in the mask files;
            empty where the masks hold values.
        problems: tuple of str, each naming its file; empty if all is well.
        folded: tuple of str. The same, those of one kind told once.
        notes: tuple of str. What was left out as it was asked for.
    """

    directory: str
    subsets: dict
    sizes: dict
    classes: object
    pixels: tuple
    images: tuple
    unlabelled: int
    colors: dict
    problems: tuple
    folded: tuple = ()
    notes: tuple = ()

    @classmethod
    def of(cls, contents, pairs):
        """The report on some `pairs` of a `FolderContents`."""
        scans = contents.scan(pairs)
        # Of masks none of which can be read, there are no classes.
        number = max(contents.found_num_classes, 1)
        pixels = collections.Counter()
        images = collections.Counter()
        for scan in scans:
            labels = contents.label_counts(scan)
            pixels.update(labels)
            images.update(labels.keys())
        sizes = [scan.image_size for scan in scans if scan.image_size]
        colors = contents.label_colors()
        problems = tuple(find_problems(contents, pairs))
        return cls(
            directory=str(contents.directory),
            subsets=dict(collections.Counter(p.subset for p in pairs)),
            sizes=dict(collections.Counter(sizes)),
            classes=contents.labels.classes(number, colors),
            pixels=tuple(pixels[label] for label in range(number)),
            images=tuple(images[label] for label in range(number)),
            unlabelled=pixels[UNLABELLED],
            colors=colors,
            problems=tuple(map(str, problems)),
            folded=tuple(told_once(problems)),
            notes=tuple(contents.notes),
        )

    def __str__(self):
        lines = [
            self._headline(),
            *self._size_lines(),
            "",
            *self._class_lines(),
            "",
            *self._problem_lines(),
        ]
        # A file's name may be no text on this system, or hold escape codes.
        return "\n".join(printable(line, "") for line in lines)

    def _headline(self):
        pairs = counted(sum(self.subsets.values()), "pair")
        line = f"{self.directory}: {pairs}"
        named = [
            f"{name or 'no subset'} {count}"
            for name, count in self.subsets.items()
        ]
        if set(self.subsets) != {None}:
            line += f" ({', '.join(named)})"
        return line

    def _size_lines(self):
        if not self.sizes:
            return ["image sizes (height x width): none could be read"]
        if len(self.sizes) == 1:
            ((size, _),) = self.sizes.items()
            return [f"image sizes (height x width): all {_size(size)}"]
        # Ties go to the smaller size, so that the report does not depend on
        # the order of the files.
        by_area = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
        common = max(by_area, key=lambda size: self.sizes[size])
        return [
            f"image sizes (height x width): {_size(by_area[0])} to "
            f"{_size(by_area[-1])}, most often {_size(common)} "
            f"({counted(self.sizes[common], 'image')})"
        ]

    def _class_lines(self):
        total = sum(self.pixels) + self.unlabelled

        def share(pixels):
            return percent(100 * pixels / total if total else None, " %")

        header = ["id", "name", "pixels", "images"]
        rows = [
            [str(label), name, share(pixels), str(images)]
            for label, (name, pixels, images) in enumerate(
                zip(self.classes.names, self.pixels, self.images)
            )
        ]
        rows.append(["255", "unlabelled", share(self.unlabelled), ""])
        if self.colors:
            header.append("colour in masks")
            for row in rows:
                row.append(str(self.colors.get(int(row[0]), "")))
        return text_table([header, *rows], left=(1, 4))

    def _problem_lines(self):
        lines = ["no problems"]
        if self.problems:
            lines = [
                f"{counted(len(self.problems), 'problem')}:",
                *(f"- {problem}" for problem in self.folded),
            ]
        return [*lines, *(f"note: {note}" for note in self.notes)]


def _size(size):
    return f"{size[0]}x{size[1]}"
