"""Optimizers with a rate per part of the model, and how rates decay."""

import math
import re
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import function
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import mapping
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import string

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


@checked(
    depths=mapping(string(), integer(0)),
    num_layers=integer(1),
    decay=number(maximum=1, above=0),
)
def layer_decay_multipliers(
    depths: dict[str, int], num_layers: int, decay: float
) -> dict[str, float]:
    """Learning-rate factors that fall towards the first layer.

    decay^(L + 1 - d) for a part at depth d (arXiv 2106.08254, appendix; L is
    `num_layers`): decay for layer L, decay^L for layer 1, decay^(L + 1) for
    the embeddings, and 1 for everything behind the encoder.

    Args:
        depths: dict from names to depths, `SETRBackbone.depths`.
        num_layers: int. L.
        decay: float in (0, 1].
    """
    return {
        name: decay ** (num_layers + 1 - depth)
        for name, depth in depths.items()
    }


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


_RATE = either(
    number(0),
    instance(
        "a keras.optimizers.schedules.LearningRateSchedule",
        keras.optimizers.schedules.LearningRateSchedule,
    ),
    # What Keras hands on when it makes an optimizer from its config.
    instance("a config", dict),
    function(),
)

# Rules for the arguments that our optimizers have in common.
_RULES = {
    "learning_rate": _RATE,
    "learning_rate_multipliers": optional(mapping(string(), number(0))),
    "weight_decay": optional(number(0)),
    "clipnorm": optional(number(above=0)),
    "clipvalue": optional(number(above=0)),
    "global_clipnorm": optional(number(above=0)),
    "use_ema": flag(),
    "ema_momentum": number(0, 1),
    "ema_overwrite_frequency": optional(integer(1)),
    "loss_scale_factor": optional(number(above=0)),
    # Keras has no accumulation over a single batch.
    "gradient_accumulation_steps": optional(integer(2)),
}


class _RatePerVariable:
    """A learning rate for each variable, to be mixed into an optimizer.

    Weight decay follows the variable's own rate, as with torch's parameter
    groups, and a schedule counts updates, not the batches of which gradients
    are accumulated: N batches make the step that their union would make.

    Keras has no public way to a rate per variable: `_use_weight_decay`,
    `_apply_weight_decay` and `_get_variable_index` are those of Keras 3.15.1.
    """

    learning_rate_multipliers: dict[str, float]

    def build(self, variables):
        if self.built:
            return
        # Paths and names are read here: update_step sees raw tf.Variables
        # under TensorFlow, which have none.
        self._multipliers = [self.multiplier(v.path) for v in variables]
        super().build(variables)
        # Keras 3.16-dev tells it of a built optimizer alone.
        self._is_decayed = [self._use_weight_decay(v) for v in variables]

    def multiplier(self, path: str) -> float:
        """The learning-rate factor of the variable with this path."""
        for piece, factor in self.learning_rate_multipliers.items():
            # "block_1" is no piece of "block_12/..".
            if re.search(re.escape(piece) + r"(?!\d)", path):
                return factor
        return 1.0

    @property
    def learning_rate(self):
        schedule = schedule_of(self)
        if schedule is None:
            return super().learning_rate
        return schedule(self.iterations)

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)

    def _apply_weight_decay(self, variables):
        """Left to `_rate_after_decay`, which knows each variable's rate."""

    def _rate_after_decay(self, variable, learning_rate):
        """The variable's own rate, by which its weight decay is applied."""
        index = self._get_variable_index(variable)
        multiplier = self._multipliers[index]
        if multiplier != 1.0:
            schedule = schedule_of(self)
            if isinstance(schedule, Decay):
                learning_rate = schedule.multiplied(multiplier, self.iterations)
            else:
                learning_rate = learning_rate * multiplier
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if self.weight_decay and self._is_decayed[index]:
            self.assign_sub(
                variable, variable * (self.weight_decay * learning_rate)
            )
        return learning_rate

    def get_config(self):
        config = super().get_config()
        config.update(learning_rate_multipliers=self.learning_rate_multipliers)
        return config


@keras.saving.register_keras_serializable(package="keras_setr")
class SGD(_RatePerVariable, keras.optimizers.SGD):
    """SGD with momentum and a learning-rate factor per part of the model.

    v <- momentum * v + g and w <- w - lr * v: torch's form, in which the
    published models were trained; with `nesterov=True`, w <- w - lr * (g +
    momentum * v). `keras.optimizers.SGD` keeps lr inside v, which differs
    whenever lr changes between steps.

    Args:
        learning_rate: float or schedule.
        momentum: float.
        learning_rate_multipliers: dict from a piece of a variable's path to
            its factor; the first piece that a path contains counts. The
            published recipes have `{"head": 10.0}`: decode and auxiliary
            heads learn ten times as fast.
        l2: float. Adds l2 * w to the gradient g, as torch's `weight_decay`
            does. The argument of that name is Keras': w <- w - lr * decay * w.
        **kwargs: as for `keras.optimizers.SGD`. With
            `gradient_accumulation_steps=N` schedules count updates.
    """

    @checked(
        *("nesterov", *_RULES),
        **_RULES,
        momentum=number(0, 1),
        nesterov=flag(),
        l2=number(0),
    )
    def __init__(
        self,
        learning_rate: Any = 0.001,
        momentum: float = 0.9,
        learning_rate_multipliers: dict[str, float] | None = None,
        l2: float = 0.0,
        name: str = "SGD",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, name=name, **kwargs
        )
        self.learning_rate_multipliers = dict(learning_rate_multipliers or {})
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = self._rate_after_decay(variable, learning_rate)
        gradient = ops.cast(gradient, variable.dtype)
        if self.l2:
            gradient = gradient + self.l2 * variable
        step = gradient
        if self.momentum:
            accumulated = self.momentums[self._get_variable_index(variable)]
            step = accumulated * self.momentum + gradient
            self.assign(accumulated, step)
            if self.nesterov:
                step = gradient + self.momentum * step
        self.assign_sub(variable, learning_rate * step)

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="keras_setr")
class AdamW(_RatePerVariable, keras.optimizers.AdamW):
    """AdamW with a learning-rate factor per part of the model.

    Weights decay by their own rate times `weight_decay`; biases, norms,
    LayerScale, positions, class and register tokens do not, as in the
    published fine-tuning of vision transformers. A call of
    `exclude_from_weight_decay` replaces that list.

    Args:
        learning_rate: float or schedule.
        weight_decay: float.
        learning_rate_multipliers: as for `SGD`.
        **kwargs: as for `keras.optimizers.AdamW`. With
            `gradient_accumulation_steps=N` schedules count updates.
    """

    @checked(
        *(*_RULES, "beta_1", "beta_2", "epsilon", "amsgrad"),
        **_RULES,
        beta_1=number(0, below=1),
        beta_2=number(0, below=1),
        epsilon=number(above=0),
        amsgrad=flag(),
    )
    def __init__(
        self,
        learning_rate: Any = 6e-5,
        weight_decay: float = 0.01,
        learning_rate_multipliers: dict[str, float] | None = None,
        name: str = "AdamW",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        self.learning_rate_multipliers = dict(learning_rate_multipliers or {})
        self.exclude_from_weight_decay(
            var_names=["bias", "gamma", "beta", "scale", "position", "_token"]
        )

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = self._rate_after_decay(variable, learning_rate)
        super().update_step(gradient, variable, learning_rate)
