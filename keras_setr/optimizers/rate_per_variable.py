"""Optimizers with a learning rate for each part of the model."""

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
from keras_setr.optimizers.schedules import Decay
from keras_setr.optimizers.schedules import schedule_of


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
