"""What a value stored in a mask means: a class, nothing, or a mistake."""

import dataclasses

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.classes import allowed_labels
from keras_setr.opencv import cv2
from keras_setr.tables import listed

# The label of pixels that count nowhere.
UNLABELLED = 255
_UNMAPPED = -1


_VALUE = integer(0, 255)


@checked(
    ignore_values=either(_VALUE, sequence(_VALUE)),
    label_map=optional(mapping(_VALUE, _VALUE)),
    reduce_zero_label=flag(),
)
@dataclasses.dataclass(frozen=True)
class LabelRule:
    """How raw mask values 0..255 become labels.

    A value in `label_map` becomes what it maps to; otherwise an ignored value
    becomes 255; otherwise, with a `label_map`, the value is a mistake, and
    without one it is the label, or with `reduce_zero_label` the label less
    one, where 0 becomes 255.

    Args:
        ignore_values: int or sequence of int, raw values; 255 always belongs
            to them.
        label_map: dict of raw value -> label in 0..254, or 255; or `None`.
        reduce_zero_label: bool. Whether 0 means unlabelled and classes count
            from 1.
    """

    ignore_values: object = UNLABELLED
    label_map: dict | None = None
    reduce_zero_label: bool = False

    def __post_init__(self):
        ignored = self.ignore_values
        ignored = {ignored} if isinstance(ignored, int) else {*ignored}
        lookup = np.arange(256, dtype=np.int16)
        if self.reduce_zero_label:
            if self.label_map is not None:
                raise ValueError(
                    "reduce_zero_label and label_map must not both be given. "
                    "Received: both; with a label_map, let it map 0 to 255."
                )
            lookup -= 1
            lookup[0] = UNLABELLED
        if self.label_map is not None:
            if not self.label_map:
                raise ValueError("label_map must map something. Received: {}.")
            lookup[:] = _UNMAPPED
        lookup[[*ignored, UNLABELLED]] = UNLABELLED
        for value, label in (self.label_map or {}).items():
            if value in ignored - {UNLABELLED} and label != UNLABELLED:
                raise ValueError(
                    "label_map and ignore_values must not contradict each "
                    f"other. Received: value {value} mapped to label {label} "
                    "and ignored; leave it out of one."
                )
            lookup[value] = label
        ignored.add(UNLABELLED)
        object.__setattr__(self, "ignored", tuple(sorted(ignored)))
        object.__setattr__(self, "lookup", lookup)

    @property
    def reads_labels(self):
        """Whether raw values are labels, and 255 alone unlabelled."""
        return bool((self.lookup == np.arange(256)).all())

    def highest_label(self, values):
        """The largest label among raw `values`; -1 if all are ignored."""
        labels = self.lookup[list(values)]
        return int(max(labels[labels != UNLABELLED], default=-1))

    def is_wrong(self, num_classes):
        """`(256,)` bool: raw values that have no label in 0..num_classes-1."""
        beyond = (self.lookup >= num_classes) & (self.lookup != UNLABELLED)
        return beyond | (self.lookup == _UNMAPPED)

    def apply(self, mask, num_classes):
        """`(H, W)` uint8 labels of raw values; `None` if one of them is wrong.

        The lookup of each pixel and the search for wrong ones cost as much as
        resizing, so both are done once, and the lookup only where it changes
        anything.
        """
        wrong = self.is_wrong(num_classes)
        table = self.lookup.astype(np.uint8)
        # A value that no label has, unless there are 255 classes.
        table[wrong] = num_classes
        if (table == np.arange(256))[~wrong].all():
            labels = mask
            if wrong.any():
                found = (mask >= num_classes) & (mask != UNLABELLED)
                return None if found.any() else labels
            return labels
        labels = cv2.LUT(mask, table)
        if num_classes == UNLABELLED:
            found = wrong[mask]
        else:
            found = labels == num_classes
        return None if wrong.any() and found.any() else labels

    def labels(self, mask, path, num_classes, colors=()):
        """As `apply`, with an error that says what is wrong.

        Raises:
            ValueError: `problem` of the mask, which came from `path`.
        """
        labels = self.apply(mask, num_classes)
        if labels is None:
            values = np.unique(mask)
            raise ValueError(self.problem(path, values, num_classes, colors))
        return labels

    def problem(self, path, values, num_classes, colors=()):
        """A sentence about the wrong ones of `values`; `None` if none is.

        With `colors`, each value is shown with its colour in the mask.
        """
        values = np.array(sorted(values), dtype=int)
        wrong = values[self.is_wrong(num_classes)[values]]
        if not wrong.size:
            return None
        if colors:
            wrong = [f"{value} (colour {colors[value]})" for value in wrong]
        if self.label_map is not None:
            return (
                f"{path} holds value {listed(wrong)}, which label_map leaves "
                "out; add it to label_map or to ignore_values"
            )
        ignored = [v for v in self.ignored if v != UNLABELLED] or [UNLABELLED]
        if self.reduce_zero_label:
            return (
                f"{path} holds value {listed(wrong)}, but "
                f"num_classes={num_classes} with reduce_zero_label=True allows "
                f"1..{num_classes}, and 0 or ignore_values="
                f"{' or '.join(map(str, ignored))}"
            )
        return (
            f"{path} holds label {listed(wrong)}, but "
            f"{allowed_labels(num_classes, ignored, 'ignore_values')}"
        )
