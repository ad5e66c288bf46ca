"""SGD and polynomial decay as the published recipes define them."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_setr")
class PolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Polynomial learning-rate decay (paper, section 4.1).

    lr(t) = (base - end) * (1 - t / T)^power + end for step t of T, and `end`
    from there on.

    Args:
        initial_learning_rate: float. base.
        decay_steps: int. T, counted from the optimiser's first step. `None`:
            each `fit` of a `SETRSegmenter` spreads the decay over the steps
            that it is going to run; without one the rate is constant.
        end_learning_rate: float. 1e-4 in the published configurations.
        power: float.
    """

    def __init__(
        self,
        initial_learning_rate,
        decay_steps=None,
        end_learning_rate=1e-4,
        power=0.9,
    ):
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        # A base below the published floor decays to nothing, not upwards.
        self.end_learning_rate = end_learning_rate
        self.power = power
        # The step at which t is 0, and T.
        self.span = (0, decay_steps)

    def spread(self, first_step, steps):
        """Decay over `steps` from `first_step` on, if T was left open."""
        if self.decay_steps is None:
            self.span = (first_step, steps)

    def __call__(self, step):
        return self.multiplied(1.0, step)

    def multiplied(self, multiplier, step):
        """The rate of parameters whose base rate is `multiplier * base`.

        The floor `end` stays what it is, as in mmsegmentation, where it
        belongs to every parameter group alike.
        """
        base = multiplier * self.initial_learning_rate
        first_step, steps = self.span
        if steps is None:
            return ops.convert_to_tensor(base, "float32")
        end = min(self.end_learning_rate, base)
        t = ops.cast(step, "float32") - first_step
        left = 1.0 - ops.clip(t / steps, 0.0, 1.0)
        return (base - end) * ops.power(left, self.power) + end

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
        }


@keras.saving.register_keras_serializable(package="keras_setr")
class SGD(keras.optimizers.SGD):
    """SGD with momentum and a learning-rate factor per part of the model.

    v <- momentum * v + g and w <- w - lr * v: torch's form, in which the
    published models were trained. `keras.optimizers.SGD` keeps lr inside v,
    which differs whenever lr changes between steps.

    Args:
        learning_rate: float or schedule.
        momentum: float.
        learning_rate_multipliers: dict from a piece of a variable's path to
            its factor; the first piece that a path contains counts. The
            published recipes have `{"head": 10.0}`: decode and auxiliary
            heads learn ten times as fast.
    """

    def __init__(
        self,
        learning_rate=0.001,
        momentum=0.9,
        learning_rate_multipliers=None,
        name="SGD",
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, name=name, **kwargs
        )
        self.learning_rate_multipliers = dict(learning_rate_multipliers or {})

    def build(self, variables):
        if self.built:
            return
        # Paths are read here: update_step sees raw tf.Variables under
        # TensorFlow, which have none.
        self._multipliers = [self.multiplier(v.path) for v in variables]
        super().build(variables)

    def multiplier(self, path):
        """The learning-rate factor of the variable with this path."""
        for piece, factor in self.learning_rate_multipliers.items():
            if piece in path:
                return factor
        return 1.0

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        multiplier = self._multipliers[index]
        if multiplier != 1.0:
            if isinstance(self._learning_rate, PolynomialDecay):
                learning_rate = self._learning_rate.multiplied(
                    multiplier, self.iterations
                )
            else:
                learning_rate = learning_rate * multiplier
        learning_rate = ops.cast(learning_rate, variable.dtype)
        velocity = ops.cast(gradient, variable.dtype)
        if self.momentum:
            accumulated = self.momentums[index]
            velocity = accumulated * self.momentum + velocity
            self.assign(accumulated, velocity)
            if self.nesterov:
                velocity = gradient + self.momentum * velocity
        self.assign_sub(variable, learning_rate * velocity)

    def get_config(self):
        config = super().get_config()
        config.update(learning_rate_multipliers=self.learning_rate_multipliers)
        return config
