"""Validation on whole images, previews of them, and the best weights."""

import math
import os
import pathlib
import warnings
from typing import Any

import keras

from keras_setr import visualization
from keras_setr import workers
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import folder
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.arguments import string
from keras_setr.classes import Classes
from keras_setr.evaluation import WHOLE_IMAGES
from keras_setr.evaluation import check_first
from keras_setr.evaluation import evaluate
from keras_setr.evaluation import few_samples
from keras_setr.files.whole import written_whole
from keras_setr.inference import VERBOSE
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.inference import Views
from keras_setr.models.weight_files import save_weights
from keras_setr.visualization.overlays import as_rgb


class _OfWholeImages(keras.callbacks.Callback):
    """What looks at whole images after some epochs, and after the last.

    Without images of its own it has those behind the `validation_data` of
    `fit`, if these are batches of `keras_setr.data`; or none.
    """

    def __init__(
        self,
        dataset: Any,
        every: int,
        batch_size: int | None,
        views: dict[str, Any],
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.every = every
        self.batch_size = batch_size
        self.views = Views(**views)

    def on_train_begin(self, logs=None):
        if self.dataset is None:
            self.dataset = self.model.run.validation_images

    def is_due(self, epoch: int) -> bool:
        """Whether something is done at the end of this epoch of `fit`."""
        is_last = epoch + 1 == self.params["epochs"]
        return is_last or (epoch + 1) % self.every == 0


@checked(
    *VIEW_OPTIONS,
    dataset=optional(WHOLE_IMAGES),
    every=integer(1),
    verbose=VERBOSE,
    batch_size=optional(integer(1)),
)
class SlidingWindowValidation(_OfWholeImages):
    """Scores whole validation images by sliding windows, as published.

    Adds `val_mean_iou`, `val_mean_accuracy` and `val_pixel_accuracy` to the
    logs of an epoch, for all callbacks after it. What Keras itself has
    measured on crops under such a name is renamed `val_crop_mean_iou`, ..

    Args:
        dataset: as for `keras_setr.evaluate`. Defaults to the whole images
            behind the `validation_data` of `fit`, if those are batches of
            `keras_setr.data`; without either nothing is done.
        every: int. Epochs between validations; the last is always validated.
        verbose, batch_size, **views: as for `keras_setr.evaluate`.

    Attributes:
        result: the latest `Evaluation`, or None.
    """

    def __init__(
        self,
        dataset: Any = None,
        every: int = 1,
        verbose: Any = 0,
        *,
        batch_size: int | None = None,
        **views: Any,
    ) -> None:
        super().__init__(dataset, every, batch_size, views)
        self.verbose = verbose
        self.result = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.dataset is not None:
            # Not only when an epoch has been trained.
            check_first(self.model, self.dataset)

    def on_epoch_end(self, epoch, logs=None):
        if self.dataset is None:
            return
        logs = {} if logs is None else logs
        names = ("mean_iou", "mean_accuracy", "pixel_accuracy")
        for name in names:
            if f"val_{name}" in logs:
                logs[f"val_crop_{name}"] = logs.pop(f"val_{name}")
        if not self.is_due(epoch):
            return
        with self.model.averaged_weights():
            self.result = evaluate(
                self.model,
                self.dataset,
                batch_size=self.batch_size,
                verbose=self.verbose,
                **self.views.options(),
            )
        for name in names:
            logs[f"val_{name}"] = getattr(self.result, name)


@checked(
    *VIEW_OPTIONS,
    directory=folder(),
    dataset=optional(WHOLE_IMAGES),
    count=integer(1),
    every=integer(1),
    batch_size=optional(integer(1)),
)
class Previews(_OfWholeImages):
    """Draws a few validation images beside truth and prediction.

    Files are `DIRECTORY/epoch_0001.png`, .., with a legend.

    Args:
        directory: path.
        dataset: as for `keras_setr.evaluate`; of an iterable, the first are
            drawn. Defaults to the whole images behind the `validation_data`
            of `fit`, if those are batches of `keras_setr.data`; without
            either nothing is drawn.
        count: int. Images, evenly spread over a sequence.
        every: int. Epochs between previews; the last always has one.
        batch_size, **views: as for `keras_setr.evaluate`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        dataset: Any = None,
        count: int = 4,
        every: int = 1,
        *,
        batch_size: int | None = None,
        **views: Any,
    ) -> None:
        super().__init__(dataset, every, batch_size, views)
        self.directory = pathlib.Path(directory)
        self.count = count

    def on_epoch_end(self, epoch, logs=None):
        if self.dataset is None or not self.is_due(epoch):
            return
        model = self.model
        images, labels = few_samples(self.dataset, self.count)
        # Several workers predict together, and one of them writes.
        with model.averaged_weights():
            predictions = model.segment(
                images, batch_size=self.batch_size, **self.views.options()
            )
        if not workers.is_chief():
            return
        picture = visualization.comparison(
            zip(map(as_rgb, images), labels, predictions),
            model.classes or Classes.numbered(model.num_classes),
        )
        path = self.directory / f"epoch_{epoch + 1:04d}.png"
        with written_whole(path) as partial:
            picture.save(partial)


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best score in a file.

    `model.load_weights` reads it; there is no optimizer in it. After
    `compile(ema=..)` they are the averaged ones, which were validated. The
    file is written whole or not at all.

    Args:
        path: path that ends in `.weights.h5`.
        monitor: str. A name in the logs; epochs without it are passed over.
        mode: `"max"` or `"min"`. What is better.

    Attributes:
        best: float or None.

    Warns:
        UserWarning: no epoch had what is monitored.
    """

    @checked(
        path=path(".weights.h5"), monitor=string(), mode=choice("max", "min")
    )
    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_mean_iou",
        mode: str = "max",
    ) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        self.monitor = monitor
        self.mode = mode

    def on_train_begin(self, logs=None):
        self.best = None
        self._seen = set()

    def on_train_end(self, logs=None):
        if self.best is not None or self.monitor in self._seen:
            return
        # Of the default nobody spoke who does not validate.
        validated = any(name.startswith("val_") for name in self._seen)
        if validated or (self._seen and self.monitor != "val_mean_iou"):
            warnings.warn(
                f"{self.path} holds no best weights of this training, as no "
                f"epoch had {self.monitor!r}. Received: {sorted(self._seen)}.",
                stacklevel=2,
            )

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best = state["best"]

    def on_epoch_end(self, epoch, logs=None):
        self._seen.update(logs or {})
        score = (logs or {}).get(self.monitor)
        if score is None or not self._is_better(score):
            return
        self.best = score
        model = self.model
        with model.averaged_weights():
            if workers.is_chief():
                save_weights(model, self.path, [model.optimizer])

    def _is_better(self, score):
        """Whether it is an improvement; the first that is a number is."""
        if self.best is None or math.isnan(score):
            return not math.isnan(score)
        if self.mode == "max":
            return score > self.best
        return score < self.best
