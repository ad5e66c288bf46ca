"""Small folders of images and masks, as files."""

import numpy as np
from PIL import Image

from keras_setr.data.folder.pairs import find_pairs


def write_pair(directory, name, mask, images="images", masks="masks"):
    """A grey image and a mask of its size, whatever NumPy makes one of."""
    mask = np.array(mask, "uint8")
    pixels = np.full((*mask.shape[:2], 3), 99, "uint8")
    for folder, array in ((images, pixels), (masks, mask)):
        path = directory / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def write_pairs(directory, pairs, images="images", masks="masks"):
    """The pairs of a dict of name -> mask; gives the directory back."""
    for name, mask in pairs.items():
        write_pair(directory, name, mask, images, masks)
    return directory


def touch(directory, *names):
    """Finding pairs reads names only, so empty files will do."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(directory, **options):
    """`(image, mask, subset)` of what `find_pairs` finds, by their places."""
    return [
        (
            pair.image.relative_to(directory).as_posix(),
            pair.mask.relative_to(directory).as_posix(),
            pair.subset,
        )
        for pair in find_pairs(directory, **options)[0]
    ]
