"""What a label value is called, how it is drawn, and which ones there are."""

import colorsys
import dataclasses

import numpy as np


def allowed_labels(num_classes, ignored):
    """Which labels there may be, for the end of an error message."""
    allowed = f"num_classes={num_classes} allows 0..{num_classes - 1}"
    if ignored:
        allowed += f" or ignore_class={' or '.join(map(str, ignored))}"
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


@dataclasses.dataclass(frozen=True)
class Classes:
    """Class names and their colours, in the order of the label values.

    Args:
        names: sequence of str. `names[k]` is the name of label `k`.
        palette: sequence of `(red, green, blue)` in 0..255, one per name.
            Defaults to `default_palette(len(names))`.
    """

    names: tuple
    palette: tuple = None

    def __post_init__(self):
        names = tuple(str(name) for name in self.names)
        palette = self.palette
        if palette is None:
            palette = default_palette(len(names))
        palette = tuple(tuple(int(c) for c in color) for color in palette)
        if len(palette) != len(names):
            raise ValueError(
                "palette must hold one colour per class name. Received: "
                f"{len(palette)} colours for {len(names)} names."
            )
        for name, color in zip(names, palette):
            if len(color) != 3 or not all(0 <= c <= 255 for c in color):
                raise ValueError(
                    "palette must hold (red, green, blue) in 0..255. "
                    f"Received: {color} for class {name!r}."
                )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "palette", palette)

    @classmethod
    def numbered(cls, num_classes):
        """`class 0` .. `class K-1` in the default colours."""
        return cls([f"class {index}" for index in range(num_classes)])

    def __len__(self):
        return len(self.names)

    def get_config(self):
        return {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette],
        }
