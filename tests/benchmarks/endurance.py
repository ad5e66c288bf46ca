"""The memory that a process holds after many calls over that after a few.

    python tests/benchmarks/endurance.py [--backends tensorflow jax torch]

2,000 calls of `segment`, 200 of `keras_setr.evaluate` and 300 of `fit` on a
tiny model, each kind in a process of its own; what is held after the last is
compared with what is held after the first twentieth. Linux only.
"""

import argparse
import gc
import json
import sys

import numpy as np
from processes import BACKENDS
from processes import last_json
from resident import resident

# Calls, and the call after which the memory counts as settled.
CALLS = {"segment": (2000, 100), "evaluate": (200, 10), "fit": (300, 10)}
SIZE = (48, 64)


def build():
    import keras_setr as ks

    backbone = ks.SETRBackbone(
        num_layers=2,
        hidden_dim=16,
        num_heads=2,
        image_shape=(32, 32, 3),
    )
    model = ks.SETRNaive(backbone, 5, filters=8, auxiliary_layers=())
    model.compile(learning_rate=0.01)
    return model


def calls_of(what):
    """A function to be called many times."""
    import keras_setr as ks

    model = build()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, (2, *SIZE), dtype=np.uint8)
    pairs = list(zip(images, labels))
    if what == "segment":
        return lambda: model.segment(images[0], batch_size=1)
    if what == "evaluate":
        return lambda: ks.evaluate(model, pairs, verbose=0)
    crops = images[:, :32, :32].astype("float32"), labels[:, :32, :32]
    return lambda: model.fit(*crops, verbose=0)


def measure(what):
    count, settled = CALLS[what]
    call = calls_of(what)
    held = []
    for number in range(1, count + 1):
        call()
        if number in (settled, count):
            gc.collect()
            held.append(resident())
    return {"first": held[0] / 1e6, "last": held[1] / 1e6}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--what", nargs="+", choices=CALLS, default=[*CALLS])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.what[0])))
        return
    print(
        "| Backend | Calls | Held | At the end | Ratio |\n|---|---|---|---|---|"
    )
    for backend in args.backends:
        for what in args.what:
            command = [sys.executable, __file__, "--here", "--what", what]
            found = last_json(command, backend)
            count, settled = CALLS[what]
            print(
                f"| {backend} | {count} `{what}` | {found['first']:.0f} MB "
                f"after {settled} | {found['last']:.0f} MB | "
                f"{found['last'] / found['first']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
