"""Forward passes of a model and of its `for_inference()`, in turns.

    python tests/benchmarks/folded.py [--heads naive pup mla fcn] [options]

T-Small, or a ResNet-50 of output stride 8, at 512 x 512, 150 classes, batch 1,
random weights, float32. Seconds are the process's on all its cores, so that
other programs count little; the ratio is that of neighbours in time, and the
median over the runs is printed. --compile adds, on torch, what `torch.compile`
makes of the exported graph; of the model itself, which Keras' layers break into
hundreds of pieces, it makes nothing faster.
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np
from processes import BACKENDS
from processes import last_json


def build(args):
    import keras_setr as ks

    shape = (args.size, args.size, 3)
    if args.head == "fcn":
        backbone = ks.ResNetBackbone(
            **ks.RESNET_50, output_stride=8, image_shape=shape
        )
    else:
        backbone = ks.SETRBackbone(**ks.T_SMALL, image_shape=shape)
    return ks.models.MODELS[args.head](backbone, num_classes=args.classes)


def compiled(model, images):
    """The graph of a folded SETR as `torch.compile` takes it in one piece."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model(images, training=False)

    with torch.no_grad():
        program = torch.export.export(
            Module(), (torch.from_numpy(images),), strict=False
        )
    function = torch.compile(program.module())

    def forward(images):
        with torch.no_grad():
            return function(torch.from_numpy(images))

    return forward


def measure(args):
    """Time this process's backend; prints one JSON line."""
    from keras_setr.models.verbs.forward import compile_forward
    from keras_setr.models.verbs.forward import to_numpy

    model = build(args)
    folded = model.for_inference()
    forwards = {
        "seconds": compile_forward(model),
        "folded": compile_forward(folded),
    }
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1, args.size, args.size, 3), "uint8")
    if args.compile:
        forwards["compiled"] = compiled(folded, images)
    rows = []
    logits = [to_numpy(f(images)).copy() for f in forwards.values()]
    for _ in range(args.runs):
        row = {}
        for name, forward in forwards.items():
            start = time.process_time()
            to_numpy(forward(images))
            row[name] = time.process_time() - start
        rows.append(row)
    print(
        json.dumps(
            {
                "largest": max(float(abs(x - logits[0]).max()) for x in logits),
                **{
                    name: statistics.median(row[name] for row in rows)
                    for name in forwards
                },
                **{
                    f"ratio of {name}": statistics.median(
                        row[name] / row["seconds"] for row in rows
                    )
                    for name in list(forwards)[1:]
                },
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--heads", nargs="+", default=["naive", "pup", "mla"])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--head", help="internal")
    args = parser.parse_args()
    if args.head:
        return measure(args)
    for backend in args.backends:
        for head in args.heads:
            command = [sys.executable, __file__, "--head", head]
            for name in ("size", "classes", "runs"):
                command += [f"--{name}", str(getattr(args, name))]
            if args.compile and backend == "torch":
                command.append("--compile")
            row = last_json(command, backend)
            cells = (f"{name} {value:.3g}" for name, value in row.items())
            print(backend, head, *cells, sep="  ", flush=True)


if __name__ == "__main__":
    main()
