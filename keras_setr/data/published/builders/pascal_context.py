"""Pascal Context, 60 and 59 classes, on the images of VOC2010."""

import json
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from keras_setr.data.published.builders.archives import open_archive
from keras_setr.data.published.builders.examples import PairBuilder
from keras_setr.data.published.builders.examples import example
from keras_setr.data.published.builders.examples import warn_if_incomplete
from keras_setr.data.published.builders.run_lengths import decode_mask
from keras_setr.facts.datasets import DATASETS

_IMAGES = "VOCtrainval_03-May-2010.tar"
_IMAGES_SOURCE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010"
_ANNOTATIONS = "trainval_merged.json"
_ANNOTATIONS_SOURCE = "https://codalabuser.blob.core.windows.net/public"

# The 60 of 460 categories that are classes, 0 for the background; in this
# order they are the names of `class_tables.PASCAL_CONTEXT`.
CATEGORIES = (
    *(0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72),
    *(80, 85, 98, 104, 105, 113, 115, 144, 158, 159, 162, 187, 189, 207, 220),
    *(232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355),
    *(360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)


class PascalContext(PairBuilder):
    """Class maps of the whole scene (Mottaghi et al., CVPR 2014) for the
    images of VOC2010, from the merged annotation of PASCAL in Detail.

    Labels are 0..59 with 0 for the background, or, as `classes_59`, 0..58
    and 255 for the background.
    """

    name = "pascal_context"
    HOMEPAGE = "https://cs.stanford.edu/~roozbeh/pascal-context/"
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(
            name="classes_60", description="The background is a class."
        ),
        tfds.core.BuilderConfig(
            name="classes_59", description="The background is left out."
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Put {_IMAGES} from {_IMAGES_SOURCE}, packed, and {_ANNOTATIONS} "
        f"from {_ANNOTATIONS_SOURCE} into manual_dir."
    )

    @property
    def facts(self):
        names = {
            "classes_60": "pascal_context",
            "classes_59": "pascal_context_59",
        }
        return DATASETS[names[self.builder_config.name]]

    def _split_generators(self, dl_manager):
        manual_dir = pathlib.Path(dl_manager.manual_dir)
        self._open(manual_dir).__exit__()
        path = manual_dir / _ANNOTATIONS
        if not path.exists():
            raise FileNotFoundError(
                f"{path} must exist. Get {_ANNOTATIONS} from "
                f"{_ANNOTATIONS_SOURCE} and put it there."
            )
        images, annotations = read_annotations(path)
        return {
            split: self._generate_examples(
                manual_dir, split, images[phase], annotations
            )
            for split, phase in (("train", "train"), ("validation", "val"))
        }

    def _open(self, manual_dir):
        return open_archive(manual_dir, (_IMAGES, "VOCdevkit"), _IMAGES_SOURCE)

    def _generate_examples(self, manual_dir, split, images, annotations):
        with self._open(manual_dir) as archive:
            top = "" if archive.path.is_dir() else "VOCdevkit/"
            folder = f"{top}VOC2010/JPEGImages"
            held = set(archive.names(folder))
            names = {
                image["file_name"]: f"{folder}/{image['file_name']}"
                for image in images
            }
            missing = [name for name in names.values() if name not in held]
            if missing:
                raise ValueError(
                    f"{archive.path} must hold the images that "
                    f"{_ANNOTATIONS} names. Received: {len(missing)} are "
                    f"missing, as {missing[0]}. It is incomplete or "
                    f"half-extracted; get {_IMAGES} from {_IMAGES_SOURCE} "
                    "again and leave it packed."
                )
            warn_if_incomplete(self.facts, split, len(images), archive)
            where = manual_dir / _ANNOTATIONS
            for image in images:
                label_name = f"{where}, image {image['image_id']}"
                try:
                    label = class_map(image, annotations[image["image_id"]])
                except ValueError as error:
                    raise ValueError(f"{label_name}: {error}") from error
                yield (
                    image["file_name"],
                    example(
                        archive,
                        names[image["file_name"]],
                        label,
                        self.facts,
                        label_name,
                    ),
                )


def read_annotations(path):
    """The images and the segmentations of the merged annotation.

    Returns:
        `(images, annotations)`: dict of phase, `"train"` or `"val"`, -> list
        of images; and dict of image id -> list of segmentations, in the
        order of the file.

    Raises:
        ValueError: the file is not whole, or not this annotation.
    """
    try:
        content = json.loads(pathlib.Path(path).read_bytes())
        images = {"train": [], "val": []}
        annotations = {image["image_id"]: [] for image in content["images"]}
        for image in content["images"]:
            # Other phases have no public labels.
            images.get(image["phase"], []).append(image)
        for annotation in content["annos_segmentation"]:
            annotations[annotation["image_id"]].append(annotation)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not the merged annotation of PASCAL in Detail, or "
            f"not the whole of it: {error!r}. Get {_ANNOTATIONS} from "
            f"{_ANNOTATIONS_SOURCE} again."
        ) from error
    return images, annotations


def class_map(image, annotations):
    """`(H, W)` uint8 labels 0..59 of one image.

    As the converters of the published results do: each segmentation covers
    those before it, what none covers is background, and a category that is
    no class is an error.

    Args:
        image: dict with `height` and `width`.
        annotations: list of dict with `category_id` and `segmentation`.

    Raises:
        ValueError: a category is none of the 60, or a mask does not fit.
    """
    labels = np.zeros((image["height"], image["width"]), np.uint8)
    for annotation in annotations:
        category = annotation["category_id"]
        if category not in CATEGORIES:
            raise ValueError(
                f"category {category} is none of the 60 classes of Pascal "
                "Context; is it the annotation of another release?"
            )
        mask = decode_mask(annotation["segmentation"])
        if mask.shape != labels.shape:
            raise ValueError(
                f"a mask is {mask.shape} and its image {labels.shape}; the "
                "annotation is damaged, get the file again"
            )
        labels[mask] = CATEGORIES.index(category)
    return labels
