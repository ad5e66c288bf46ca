"""Examples of an image and its labels, checked as they are prepared."""

import io
import warnings

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from keras_setr.facts.datasets import DATASETS
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.images import load_image
from keras_setr.files.masks import load_mask


class PairBuilder(  # type: ignore[call-arg]
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """Base of the builders here: examples of an image and its labels.

    `image` are the bytes of the official file, `label` (H, W, 1) the training
    labels with 255 for unlabelled, `file_name` the image's in the archive
    and `size` its (height, width).
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    @property
    def facts(self):
        """`Dataset` that this builder prepares."""
        return DATASETS[self.name]

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.LabeledImage(
                        labels=list(self.facts.classes.names),
                        shape=(None, None, 1),
                        encoding_format="png",
                    ),
                    "file_name": tfds.features.Text(),
                    "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=self.HOMEPAGE,
        )

    def _pairs(self, archive, images, labels, split):
        """Key and example of each image and its label in an archive.

        Args:
            archive: `Archive`.
            images, labels: folders in it.
            split: str.
        """
        pairs = match(archive.names(images), archive.names(labels), archive)
        warn_if_incomplete(self.facts, split, len(pairs), archive)
        for image, label in pairs:
            content, where = archive.read(label), archive.where(label)
            yield (
                image.rpartition("/")[2],
                example(archive, image, content, self.facts, where),
            )


def example(archive, image_name, label, dataset, label_name):
    """One example, its label turned into training labels.

    Args:
        archive: `Archive` that holds the image.
        image_name: str. Path of the image in it.
        label: bytes of a mask file, or `(H, W)` values.
        dataset: `Dataset`, which maps the values.
        label_name: str. Where the label came from, for errors.

    Raises:
        ValueError: a file cannot be decoded, sizes differ, or a value is not
            one of the dataset.
    """
    content = archive.read(image_name)
    where = archive.where(image_name)
    # Decoded whole: a truncated file has an intact header.
    size = load_image(ImageBytes(content, where)).shape[:2]
    if isinstance(label, bytes):
        label = load_mask(ImageBytes(label, label_name))
    if label.shape != size:
        raise ValueError(
            f"{label_name} must be {size[0]}x{size[1]} (height x width) as "
            f"{where}, with one value per pixel. Received: {label.shape}; "
            "get the archive again."
        )
    labels = dataset.label_rule.apply(label, dataset.num_classes)
    if labels is None:
        wrong = sorted(
            set(np.unique(label).tolist())
            - set(dataset.label_map)
            - set(dataset.ignored)
        )
        raise ValueError(
            f"{label_name} holds value {', '.join(map(str, wrong))}, which "
            f"{dataset.name} does not have: its values are "
            f"{min(dataset.label_map)}..{max(dataset.label_map)} and "
            f"{dataset.ignored}. Is it the right archive?"
        )
    encoded = io.BytesIO()
    # Not TFDS's own encoding, which starts TensorFlow.
    Image.fromarray(labels).save(encoded, "PNG")
    return {
        "image": content,
        "label": encoded.getvalue(),
        "file_name": image_name,
        "size": np.array(size, np.int32),
    }


def match(images, labels, archive):
    """`[(image, label), ...]` names of equal stem; none may be left over.

    Args:
        images, labels: lists of names in the archive.
        archive: `Archive`, for the error.

    Raises:
        ValueError: an image or a label is missing, or there are none.
    """
    by_stem = {_stem(name): name for name in labels}
    stems = {_stem(name): name for name in images}
    missing = [name for stem, name in stems.items() if stem not in by_stem]
    extra = [name for stem, name in by_stem.items() if stem not in stems]
    if missing or extra or not images:
        received = [
            f"{len(names)} {what}, as {names[0]}"
            for names, what in (
                (missing, "images without a label"),
                (extra, "labels without an image"),
            )
            if names
        ]
        raise ValueError(
            f"{archive.path} must hold a label for each image. Received: "
            f"{' and '.join(received) or 'no images'}. It is incomplete or "
            "half-extracted; get the archive again and leave it packed."
        )
    return [(name, by_stem[stem]) for stem, name in sorted(stems.items())]


def _stem(name):
    return name.rpartition("/")[2].rpartition(".")[0]


def warn_if_incomplete(dataset, split, count, archive):
    """Says so where a split has fewer images than were published."""
    published = dataset.splits[split]
    if count != published:
        warnings.warn(
            f"{archive.path} holds {count:,} images for {split}, and "
            f"{dataset.name} has {published:,}. Unless it is a part on "
            "purpose, get the archive again.",
            stacklevel=2,
        )
