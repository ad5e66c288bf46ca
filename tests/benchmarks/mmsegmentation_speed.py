"""Seconds and memory of mmsegmentation, for the Python that has it.

    PYTHON tests/benchmarks/mmsegmentation_speed.py REFERENCE KIND --head pup ..

KIND is `forward`, of `encode_decode`, `slide`, of `slide_inference` on one
image of 1024 x 2048 down to labels, or `metric`, of `IoUMetric` on label maps
of that size. REFERENCE is the script that builds its models. `speed.py` runs
this; one line of JSON is printed.
"""

import argparse
import importlib.util
import json

from resident import Peak
from resident import resident

SIZE = (1024, 2048)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference")
    parser.add_argument("kind", choices=("forward", "slide", "metric"))
    parser.add_argument("--head", default="pup")
    for name in ("size", "classes", "dim", "depth", "heads", "batch", "runs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("reference", args.reference)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    import torch

    torch.manual_seed(0)
    run = _metric(args) if args.kind == "metric" else _model(args, reference)
    before = resident()
    with Peak() as peak, torch.inference_mode():
        seconds = reference.clock(run, args.runs)
    square = torch.randn(4096, 4096)
    gemm = reference.clock(lambda: square @ square, 4)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "memory": peak.value - before,
                "gemm_gflops": 2 * 4096**3 / gemm / 1e9,
            }
        )
    )


def _model(args, reference):
    import torch

    model = reference.build(
        args.head,
        args.classes,
        args.dim,
        args.depth,
        args.heads,
        args.size,
        # Its features, at the depths of its 24 layers.
        [
            -(-layer * args.depth // 24) - 1
            for layer in (
                (6, 12, 18, 24) if args.head == "mla" else (10, 15, 20, 24)
            )
        ],
    ).eval()
    if args.kind == "slide":
        image = torch.randn(1, 3, *SIZE)
        meta = reference.meta(SIZE)
        return lambda: model.slide_inference(image, meta).argmax(1)
    images = torch.randn(args.batch, 3, args.size, args.size)
    meta = reference.meta(images.shape[-2:])
    return lambda: model.encode_decode(images, meta)


def _metric(args):
    import torch
    from mmseg.evaluation import IoUMetric

    truth, predicted = torch.randint(0, args.classes, (2, *SIZE))
    return lambda: IoUMetric.intersect_and_union(
        predicted, truth, args.classes, 255
    )


if __name__ == "__main__":
    main()
