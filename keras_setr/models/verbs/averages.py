"""The moving average of a model's weights, kept while it trains."""

import contextlib

import keras
from keras import ops

from keras_setr.models import keras_internals
from keras_setr.models.verbs.division import variable_scope
from keras_setr.optimizers import unwrapped


class WeightAverages:
    """Exponential moving averages of all that a training changes.

    After update n an average is d * average + (1 - d) * weight with

        d = min(decay, (1 + n) / (10 + n)),

    so that a short training forgets its start, too. Moving statistics of
    batch norm are averaged as weights are: they are those of the weights that
    go into the average, and follow single batches less.

    Keras' own `use_ema` leaves those statistics out, counts the batches of
    which gradients are accumulated as updates, and begins at the full decay.

    The averages are variables of the optimizer, with which they are saved,
    restored and divided among devices.

    Args:
        model: `SETRSegmenter`, compiled.
        decay: float in (0, 1).
    """

    def __init__(self, model, decay):
        self.decay = decay
        self._model = model
        # (weight, average), made once the model is built.
        self._pairs = None
        self._are_in_use = False

    def build(self):
        """Begin with the weights as they are now."""
        if self._pairs is not None:
            return
        model = self._model
        optimizer = unwrapped(model.optimizer)
        with variable_scope(model):
            weights = [
                *model.trainable_variables,
                *keras_internals.moving_statistics(model),
            ]
            self._pairs = [
                (w, optimizer.add_variable_from_reference(w, "average"))
                for w in weights
            ]
            for weight, average in self._pairs:
                average.assign(ops.copy(weight))

    def step(self, train_step, *args):
        """`train_step` of a `keras.Model`, and the averages after it."""
        if keras.config.backend() != "jax":
            before = self._updates()
            logs = train_step(*args)
            self._follow(before)
            return logs
        state, data = args
        with keras.StatelessScope(self._values(state)):
            before = self._updates()
        logs, state = train_step(state, data)
        with keras.StatelessScope(self._values(state)) as scope:
            self._follow(before)
        variables = self._model.optimizer.variables
        trainable, others, _, metrics = state
        optimizer = [scope.get_current_value(v) for v in variables]
        return logs, (trainable, others, optimizer, metrics)

    @contextlib.contextmanager
    def in_use(self):
        """A context in which the model has the averages for its weights."""
        if self._pairs is None or self._are_in_use:
            yield
            return
        with variable_scope(self._model):
            own = [ops.copy(weight) for weight, _ in self._pairs]
        self._are_in_use = True
        try:
            self.take()
            yield
        finally:
            with variable_scope(self._model):
                for (weight, _), value in zip(self._pairs, own):
                    weight.assign(value)
            self._are_in_use = False

    def take(self):
        """Leave the model with the averages for its weights."""
        with variable_scope(self._model):
            for weight, average in self._pairs:
                # JAX gives the buffers of weights to its steps.
                weight.assign(ops.copy(average))

    def _updates(self):
        """The updates so far, a copy."""
        return ops.add(unwrapped(self._model.optimizer).iterations, 0)

    def _follow(self, before):
        """Average, unless the step has made no update."""
        count = self._updates()
        n = ops.cast(count, "float32")
        share = 1.0 - ops.minimum(self.decay, (1.0 + n) / (10.0 + n))
        share = ops.where(ops.equal(count, before), 0.0, share)
        for weight, average in self._pairs:
            weight = ops.stop_gradient(ops.convert_to_tensor(weight))
            step = ops.cast(share, average.dtype) * (weight - average)
            average.assign(average + step)

    def _values(self, state):
        """What variables hold in a state of JAX's steps."""
        model = self._model
        groups = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
        )
        return [pair for group in zip(groups, state) for pair in zip(*group)]
