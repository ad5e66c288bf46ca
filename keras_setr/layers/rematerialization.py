"""Functions that run anew in the backward pass, and dropout inside them."""

import keras


def rematerialize(function, tokens):
    """`function(tokens)`, of which the backward pass keeps `tokens` alone.

    Weights and seeds are closed over; the function must not draw anything
    random or assign to a variable (`Dropout` says why).
    """
    if keras.config.backend() == "jax":
        import jax

        if jax.default_backend() == "cpu":
            return _rematerialize_on_cpu(function, tokens)
    return keras.remat(function)(tokens)


def _rematerialize_on_cpu(function, tokens):
    """`jax.checkpoint` for CPUs.

    XLA drops the barriers of `jax.checkpoint` there, finds both runs equal
    and keeps what the first one computed: no memory is saved. Here the second
    run's input depends on the gradient, so that the two are not equal.
    """
    import jax

    function, closed_over = jax.closure_convert(function, tokens)

    @jax.custom_vjp
    def run(tokens, *closed_over):
        return function(tokens, *closed_over)

    def forward(tokens, *closed_over):
        return function(tokens, *closed_over), (tokens, closed_over)

    def backward(kept, gradient):
        tokens, closed_over = kept
        first = gradient[(0,) * gradient.ndim]
        # Always so but for NaN, which stays NaN.
        tokens = jax.numpy.where(first == first, tokens, jax.numpy.nan)
        return jax.vjp(function, tokens, *closed_over)[1](gradient)

    run.defvjp(forward, backward)
    return run(tokens, *closed_over)


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
