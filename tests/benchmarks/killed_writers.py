"""kill -9 at random moments of everything that writes beside a training.

    KERAS_BACKEND=torch python tests/benchmarks/killed_writers.py [--kills 40]

A process writes one thing again and again, over what is there, and is killed
at a random moment of it: a preset, the report of an evaluation, the labels of
a folder of images, a preset converted from a checkpoint. After each kill what
is there must be readable, and be the old one or the new one as a whole.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import keras  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import keras_setr as ks  # noqa: E402
from keras_setr_commands import main as commands  # noqa: E402
from tests import tiny  # noqa: E402

SIZE = (48, 64)
CLASSES = tiny.CLASSES


def constant_model(value):
    model = tiny.build("naive", image_shape=(16, 24, 3))
    model.set_weights([np.full(w.shape, value) for w in model.get_weights()])
    return model


def value_of(preset):
    """The value of all weights of a preset, which must be one."""
    model = ks.SETRNaive.from_preset(preset, verbose=False)
    values = {float(v) for w in model.get_weights() for v in np.unique(w)}
    if len(values) != 1:
        raise ValueError(f"{preset} holds weights of two models: {values}.")
    return values.pop()


class Preset:
    """`save_to_preset` over an older one."""

    def __init__(self, folder):
        self.out = folder / "preset"

    def prepare(self):
        constant_model(1.0).save_to_preset(self.out)

    def write(self):
        for value in (2.0, 1.0):
            model = constant_model(value)
            yield lambda: model.save_to_preset(self.out)

    def check(self):
        if value_of(str(self.out)) not in (1.0, 2.0):
            raise ValueError(f"{self.out} holds other weights.")


class Conversion(Preset):
    """`keras-setr convert` into a new folder, card included."""

    def prepare(self):
        constant_model(1.0).save_to_preset(self.out.parent / "source")

    def write(self):
        yield self._convert

    def _convert(self):
        shutil.rmtree(self.out, ignore_errors=True)
        if commands.main(["convert", self.out.parent / "source", self.out]):
            sys.exit("convert failed")

    def check(self):
        if not self.out.exists():
            return
        super().check()
        if "library_name" not in (self.out / "README.md").read_text():
            raise ValueError(f"{self.out} has no whole card.")
        # The next writer begins without it.
        shutil.rmtree(self.out)


def write_images(folder, count=6):
    rng = np.random.default_rng(0)
    for part, high in (("images", 256), ("masks", CLASSES)):
        (folder / part).mkdir()
        for index in range(count):
            shape = (*SIZE, 3) if part == "images" else SIZE
            pixels = rng.integers(0, high, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / part / f"{index}.png")


class Report:
    """`keras-setr evaluate --out` over an older report."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder / "report.json"

    def prepare(self):
        constant_model(1.0).save_to_preset(self.folder / "model")
        write_images(self.folder)
        self._evaluate()

    def _evaluate(self):
        arguments = [self.folder / "model", "--data", self.folder]
        if commands.main(["evaluate", *arguments, "--out", self.out]):
            sys.exit("evaluate failed")

    def write(self):
        yield self._evaluate

    def check(self):
        json.loads(self.out.read_text())["mean_iou"]


class Segmentation(Report):
    """`keras-setr segment --overwrite` over older results."""

    def prepare(self):
        constant_model(1.0).save_to_preset(self.folder / "model")
        write_images(self.folder)
        self._segment()

    def _segment(self):
        arguments = [self.folder / "model", self.folder / "images"]
        arguments += ["--out", self.folder / "out", "--overwrite"]
        if commands.main(["segment", *arguments]):
            sys.exit("segment failed")

    def write(self):
        yield self._segment

    def check(self):
        found = [
            path
            for path in (self.folder / "out").rglob("*.*")
            if not path.name.startswith(".")
        ]
        pictures = [path for path in found if path.suffix == ".png"]
        if len(pictures) != 12:
            raise ValueError(f"{len(pictures)} of 12 results are there.")
        for path in pictures:
            Image.open(path).load()


WRITERS = {
    "preset": Preset,
    "report": Report,
    "segmentation": Segmentation,
    "conversion": Conversion,
}


def write_on(what, folder, started, seconds):
    """Write until killed; tell when, and how long one writing takes."""
    sys.stdout = sys.stderr = open(os.devnull, "w")
    writer = WRITERS[what](folder)
    while True:
        for write in writer.write():
            started.value += 1
            before = time.monotonic()
            write()
            seconds.value = time.monotonic() - before


def kill_once(context, rng, what, folder):
    started, seconds = context.Value("i", 0), context.Value("d", 0.0)
    process = context.Process(
        target=write_on, args=(what, folder, started, seconds)
    )
    process.start()
    # The first writing says how long one takes.
    while process.is_alive() and started.value < 2:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 2 * seconds.value))
    alive = process.is_alive()
    process.kill()
    process.join()
    if not alive:
        sys.exit(f"{what}: the writer ended by itself")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", nargs="+", choices=WRITERS, default=WRITERS)
    args = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_setr", "tests.tiny"])
    rng = random.Random(args.seed)
    broken = []
    for what in args.what:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            writer = WRITERS[what](folder)
            writer.prepare()
            for number in range(args.kills):
                kill_once(context, rng, what, folder)
                try:
                    writer.check()
                except Exception as error:
                    broken.append(f"{what}, kill {number + 1}: {error!r}")
            left = sum(
                path.name.startswith((".partial", ".former"))
                for path in folder.rglob("*")
            )
        print(
            f"{keras.config.backend()}, {what}: {args.kills} kills, "
            f"{len(broken)} broken so far, {left} partial files left",
            flush=True,
        )
    print("\n".join(broken) if broken else "verdict: nothing unreadable")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
