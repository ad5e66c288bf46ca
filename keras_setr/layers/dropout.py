"""Dropout that can be told what to drop."""

import keras


class _Drawn(keras.random.SeedGenerator):
    """A seed that was drawn before, in the form that `keras.random` takes."""

    def __init__(self, seed):
        # No state, hence no super().__init__. Keras-torch asks whether the
        # layer's own seed was given; ours never is.
        self._initial_seed = None
        self._seed = seed

    def next(self, ordered=True):
        return self._seed


@keras.saving.register_keras_serializable(package="keras_setr")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose seed can be drawn before it is called.

    A rematerialised function runs twice, in the forward and in the backward
    pass, and has to drop the same values in both. Drawing inside of it moves
    the random state each time: gradients are then silently wrong under
    TensorFlow and torch, and JAX raises. So seeds are drawn outside, two
    integers each, and the masks are made from them where they are needed.
    """

    def draw_seed(self):
        """The seed of the next call, or `None` where it needs none.

        Whole masks come from torch's own generator under torch, and
        `torch.utils.checkpoint` sets it back before the second run.
        """
        on_torch = keras.config.backend() == "torch"
        if not self.rate or (on_torch and self.noise_shape is None):
            return None
        return self.seed_generator.next()

    def call(self, inputs, training=False, seed=None):
        if seed is None:
            return super().call(inputs, training=training)
        return keras.random.dropout(
            inputs,
            self.rate,
            noise_shape=self.noise_shape,
            seed=_Drawn(seed),
        )
