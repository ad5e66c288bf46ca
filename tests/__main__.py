"""Runs the suite on every backend, one after another: `python -m tests`.

Arguments go to pytest. Without any, fewer passing tests per backend than
`tests/floor.txt` says is a failure too: a test that is no longer found fails
no assertion.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

BACKENDS = ("tensorflow", "jax", "torch")
FOLDER = pathlib.Path(__file__).parent
# Tests spend most of their time in one thread.
WORKERS = 2


def run(backend, arguments):
    """Passed, failed and skipped tests of one backend, and the seconds."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        code = subprocess.run(
            [sys.executable, "-m", "pytest", str(FOLDER), "-q", "-rs"]
            # A file is one worker's: its tests share what they compile.
            + ["--numprocesses", str(WORKERS), "--dist", "loadfile"]
            + ["-p", "no:cacheprovider", f"--junitxml={report}", *arguments],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                # What one process has compiled, the others need not.
                "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(folder) / "jax"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            },
            cwd=FOLDER.parent,
        ).returncode
        passed = failed = skipped = 0
        if report.exists():
            suite = xml.etree.ElementTree.parse(report).getroot()[0]
            failed = int(suite.get("failures")) + int(suite.get("errors"))
            skipped = int(suite.get("skipped"))
            passed = int(suite.get("tests")) - failed - skipped
        if code and not failed:
            failed = 1  # pytest itself broke off
    return passed, failed, skipped, time.monotonic() - start


def main():
    arguments = sys.argv[1:]
    floor = int((FOLDER / "floor.txt").read_text())
    rows = {}
    for backend in BACKENDS:
        print(f"=== {backend} ===", flush=True)
        rows[backend] = run(backend, arguments)
    print()
    print(f"{'backend':12}{'passed':>8}{'failed':>8}{'skipped':>9}{'time':>8}")
    short = []
    for backend, (passed, failed, skipped, seconds) in rows.items():
        print(f"{backend:12}{passed:8}{failed:8}{skipped:9}{seconds:7.0f}s")
        if passed < floor and not arguments:
            short.append(backend)
    for backend in short:
        print(f"{backend}: fewer passed than the floor of {floor} tests.")
    totals = [sum(row[i] for row in rows.values()) for i in range(3)]
    print("{} passed, {} failed, {} skipped".format(*totals))
    sys.exit(1 if short or totals[1] else 0)


if __name__ == "__main__":
    main()
