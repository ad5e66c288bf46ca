"""Converters and quantizers without what they tell of themselves."""

import contextlib
import io
import logging
import warnings


@contextlib.contextmanager
def quiet(*loggers):
    """Without warnings, what is printed, and all but errors of some loggers.

    Args:
        *loggers: str. Their names; `""` is the one of all.
    """
    levels = {name: logging.getLogger(name).level for name in loggers}
    bars = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), bars:
        warnings.simplefilter("ignore")
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
