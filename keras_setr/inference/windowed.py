"""A model as what cuts the windows needs it, here and for rasters."""

import dataclasses
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_setr.arrays import ValueRange
from keras_setr.classes import check_labels
from keras_setr.inference.images import as_given
from keras_setr.inference.images import count_images
from keras_setr.inference.images import is_single
from keras_setr.inference.images import iterate_images
from keras_setr.inference.images import refuse_single
from keras_setr.inference.images import stack
from keras_setr.inference.progress import ImageProgress
from keras_setr.inference.sliding import count_windows
from keras_setr.inference.sliding import sliding_window
from keras_setr.inference.views import Views


@dataclasses.dataclass(frozen=True)
class Windowed:
    """A model under some `Views`, and what it gives for whole images.

    Attributes:
        forward: callable, `(b, h, w, C)` float32 to logits `(b, h, w, K)`
            float32, both NumPy's.
        views: `Views` with a `window_size` that the model takes.
        batch_size: int. b.
        channels: int. C.
        num_classes: int. K.
        classes: `Classes`, or None.
        value_range: `ValueRange` of the images.
        fingerprint: callable without arguments, to a checksum that tells this
            model from others.
        load: callable from a path or a Pillow image to `(H, W, C)`.
        device: `on_device.Blending`, or None for the host.
        check_size: callable that raises at an `(H, W)` of images that the
            model does not take, or None.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    views: Views
    batch_size: int
    channels: int
    num_classes: int
    classes: Any
    value_range: ValueRange
    fingerprint: Callable[[], int]
    load: Callable[[Any], np.ndarray]
    device: Any = None
    check_size: Callable[[tuple[int, int]], None] | None = None

    def predict(
        self, x: Any, verbose: bool | int | str, steps: int | None = None
    ) -> Any:
        """As `SETRSegmenter.predict`."""
        refuse_single(x)
        if steps is not None:
            x = itertools.islice(x, steps)
        return stack(list(self._results(x, verbose, "logits")), x)

    def segment(
        self,
        x: Any,
        output: str,
        verbose: bool | int | str,
        **extras: bool,
    ) -> Any:
        """As `SETRSegmenter.segment`; `confidence` and `entropy` are extras."""
        single = is_single(x)
        images = [x] if single else x
        results = self._results(images, verbose, output, **extras)
        return as_given(list(results), x, single, any(extras.values()))

    def count(self, samples: Any, ignore_class: int | None) -> Iterator[Any]:
        """As `SETRSegmenter.count_pixels`."""
        return count_windows(
            self.forward,
            self._labelled(samples, ignore_class),
            self.views,
            self.batch_size,
            self.device,
        )

    def _images(self, x):
        """Single images of what people hand over, checked as they come."""
        images = iterate_images(x, self.channels, self.value_range, self.load)
        for image in images:
            if self.check_size is not None:
                self.check_size(image.shape[:2])
            yield image

    def _labelled(self, samples, ignore_class):
        # As few bytes as they need to get to the device.
        dtype = np.uint8 if self.num_classes < 2**8 else np.int32
        for given, label in samples:
            (image,) = self._images([given])
            label = np.asarray(label)
            if label.shape != image.shape[:2]:
                raise ValueError(
                    "samples must be images (H, W, C) with labels (H, W). "
                    f"Received: {image.shape} with {label.shape}."
                )
            check_labels(label, self.num_classes, ignore_class, "a label map")
            # Labels of 8 bits do not hold every K.
            truth = label.astype(np.int32)
            truth[label == ignore_class] = self.num_classes
            yield image, truth.astype(dtype)

    def _results(self, x, verbose, output, **extras):
        """Yield the result of each image of `x` in turn."""
        count = count_images(x)
        if verbose == "auto":
            verbose = 0 if count == 1 else 1
        progress = ImageProgress(count, verbose)
        done = 0
        for done, result in enumerate(
            sliding_window(
                self.forward,
                self._images(x),
                self.views,
                self.batch_size,
                output,
                **extras,
                device=self.device,
            ),
            start=1,
        ):
            yield result
            if count is None or done < count:
                progress.update(done)
        if done:
            progress.update(done, last=True)
