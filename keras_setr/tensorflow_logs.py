"""What TensorFlow prints on import where it is not what computes."""

import contextlib
import os
import re
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# What JAX sets it to where nobody has, as soon as anything imports it.
_OF_JAX = "1"
_LOG = re.compile(rb"[IWE]\d{4} [\d:]|WARNING: All log messages before absl")


@contextlib.contextmanager
def left_out():
    """Leave out what TensorFlow notes of kernels and devices on import.

    It writes that past Python, to stderr itself, and before `LEVEL` holds. All
    else follows at the end.
    """
    try:
        sys.stderr.flush()
        terminal = os.dup(2)
    except (AttributeError, OSError, ValueError):
        # There is nowhere to write to.
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            kept.seek(0)
            for line in kept:
                if not _LOG.match(line):
                    os.write(2, line)


def left_out_beside(backend):
    """The same, unless TensorFlow computes or `LEVEL` says what to print.

    Args:
        backend: str. Of Keras. KerasHub imports TensorFlow on all of them.
    """
    unasked = _OF_JAX if "jax" in sys.modules else None
    if backend == "tensorflow" or os.environ.get(LEVEL, unasked) != unasked:
        return contextlib.nullcontext()
    return left_out()
