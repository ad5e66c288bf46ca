"""Keras' backend, found out before Keras is imported."""

import difflib
import importlib.util
import json
import os
import sys

BACKENDS = ("tensorflow", "jax", "torch")
# On it models are built, read and written; nothing is computed.
_READING = "numpy"


def is_there(package):
    """Whether a package is installed; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:
        # Of what a test or a notebook has put in its place.
        return True


def asked():
    """The backend that Keras is going to take, and where it is said.

    Returns:
        `(name, place)`, `(None, "KERAS_BACKEND")` where nothing says it.
    """
    if name := os.environ.get("KERAS_BACKEND"):
        return name, "KERAS_BACKEND"
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    path = os.path.join(home, "keras.json")
    try:
        with open(path) as content:
            return json.load(content).get("backend"), f"backend in {path}"
    except (AttributeError, OSError, ValueError):
        return None, "KERAS_BACKEND"


def check():
    """Raise where Keras would be imported on what is no backend of ours.

    Raises:
        ValueError: another name than those of `BACKENDS`, or numpy.
        ImportError: it is not installed, or none is said and Keras' own
            default is not.
    """
    if "keras" in sys.modules:
        name, place = sys.modules["keras"].config.backend(), "Keras' backend"
    else:
        name, place = asked()
    instead = next(filter(is_there, BACKENDS), "torch")
    if name is None and not is_there("tensorflow"):
        raise ImportError(
            "KERAS_BACKEND must be set, as tensorflow, Keras' default, is not "
            f"installed. Received: nothing. KERAS_BACKEND={instead} would do."
        )
    if name in (None, _READING):
        return
    if name not in BACKENDS:
        near = difflib.get_close_matches(str(name).lower(), BACKENDS, n=1)
        raise ValueError(
            f"{place} must be one of {', '.join(BACKENDS)}; or {_READING}, "
            "to build and read models alone. Received: "
            f"{name!r}; KERAS_BACKEND={near[0] if near else instead} would do."
        )
    if not is_there(name):
        raise ImportError(
            f"{place} is {name}, which is not installed: pip install "
            f"'keras-setr[{name}]', or set KERAS_BACKEND={instead}."
        )


def check_computes():
    """Raise on Keras' NumPy backend, on which no model runs.

    Raises:
        ValueError: says which do.
    """
    name = sys.modules["keras"].config.backend()
    if name not in BACKENDS:
        raise ValueError(
            f"Models run on {', '.join(BACKENDS)}. Received: Keras on {name}; "
            "set KERAS_BACKEND before Keras is imported."
        )
