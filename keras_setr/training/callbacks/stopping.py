"""When a training ends before its last epoch."""

import math
import warnings

import keras

from keras_setr import workers


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

    def before_fit(self, run):
        self._run = run

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
            run = self._run
            offset = run.step if self._epoch == run.epoch else 0
            raise not_finite_error(
                "The loss", run, self._epoch, offset + batch, loss
            )


class EarlyStopping(keras.callbacks.Callback):
    """Stops when a score has not improved for a while.

    Unlike Keras' own it goes on counting after an interruption, and epochs
    without the score do not count.

    Args:
        patience: int. The training stops at the score that many after the
            best.
        monitor: str. A name in the logs.
        mode: `"max"` or `"min"`. What is better.
        min_delta: float. Less is no improvement.

    Attributes:
        best: float or None.
        stopped: bool.
    """

    def __init__(
        self, patience, monitor="val_mean_iou", mode="max", min_delta=0.0
    ):
        super().__init__()
        if patience < 1:
            raise ValueError(
                f"patience must be at least 1. Received: {patience}."
            )
        self.patience = patience
        self.monitor = monitor
        self.mode = mode
        self.min_delta = min_delta

    def on_train_begin(self, logs=None):
        self.best, self.wait, self.stopped = None, 0, False

    def get_state(self):
        return {"best": self.best, "wait": self.wait}

    def set_state(self, state):
        self.best, self.wait = state["best"], state["wait"]

    def on_epoch_end(self, epoch, logs=None):
        score = (logs or {}).get(self.monitor)
        if score is None:
            return
        if is_better(score, self.best, self.mode, self.min_delta):
            self.best, self.wait = score, 0
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped = self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.stopped:
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


def is_better(score, best, mode, min_delta=0.0):
    """Whether a score is an improvement; the first that is a number is."""
    if math.isnan(score):
        return False
    if best is None:
        return True
    gain = score - best if mode == "max" else best - score
    return gain > min_delta
