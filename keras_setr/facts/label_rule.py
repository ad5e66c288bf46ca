"""What a value stored in a mask means: a class, nothing, or a mistake."""

import dataclasses

import cv2
import numpy as np

from keras_setr.classes import allowed_labels

# The label of pixels that count nowhere.
UNLABELLED = 255
_UNMAPPED = -1


@dataclasses.dataclass(frozen=True)
class LabelRule:
    """How raw mask values 0..255 become labels.

    A value in `label_map` becomes what it maps to; otherwise an ignored value
    becomes 255; otherwise, with a `label_map`, the value is a mistake, and
    without one it is the label, or with `reduce_zero_label` the label less
    one, where 0 becomes 255.

    Args:
        ignore_class: int or sequence of int, raw values; 255 always belongs
            to them.
        label_map: dict of raw value -> label in 0..254, or 255; or `None`.
        reduce_zero_label: bool. Whether 0 means unlabelled and classes count
            from 1.
    """

    ignore_class: object = 255
    label_map: dict = None
    reduce_zero_label: bool = False

    def __post_init__(self):
        ignored = self.ignore_class
        ignored = [ignored] if np.ndim(ignored) == 0 else list(ignored)
        for value in ignored:
            _check_value("ignore_class", value)
        ignored = {*map(int, ignored), UNLABELLED}
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
        lookup[list(ignored)] = UNLABELLED
        for value, label in (self.label_map or {}).items():
            _check_value("label_map keys", value)
            _check_value("label_map labels", label)
            if value in ignored - {UNLABELLED} and label != UNLABELLED:
                raise ValueError(
                    "label_map and ignore_class must not contradict each "
                    f"other. Received: value {value} mapped to label {label} "
                    "and ignored; leave it out of one."
                )
            lookup[value] = label
        object.__setattr__(self, "ignored", tuple(sorted(ignored)))
        object.__setattr__(self, "lookup", lookup)

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
                f"{path} holds value {_list(wrong)}, which label_map leaves "
                "out; add it to label_map or to ignore_class"
            )
        if self.reduce_zero_label:
            return (
                f"{path} holds value {_list(wrong)}, but "
                f"num_classes={num_classes} with reduce_zero_label=True allows "
                f"1..{num_classes}, and 0 or ignore_class="
                f"{' or '.join(map(str, self._ignored_to_name()))}"
            )
        return (
            f"{path} holds label {_list(wrong)}, but "
            f"{allowed_labels(num_classes, self._ignored_to_name())}"
        )

    def _ignored_to_name(self):
        chosen = [v for v in self.ignored if v != UNLABELLED]
        return chosen or [UNLABELLED]


def _list(values, limit=5):
    shown = ", ".join(str(value) for value in values[:limit])
    return shown + ", ..." if len(values) > limit else shown


def _check_value(argument, value):
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value <= 255:
        raise ValueError(
            f"{argument} must be integers in 0..255, what an 8-bit mask can "
            f"hold. Received: {value!r}."
        )
