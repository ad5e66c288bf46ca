"""A job of two workers, one of which is killed; then the same job again.

    KERAS_BACKEND=jax python -m tests.benchmarks.killed_worker [--steps 1 3]

For each step the second worker is killed before it, the first is ended, as a
cluster would, and the job is started again with the same command. It has to
end with the losses and the weights of a job that nothing happened to.
"""

import argparse
import pathlib
import tempfile

from tests.training import worker

EPOCHS = 3  # of 2 steps


def run_job(folder):
    arguments = ("--epochs", str(EPOCHS))
    return worker.reports(worker.start_job(folder, *arguments))


def kill_second(folder, step):
    """Start the job in which the second worker dies before a step."""
    processes = worker.start_job(
        folder,
        "--epochs",
        str(EPOCHS),
        options=((), ("--die-before", str(step))),
    )
    processes[1].wait(timeout=300)
    worker.end(processes)
    return processes[1].returncode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 3, 4])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        whole, _ = run_job(folder / "whole")
        print(f"not killed: weights {whole['weights']:.6f}")
        for step in args.steps:
            interrupted = folder / f"step_{step}"
            code = kill_second(interrupted, step)
            first, second = run_job(interrupted)
            difference = abs(first["weights"] - whole["weights"])
            print(
                f"killed before step {step} (exit {code}): then "
                f"{len(first['history'].get('loss', []))} epochs, weights "
                f"{first['weights']:.6f}, difference {difference:.1e}, "
                f"workers alike: {first['history'] == second['history']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
