"""The table that `SegmentationFolder.report()` prints."""

import dataclasses


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

    def __str__(self):
        text = "\n".join(
            [
                self._headline(),
                *self._size_lines(),
                "",
                *self._class_lines(),
                "",
                *self._problem_lines(),
            ]
        )
        # A file name that is no text on this system would not be printed.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def _headline(self):
        line = f"{self.directory}: {sum(self.subsets.values())} pairs"
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
            f"({self.sizes[common]} images)"
        ]

    def _class_lines(self):
        total = sum(self.pixels) + self.unlabelled
        header = ["id", "name", "pixels", "images"]
        rows = [
            [str(label), name, _percent(pixels, total), str(images)]
            for label, (name, pixels, images) in enumerate(
                zip(self.classes.names, self.pixels, self.images)
            )
        ]
        rows.append(["255", "unlabelled", _percent(self.unlabelled, total), ""])
        if self.colors:
            header.append("colour in masks")
            for row in rows:
                row.append(str(self.colors.get(int(row[0]), "")))
        widths = [max(map(len, column)) for column in zip(header, *rows)]
        lines = []
        for row in [header, *rows]:
            cells = [
                # Names to the left, figures to the right.
                cell.ljust(width) if column in (1, 4) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths))
            ]
            lines.append("  ".join(cells).rstrip())
        return lines

    def _problem_lines(self):
        if not self.problems:
            return ["no problems"]
        return [
            f"{len(self.problems)} problems:",
            *(f"- {problem}" for problem in self.problems),
        ]


def _size(size):
    return f"{size[0]}x{size[1]}"


def _percent(part, total):
    return f"{100 * part / total:.2f} %" if total else "-"
