"""Runs the suite: `python -m tests`. Arguments go to pytest.

Tests marked `no_backend` run once, on Keras' NumPy backend, which computes
but cannot train; all others run on each of the three that can, or on those
that their mark `backends` names.

Without arguments the passing tests are counted: fewer than `tests/floor.txt`
says is a failure too, for a test that is no longer found fails no assertion.
`python -m tests --set-floor` writes the counts of a run without failures.
"""

import concurrent.futures
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

# Backend -> what it runs.
BACKENDS = {
    "numpy": "no_backend",
    "tensorflow": "not no_backend",
    "jax": "not no_backend",
    "torch": "not no_backend",
}
FOLDER = pathlib.Path(__file__).parent
FLOOR = FOLDER / "floor.txt"
COMPILED = FOLDER.parent / ".jax_cache"
# Tests spend most of their time in one thread.
WORKERS = 2
NOTHING_SELECTED = 5


def start(backend, arguments, folder):
    """A backend's tests: the process, and what tells that a core is free.

    That is the end of a pipe from which nothing can be read. It closes when a
    worker of them ends, or all do.
    """
    free, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-rs"]
        + ["-m", BACKENDS[backend], f"--junitxml={report(folder, backend)}"]
        # Neighbours share models, and nobody waits for a long file.
        + ["--numprocesses", str(WORKERS), "--dist", "worksteal"]
        + [f"--color={'yes' if sys.stdout.isatty() else 'no'}"]
        + ["-p", "no:cacheprovider", *arguments],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            # Processes that tests start have small arrays, too, and further
            # threads would wait for each other.
            "OMP_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
            # Some 15 processes read the same sources.
            "PYTHONDONTWRITEBYTECODE": "",
            # What one process has compiled, the others need not, nor the
            # next run.
            "JAX_COMPILATION_CACHE_DIR": str(COMPILED),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "HELD_BY_WORKERS": str(held),  # see tests/conftest.py
        },
        cwd=FOLDER.parent,
        stdout=subprocess.PIPE,
        pass_fds=[held],
    )
    os.close(held)
    return process, free


def report(folder, backend):
    return pathlib.Path(folder) / f"{backend}.xml"


def follow(process, backend, folder):
    """Shows a backend's tests as they run, to their end, and counts them.

    Passed, failed and skipped tests, seconds, CPU seconds and gigabytes; the
    last are those of its largest process.
    """
    print(f"=== {backend} ===", flush=True)
    for text in iter(functools.partial(process.stdout.read1, 4096), b""):
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    passed = failed = skipped = seconds = 0
    if report(folder, backend).exists():
        suite = xml.etree.ElementTree.parse(report(folder, backend)).getroot()
        suite = suite[0]
        failed = int(suite.get("failures")) + int(suite.get("errors"))
        skipped = int(suite.get("skipped"))
        passed = int(suite.get("tests")) - failed - skipped
        seconds = float(suite.get("time"))
    if code not in (0, NOTHING_SELECTED) and not failed:
        failed = 1  # pytest itself broke off
    # In kilobytes, on macOS in bytes.
    size = usage.ru_maxrss / 1024 ** (3 if sys.platform == "darwin" else 2)
    cpu = usage.ru_utime + usage.ru_stime
    return passed, failed, skipped, seconds, cpu, size


def run(arguments):
    """Backend -> what `follow` gives.

    A backend starts when the one before it no longer keeps both cores busy;
    shown is one after another.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ThreadPoolExecutor(1) as shown,
    ):
        rows = {}
        for backend in BACKENDS:
            process, free = start(backend, arguments, folder)
            rows[backend] = shown.submit(follow, process, backend, folder)
            os.read(free, 1)
            os.close(free)
        return {backend: row.result() for backend, row in rows.items()}


def compare(passed):
    """What the floor has to say: `(failures, remarks)`."""
    lines = (line.split() for line in FLOOR.read_text().splitlines())
    floor = {backend: int(count) for backend, count in lines}
    failures, remarks = [], []
    for backend, count in passed.items():
        message = f"{backend}: {count} passed, the floor is {floor[backend]}"
        if count < floor[backend]:
            failures.append(f"{message}: tests are missing.")
        elif count > floor[backend]:
            remarks.append(f"{message}: raise it by --set-floor.")
    return failures, remarks


def main():
    arguments = sys.argv[1:]
    set_floor = "--set-floor" in arguments
    if set_floor:
        arguments.remove("--set-floor")
        if arguments:
            sys.exit("--set-floor counts all tests: no other arguments.")
    begun = time.monotonic()
    rows = run(arguments)
    print()
    print(
        f"{'backend':12}{'passed':>8}{'failed':>8}{'skipped':>9}{'time':>8}"
        f"{'CPU':>8}{'memory':>9}"
    )
    for backend, (*counts, seconds, cpu, size) in rows.items():
        print(
            "{:12}{:8}{:8}{:9}{:7.0f}s{:7.0f}s{:6.1f} GB".format(
                backend, *counts, seconds, cpu, size
            )
        )
    totals = [sum(row[i] for row in rows.values()) for i in range(3)]
    print(f"all in {time.monotonic() - begun:.0f} s")
    print("{} passed, {} failed, {} skipped".format(*totals))
    passed = {backend: row[0] for backend, row in rows.items()}
    failures = []
    if set_floor and not totals[1]:
        FLOOR.write_text("".join(f"{b} {n}\n" for b, n in passed.items()))
    elif not arguments:
        failures, remarks = compare(passed)
        print("\n".join(failures + remarks))
    sys.exit(1 if failures or totals[1] else 0)


if __name__ == "__main__":
    main()
