"""Which files in a folder are an image and its mask."""

import dataclasses
import os
import pathlib
import re
import unicodedata

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
# What a mask may carry after the stem of its image.
MASK_STEM_ENDINGS = (
    "_mask",
    "_masks",
    "_label",
    "_labels",
    "_annotation",
    "_segmentation",
    "_seg",
    "_gt",
    "_L",
    "_P",
)
IMAGE_EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".npy",
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


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image, its mask, and the subset they were found in.

    Args:
        image: pathlib.Path.
        mask: pathlib.Path.
        subset: `"train"`, `"val"`, `"test"`, another name that a template's
            `{split}` matched, or `None`.
    """

    image: pathlib.Path
    mask: pathlib.Path
    subset: str | None = None


def find_pairs(directory, images=None, masks=None):
    """All pairs in `directory`, and what is wrong with its files.

    Args:
        directory: path of the folder.
        images, masks: where the files are, as templates relative to
            `directory`, with `{name}` for what an image and its mask have in
            common (it may contain folders) and optionally `{split}`; or as
            folders. Default to whatever accepted layout is found.

    Returns:
        `(pairs, problems)`: a tuple of `Pair`, sorted by subset and name, and
        a list of sentences on all files that pair up with none or with
        several, and on every link that leads in a circle.

    Raises:
        FileNotFoundError, NotADirectoryError: `directory` is no folder.
        ValueError: no or several layouts fit, or there are no pairs.
    """
    directory = pathlib.Path(directory)
    if not directory.exists():
        raise FileNotFoundError(
            f"directory must exist. Received: {directory}, looked up as "
            f"{directory.absolute()}."
        )
    if not directory.is_dir():
        raise NotADirectoryError(
            f"directory must be a folder. Received: {directory}, a file."
        )
    if (images is None) != (masks is None):
        raise ValueError(
            "images and masks must be given together. Received: images="
            f"{images!r}, masks={masks!r}; pass both, or neither to have the "
            "layout found."
        )
    search = _Search(directory)
    if images is None:
        pairs = search.by_layout()
    else:
        pairs = search.by_template(str(images), str(masks))
    # A folder that is walked through twice tells of its links twice.
    problems = list(dict.fromkeys(search.problems))
    if not pairs:
        raise ValueError("\n".join(problems))
    pairs.sort(key=lambda pair: (pair.subset or "", pair.image))
    return tuple(pairs), problems


def subset_of(pairs, name, directory):
    """The pairs of one subset, as a list.

    Args:
        pairs: sequence of `Pair`.
        name: str. As in `Pair`, or a folder's name for it, as "validation".
        directory: path of the folder, for the error.

    Raises:
        ValueError: there are none.
    """
    name = SUBSETS.get(name, name)
    chosen = [pair for pair in pairs if pair.subset == name]
    if not chosen:
        found = sorted({pair.subset for pair in pairs if pair.subset})
        raise ValueError(
            f"name must be a subset of {directory}. Received: {name!r}; it "
            f"has {', '.join(found) or 'no subsets'}."
        )
    return chosen


def _folders(directory):
    """Visible folders in `directory`, by lower-case name."""
    return {
        entry.name.lower(): entry
        for entry in sorted(directory.iterdir())
        if entry.is_dir() and not _hidden(entry.name)
    }


def _hidden(name):
    # __MACOSX: what macOS puts beside the files of every zip archive.
    return name.startswith(".") or name == "__MACOSX"


def _find_folders(directory):
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
            f"{_contents(directory)}.{_above(directory)}"
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


def _subsets_without_masks(directory, found):
    """A sentence on each subset that has images alone, where others have all.

    Args:
        found: from `_find_folders`.
    """
    subsets = {subset for *_, subset in found} - {None}
    folders = _folders(directory) if subsets else {}
    for name, subset in SUBSETS.items():
        # Where no test image has a mask, the test labels are not public.
        if name in folders and subset not in subsets and subset != "test":
            images = list(_image_files(folders[name])[0].values())
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
        candidates = [c for c in candidates if _image_files(c)[0]] or candidates
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


def _contents(directory):
    names = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in directory.iterdir()
        if not _hidden(entry.name)
    )
    if not names:
        return "nothing"
    return listed(names, 8)


def _image_files(top):
    """Every visible image below a folder, and what is wrong there.

    Returns:
        `(files, problems)`: dict of relative POSIX path -> path, list of str.
    """
    files, problems = {}, []

    def walk(folder, above):
        # Links are followed: data sets are often linked into place.
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in above:
            problems.append(
                f"{folder} is a link that leads back to a folder it lies in, "
                "so that its files would be read without end. Remove the link."
            )
            return
        try:
            entries = sorted(folder.iterdir())
        except PermissionError:
            problems.append(
                f"{folder} may not be read. Give yourself the right to, or "
                "move the folder away."
            )
            return
        for path in entries:
            if _hidden(path.name):
                continue
            if path.is_dir():
                walk(path, (*above, identity))
            elif path.suffix.lower() in IMAGE_EXTENSIONS:
                files[path.relative_to(top).as_posix()] = path

    walk(pathlib.Path(top), ())
    return files, problems


def _key(subset, name):
    # One form for both sides: macOS stores "ü" as "u" and two dots, and an
    # archive may carry images and masks from different systems.
    return subset, unicodedata.normalize("NFC", name)


def _image_key(mask_key, images):
    """The key of a mask's image; `None` if there is none."""
    if mask_key in images:
        return mask_key
    subset, name = mask_key
    for ending in MASK_STEM_ENDINGS:
        if name.endswith(ending):
            key = (subset, name.removesuffix(ending))
            if key in images:
                return key
    return None


def _pattern(template, argument):
    """The regular expression of a template."""
    fields = re.findall(r"{(.*?)}", template)
    if fields.count("name") != 1 or not {"name", "split"}.issuperset(fields):
        raise ValueError(
            f"{argument} must contain {{name}} once and may contain {{split}}. "
            f"Received: {template!r}."
        )
    pattern = re.escape(template.removeprefix("./"))
    pattern = pattern.replace(re.escape("{name}"), "(?P<name>.+)")
    pattern = pattern.replace(re.escape("{split}"), "(?P<split>[^/]+)", 1)
    return pattern.replace(re.escape("{split}"), "(?P=split)")


class _Search:
    """The pairs of a folder, and sentences on what pairs up with nothing.

    Attributes:
        problems: list of str.
    """

    def __init__(self, directory):
        self.directory = directory
        self.problems = []

    def by_layout(self):
        """List of `Pair` of the accepted layout that is found."""
        found = _find_folders(self.directory)
        self.problems += _subsets_without_masks(self.directory, found)
        pairs = []
        for images, masks, subset in found:
            pairs += self._match(
                self._files_by_key(images, subset),
                self._files_by_key(masks, subset),
                images,
                masks,
            )
        return pairs

    def by_template(self, images, masks):
        """List of `Pair` of two templates or folders."""
        if ("{split}" in images) != ("{split}" in masks):
            raise ValueError(
                "images and masks must both contain {split}, or neither. "
                f"Received: images={images!r}, masks={masks!r}."
            )
        image_files = self._files_by_template(images, "images")
        mask_files = self._files_by_template(masks, "masks")
        # "{name}.png" also fits the masks "{name}_mask.png" of the same folder.
        taken = set(mask_files.values())
        image_files = {k: p for k, p in image_files.items() if p not in taken}
        return self._match(image_files, mask_files, images, masks)

    def _image_files(self, folder):
        files, problems = _image_files(folder)
        self.problems += problems
        return files

    def _files_by_key(self, folder, subset=None):
        """`(subset, name without extension)` -> path of each image."""
        files = {}
        for relative, path in self._image_files(folder).items():
            name = relative[: -len(path.suffix)]
            first, _, rest = name.partition("/")
            if subset is None and rest and first.lower() in SUBSETS:
                key = _key(SUBSETS[first.lower()], rest)
            else:
                key = _key(subset, name)
            self._add(files, key, path)
        return files

    def _add(self, files, key, path):
        if key in files:
            self.problems.append(
                f"{files[key]} and {path} have the same name, so that either "
                "could be meant by its pair. Remove or rename one."
            )
        files.setdefault(key, path)

    def _files_by_template(self, template, argument):
        """The same of the images that a template fits, or below a folder."""
        if "{" not in template:
            folder = self.directory / template
            if not folder.is_dir():
                raise ValueError(
                    f"{argument} must be a folder in {self.directory}, or a "
                    f"template with {{name}}. Received: {template!r}; "
                    f"{self.directory} holds {_contents(self.directory)}."
                )
            return self._files_by_key(folder)
        pattern = _pattern(template, argument)
        files = {}
        for relative, path in self._image_files(self.directory).items():
            match = re.fullmatch(pattern, relative)
            if match is not None:
                fields = match.groupdict()
                subset = fields.get("split")
                subset = subset and SUBSETS.get(subset.lower(), subset)
                self._add(files, _key(subset, fields["name"]), path)
        return files

    def _match(self, images, masks, image_place, mask_place):
        """List of `Pair` of two `{(subset, name): path}`."""
        for files, kind, place in (
            (images, "images", image_place),
            (masks, "masks", mask_place),
        ):
            if not files:
                raise ValueError(
                    f"{place} must hold {kind}, files that end in "
                    f"{', '.join(IMAGE_EXTENSIONS)}. Received: none."
                )
        by_image = {}
        without_image = []
        for key, path in masks.items():
            image_key = _image_key(key, images)
            if image_key is None:
                without_image.append(path)
            else:
                self._add(by_image, image_key, path)
        # Where no test image has a mask, the test labels are not public.
        masked_subsets = {subset for subset, _ in by_image}
        without_mask = [
            path
            for key, path in images.items()
            if key not in by_image
            and not (key[0] == "test" and "test" not in masked_subsets)
        ]
        left = []
        if without_mask:
            left.append(
                f"{len(without_mask)} of {counted(len(images), 'image')} "
                f"without a mask in {mask_place}: {listed(without_mask)}"
            )
        if without_image:
            left.append(
                f"{len(without_image)} of {counted(len(masks), 'mask')} "
                f"without an image in {image_place}: {listed(without_image)}"
            )
        if left:
            self.problems.append(
                "Every image must have one mask of the same name, and every "
                f"mask its image. {'; '.join(left)}. Add or remove the files, "
                "or pass images= and masks= templates if the names differ by "
                "a rule."
            )
        return [Pair(images[key], by_image[key], key[0]) for key in by_image]
