"""What an exported model says of itself: a JSON text that travels with it.

It lies where the format has a place for it: ONNX in `metadata_props`, OpenVINO
in `rt_info`, both under `keras_setr`; LiteRT and torch.export in the file
`keras_setr.json` of the archive that their file is; a SavedModel beside its
graph.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.classes import Classes
from keras_setr.export.formats import OUTPUTS
from keras_setr.version import __version__

KEY = "keras_setr"
FILE = "keras_setr.json"
# Of the text; a reader refuses what is later than itself.
_VERSION = 1


@checked(
    model=string(),
    classes=instance("Classes", Classes),
    ignore_class=optional(integer(0)),
    window_size=pair(1),
    stride=pair(1),
    channels=integer(1),
    image_dtype=choice("uint8", "uint16", "float32"),
    outputs=sequence(choice(*OUTPUTS), minimum_length=1),
    dynamic=sequence(string()),
    backend=string(),
    precision=choice("float32", "int8"),
    size_multiple=integer(1),
)
@dataclasses.dataclass(frozen=True)
class ExportRecord:
    """All that windows, protocols and pictures need to know of a model.

    Args:
        model: str. The class that was exported.
        classes: `Classes` of K names and colours.
        ignore_class: int or None.
        window_size: `(H, W)` of an image in one pass.
        stride: `(int, int)` between windows of a larger image.
        channels: int. C.
        image_dtype: `"uint8"`, `"uint16"`, or `"float32"` for a model without
            a preprocessor.
        outputs: tuple of str. Those of the graph, in order.
        dynamic: tuple of str. Axes of the images that may have any length, of
            `"batch"`, `"height"` and `"width"`.
        backend: str. That of Keras which wrote it.
        precision: str. `"float32"`, or `"int8"` of its products.
        size_multiple: int. What an open height and width are multiples of.
    """

    model: str
    classes: Classes
    ignore_class: int | None
    window_size: tuple[int, int]
    stride: tuple[int, int]
    channels: int
    image_dtype: str
    outputs: tuple[str, ...]
    dynamic: tuple[str, ...]
    backend: str
    precision: str = "float32"
    size_multiple: int = 1

    @property
    def is_open(self) -> bool:
        """Whether height and width may have any length."""
        return "height" in self.dynamic

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether an image of `(H, W)` fits the graph."""
        if not self.is_open:
            return size == self.window_size
        multiple = self.size_multiple
        # torch's programs hold for a grid of two rows and more.
        return all(s >= 2 * multiple and s % multiple == 0 for s in size)

    @property
    def sizes(self) -> str:
        """What fits, in words."""
        if not self.is_open:
            return str(self.window_size)
        multiple = self.size_multiple
        return f"multiples of {multiple} from {2 * multiple} on"

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def cast(self, images: np.ndarray) -> np.ndarray:
        """Images as the file takes them, rounded and within their range."""
        dtype = self.image_dtype
        if images.dtype == dtype or dtype == "float32":
            return np.asarray(images, dtype)
        limits = np.iinfo(dtype)
        return np.rint(images).clip(limits.min, limits.max).astype(dtype)

    def to_json(self) -> str:
        """The text, of plain names, numbers and lists."""
        content = dataclasses.asdict(self)
        del content["classes"]
        classes = self.classes.get_config()
        content = {
            "version": _VERSION,
            "written_by": f"keras_setr {__version__}",
            "num_classes": self.num_classes,
            "class_names": classes.pop("names"),
            **classes,
            **content,
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str, path: Any) -> "ExportRecord":
        """The record of a text.

        Args:
            text: str.
            path: of the file that holds it, for errors.

        Raises:
            ValueError: the text is none of a record's, or a later version's.
        """
        try:
            content = json.loads(text)
            if not isinstance(content, dict):
                raise ValueError(f"{type(content).__name__}, and no object")
            # Of a later version anything else may be different.
            if integer(1).check("version", content["version"]) > _VERSION:
                raise ValueError(
                    f"version {content['version']}, written by "
                    f"{content['written_by']}, and this is {__version__}"
                )
            if content["num_classes"] != len(content["class_names"]):
                raise ValueError(
                    f"{len(content['class_names'])} class_names for "
                    f"{content['num_classes']} classes"
                )
            names = {field.name for field in dataclasses.fields(cls)}
            arguments: Any = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in content.items()
                if name in names
            }
            classes = Classes(
                content["class_names"],
                content["palette"],
                content.get("masks"),
            )
            return cls(classes=classes, **arguments)
        except (ValueError, KeyError, TypeError) as error:
            lacks = "no " * isinstance(error, KeyError)
            raise ValueError(
                f"{path} holds a record that cannot be read; export the model "
                f"again. Received: {lacks}{error}"
            ) from None
