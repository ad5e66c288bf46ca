"""What windows cost beside their forward passes: bytes, calls, host time.

    python tests/benchmarks/blending.py host
    python tests/benchmarks/blending.py device

host: CPU milliseconds a window, blended by NumPy, over a forward function that
    costs nothing: at most 30 at one scale and 80 at the paper's six with flip.
device: blended where the logits are, on each backend in a process of its own,
    whatever device it has. Bytes from it, at most 2.5 a pixel of the image for
    labels; bytes to it, at most 3.2 a pixel of each scale; wall milliseconds a
    window of an image so small that only calls remain, at most 2; and how
    often the function that is compiled most often is compiled for 20 sizes of
    images in random order, at most twice.

The exit code is 1 where a limit is exceeded.
"""

import argparse
import collections
import json
import sys
import time

import numpy as np
from processes import BACKENDS
from processes import last_json

PAPER = {"scales": "paper"}
# Window, classes, size of the image, options, limit.
CASES = (
    (768, 19, (1024, 2048), {}, 30),
    (512, 150, (512, 683), {}, 30),
    (768, 19, (1024, 2048), PAPER, 80),
    (512, 150, (512, 683), PAPER, 80),
    (768, 19, (768, 768), PAPER, 80),
    (512, 150, (512, 512), PAPER, 80),
)
LIMITS = {
    "from it, bytes a pixel": 2.5,
    "to it, bytes a pixel": 3.2,
    "ms a window": 2,
    "compilations": 2,
}


def image_of(size):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*size, 3), dtype="uint8")


def host(window, classes, size, options, rounds):
    """The least CPU milliseconds a window of some rounds."""
    from keras_setr import inference

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, window, window, classes)).astype("float32")
    windows = 0

    def forward(batch):
        nonlocal windows
        windows += 1
        return logits

    views = inference.Views(window, blend="host", **options)
    best = float("inf")
    for _ in range(rounds):
        windows, start = 0, time.process_time()
        list(
            inference.sliding_window(
                forward, [image_of(size)], views, 1, "labels"
            )
        )
        best = min(best, (time.process_time() - start) / windows)
    return 1e3 * best


class Counted:
    """A device whose bytes, calls and compilations are counted."""

    def __init__(self):
        import keras

        from keras_setr.inference.devices import build_device

        self.device = build_device(keras.Variable([0.0]))
        self.sent = self.fetched = self.calls = 0
        self.compilations = collections.Counter()
        for name in ("compile", "upload", "fetch"):
            method = getattr(self, f"_{name}")
            setattr(self.device, name, method(getattr(self.device, name)))

    def _compile(self, compile):
        def compile_counted(function, changes=False):
            name = str(getattr(function, "keywords", "forward"))
            name = f"{getattr(function, 'func', function).__name__} {name}"

            def traced(*arguments):
                self.compilations[name] += 1
                return function(*arguments)

            compiled = compile(traced, changes)

            def run(*arguments):
                self.calls += 1
                self.sent += sum(
                    a.nbytes
                    for a in arguments
                    if isinstance(a, (np.ndarray, np.generic))
                )
                return compiled(*arguments)

            return run

        return compile_counted

    def _upload(self, upload):
        def upload_counted(pixels, length):
            import keras

            if keras.config.backend() != "jax":
                self.sent += pixels.nbytes
                return upload(pixels, length)
            import jax

            put = jax.device_put

            def put_counted(pieces, *arguments):
                self.sent += sum(piece.nbytes for piece in pieces)
                return put(pieces, *arguments)

            jax.device_put = put_counted
            try:
                return upload(pixels, length)
            finally:
                jax.device_put = put

        return upload_counted

    def _fetch(self, fetch):
        def fetch_counted(values):
            import keras

            result = fetch(values)
            self.fetched += sum(
                part.nbytes for part in keras.tree.flatten(result)
            )
            return result

        return fetch_counted


def blending(counted, classes):
    from keras import ops

    from keras_setr.inference.on_device import Blending

    def forward(batch):
        return ops.tile(batch[..., :1], (1, 1, 1, classes))

    compiled = counted.device.compile(forward)
    return Blending(counted.device, compiled, classes)


def slide(device, window, images, batch_size=4, **options):
    from keras_setr import inference

    views = inference.Views(window, blend="device", **options)
    windows = inference.sliding_window(
        None, images, views, batch_size, "labels", device=device
    )
    return list(windows)


def device():
    """The figures of this process's backend, as one dict."""
    import keras

    from keras_setr import inference

    if keras.config.backend() == "torch":
        import torch

        # On tensors this small further threads only wait for each other.
        torch.set_num_threads(1)
    figures = collections.defaultdict(float)
    for window, classes, size in (
        (768, 19, (1024, 2048)),
        (512, 150, (500, 650)),
    ):
        for options in ({}, {"scales": (1.0, 1.25), "flip": True}):
            counted = Counted()
            slide(
                blending(counted, classes), window, [image_of(size)], **options
            )
            views = inference.Views(window, **options).of(size)
            pixels = sum(h * w for h, w in {view.size for view in views})
            for name, value in (
                ("from it, bytes a pixel", counted.fetched / np.prod(size)),
                ("to it, bytes a pixel", counted.sent / pixels),
            ):
                figures[name] = max(figures[name], float(value))

    # As many windows and chunks as in 1024 x 2048 pixels, but of 64 times
    # fewer pixels each.
    counted = Counted()
    small = blending(counted, 2)
    image = image_of((128, 256))
    (view,) = inference.Views(96).of(image.shape[:2])
    windows = len(view.tops()) * len(view.lefts())
    slide(small, 96, [image] * 2)
    calls, best = counted.calls, float("inf")
    for _ in range(5):
        start = time.perf_counter()
        slide(small, 96, [image] * 4)
        best = min(best, time.perf_counter() - start)
    figures["ms a window"] = 1e3 * best / (4 * windows)
    figures["calls a window"] = (counted.calls - calls) / (20 * windows)

    counted = Counted()
    several = blending(counted, 5)
    rng = np.random.default_rng(0)
    for options in ({}, {"scales": (0.5, 1.25), "flip": True}):
        for size in rng.integers(40, 400, (20, 2)):
            slide(several, 32, [image_of(size)], **options)
    most = max(counted.compilations.values())
    if keras.config.backend() != "torch":  # which compiles nothing
        figures["compilations"] = most
    return dict(figures)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("host", "device"))
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="internal")
    args = parser.parse_args()
    if args.measure:
        return print(json.dumps(device()))
    kept = True
    if args.what == "host":
        for *case, limit in CASES:
            milliseconds = host(*case, args.rounds)
            kept &= milliseconds <= limit
            window, classes, size, options = case
            print(
                f"{window} x {window} x {classes} on {size} "
                f"{options.get('scales', 'one scale')}: {milliseconds:.1f} ms "
                f"a window, at most {limit}",
                flush=True,
            )
        return sys.exit(not kept)
    for backend in args.backends:
        figures = last_json([sys.executable, *sys.argv, "--measure"], backend)
        kept &= all(
            figures.get(name, 0) <= most for name, most in LIMITS.items()
        )
        shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
        print(f"{backend:12}{shown}", flush=True)
    sys.exit(not kept)


if __name__ == "__main__":
    main()
