"""The published datasets, prepared by TFDS and read without TensorFlow."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import index_of
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.arguments import string
from keras_setr.classes import Classes
from keras_setr.data.batches.source import SegmentationSource
from keras_setr.facts.datasets import DATASETS
from keras_setr.facts.label_rule import LabelRule
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.images import load_image
from keras_setr.files.masks import load_mask
from keras_setr.tables import counted


@dataclasses.dataclass(frozen=True)
class _TfdsNames:
    """What TFDS calls a dataset and the parts of an example."""

    dataset: str
    image: str = "image"
    label: str = "label"
    file_name: str = "file_name"
    # Whether its labels are training labels, or values as on disk.
    mapped: bool = True


# Cityscapes' own names; its labels are the labelIds of the files.
_CITYSCAPES = _TfdsNames(
    "cityscapes/semantic_segmentation",
    image="image_left",
    label="segmentation_label",
    file_name="image_id",
    mapped=False,
)
_TFDS_NAMES = {
    "cityscapes": _CITYSCAPES,
    "cityscapes_coarse": dataclasses.replace(
        _CITYSCAPES, dataset="cityscapes/semantic_segmentation_extra"
    ),
    "ade20k": _TfdsNames("ade20k"),
    "pascal_context": _TfdsNames("pascal_context/classes_60"),
    "pascal_context_59": _TfdsNames("pascal_context/classes_59"),
    "camvid": _TfdsNames("camvid"),
}


@checked(
    name=choice(*DATASETS),
    split=string(),
    data_dir=optional(path()),
    manual_dir=optional(path()),
)
def load_dataset(
    name: str,
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> Any:
    """A split of a published dataset, prepared first if it is not yet.

    ```python no_run
    train = ks.data.load_dataset("ade20k", "train", manual_dir="~/Downloads")
    model.fit(train.batches(8, crop_size=512), epochs=20)
    ```

    Args:
        name: a key of `DATASETS`.
        split: `"train"`, `"validation"`, `"test"` or, of cityscapes_coarse,
            `"train_extra"`; or some joined by `+`, such as
            `"train+validation"` for the Cityscapes test server.
        data_dir: where TFDS keeps prepared datasets. Defaults to its own,
            `~/tensorflow_datasets`.
        manual_dir: where the official archives lie as they were downloaded.
            Defaults to `downloads/manual` in `data_dir`. Only CamVid comes
            by itself.

    Returns:
        `PublishedDataset`.

    Raises:
        ImportError: TFDS is not installed.
        ValueError: there is no such dataset or split, an archive is damaged,
            or the dataset was prepared in a format without random access.
        FileNotFoundError, AssertionError: an archive is missing; the message
            says which, where to get it and where to put it.
    """
    try:
        import tensorflow_datasets as tfds

        # Registers those that TFDS lacks.
        import keras_setr.data.published.builders  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "load_dataset needs tensorflow-datasets: pip install "
            "'keras-setr[data]'."
        ) from error
    names = _TFDS_NAMES[name]
    builder = tfds.builder(
        names.dataset, data_dir=data_dir, file_format="array_record"
    )
    parts = [_split_name(part) for part in split.split("+")]
    if not builder.is_prepared():
        _check_splits(parts, DATASETS[name].splits, f"{name} has none")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
        )
    _check_splits(parts, builder.info.splits, f"none is in {builder.data_dir}")
    undecoded = tfds.decode.SkipDecoding()
    try:
        source = builder.as_data_source(
            split="+".join(parts),
            decoders={names.image: undecoded, names.label: undecoded},
        )
    except NotImplementedError as error:
        raise ValueError(
            f"{builder.data_dir} must hold array_record files, which can be "
            "read in any order. Received: another format; delete the folder, "
            "or pass another data_dir, and load the dataset again."
        ) from error
    return PublishedDataset(DATASETS[name], parts, source, names)


def _check_splits(parts, known, reason):
    """Raise at a split that is none; before a download of hours, too."""
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise ValueError(
            f"split must be of {', '.join(known)}, joined by +. Received: "
            f"{', '.join(map(repr, unknown))}; {reason}."
        )


def _split_name(name):
    name = name.strip()
    return {"val": "validation"}.get(name, name)


class PublishedDataset(SegmentationSource):
    """A split of a published dataset; `load_dataset` gives it.

    `dataset[i]` is an image `(H, W, 3)` uint8 and its label `(H, W)` uint8,
    training labels with 255 for what is not trained on.

    Attributes:
        facts: `Dataset`.
        splits: list of str, those that are joined here.
        training: bool. Whether it holds the training split.
    """

    def __init__(
        self, facts: Any, splits: Any, source: Any, names: Any
    ) -> None:
        self.facts = facts
        self.splits = splits
        self.training = "train" in splits or "train_extra" in splits
        self._source = source
        self._names = names
        rule = facts.label_rule
        if names.mapped:
            rule = LabelRule(
                label_map={label: label for label in range(facts.num_classes)}
            )
        self._rule = rule

    @property
    def classes(self) -> Classes:
        return self.facts.classes

    def __repr__(self):
        return (
            f"PublishedDataset({self.facts.name!r}, {'+'.join(self.splits)}: "
            f"{counted(len(self), 'pair')})"
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        example = self._example(index)
        name = self._name(example)
        file = ImageBytes(example[self._names.image], name)
        image = load_image(file, complete=True)
        label_name = f"{name} (label)"
        file = ImageBytes(example[self._names.label], label_name)
        mask = load_mask(file, complete=True)
        return image, self._rule.labels(mask, label_name, self.num_classes)

    def _example(self, index):
        return self._source[index_of(index, len(self), "pair")]

    def _name(self, example):
        return example[self._names.file_name].decode("utf-8")

    @checked(index=integer())
    def file_name(self, index: int) -> str:
        """The name of image `index` in the official archive.

        Of Cityscapes, the part before `_leftImg8bit.png`.
        """
        return self._name(self._example(index))

    @checked(index=integer())
    def original_size(self, index: int) -> tuple[int, ...]:
        """`(H, W)` of image `index`."""
        index = index_of(index, len(self), "pair")
        if self.facts.image_size is not None:
            return self.facts.image_size
        return tuple(int(side) for side in self._source[index]["size"])

    def _image_sizes(self):
        step = -(-len(self) // 256)
        return [
            self.original_size(index) for index in range(0, len(self), step)
        ]
