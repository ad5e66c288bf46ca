"""Seconds and memory of a first and a second load of T-Large PUP.

    python tests/benchmarks/conversion.py [--backends tensorflow jax torch]

A random file of mmsegmentation's layout, 1.2 GB of float32, stands in for a
published one: the first load fetches, converts and keeps it, the second reads
the copy. Each runs in a process of its own; memory is the peak resident size
of that process, libraries included.
"""

import argparse
import dataclasses
import json
import os
import resource
import sys
import tempfile
import time

import numpy as np
from processes import BACKENDS
from processes import last_json

DIM, LAYERS, CLASSES, GRID = 1024, 24, 150, 32


def shapes():
    """Names and shapes of mmsegmentation's T-Large PUP for ADE20K."""
    yield "backbone.cls_token", (1, 1, DIM)
    yield "backbone.pos_embed", (1, 1 + GRID**2, DIM)
    yield "backbone.patch_embed.projection.weight", (DIM, 3, 16, 16)
    yield "backbone.patch_embed.projection.bias", (DIM,)
    for i in range(LAYERS):
        layer = f"backbone.layers.{i}"
        for norm in ("ln1", "ln2"):
            yield f"{layer}.{norm}.weight", (DIM,)
            yield f"{layer}.{norm}.bias", (DIM,)
        for name, out, into in (
            ("attn.attn.in_proj_", 3 * DIM, DIM),
            ("attn.attn.out_proj.", DIM, DIM),
            ("ffn.layers.0.0.", 4 * DIM, DIM),
            ("ffn.layers.1.", DIM, 4 * DIM),
        ):
            yield f"{layer}.{name}weight", (out, into)
            yield f"{layer}.{name}bias", (out,)
    for head, stages in [("decode_head", 4)] + [
        (f"auxiliary_head.{i}", 2) for i in range(3)
    ]:
        yield f"{head}.norm.weight", (DIM,)
        yield f"{head}.norm.bias", (DIM,)
        for j in range(stages):
            into = 256 if j else DIM
            stage = f"{head}.up_convs.{j}.0"
            yield f"{stage}.conv.weight", (256, into, 3, 3)
            for name in ("weight", "bias", "running_mean", "running_var"):
                yield f"{stage}.bn.{name}", (256,)
        yield f"{head}.conv_seg.weight", (CLASSES, 256, 1, 1)
        yield f"{head}.conv_seg.bias", (CLASSES,)


def write(path):
    import torch

    rng = np.random.default_rng(0)
    state = {
        name: torch.from_numpy(
            np.abs(0.02 * rng.standard_normal(shape, "float32"))
        )
        for name, shape in shapes()
    }
    torch.save({"meta": {}, "state_dict": state}, path)


def measure(path):
    """Load once in this process; prints one JSON line."""
    import keras_setr as ks
    from keras_setr.checkpoints import PRESETS
    from keras_setr.checkpoints import hash_file

    name = "setr_pup_large_ade20k_512"
    sha256 = os.path.join(os.path.dirname(path), "sha256")
    if not os.path.exists(sha256):
        with open(sha256, "w") as file:
            file.write(hash_file(path)[:8])
    with open(sha256) as file:
        digest = file.read()
    PRESETS[name] = dataclasses.replace(
        PRESETS[name], url=f"file://{path}", sha256=digest
    )
    start = time.perf_counter()
    ks.SETRPUP.from_preset(name, verbose=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--measure", help="internal")
    args = parser.parse_args()
    if args.measure:
        return measure(args.measure)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "checkpoint.pth")
        write(path)
        size = os.path.getsize(path)
        print(f"file of {size / 1e9:.2f} GB")
        print(f"{'backend':12}{'load':8}{'seconds':>9}{'memory / file':>15}")
        for backend in args.backends:
            home = os.path.join(folder, backend)
            for load in ("first", "second"):
                values = last_json(
                    [sys.executable, __file__, "--measure", path],
                    backend,
                    KERAS_HOME=home,
                )
                print(
                    f"{backend:12}{load:8}{values['seconds']:9.1f}"
                    f"{values['peak'] / size:15.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
