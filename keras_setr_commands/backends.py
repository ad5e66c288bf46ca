"""Keras' backend and the packages of a command, found and not imported."""

import os

from keras_setr.backends import BACKENDS
from keras_setr.backends import asked as asked_of_keras
from keras_setr.backends import is_there
from keras_setr_commands.messages import LOG_LEVEL
from keras_setr_commands.messages import CommandError


def choose_backend(parser, given):
    """Set Keras' backend before anything imports it.

    Without `--backend`, `KERAS_BACKEND` or a configuration of Keras it is the
    first of the three that is installed.

    Returns:
        str.
    """
    asked, place = given.get("backend"), "--backend"
    if not asked:
        asked, place = asked_of_keras()
    if not asked:
        asked = next((b for b in BACKENDS if is_there(b)), None)
        if asked is None:
            parser.error(f"none of {', '.join(BACKENDS)} is installed")
    elif asked not in BACKENDS:
        parser.error(
            f"{place} must be one of {', '.join(BACKENDS)}. Received: "
            f"{asked!r}. --backend {next(filter(is_there, BACKENDS), 'jax')} "
            "would do"
        )
    elif not is_there(asked):
        parser.error(
            f"{place} {asked}: {asked} is not installed: "
            f"pip install keras-setr[{asked}]"
        )
    os.environ["KERAS_BACKEND"] = asked
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", LOG_LEVEL)
    return asked


def require(package, extra, what):
    """End the command where a package is not installed.

    To find one does not import it.

    Args:
        package: str. Name of its module.
        extra: str. The extra of this package that installs it.
        what: str. Who needs it, for the error.

    Raises:
        CommandError: says how to install it.
    """
    if not is_there(package):
        raise CommandError(
            f"{what} needs {package}, which is not installed: pip install "
            f"keras-setr[{extra}]"
        )
