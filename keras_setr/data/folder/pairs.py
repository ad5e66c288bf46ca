"""Which files in a folder are an image and its mask."""

import dataclasses
import pathlib
import re
import unicodedata

from keras_setr.data.folder.image_files import IMAGE_EXTENSIONS
from keras_setr.data.folder.image_files import contents_of
from keras_setr.data.folder.image_files import image_files
from keras_setr.data.folder.layouts import SUBSETS
from keras_setr.data.folder.layouts import find_folders
from keras_setr.data.folder.layouts import subsets_without_masks
from keras_setr.tables import counted
from keras_setr.tables import listed

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
    if images is not None and str(images) == str(masks):
        raise ValueError(
            "images and masks must lie in two folders, or have names that two "
            f"templates tell apart. Received: {str(images)!r} for both."
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
        found = find_folders(self.directory)
        self.problems += subsets_without_masks(self.directory, found)
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
        by_image = self._files_by_template(images, "images")
        by_mask = self._files_by_template(masks, "masks")
        # "{name}.png" also fits the masks "{name}_mask.png" of the same folder.
        taken = set(by_mask.values())
        by_image = {k: p for k, p in by_image.items() if p not in taken}
        return self._match(by_image, by_mask, images, masks)

    def _image_files(self, folder):
        files, problems = image_files(folder)
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
                    f"{self.directory} holds {contents_of(self.directory)}."
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
