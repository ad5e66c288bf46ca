"""A page in the browser to try a model on, here or as a Space."""

from keras_setr.app.page import serve
from keras_setr.app.space import write_space
from keras_setr.app.trial import Trial

__all__ = ["Trial", "serve", "write_space"]


def __dir__():
    return __all__
