"""Sentences about what is wrong with a folder, each with what to do."""

import collections
import dataclasses
import re

from keras_setr.data.folder.scan import MAX_COLORS
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.tables import counted
from keras_setr.tables import listed
from keras_setr.tables import printable

_PATH = re.compile(r"\S*/\S+")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a folder or a pair, and what to do about it.

    Args:
        text: str. A sentence that names the file.
        pair: `Pair`, or `None` for what is wrong with the whole folder.
    """

    text: str
    pair: object = None

    def __str__(self):
        return self.text

    @property
    def kind(self):
        """What problems that differ in files and numbers alone share."""
        text = self.text
        for path in (self.pair.mask, self.pair.image) if self.pair else ():
            text = text.replace(str(path), "")
        return re.sub(r"\d+", "", _PATH.sub("", text))

    @property
    def file(self):
        """The name of the file that it is about."""
        if self.pair:
            return self.pair.mask.name
        found = _PATH.search(self.text)
        return found[0].rpartition("/")[2] if found else "the folder"


def told_once(problems):
    """Lines on problems, those of one kind told once.

    Args:
        problems: sequence of `Problem`.

    Returns:
        list of str.
    """
    alike = {}
    for problem in problems:
        alike.setdefault(problem.kind, []).append(problem)
    lines = []
    for first, *others in alike.values():
        line = first.text
        if others:
            files = listed([problem.file for problem in others])
            line += f" (and {len(others)} more of this kind: {files})"
        lines.append(printable(line, ""))
    return lines


def find_problems(contents, pairs):
    """Yields a `Problem` for all that is wrong with a folder and its files.

    Args:
        contents: `FolderContents`.
        pairs: sequence of its `Pair`.
    """
    for text in contents.layout_problems:
        yield Problem(text)
    scans = contents.scan(pairs)
    for text in _folder_problems(contents, pairs, scans):
        yield Problem(text)
    stray = contents.stray_values
    for pair, scan in zip(pairs, scans):
        found = [*scan.errors]
        if scan.image_size and scan.mask_size:
            found.append(size_problem(pair, scan.image_size, scan.mask_size))
        colors = ()
        if scan.colors is not None and not contents.holds_grey:
            colors = contents.color_table
            found.append(_unknown_colors(pair, scan, colors))
        values = contents.raw_counts(scan)
        number = contents.found_num_classes
        found.append(_stray_problem(contents, pair, values, stray))
        rule = contents.labels.rule
        others = set(values).difference(stray)
        found.append(rule.problem(pair.mask, others, number, colors))
        for text in filter(None, found):
            yield Problem(text, pair)


def without_problems(contents):
    """`FolderContents` without the pairs that have a problem.

    Without some, other classes may be found, and with them further problems.

    Raises:
        ValueError: no pair is left.
    """
    notes = [f"left out: {text}" for text in contents.layout_problems]
    contents = contents.without((), notes)
    while True:
        problems = [
            p for p in find_problems(contents, contents.pairs) if p.pair
        ]
        if not problems:
            return contents
        bad = {problem.pair for problem in problems}
        lines = told_once(problems)
        if len(bad) == len(contents.pairs):
            raise ValueError(
                f"No pair of {contents.directory} is without a problem:\n"
                + "\n".join(f"- {line}" for line in lines[:10])
            )
        count = f"{len(bad)} of {counted(len(contents.pairs), 'pair')} left out"
        contents = contents.without(bad, [f"{count}: {x}" for x in lines])


def _stray_problem(contents, pair, values, stray):
    found = sorted(set(values).intersection(stray))
    if not found:
        return None
    pixels = sum(values[value] for value in found)
    rule = contents.labels.rule
    highest = max(int(rule.lookup[value]) for value in stray)
    return (
        f"{pair.mask} holds value {listed(found)} in {pixels} of "
        f"{counted(sum(values.values()), 'pixel')}, far from all other labels; "
        f"correct the mask, or pass num_classes={highest + 1} if there are so "
        f"many classes, label_map={_map_of(contents)} if this is a "
        "class, or ignore_values= with it if it means unlabelled"
    )


def _map_of(contents):
    """A label map that numbers all values found without gaps, cut."""
    rule = contents.labels.rule
    values = sorted(
        value
        for value in contents.raw_values()
        if rule.lookup[value] != UNLABELLED
    )
    pairs = [f"{value}: {label}" for label, value in enumerate(values)]
    return "{" + ", ".join(pairs[:8]) + (", ..}" if len(pairs) > 8 else "}")


def size_problem(pair, image_shape, mask_shape):
    """A sentence about an image and a mask of two sizes; else `None`."""
    if tuple(image_shape) == tuple(mask_shape):
        return None
    return (
        f"{pair.mask} is {mask_shape[0]}x{mask_shape[1]} (height x width), "
        f"but {pair.image} is {image_shape[0]}x{image_shape[1]}; a mask must "
        "have the size of its image, so export one of them again"
    )


def _folder_problems(contents, pairs, scans):
    with_colors = []
    with_values = []
    for pair, scan in zip(pairs, scans):
        if scan.colors is not None and not contents.holds_grey:
            with_colors.append(pair.mask)
        elif scan.mask_size is not None:
            with_values.append(pair.mask)
    if with_colors and with_values:
        yield (
            f"RGB colours in {counted(len(with_colors), 'mask')}, as "
            f"{with_colors[0]}, and values in {len(with_values)}, as "
            f"{with_values[0]}; save all in one way"
        )
    if with_values and not with_colors and contents.labels.colors:
        yield (
            f"the masks of {contents.directory} hold values, as "
            f"{with_values[0]}, and no RGB colours, for which colors= is; "
            "pass colors=None, or save the masks in these colours"
        )
    if len(contents.color_table) > MAX_COLORS:
        yield too_many_colors(contents)
    elif with_colors or with_values:
        if _is_black_and_white(contents):
            yield too_few_classes(contents)
        elif contents.found_num_classes < 2 and not contents.stray_values:
            yield too_few_classes(contents)
        if smoothed := _smoothed_values(contents, scans):
            yield (
                f"the masks of {contents.directory} hold {smoothed} values or "
                "colours that appear along edges only, never in an area of "
                "2 x 2 pixels, as masks do that were drawn with smoothed "
                "edges, resized with interpolation or stored with loss; "
                "export them again without"
            )


def _smoothed_values(contents, scans):
    """How many values come of smoothed edges; 0 where there are none.

    They are most of the values, and yet few of the pixels.
    """
    pixels, areas = collections.Counter(), set()
    for scan in scans:
        pixels.update(contents.raw_counts(scan))
        areas.update(contents.raw_areas(scan))
    edges = {
        value
        for value in pixels
        if value not in areas
        and contents.labels.rule.lookup[value] != UNLABELLED
    }
    few = 2 * sum(pixels[value] for value in edges) < sum(pixels.values())
    most = len(edges) >= max(4, len(areas))
    return len(edges) if few and most else 0


def too_many_colors(contents):
    return (
        f"{contents.directory} has RGB masks of {len(contents.color_table)} "
        f"different colours, and at most {MAX_COLORS} can stand for classes; "
        "save them without smoothed edges, or pass colors="
    )


def too_few_classes(contents):
    if _is_black_and_white(contents):
        return (
            f"the masks of {contents.directory} hold only 0 and 255, and 255 "
            "means unlabelled; if it is a class, pass "
            "label_map={0: 0, 255: 1}"
        )
    if contents.stray_values:
        return (
            f"the masks of {contents.directory} hold the values "
            f"{listed(sorted(contents.raw_values()), 8)}, which lie far from "
            "each other; if each is a class, pass "
            f"label_map={_map_of(contents)}"
        )
    if contents.labels.names is not None:
        return (
            "num_classes must be at least 2, but class_names has "
            f"{listed(contents.labels.names)} alone; a background is a class, "
            "and has a name"
        )
    ignored = " and ".join(map(str, contents.labels.rule.ignored))
    return (
        f"num_classes must be at least 2, but the masks of "
        f"{contents.directory} give {contents.found_num_classes}: they hold "
        f"only the values {sorted(contents.raw_values())}, of which {ignored} "
        "would mean unlabelled; pass num_classes= or class_names= if there "
        "are more"
    )


def _is_black_and_white(contents):
    """Whether 255 looks like a class and yet counts as unlabelled."""
    white_is_ignored = contents.labels.rule.lookup[255] == UNLABELLED
    return white_is_ignored and contents.raw_values() == {0, 255}


def _unknown_colors(pair, scan, known):
    unknown = sorted(set(scan.colors).difference(known))
    if not unknown:
        return None
    shown = [
        f"{color} in {counted(scan.colors[color], 'pixel')}"
        for color in unknown
    ]
    return (
        f"{pair.mask} holds colour {listed(shown, 1)}, which the {len(known)} "
        "known colours do not include; add it to colors or correct the mask"
    )
