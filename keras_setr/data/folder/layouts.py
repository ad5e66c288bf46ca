"""Which folders hold images and masks."""

import os

from keras_setr.data.folder.image_files import contents_of
from keras_setr.data.folder.image_files import image_files
from keras_setr.data.folder.image_files import is_hidden
from keras_setr.tables import counted
from keras_setr.tables import listed

# Accepted folder names, compared without regard to case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "segmentationclass",
)
# What a folder of one subset may be called -> the subset.
SUBSETS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# `train` beside `trainannot`, `train_masks`, ...
MASK_FOLDER_ENDINGS = (
    "annot",
    "_annot",
    "annotations",
    "_annotations",
    "masks",
    "_masks",
    "labels",
    "_labels",
)
_LAYOUTS = """
    images/ + masks/              (masks may be called labels or annotations)
    images/train + masks/train    (and val, test; or training, validation)
    train/images + train/masks    (and val, test)
    train/ + trainannot/          (and val/ + valannot/; or train_masks, ...)
or templates of your own, such as
    images="left/{split}/{name}_leftImg8bit.png"
    masks="fine/{split}/{name}_labelIds.png"
""".strip("\n")


def _folders(directory):
    """Visible folders in `directory`, by lower-case name."""
    return {
        entry.name.lower(): entry
        for entry in sorted(directory.iterdir())
        if entry.is_dir() and not is_hidden(entry.name)
    }


def find_folders(directory):
    """List of `(image folder, mask folder, subset or None)`."""
    folders = _folders(directory)
    found = _images_beside_masks(directory, folders, None)
    for name, subset in SUBSETS.items():
        if name in folders:
            found += _images_beside_masks(
                folders[name], _folders(folders[name]), subset
            )
            twins = [
                folders[name + ending]
                for ending in MASK_FOLDER_ENDINGS
                if name + ending in folders
            ]
            if twins:
                found.append((folders[name], _only(twins, directory), subset))
    if not found:
        raise ValueError(
            f"directory must hold images and masks in a known layout:\n"
            f"{_LAYOUTS}\nReceived: {directory}, which holds "
            f"{contents_of(directory)}.{_above(directory)}"
        )
    outer = [folder for folder, _, subset in found if subset is None]
    inner = [folder for folder, _, subset in found if subset is not None]
    if outer and inner:
        raise ValueError(
            f"directory must hold one layout. Received: {directory} with "
            f"images both in {outer[0]} and in {inner[0]}; pass images= and "
            "masks= to say which are meant."
        )
    return found


def subsets_without_masks(directory, found):
    """A sentence on each subset that has images alone, where others have all.

    Args:
        found: from `find_folders`.
    """
    subsets = {subset for *_, subset in found} - {None}
    folders = _folders(directory) if subsets else {}
    for name, subset in SUBSETS.items():
        # Where no test image has a mask, the test labels are not public.
        if name in folders and subset not in subsets and subset != "test":
            images = list(image_files(folders[name])[0].values())
            if images:
                yield (
                    f"{folders[name]} holds {counted(len(images), 'image')} "
                    f"({listed(images, 2)}) but has no folder of masks, "
                    f"while {' and '.join(sorted(subsets))} has. Add the masks "
                    "or move the folder away."
                )


def _images_beside_masks(directory, folders, subset):
    images = [folders[name] for name in IMAGE_FOLDERS if name in folders]
    masks = [folders[name] for name in MASK_FOLDERS if name in folders]
    if not images or not masks:
        return []
    return [(_only(images, directory), _only(masks, directory), subset)]


def _only(candidates, directory):
    if len(candidates) > 1:
        # `labels/` may hold text files beside `masks/`.
        candidates = [c for c in candidates if image_files(c)[0]] or candidates
    if len(candidates) > 1:
        names = " and ".join(folder.name for folder in candidates)
        raise ValueError(
            f"{directory} must hold one folder of each kind. Received: "
            f"{names}, which would all do; pass images= and masks= to say "
            "which are meant."
        )
    return candidates[0]


def _above(directory):
    """A question, where the folder is one half of a layout."""
    above, name = directory.absolute().parent, directory.name.lower()
    beside = {*_folders(above)} if os.access(above, os.R_OK) else set()
    others = {name + ending for ending in MASK_FOLDER_ENDINGS}
    for kind, other in (
        (IMAGE_FOLDERS, MASK_FOLDERS),
        (MASK_FOLDERS, IMAGE_FOLDERS),
    ):
        if name in kind:
            others.update(other)
    return f" Did you mean {above}?" if others & beside else ""
