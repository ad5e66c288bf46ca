"""What the page does, without the page: an image to labels and pictures."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from keras_setr import visualization
from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import segmenter
from keras_setr.classes import Classes
from keras_setr.files.images import image_size
from keras_setr.files.masks import save_labels
from keras_setr.visualization.overlays import shown_image

# Pixels of the longer side of what is shown: a browser makes nothing of more,
# and the opacity is to follow the hand.
_SHOWN = 1280
# Pixels of a map that stands alone beside the image.
_WIDE = 480


@dataclasses.dataclass(frozen=True)
class Segmented:
    """An image with its labels, as one visitor's page remembers them.

    Attributes:
        name: str. Of the file, without its ending.
        image: `(H, W, C)` uint8 or uint16, as the model takes it.
        labels: `(H, W)` integers.
        shown: `(h, w, 3)` uint8, the image of at most 1280 pixels a side.
        shown_labels: `(h, w)` integers.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    shown: np.ndarray
    shown_labels: np.ndarray


@checked(
    model=segmenter("load_image"),
    max_pixels=integer(1),
)
@dataclasses.dataclass(frozen=True)
class Trial:
    """A model that strangers try on images of their own.

    Args:
        model: a segmenter, or an `ExportedSegmenter`.
        max_pixels: int. Larger images are refused before they are decoded.
    """

    model: Any
    max_pixels: int = 16_000_000

    @property
    def classes(self) -> Classes:
        return self.model.classes or Classes.numbered(self.model.num_classes)

    @property
    def has_attention(self) -> bool:
        """Whether the model tells its attention: no file, and no ResNet."""
        backbone = getattr(self.model, "backbone", None)
        return hasattr(backbone, "attention_maps")

    def segment(self, path: str | os.PathLike[str]) -> Segmented:
        """Labels of an image file, the one forward pass over its windows.

        Args:
            path: of the file, in any format that `load_image` reads.

        Raises:
            ValueError: no image, or one of too many pixels. The message names
                the file without its folder.
        """
        path = pathlib.Path(path)
        try:
            height, width = image_size(path, dtype=None)
            if height * width > self.max_pixels:
                raise ValueError(
                    f"{path} has {width} x {height} pixels, "
                    f"{height * width / 1e6:.1f} million, and this page takes "
                    f"up to {self.max_pixels / 1e6:g} million; scale it down."
                )
            image = self.model.load_image(path)
        except (ValueError, OSError) as error:
            # Where the server keeps its files is no matter of its visitors.
            text = str(error).replace(str(path), path.name)
            raise ValueError(text) from error
        labels = self.model.segment(image)
        picture = Image.fromarray(shown_image(image))
        picture.thumbnail((_SHOWN, _SHOWN))
        nearest = Image.Resampling.NEAREST
        reduced = Image.fromarray(labels.astype("int32")).resize(
            picture.size, nearest
        )
        shown = np.asarray(picture), np.asarray(reduced)
        return Segmented(path.stem, image, labels, *shown)

    def overlay(self, seen: Segmented, alpha: float = 0.5) -> Image.Image:
        """The kept labels over what is shown of the image.

        Args:
            seen: of `segment`.
            alpha: float in 0..1. Share of the colours.
        """
        return visualization.overlay(
            seen.shown, seen.shown_labels, self.classes, alpha
        )

    def legend(self, seen: Segmented) -> Image.Image:
        """The classes in the image with their shares of it."""
        return visualization.legend(self.classes, labels=seen.labels, width=1)

    def attention(
        self,
        seen: Segmented,
        point: tuple[int, int],
        layer: int | None = None,
        head: int | None = None,
        direction: str = "from",
    ) -> Image.Image:
        """The attention of a point in one layer, by `visualization.attention`.

        Args:
            seen: of `segment`.
            point: `(y, x)` in pixels of what is shown.
            layer: int in 1..L. Defaults to L, the last one.
            head: int in 1..m. Defaults to all, one beside the other.
            direction: `"from"` or `"to"` the point.

        Raises:
            ValueError: a point outside, a layer or head that there is not, a
                model without attention.
        """
        alone: dict[str, Any] = {}
        if head is not None:
            alone = {"heads": (head,), "width": _WIDE}
        return visualization.attention(
            self.model,
            seen.image,
            _in_image(seen, point),
            layer=layer,
            direction=direction,
            **alone,
        )

    def rollout(
        self,
        seen: Segmented,
        point: tuple[int, int],
        layer: int | None = None,
        direction: str = "from",
    ) -> Image.Image:
        """The same followed through the layers up to one of them.

        By `visualization.attention_rollout`, which means the heads; arguments
        as for `attention`.
        """
        return visualization.attention_rollout(
            self.model,
            seen.image,
            _in_image(seen, point),
            layers=None if layer is None else (layer,),
            direction=direction,
            width=_WIDE,
        )

    def write_labels(
        self, seen: Segmented, folder: str | os.PathLike[str]
    ) -> pathlib.Path:
        """NAME_labels.png, of the image's size, in a folder; its path."""
        path = pathlib.Path(folder, f"{seen.name}_labels.png")
        save_labels(path, seen.labels, self.classes)
        return path


def _in_image(seen, point):
    """A point of what is shown, in pixels of the image."""
    height, width = seen.image.shape[:2]
    rows, columns = seen.shown.shape[:2]
    y, x = point
    return y * height // rows, x * width // columns
