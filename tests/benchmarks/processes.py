"""Measurements in processes of their own, one for each backend."""

import json
import os
import subprocess
import sys

BACKENDS = ("tensorflow", "jax", "torch")


def printed(command, backend=None, **environment):
    """The lines that a command prints; its errors end this program.

    Args:
        command: sequence of str.
        backend: str. Keras' backend in the process.
        **environment: further variables of it.
    """
    if backend is not None:
        environment["KERAS_BACKEND"] = backend
    result = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr[-3000:]}")
    return result.stdout.strip().splitlines()


def last_json(command, backend=None, **environment):
    """The last line that a command prints, read as JSON."""
    return json.loads(printed(command, backend, **environment)[-1])


def passed_on(args, names):
    """Options of this program as a process of its own is given them.

    Args:
        args: `argparse.Namespace`.
        names: sequence of str. Which of them.
    """
    return [
        word
        for name in names
        for word in ("--" + name.replace("_", "-"), str(getattr(args, name)))
    ]
