"""What a label value is called, how it is drawn, and which ones there are."""

import colorsys
import dataclasses
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string


def allowed_labels(num_classes, ignored, argument="ignore_class"):
    """Which labels there may be, for the end of an error message.

    Args:
        num_classes: int.
        ignored: sequence of the labels that `argument` lets pass.
    """
    allowed = f"num_classes={num_classes} allows 0..{num_classes - 1}"
    if ignored:
        allowed += f" or {argument}={' or '.join(map(str, ignored))}"
    return allowed


def check_labels(labels, num_classes, ignore_class, name):
    """Raise if an array holds a label that is no class and not ignored.

    Args:
        labels: array of integers.
        num_classes: int.
        ignore_class: int or None.
        name: str. What the error calls the array.
    """
    outside = (labels < 0) | (labels >= num_classes)
    if ignore_class is not None:
        outside &= labels != ignore_class
    if outside.any():
        first = np.unravel_index(outside.argmax(), outside.shape)
        ignored = () if ignore_class is None else (ignore_class,)
        raise ValueError(
            f"{name} holds label {labels[first]} at "
            f"{tuple(map(int, first))} and is wrong in "
            f"{int(outside.sum())} of {labels.size} pixels, as "
            f"{allowed_labels(num_classes, ignored)}. Map the value to a "
            "class or to ignore_class, or build the model with more classes."
        )


def default_palette(num_classes):
    """`num_classes` well separated RGB colours, the same in every run.

    Hues step by the golden ratio, so that neighbours in the list differ most;
    saturation and brightness alternate between three levels.
    """
    levels = ((0.85, 0.95), (0.55, 0.75), (0.95, 0.6))
    colors = []
    for index in range(num_classes):
        saturation, value = levels[index % len(levels)]
        rgb = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, saturation, value)
        colors.append(tuple(round(255 * channel) for channel in rgb))
    return tuple(colors)


def check_names(names, source):
    """An error for class names of which two are equal or one is blank.

    Args:
        names: sequence of str.
        source: what holds them, for the error.
    """
    for label, name in enumerate(names):
        first = names.index(name)
        if first != label or not name.strip():
            wrong = f"{name!r} for label {label}"
            if first != label:
                wrong = f"{name!r} for label {first} and for label {label}"
            raise ValueError(
                f"{source} must give each class a name of its own. Received: "
                f"{wrong}."
            )


# (red, green, blue) in 0..255.
COLOR = sequence(integer(0, 255), length=3)


@checked(
    names=sequence(string(), minimum_length=1),
    palette=optional(sequence(COLOR)),
)
@dataclasses.dataclass(frozen=True)
class Classes:
    """Class names and their colours, in the order of the label values.

    Args:
        names: sequence of str, all different. `names[k]` is that of label `k`.
        palette: sequence of `(red, green, blue)` in 0..255, one per name.
            Defaults to `default_palette(len(names))`.
    """

    names: tuple
    palette: tuple | None = None

    def __post_init__(self):
        check_names(self.names, "names")
        if self.palette is None:
            palette = default_palette(len(self.names))
            object.__setattr__(self, "palette", palette)
        if len(self.palette) != len(self.names):
            raise ValueError(
                "palette must hold one colour per class name. Received: "
                f"{len(self.palette)} colours for {len(self.names)} names."
            )

    @classmethod
    @checked(num_classes=integer(1))
    def numbered(cls, num_classes: int) -> "Classes":
        """`class 0` .. `class K-1` in the default colours."""
        return cls(tuple(f"class {index}" for index in range(num_classes)))

    def __len__(self) -> int:
        return len(self.names)

    def get_config(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette or ()],
        }
