"""Measurements in processes of their own, one for each backend."""

import argparse
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


def beside_peer(description, run_peer, measure):
    """Arguments of a benchmark that is held against mmsegmentation.

    In its own processes, of the peer or of a backend, it runs one of the two
    functions and there are none.

    Args:
        description: str.
        run_peer, measure: functions of the arguments.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "REFERENCE"))
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--work", help="internal")
    parser.add_argument("--reference", help="internal")
    parser.add_argument("--measure", action="store_true", help="internal")
    args = parser.parse_args()
    if args.reference:
        return run_peer(args)
    if args.measure:
        return measure(args)
    if not args.peer:
        parser.error("--peer is needed: there is nothing to compare with.")
    return args
