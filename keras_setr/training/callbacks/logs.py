"""What a training tells: what it is going to do, and how it goes."""

import csv
import io
import os
import pathlib
import time

import keras

from keras_setr import workers
from keras_setr.arguments import checked
from keras_setr.arguments import path
from keras_setr.files.whole import written_whole
from keras_setr.training.preflight.description import describe_run


class Preflight(keras.callbacks.Callback):
    """Says what a `fit` is going to do before its first step.

    That is `describe_run`: batch, learning rates, parameters and memory. A
    step that cannot fit into the memory is an error here.
    """

    def on_train_begin(self, logs=None):
        run = self.model.run
        if run.batch_shape is None:
            workers.say(
                "The batches do not tell their size, so that the memory of a "
                "step is not estimated."
            )
            return
        batch_size, *image_size = run.batch_shape
        workers.say(describe_run(self.model, batch_size, image_size))


class FirstStep(keras.callbacks.Callback):
    """Says that the first step of a `fit` takes longer, and how long it took.

    TensorFlow and JAX compile it, and Keras' own bar comes after it.
    """

    def on_train_begin(self, logs=None):
        self._begun = self._is_done = False

    def on_train_batch_begin(self, batch, logs=None):
        if not self._begun:
            self._begun = True
            self._started = time.monotonic()
            workers.say("first step: it takes longer than those after it ..")

    def on_train_batch_end(self, batch, logs=None):
        if not self._is_done:
            self._is_done = True
            seconds = time.monotonic() - self._started
            workers.say(f"first step done in {seconds:.0f} s")


class CSVLog(keras.callbacks.Callback):
    """A row per epoch in a CSV file.

    After an interruption the rows of the epochs that are trained again are
    replaced, so that each epoch has one row. The file is always whole.

    Args:
        path: path that ends in `.csv`.
    """

    @checked(path=path(".csv"))
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = pathlib.Path(path)

    def on_train_begin(self, logs=None):
        self._rows = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._rows is None:
            self._rows = _rows_before(epoch, self.path)

    def on_epoch_end(self, epoch, logs=None):
        self._rows.append({"epoch": epoch, **(logs or {})})
        if workers.is_chief():
            # Columns may be added: not every epoch is validated.
            names = list({name: None for row in self._rows for name in row})
            text = io.StringIO()
            table = csv.DictWriter(text, names, lineterminator="\n")
            table.writeheader()
            table.writerows(self._rows)
            with written_whole(self.path) as partial:
                partial.write_text(text.getvalue(), encoding="utf-8")


def _rows_before(epoch, path):
    """The rows of a log that are not written again."""
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            return [row for row in rows if int(row["epoch"]) < epoch]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} must be a log of CSVLog, with its epoch in each row. "
            f"Received: {error!r}. Move it away, and a new one begins."
        ) from error


def tensorboard(directory):
    """`keras.callbacks.TensorBoard` for scalars, on every backend.

    Args:
        directory: path.

    Raises:
        ImportError: the package `tensorboard` is not installed.
    """
    try:
        import tensorboard as installed  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "tensorboard=True needs the package tensorboard, which is not "
            "installed: pip install tensorboard."
        ) from error
    return keras.callbacks.TensorBoard(directory, write_graph=False)


class TimeLeft(keras.callbacks.Callback):
    """Prints the images per second and the time left after each epoch.

    The time left is that of the last epoch, with its validation, times the
    epochs that are left.
    """

    def on_train_begin(self, logs=None):
        self._line = None

    def on_epoch_begin(self, epoch, logs=None):
        self._say()
        self._started = self._trained = time.perf_counter()
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self._trained = time.perf_counter()
        self._steps = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        run = self.model.run
        seconds = time.perf_counter() - self._started
        if epoch == run.epoch and run.step:
            # A part of an epoch.
            seconds *= run.steps_per_epoch / (run.steps_per_epoch - run.step)
        left = (run.epochs - epoch - 1) * seconds
        rate = self._steps / max(self._trained - self._started, 1e-9)
        unit = "batches"
        if run.batch_shape is not None:
            rate, unit = rate * run.batch_shape[0], "images"
        self._line = (
            f"Epoch {epoch + 1} of {run.epochs}: {rate:.1f} {unit}/s in "
            f"training, {_duration(left)} left."
        )

    def on_train_end(self, logs=None):
        self._say()

    def _say(self):
        """The line of the last epoch, once Keras' bar has ended its own."""
        if self._line is not None:
            workers.say(self._line)
        self._line = None


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s"
