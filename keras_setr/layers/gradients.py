"""Gradients that are written by hand, as each backend asks for them."""

import functools


def by_upstream(function):
    """What `ops.custom_gradient` takes, of a function of the upstream alone.

    Keras gives that by name on torch, and by its place on the others.
    """

    @functools.wraps(function)
    def gradients(*args, upstream=None):
        return function(args[0] if upstream is None else upstream)

    return gradients
