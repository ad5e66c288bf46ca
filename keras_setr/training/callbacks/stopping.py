"""When a training ends before its last epoch."""

import math
import warnings
from typing import Any

import keras

from keras_setr import workers
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import string


def not_finite_error(what, run, epoch, step, value="NaN or infinite"):
    """The error of a training that broke down, with all that is known.

    Args:
        what: str. What is not finite.
        run: `Run`.
        epoch, step: the step, counted from the start of the epoch.
        value: what it turned.
    """
    steps = run.steps_before(epoch) + step
    names = run.file_names(steps)
    batch = "" if names is None else f" Its batch: {', '.join(names)}."
    saved = run.last_checkpoint or "none was written yet"
    return FloatingPointError(
        f"{what} turned {value} at step {steps} (epoch {epoch + 1}, step "
        f"{step + 1} of {run.steps_per_epoch}).{batch} Last good checkpoint: "
        f"{saved}. A lower learning_rate, a warm-up or clipping "
        "(global_clipnorm) helps against divergence; look at the batch's "
        "files if one of them stands out."
    )


class FiniteLoss(keras.callbacks.Callback):
    """Stops a training whose loss turns NaN or infinite, with an error.

    Raises:
        FloatingPointError: naming the step, the files of its batch and the
            last checkpoint. It comes before the next step, or as many later
            as JAX and torch have started by then.
    """

    # On JAX and torch logs are then read by another thread, and no step waits
    # for the one before it.
    async_safe = True

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._found = None

    def on_train_batch_end(self, batch, logs=None):
        # The mean of the epoch so far: not finite from that step on.
        loss = (logs or {}).get("loss", 0.0)
        if self._found is None and not math.isfinite(loss):
            self._found = batch, loss

    def on_train_batch_begin(self, batch, logs=None):
        self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        if self._found is not None:
            batch, loss = self._found
            run = self.model.run
            offset = run.step if self._epoch == run.epoch else 0
            raise not_finite_error(
                "The loss", run, self._epoch, offset + batch, loss
            )


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stops when a score has not improved for a while.

    As Keras' own, but that it goes on counting after an interruption, and says
    nothing of epochs without the score, which do not count.

    Args:
        patience: int. The training stops at the score that many after the
            best.
        monitor: str. A name in the logs.
        mode: `"max"` or `"min"`. What is better.
        min_delta: float. Less is no improvement.

    Attributes:
        best: float or None.
        stopped_epoch: int. The epoch that it stopped after, or 0.
    """

    @checked(
        patience=integer(1),
        monitor=string(),
        mode=choice("max", "min"),
        min_delta=number(0),
    )
    def __init__(
        self,
        patience: int,
        monitor: str = "val_mean_iou",
        mode: str = "max",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode)

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.wait = state["best"], state["wait"]

    def get_monitor_value(self, logs: dict[str, Any] | None):
        score = (logs or {}).get(self.monitor)
        if score is not None and math.isnan(score):
            # The worst there is: nothing would be better than NaN.
            return -math.inf if self.mode == "max" else math.inf
        return score

    def on_train_end(self, logs=None):
        if self.stopped_epoch:
            workers.say(
                f"Stopped early: {self.monitor} has not improved on "
                f"{self.best:.4f} in {self.wait} validations."
            )
        if logs and self.best is None:
            warnings.warn(
                f"Early stopping waits for {self.monitor!r}, which no epoch "
                f"had. Received: {sorted(logs)}.",
                stacklevel=2,
            )
