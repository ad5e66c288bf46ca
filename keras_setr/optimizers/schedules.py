"""How learning rates decay, and over which steps."""

import math
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional

_OF_DECAYS = {
    "initial_learning_rate": number(0),
    "decay_steps": optional(integer(1)),
    "end_learning_rate": number(0),
    "warmup_steps": integer(0),
}


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, and then a fall to a floor; base of those below.

    With W steps of warm-up among all T

        lr(t) = base * (t + 1) / (W + 1)                           for t < W,
        lr(t) = (base - end) * left((t - W) / (T - W)) + end       up to T,

    and `end` from there on. Subclasses have `left`, which falls from 1 to 0.

    Args:
        initial_learning_rate: float. base.
        decay_steps: int. T, counted from the optimiser's first step; where
            our optimizers accumulate gradients, a step is an update. `None`:
            each `fit` of a `SETRSegmenter` spreads the decay over the steps
            that it is going to run; without one the rate stays at base.
        end_learning_rate: float. The floor.
        warmup_steps: int. W, less than T.
    """

    @checked(**_OF_DECAYS)
    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int | None,
        end_learning_rate: float,
        warmup_steps: int,
    ) -> None:
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        # A base below the published floor decays to nothing, not upwards.
        self.end_learning_rate = end_learning_rate
        self.warmup_steps = warmup_steps
        self._variable: Any = None
        self._span = (0, decay_steps)
        self._check_warmup(decay_steps, "decay_steps")

    def _check_warmup(self, steps, what):
        if steps is not None and self.warmup_steps >= steps:
            raise ValueError(
                "warmup_steps must be fewer than all that the rate is spread "
                f"over. Received: warmup_steps={self.warmup_steps} of "
                f"{what}={steps}."
            )

    def left(self, progress: Any) -> Any:
        """The share of the fall that is left.

        Args:
            progress: tensor in 0..1.
        """
        raise NotImplementedError

    @property
    def span(self) -> tuple[int, int | None]:
        """The step at which t is 0, and T."""
        return self._span

    @span.setter
    def span(self, value: tuple[int, int | None]) -> None:
        self._span = value
        # A step that TensorFlow compiles anew stays in memory for ever, so
        # that there it has to find the span in a variable. Float32, since
        # integers would lie out of a GPU's reach; whole up to 2^24.
        if keras.config.backend() == "tensorflow" and value[1] is not None:
            if self._variable is None:
                self._variable = keras.Variable(
                    value, trainable=False, dtype="float32", name="span"
                )
            self._variable.assign(value)

    @property
    def is_followed(self) -> bool:
        """Whether a compiled step sees another `span` by itself."""
        return self._variable is not None

    def spread(self, first_step: int, steps: int) -> None:
        """Decay over `steps` from `first_step` on, if T was left open."""
        if self.decay_steps is None:
            self._check_warmup(steps, "the steps of this fit")
            self.span = (first_step, steps)

    def __call__(self, step: Any) -> Any:
        return self.multiplied(1.0, step)

    def multiplied(self, multiplier: float, step: Any) -> Any:
        """The rate of parameters whose base rate is `multiplier * base`.

        The floor `end` stays what it is for faster parts, as in
        mmsegmentation, where it belongs to every parameter group alike. For
        slower parts it is multiplied, too: under layer-wise decay the first
        layers would otherwise start below it.
        """
        base = multiplier * self.initial_learning_rate
        first_step, steps = self.span
        if self._variable is not None:
            first_step, steps = self._variable[0], self._variable[1]
        t = ops.cast(step, "float32") - first_step
        if steps is None:
            rate = ops.convert_to_tensor(base, "float32")
        else:
            end = min(self.end_learning_rate * min(1.0, multiplier), base)
            progress = (t - self.warmup_steps) / (steps - self.warmup_steps)
            left = self.left(ops.clip(progress, 0.0, 1.0))
            rate = (base - end) * left + end
        if not self.warmup_steps:
            return rate
        rising = base * (t + 1.0) / (self.warmup_steps + 1)
        return ops.where(t < self.warmup_steps, rising, rate)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="keras_setr")
class PolynomialDecay(Decay):
    """Polynomial learning-rate decay (paper, section 4.1).

    lr(t) = (base - end) * (1 - t / T)^power + end for step t of T, behind a
    linear warm-up if need be; see `Decay`.

    Args:
        initial_learning_rate, decay_steps, warmup_steps: as for `Decay`.
        end_learning_rate: float. 1e-4 in the published configurations.
        power: float.
    """

    @checked(**_OF_DECAYS, power=number(0))
    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int | None = None,
        end_learning_rate: float = 1e-4,
        power: float = 0.9,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            initial_learning_rate, decay_steps, end_learning_rate, warmup_steps
        )
        self.power = power

    def left(self, progress: Any) -> Any:
        return ops.power(1.0 - progress, self.power)

    def get_config(self):
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable(package="keras_setr")
class CosineDecay(Decay):
    """Cosine learning-rate decay (arXiv 1608.03983) without restarts.

    lr(t) = (base - end) * (1 + cos(pi t / T)) / 2 + end for step t of T,
    behind a linear warm-up if need be; see `Decay`.

    Args:
        initial_learning_rate, decay_steps, end_learning_rate, warmup_steps:
            as for `Decay`.
    """

    @checked(**_OF_DECAYS)
    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int | None = None,
        end_learning_rate: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            initial_learning_rate, decay_steps, end_learning_rate, warmup_steps
        )

    def left(self, progress: Any) -> Any:
        return (1.0 + ops.cos(math.pi * progress)) / 2.0


def unwrapped(optimizer: Any) -> Any:
    """The optimizer itself, where mixed_float16 has wrapped it.

    Keras makes it a `LossScaleOptimizer`, which has neither the schedule nor
    the number of batches that are accumulated.
    """
    return getattr(optimizer, "inner_optimizer", optimizer)


def _rate_of(optimizer):
    """A schedule, a variable, or None of what is no optimizer of Keras."""
    # Private in Keras 3.15.1, whose `learning_rate` is the rate of this step.
    return getattr(unwrapped(optimizer), "_learning_rate", None)


def schedule_of(optimizer: Any) -> Any:
    """The schedule of an optimizer's rate; None where the rate is a number."""
    schedule = _rate_of(optimizer)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return schedule
    return None


def spread_over(
    optimizer: Any,
    initial_epoch: int,
    epochs: int,
    steps_per_epoch: int | None,
) -> bool:
    """Spread a schedule that leaves its length open over a fit.

    Args:
        optimizer: any, of which those with another schedule stay.
        initial_epoch, epochs, steps_per_epoch: as for `fit`.

    Returns:
        Whether a step that was compiled before would not see it.

    Raises:
        ValueError: where the number of steps is not known.
    """
    schedule = schedule_of(optimizer)
    if not isinstance(schedule, Decay) or schedule.decay_steps:
        return False
    if steps_per_epoch is None:
        raise ValueError(
            "The learning rate decays over the whole training, but the "
            "number of steps is not known: this dataset has no length. "
            "Pass fit(steps_per_epoch=...) or compile(total_steps=...)."
        )
    optimizer = unwrapped(optimizer)
    iterations = int(ops.convert_to_numpy(optimizer.iterations))
    batches = optimizer.gradient_accumulation_steps or 1
    was_followed = schedule.is_followed
    schedule.spread(
        iterations - initial_epoch * steps_per_epoch // batches,
        max(1, epochs * steps_per_epoch // batches),
    )
    return not was_followed


def constant_rate_of(optimizer: Any) -> float | None:
    """The rate of an optimizer; None where it is no number."""
    rate = _rate_of(optimizer)
    if isinstance(rate, keras.Variable):
        return float(keras.ops.convert_to_numpy(rate))
    return None
