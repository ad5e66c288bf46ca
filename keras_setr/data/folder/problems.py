"""Sentences about what is wrong with a folder, each with what to do."""

from keras_setr.data.folder.scan import MAX_COLORS
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.tables import listed


def find_problems(contents, pairs):
    """Sentences about the folder, then about the files of `pairs`.

    Args:
        contents: `FolderContents`.
        pairs: sequence of its `Pair`.
    """
    yield from contents.layout_problems
    scans = contents.scan(pairs)
    yield from _folder_problems(contents, pairs, scans)
    for pair, scan in zip(pairs, scans):
        yield from scan.errors
        found = []
        if scan.image_size and scan.mask_size:
            found.append(size_problem(pair, scan.image_size, scan.mask_size))
        colors = ()
        if scan.colors is not None:
            colors = contents.color_table
            found.append(_unknown_colors(pair, scan, colors))
        values = contents.raw_counts(scan)
        number = contents.found_num_classes
        rule = contents.labels.rule
        found.append(rule.problem(pair.mask, values, number, colors))
        yield from filter(None, found)


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
        if scan.colors is not None:
            with_colors.append(pair.mask)
        elif scan.values is not None:
            with_values.append(pair.mask)
    if with_colors and with_values:
        yield (
            f"{len(with_colors)} masks hold RGB colours, as "
            f"{with_colors[0]}, and {len(with_values)} hold values, as "
            f"{with_values[0]}; save all in one way"
        )
    if len(contents.color_table) > MAX_COLORS:
        yield too_many_colors(contents)
    elif with_colors or with_values:
        if contents.found_num_classes < 2 or _is_black_and_white(contents):
            yield too_few_classes(contents)


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
    shown = [f"{color} in {scan.colors[color]} pixels" for color in unknown]
    return (
        f"{pair.mask} holds colour {listed(shown, 1)}, which the {len(known)} "
        "known colours do not include; add it to colors or correct the mask"
    )
