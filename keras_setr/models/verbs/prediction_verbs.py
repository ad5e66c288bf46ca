"""`predict`, `segment` and the like of a segmenter."""

import os
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_setr import inference
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.models import keras_internals
from keras_setr.models.verbs.training_verbs import TrainingVerbs


class PredictionVerbs(TrainingVerbs):
    """What a segmenter gives for images, behind what it is trained by."""

    @checked(mode=choice("int8"))
    def quantize(self, mode: str = "int8", config: Any = None) -> None:
        """Keep the encoder's projections as int8, for inference.

        The decoder's convolutions stay as they are, as everywhere in Keras.

        Args:
            mode, config: as for `SETRBackbone.quantize`.
        """
        self.backbone.quantize(mode, config)
        keras_internals.forget_quantized(self, mode)

    @checked(
        *inference.VIEW_OPTIONS,
        batch_size=optional(integer(1)),
        verbose=inference.VERBOSE,
        steps=optional(integer(1)),
    )
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        **views: Any,
    ) -> Any:
        """Logits of images of any size, by overlapping windows.

        An image of the window's size is one forward pass. A larger one is cut
        into windows whose logits are averaged where they overlap; one that
        does not hold a window is enlarged first (paper, section 4.1), and its
        logits are brought back to its own size. With several views of an
        image, scaled or mirrored, the softmax of their logits is averaged;
        its logarithm is returned.

        Args:
            x: array `(B, H, W, C)`, a list of `(H, W, C)` arrays or image
                files of any sizes, or a `tf.data.Dataset` of batches, with
                labels or without.
            batch_size: int. Windows in one forward pass; under a distribution
                rounded up to divide among its devices. Defaults to 4, or to
                fewer where their logits would take more than 256 MB.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            steps: int. Batches to take from a dataset.
            **views: `window_size`, `stride`, `scales`, `flip`, `protocol`,
                `base_scale` and `blend`, as of `keras_setr.inference.Views`.
                Those of the published results are
                `**ks.data.DATASETS[name].test_options`.

        Returns:
            `(B, H, W, K)` float32 if all images have one size, or else a list
            of `(H, W, K)`.
        """
        windowed = self._predictor.windowed(
            inference.Views(**views), batch_size
        )
        return windowed.predict(x, verbose, steps)

    @checked(
        *inference.VIEW_OPTIONS,
        output=choice(*inference.OUTPUTS),
        confidence=flag(),
        entropy=flag(),
        batch_size=optional(integer(1)),
        verbose=inference.VERBOSE,
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

        Labels of large images take little memory: what no further window
        covers is reduced to labels while the others still run.

        Args:
            x: an image file or array `(H, W, C)`, a batch `(B, H, W, C)`, or
                a list of files and arrays of any sizes.
            output: `"labels"`, `"probabilities"` or `"logits"`.
            batch_size, verbose: as for `predict`.
            confidence: bool. Give `(labels, confidence)` instead of labels,
                the second with the `(H, W)` float32 probability of each.
            entropy: bool. Add the `(H, W)` float32 entropy of all classes'
                probabilities, in nats: with several views that of their mean.
            **views: as for `predict`.

        Returns:
            `(H, W)` int32, or `(H, W, K)` float32, for a single image; for a
            batch the same with a leading axis; for a list a list.
        """
        windowed = self._predictor.windowed(
            inference.Views(**views), batch_size
        )
        return windowed.segment(
            x, output, verbose, confidence=confidence, entropy=entropy
        )

    @checked(
        *inference.VIEW_OPTIONS,
        batch_size=optional(integer(1)),
        ignore_class=either(choice("auto"), optional(integer())),
    )
    def count_pixels(
        self,
        samples: Iterable[Any],
        batch_size: int | None = None,
        *,
        ignore_class: Any = "auto",
        **views: Any,
    ) -> Iterator[np.ndarray]:
        """Confusion matrices of labelled images, one after another.

        Where windows are blended on the device, labels are counted there and
        only the counts come back. `keras_setr.evaluate` is built on it.

        Args:
            samples: iterable of images `(H, W, C)` with labels `(H, W)` of
                `0..num_classes - 1`.
            batch_size: int. As for `predict`.
            ignore_class: int or None. Pixels with this label are not counted.
                Defaults to the model's.
            **views: as for `predict`.

        Returns:
            An iterator over `(K, K)` int64 counts, rows truth, columns
            predictions, one for each sample.
        """
        if ignore_class == "auto":
            ignore_class = self.ignore_class
        windowed = self._predictor.windowed(
            inference.Views(**views), batch_size
        )
        return windowed.count(samples, ignore_class)

    @checked(
        views=instance("inference.Views", inference.Views),
        batch_size=optional(integer(1)),
    )
    def windowed(
        self, views: inference.Views, batch_size: int | None = None
    ) -> inference.Windowed:
        """The model for those who cut the windows, as `segment_raster`.

        Args:
            views: `keras_setr.inference.Views`.
            batch_size: int. As for `predict`.
        """
        return self._predictor.windowed(views, batch_size)

    def load_image(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file as `predict` and `segment` read it.

        Args:
            path: of the file.

        Returns:
            `(H, W, C)` uint8 or uint16, whichever the model was trained on.
        """
        return self._predictor.load_image(path)
