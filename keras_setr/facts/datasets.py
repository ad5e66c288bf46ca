"""Facts about the published datasets: classes, label values, splits, sizes."""

import dataclasses
from typing import Any

from keras_setr.classes import Classes
from keras_setr.facts.class_tables import ADE20K
from keras_setr.facts.class_tables import CAMVID
from keras_setr.facts.class_tables import CITYSCAPES
from keras_setr.facts.class_tables import PASCAL_CONTEXT
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.facts.label_rule import LabelRule


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A published dataset.

    Attributes:
        name: str.
        classes: `Classes`, in the order of the training labels.
        label_map: dict of a value on disk -> training label. A value that is
            neither here nor ignored is a mistake.
        ignored: tuple of the values on disk that are not trained on and
            become 255.
        splits: dict of split -> published number of images.
        image_size: `(H, W)`, or `None` where images differ.
        crop_size: `(h, w)` of the published crops and test windows, or None.
        stride: `(int, int)` of the windows, or None.
        base_scale: the two sides into which test images are fitted, or None.
    """

    name: str
    classes: Classes
    label_map: dict
    ignored: tuple
    splits: dict
    image_size: tuple | None = None
    crop_size: tuple | None = None
    stride: tuple | None = None
    base_scale: tuple | None = None

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def label_values(self) -> Any:
        """The value on disk of each training label, in their order."""
        return tuple(sorted(self.label_map, key=self.label_map.__getitem__))

    @property
    def test_options(self) -> dict[str, Any]:
        """The published windows and base scale, as arguments of a test.

        `ks.evaluate(model, data, **DATASETS["cityscapes"].test_options)` is
        the test at a single scale; `scales="paper"` beside it the one at six
        with flip. `model.predict` and `model.segment` take them as well.
        """
        options = {
            "window_size": self.crop_size,
            "stride": self.stride,
            "base_scale": self.base_scale,
        }
        return {k: value for k, value in options.items() if value is not None}

    @property
    def label_rule(self) -> Any:
        """`LabelRule` from values on disk to training labels."""
        ignored = {value: UNLABELLED for value in self.ignored}
        return LabelRule(label_map={**ignored, **self.label_map})


def _classes(table):
    names, palette = zip(*table)
    return Classes(names, palette)


def _test(crop, stride, base_scale):
    """The published test of one dataset (the authors' configs/SETR)."""
    return {
        "crop_size": (crop, crop),
        "stride": (stride, stride),
        "base_scale": base_scale,
    }


# The 19 of 34 labelIds that are evaluated (cityscapesScripts, labels.py).
_TRAIN_IDS = {
    labelId: trainId
    for trainId, labelId in enumerate(
        (7, 8, 11, 12, 13, 17, 19, 20, 21, 22)
        + (23, 24, 25, 26, 27, 28, 31, 32, 33)
    )
}

_CITYSCAPES = Dataset(
    name="cityscapes",
    classes=_classes(CITYSCAPES),
    label_map=_TRAIN_IDS,
    # Licence plates have id -1, which is never drawn; 255 where it would be.
    ignored=tuple(sorted({*range(34), 255} - set(_TRAIN_IDS))),
    splits={"train": 2_975, "validation": 500, "test": 1_525},
    image_size=(1024, 2048),
    **_test(768, 512, (1025, 2049)),
)

_PASCAL_CONTEXT = Dataset(
    name="pascal_context",
    classes=_classes(PASCAL_CONTEXT),
    # As converted, see `builders/pascal_context.py`; the background counts.
    label_map={label: label for label in range(60)},
    ignored=(255,),
    splits={"train": 4_998, "validation": 5_105},
    **_test(480, 320, (520, 520)),
)

DATASETS = {
    dataset.name: dataset
    for dataset in (
        _CITYSCAPES,
        # The test split has no coarse labels; its place takes `train_extra`.
        dataclasses.replace(
            _CITYSCAPES,
            name="cityscapes_coarse",
            splits={"train": 2_975, "validation": 500, "train_extra": 19_998},
        ),
        Dataset(
            name="ade20k",
            classes=_classes(ADE20K),
            label_map={value: value - 1 for value in range(1, 151)},
            ignored=(0,),  # "other objects"
            splits={"train": 20_210, "validation": 2_000},
            **_test(512, 341, (512, 2048)),
        ),
        _PASCAL_CONTEXT,
        # The 59-class protocol leaves the background out.
        dataclasses.replace(
            _PASCAL_CONTEXT,
            name="pascal_context_59",
            classes=_classes(PASCAL_CONTEXT[1:]),
            label_map={value: value - 1 for value in range(1, 60)},
            ignored=(0, 255),
        ),
        Dataset(
            name="camvid",
            classes=_classes(CAMVID),
            label_map={label: label for label in range(11)},
            ignored=(11,),
            splits={"train": 367, "validation": 101, "test": 233},
            image_size=(360, 480),
        ),
    )
}
