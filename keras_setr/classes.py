"""What a label value is called, how it is drawn, and which ones there are."""

import dataclasses
import json
import unicodedata
import warnings
from typing import Any

import numpy as np

from keras_setr.arguments import Hint
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.tables import counted


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
            f"{int(outside.sum())} of {counted(labels.size, 'pixel')}, as "
            f"{allowed_labels(num_classes, ignored)}. Map the value to a "
            "class or to ignore_class, or build the model with more classes."
        )


def warn_of_unknown(labels, classes):
    """Warn where labels are drawn that no class has and nobody ignores.

    Args:
        labels: array of integers.
        classes: `Classes`.
    """
    unknown = (labels < -1) | (labels >= len(classes)) & (labels != 255)
    if unknown.any():
        warnings.warn(
            f"labels hold {labels[unknown][0]} and are none of "
            f"{counted(len(classes), 'class')}, nor 255, in "
            f"{int(unknown.sum())} of {counted(labels.size, 'pixel')}: these "
            "are drawn black. Are the classes those of the labels?",
            stacklevel=4,
        )


# What each stands for: red, green and blue. Every colour is the one furthest,
# in CIELAB, from all before it, for the nearest of four views: with normal
# vision and without one of the three kinds of cones (Machado et al. 2009,
# severity 1); neighbours are at least 24 apart. Candidates are muted (chroma
# 10 to 58, lightness 28 to 90) and start with a blue.
_COLORS = """
4878b8 b86820 a09080 584020 98e888 384858 f8b0f8 707890 60e8b0 a07048
a898f8 e0a848 583088 68b8b8 686050 90b878 804008 e8d0e8 784888 b89850
7898c0 f0d868 5858b8 907078 d0e8d8 981060 f080a8 a82040 7878d8 90f8a8
d098e8 28a060 c0c868 80c090 a06028 f0a0c8 805028 506078 c09038 603070
801838 60a098 a8c070 8868a0 e06860 6050a0 c03860 b080d8 b0d0c0 e078c8
70e098 880818 a83878 a08040 58f8f8 c070a8 0848a0 e0e880 a8b8e0 985008
98a078 60d0d0 085038 28b090 702850 4890f0 d8a8a8 88d0f8 f8d8c0 9058a8
a84840 e0c090 c04888 306020 9870c8 307860 584088 906850 e8c058 5090a8
b8b058 784050 b88038 305068 908070 5068b8 405830 c0a0f8 906030 c8c8e8
a08080 98b060 505868 90a0d8 f07898 985090 b8e0d8 802008 50a860 d0d870
88a8d0 d0b8a0 6068c8 d09838 509050 d0c0d8 a83850 6888b8 985860 c8a0b8
688008 e0d080 886070 60d088 689028 70f8c0 705098 08a0e8 507080 d8e898
306840 d068b8 78f0a8 684078 889070 504028 c85898 706818 b07088 583078
a89050 80a0a8 e0a880 a080e0 c8a048 901848 c8b858 404810 b8b0f8 989020
60c0c8 287088 e0e0f8 a098b8 604080 6898c8 f8b8c0 80b0e8 983820 08d8b0
901830 f06888 f8d8e8 d09870 3890d0 b85038 5850a8 b85860 b0b8d8 987070
f8d0a0 d06050 c0d0a8 708898 f0c8d0 a0d878 3068a0 b0c068 0878d8 e8e878
c89880 684068 484898 683848 b07858 e8a8e8 8868b8 883018 909840 984038
70d888 90a898 303890 208040 8080a0 80c0b0 507808 08e0f0 b88070 b888e8
68b070 880860 b0e090 6878a8 b0b848 a02870 78b068 e078b0 c0b090 106050
18d098 707838 e07090 e088d8 58b8a0 882840 7070c8 78e0c8 e07860 98f0c8
386018 78c8e8 a86068 306088 907830 984068 387828 a868b0 405040 309888
204088 78a8a0 7058b0 98b0d0 088868 b0c8b0 088898 b06040 d0d0f8 a87828
a01858 a89828 605838 f8b088 806048 7898f8 881020 b08830 586028 18b0d8
d0d0a0 e098c8 d0d060 9888b8 981868 c0e0b8 206858 d08848 98c0f0 586070
68f0e8 685080 984008 604890 e05888 685830
""".split()


def default_palette(num_classes):
    """`num_classes` calm RGB colours, the same in every run.

    The first ones differ most, for colour-blind readers too, and neighbours
    in the list always do; after 256 they repeat.
    """
    colors = [tuple(bytes.fromhex(color)) for color in _COLORS]
    return tuple(colors[index % len(colors)] for index in range(num_classes))


def check_names(names, source):
    """An error for class names of which two look equal or one is blank.

    Args:
        names: sequence of str.
        source: what holds them, for the error.

    Warns:
        UserWarning: two differ in small and capital letters alone.
    """
    looks = [_look(name) for name in names]
    for label, name in enumerate(names):
        first = looks.index(looks[label])
        if first == label and looks[label]:
            continue
        wrong = f"{name!r} for label {label}"
        if first != label and names[first] == name:
            wrong = f"{name!r} for label {first} and for label {label}"
        elif first != label:
            wrong = (
                f"{names[first]!a} for label {first} and {name!a} for label "
                f"{label}, which look the same"
            )
        raise ValueError(
            f"{source} must give each class a name of its own. Received: "
            f"{wrong}."
        )
    folded = [look.casefold() for look in looks]
    for label, name in enumerate(names):
        first = folded.index(folded[label])
        if first != label:
            warnings.warn(
                f"{source} has {names[first]!r} for label {first} and {name!r} "
                f"for label {label}, which differ in capitals alone. If they "
                "are one class, number the values of the masks anew with "
                "label_map=.",
                stacklevel=3,
            )


def _look(name):
    """What a reader sees: accents composed, spaces single, nothing unseen."""
    seen = (c for c in name if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFC", "".join(seen)).split())


# Raw values of masks, and (red, green, blue).
_VALUE = integer(0, 255)
COLOR = sequence(_VALUE, length=3)


@checked(
    ignore_values=sequence(_VALUE),
    label_map=optional(sequence(sequence(_VALUE, length=2))),
    reduce_zero_label=flag(),
    colors=optional(sequence(COLOR)),
)
@dataclasses.dataclass(frozen=True)
class MaskValues:
    """How the values in masks become labels, as a folder was told.

    Args:
        ignore_values, reduce_zero_label, colors: as of
            `keras_setr.data.SegmentationFolder`.
        label_map: sequence of its `(raw value, label)`, or `None`.
    """

    ignore_values: tuple = ()
    label_map: tuple | None = None
    reduce_zero_label: bool = False
    colors: tuple | None = None

    def folder_options(self) -> dict[str, Any]:
        """Arguments of a `SegmentationFolder` that reads masks so."""
        label_map = self.label_map and dict(self.label_map)
        return {**vars(self), "label_map": label_map}

    def __str__(self) -> str:
        return ", ".join(
            f"{name}={value}"
            for name, value in self.folder_options().items()
            if value and value != (255,)
        )


def _masks(value):
    if isinstance(value, MaskValues):
        return value
    try:
        return MaskValues(**value)
    except (TypeError, ValueError) as error:
        raise Hint(str(error)) from error


@checked(
    names=sequence(string(), minimum_length=1),
    palette=optional(sequence(COLOR)),
    masks=optional(Rule("the MaskValues of a folder or their config", _masks)),
)
@dataclasses.dataclass(frozen=True)
class Classes:
    """Class names and their colours, in the order of the label values.

    Args:
        names: sequence of str, all different. `names[k]` is that of label `k`.
        palette: sequence of `(red, green, blue)` in 0..255, one per name.
            Defaults to `default_palette(len(names))`.
        masks: `MaskValues` of the folder that they come from, by which
            `keras_setr.evaluate` reads another one; or `None`, where masks
            hold labels and 255.
    """

    names: tuple
    palette: tuple | None = None
    masks: MaskValues | None = None

    def __post_init__(self):
        check_names(self.names, "names")
        if self.palette is None:
            palette = default_palette(len(self.names))
            object.__setattr__(self, "palette", palette)
        if len(self.palette) != len(self.names):
            raise ValueError(
                "palette must hold one colour per class name. Received: "
                f"{counted(len(self.palette), 'colour')} for "
                f"{counted(len(self.names), 'name')}."
            )

    @classmethod
    @checked(num_classes=integer(1))
    def numbered(cls, num_classes: int) -> "Classes":
        """`class 0` .. `class K-1` in the default colours."""
        return cls(tuple(f"class {index}" for index in range(num_classes)))

    def __len__(self) -> int:
        return len(self.names)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette or ()],
        }
        if self.masks is not None:
            # As JSON gives it back.
            config["masks"] = json.loads(json.dumps(vars(self.masks)))
        return config
