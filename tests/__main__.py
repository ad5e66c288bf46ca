"""Runs the suite: `python -m tests`. Arguments go to pytest.

Tests marked `no_backend` run once, on Keras' NumPy backend, which computes
but cannot train; all others run on each of the three that can, or on those
that their mark `backends` names.

Without arguments the passing tests are counted: fewer than `tests/floor.txt`
says is a failure too, for a test that is no longer found fails no assertion.
`python -m tests --set-floor` writes the counts of a run without failures.
"""

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


def run(backend, arguments):
    """Passed, failed and skipped tests, seconds, CPU seconds and gigabytes.

    The last are those of its largest process.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-rs"]
            + ["-m", BACKENDS[backend], f"--junitxml={report}"]
            # Neighbours share models, and nobody waits for a long file.
            + ["--numprocesses", str(WORKERS), "--dist", "worksteal"]
            + ["-p", "no:cacheprovider", *arguments],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                # Some 15 processes read the same sources.
                "PYTHONDONTWRITEBYTECODE": "",
                # What one process has compiled, the others need not, nor the
                # next run.
                "JAX_COMPILATION_CACHE_DIR": str(COMPILED),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
            cwd=FOLDER.parent,
        )
        _, status, usage = os.wait4(process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        passed = failed = skipped = 0
        if report.exists():
            suite = xml.etree.ElementTree.parse(report).getroot()[0]
            failed = int(suite.get("failures")) + int(suite.get("errors"))
            skipped = int(suite.get("skipped"))
            passed = int(suite.get("tests")) - failed - skipped
        if code not in (0, NOTHING_SELECTED) and not failed:
            failed = 1  # pytest itself broke off
    # In kilobytes, on macOS in bytes.
    size = usage.ru_maxrss / 1024 ** (3 if sys.platform == "darwin" else 2)
    cpu = usage.ru_utime + usage.ru_stime
    return passed, failed, skipped, time.monotonic() - start, cpu, size


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
    rows = {}
    for backend in BACKENDS:
        print(f"=== {backend} ===", flush=True)
        rows[backend] = run(backend, arguments)
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
    totals = [sum(row[i] for row in rows.values()) for i in range(4)]
    print(f"all in {totals[3]:.0f} s")
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
