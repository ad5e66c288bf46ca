"""What the arguments of a folder say about its labels and classes."""

import dataclasses

from keras_setr.arguments import checked
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.classes import COLOR
from keras_setr.classes import Classes
from keras_setr.classes import default_palette
from keras_setr.data.folder.scan import MAX_COLORS
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.facts.label_rule import LabelRule
from keras_setr.tables import counted


@checked(
    rule=instance("a LabelRule", LabelRule),
    colors=optional(sequence(COLOR)),
    names=optional(sequence(string(), minimum_length=1)),
    palette=optional(sequence(COLOR)),
    num_classes=optional(integer(2, UNLABELLED)),
)
@dataclasses.dataclass(frozen=True)
class LabelSource:
    """What is known about the labels before any mask is read.

    Args:
        rule: `LabelRule`.
        colors: tuple of distinct `(red, green, blue)`, each of which stands
            for its index as raw value, or `None` for those that are found.
        names: tuple of str, or `None`.
        palette: tuple of `(red, green, blue)` to draw with, or `None`.
        num_classes: int. Defaults to the number of names, else to what
            `label_map` or `colors` give; `None` where nothing does.

    Raises:
        ValueError: they contradict each other.
    """

    rule: LabelRule
    colors: tuple | None = None
    names: tuple | None = None
    palette: tuple | None = None
    num_classes: int | None = None

    def __post_init__(self):
        self._check_colors()
        number, names = self.num_classes, self.names
        if names is not None:
            number = number or len(names)
            if len(names) != number:
                raise ValueError(
                    "num_classes must be the number of class names. Received: "
                    f"num_classes={number} and {counted(len(names), 'name')}."
                )
        label_map = self.rule.label_map
        if label_map is not None:
            needed = self.rule.highest_label(label_map) + 1
            if number is not None and needed > number:
                raise ValueError(
                    f"label_map must map to 0..{number - 1} or "
                    f"{UNLABELLED}, as there are {counted(number, 'class')}. "
                    f"Received: label {needed - 1}."
                )
            number = number or needed
        elif self.colors is not None:
            raw = range(len(self.colors))
            number = number or self.rule.highest_label(raw) + 1
        object.__setattr__(self, "num_classes", number)
        if self.palette is not None and number is not None:
            # A palette that does not fit fails here, not when it is drawn.
            self.classes(number)

    def _check_colors(self):
        if self.colors is None:
            return
        for color in self.colors:
            if self.colors.count(color) > 1:
                raise ValueError(
                    "colors must be distinct, as each stands for one raw "
                    f"value. Received: {color} {self.colors.count(color)} "
                    "times."
                )
        if not 0 < len(self.colors) <= MAX_COLORS:
            raise ValueError(
                f"colors must hold 1 to {MAX_COLORS} colours. Received: "
                f"{len(self.colors)}."
            )

    def classes(self, number, found=None):
        """`Classes` of `number` labels.

        Args:
            found: dict of label -> colour in the masks, for labels without a
                colour in `palette`.
        """
        palette = self.palette
        if palette is None:
            palette = list(default_palette(number))
            for label, color in (found or {}).items():
                if label < number:
                    palette[label] = color
        return Classes(self.names or Classes.numbered(number).names, palette)
