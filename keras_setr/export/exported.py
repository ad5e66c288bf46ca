"""Exported models as `segment`, `evaluate` and the command line take them."""

import dataclasses
import functools
import os
import pathlib
import zlib
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import path as path_rule
from keras_setr.arguments import shown
from keras_setr.arrays import ValueRange
from keras_setr.classes import Classes
from keras_setr.export.record import ExportRecord
from keras_setr.export.sessions import open_session
from keras_setr.files.images import image_of
from keras_setr.inference import OUTPUTS
from keras_setr.inference import VERBOSE
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.inference import Views
from keras_setr.inference import Windowed
from keras_setr.tables import brief

# A processor runs several windows no faster than one after another, and the
# last batch is filled up.
_BATCH_SIZE = 1


class ExportedSegmenter:
    """An exported file that segments as the model did which it was made of.

    The windows, protocols and outputs are those of `SETRSegmenter`; Keras is
    not imported. `load_exported` makes it.

    Args:
        path: of the file.
        session: what runs it; see `sessions`.
        record: `ExportRecord` of the file.
    """

    def __init__(
        self, path: pathlib.Path, session: Any, record: ExportRecord
    ) -> None:
        self.path = path
        self.record = record
        self._session = session

    @property
    def num_classes(self) -> int:
        return self.record.num_classes

    @property
    def classes(self) -> Classes:
        return self.record.classes

    @property
    def ignore_class(self) -> int | None:
        return self.record.ignore_class

    @checked(*VIEW_OPTIONS, batch_size=optional(integer(1)), verbose=VERBOSE)
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        **views: Any,
    ) -> Any:
        """Logits `(B, H, W, K)`, as of `SETRSegmenter.predict`.

        Of a file that gives probabilities and no logits, their logarithms,
        which have the same softmax.

        Args:
            x, batch_size, verbose, **views: as there; `batch_size` defaults
                to 1.
        """
        wanted = Views(**views)
        self._check_output("logits")
        return self._windowed(wanted, batch_size).predict(x, verbose)

    @checked(
        *VIEW_OPTIONS,
        output=choice(*OUTPUTS),
        confidence=flag(),
        entropy=flag(),
        batch_size=optional(integer(1)),
        verbose=VERBOSE,
    )
    def segment(
        self,
        x: Any,
        output: str = "labels",
        batch_size: int | None = None,
        verbose: bool | int | str = 0,
        *,
        confidence: bool = False,
        entropy: bool = False,
        **views: Any,
    ) -> Any:
        """Label maps of images at their own size.

        Args:
            x, output, batch_size, verbose, confidence, entropy, **views: as
                of `SETRSegmenter.segment`.

        Returns:
            As there.

        Raises:
            ValueError: the file has other windows, or gives labels alone and
                an image is none of its window's size.
        """
        wanted = Views(**views)
        extras = {"confidence": confidence, "entropy": entropy}
        for name in (output, *(n for n, is_on in extras.items() if is_on)):
            self._check_output(name)
        windowed = self._windowed(wanted, batch_size)
        return windowed.segment(x, output, verbose, **extras)

    @checked(
        views=instance("inference.Views", Views),
        batch_size=optional(integer(1)),
    )
    def windowed(self, views: Views, batch_size: int | None = None) -> Windowed:
        """As `SETRSegmenter.windowed`.

        Args:
            views, batch_size: as there.

        Raises:
            ValueError: the file gives labels alone, or has other windows.
        """
        if self._gives_labels_alone:
            raise ValueError(
                f"{self.path} gives labels alone, and windows are averaged by "
                "probabilities. Export with outputs=('labels', "
                "'probabilities')."
            )
        return self._windowed(views, batch_size)

    def _windowed(self, views, batch_size):
        views, dtype = self._resolve_views(views), self.record.image_dtype
        check_size = None
        if self._gives_labels_alone:
            check_size = functools.partial(self._check_one_window, views)
        limit = None if dtype == "float32" else int(np.iinfo(dtype).max)
        return Windowed(
            forward=self._forward,
            views=views,
            batch_size=batch_size or _BATCH_SIZE,
            channels=self.record.channels,
            num_classes=self.num_classes,
            classes=self.classes,
            value_range=ValueRange(limit),
            fingerprint=lambda: _checksum(self.path),
            load=self.load_image,
            check_size=check_size,
        )

    @property
    def _gives_labels_alone(self):
        return not {"logits", "probabilities"} & {*self.record.outputs}

    def _check_output(self, name):
        if name != "labels" and self._gives_labels_alone:
            raise ValueError(
                f"{self.path} gives labels alone. Received: {name}. "
                "Export with outputs=('labels', 'probabilities')."
            )

    def load_image(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file as the model's own `load_image` reads it.

        Args:
            path: of the file, or a Pillow image.
        """
        channels = self.record.channels
        dtype: str | None = self.record.image_dtype
        if dtype == "float32":
            dtype = "uint8" if channels == 3 else None
        return image_of(path, channels, dtype)

    def _resolve_views(self, views):
        record = self.record
        window = views.window_size or record.window_size
        if not record.takes(window):
            way_out = ""
            if not record.is_open:
                way_out = (
                    f" Export the model again with image_size={window}, or "
                    "'any', --any-size."
                )
            raise ValueError(
                f"window_size must be {record.sizes} for {self.path}. "
                f"Received: {window}.{way_out}"
            )
        if views.blend == "device":
            raise ValueError(
                "blend='device' needs a model of Keras; the windows of an "
                "exported one are averaged on the host, blend='auto'."
            )
        return dataclasses.replace(
            views,
            window_size=window,
            stride=views.stride
            or (record.stride if window == record.window_size else None),
        )

    def _check_one_window(self, views, size):
        """Raise at images whose labels would be averages."""
        window = views.window_size
        if size == window and [v.size for v in views.of(size)] == [size]:
            return
        raise ValueError(
            f"{self.path} gives labels alone, so an image must have its size, "
            f"{window}, and be looked at once. Received: {size}. Export with "
            "outputs=('labels', 'probabilities'), --outputs labels "
            "probabilities, whose windows can be averaged."
        )

    def _forward(self, windows):
        """Logits `(b, h, w, K)` of windows, or what stands for them."""
        record = self.record
        if not record.takes(windows.shape[1:3]):
            raise ValueError(
                f"{self.path} takes windows of {record.sizes}. Received "
                f"an image of {windows.shape[1:3]}, which protocol="
                "'mmsegmentation' does not enlarge; protocol='authors' does."
            )
        images = record.cast(windows)
        best = ("logits", "probabilities", "labels")
        name = next(name for name in best if name in record.outputs)
        found = self._result(images, name)
        if name == "labels":
            return np.eye(self.num_classes, dtype=np.float32)[found]
        if name == "logits":
            return found
        # Up to a constant for each pixel the logits, and no mean and no
        # softmax of classes sees the constant.
        return np.log(np.maximum(found, np.finfo(np.float32).tiny))

    def _result(self, images, name):
        """An output of the file, of the shape that its record tells."""
        depth = () if name == "labels" else (self.num_classes,)
        shape = (*images.shape[:3], *depth)
        try:
            found = self._session.run(images, (name,))[name]
        except MemoryError:
            raise
        # Runtimes have no error in common.
        except Exception as error:
            raise ValueError(
                f"{self.path} gives no {name} of {images.dtype} images "
                f"{images.shape}, as its record says. Export the model again. "
                f"Received: {brief(error)}"
            ) from error
        if found.shape != shape or (
            not depth and found.max() >= self.num_classes
        ):
            raise ValueError(
                f"{self.path} must give {name} {shape} of {self.num_classes} "
                f"classes, as its record says. Received: {shown(found)}. "
                "Export the model again."
            )
        return found


def _checksum(path):
    """Of a file, or of all files of a folder, in order."""
    found = 0
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            found = zlib.crc32(file.read_bytes(), found)
    return found


@checked(path=path_rule())
def load_exported(path: str | os.PathLike[str]) -> ExportedSegmenter:
    """A file of `model.export`, to segment with as with the model.

    Needs NumPy, Pillow, OpenCV and the format's runtime: onnxruntime,
    openvino or ai-edge-litert. Keras is not imported. SavedModels and files
    of torch.export are read by TensorFlow and torch.

    Args:
        path: of an `.onnx`, `.xml`, `.tflite` or `.pt2` file, or of the
            folder of a SavedModel.

    Returns:
        An `ExportedSegmenter`, which `keras_setr.evaluate`, `segment_files`
        and `write_submission` take.

    Raises:
        FileNotFoundError: there is nothing.
        IsADirectoryError: a folder under a file's name.
        ImportError: the runtime is not installed.
        ValueError: the file is damaged, or of another exporter.
    """
    session, record = open_session(path)
    return ExportedSegmenter(pathlib.Path(path), session, record)
