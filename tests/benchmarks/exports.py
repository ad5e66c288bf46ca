"""Every backend to every format by every decoder: does it give the labels?

    python tests/benchmarks/exports.py
    python tests/benchmarks/exports.py --size 512 512 --layers 12 --dim 768 \\
        --heads 12 --patch 16 --filters 256 --decoders pup --backends torch

One row for each cell: the share of equal labels, seconds of an image in the
format's own runtime beside those in Keras, and the size of the file; or why
there is none. By default models are tiny, with random weights. Each backend
runs in a process of its own.

--int8 adds the files by integers, calibrated on coloured clouds or on the
images below `--calibration DIR`: their share of labels equal to the float
file's, and seconds beside it. Random weights say nothing about the labels of
trained ones.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

from processes import BACKENDS
from processes import last_json

DECODERS = ("naive", "pup", "mla", "fcn", "semantic_fpn")


def build(name, args):
    import keras_setr as ks

    shape = (*args.size, 3)
    if name in ("fcn", "semantic_fpn"):
        stride = 8 if name == "fcn" else 16
        blocks = (1, 2, 1, 1)[: 4 if name == "fcn" else 3]
        backbone = ks.ResNetBackbone(
            num_blocks=blocks,
            filters=args.filters // 2,
            output_stride=stride,
            image_shape=shape,
        )
    else:
        backbone = ks.SETRBackbone(
            num_layers=args.layers,
            hidden_dim=args.dim,
            num_heads=args.heads,
            patch_size=args.patch,
            image_shape=shape,
        )
    options = {
        "naive": {"filters": args.filters, "auxiliary_layers": ()},
        "pup": {"filters": args.filters, "auxiliary_layers": ()},
        "mla": {
            "neck_filters": args.filters,
            "head_filters": (args.filters // 2,) * 2,
            "feature_layers": tuple(
                max(1, args.layers * part // 4) for part in (1, 2, 3, 4)
            ),
        },
        "fcn": {"filters": args.filters, "auxiliary_filters": args.filters},
        "semantic_fpn": {
            "neck_filters": args.filters,
            "filters": args.filters,
        },
    }[name]
    return ks.models.MODELS[name](backbone, args.classes, **options)


def cells(args):
    """Rows `[decoder, format, verdict, equal, seconds, native, megabytes]`."""
    import keras

    from keras_setr.export.formats import FORMATS

    rows = []
    for decoder in args.decoders:
        keras.utils.set_random_seed(0)
        model = build(decoder, args)
        for format in args.formats:
            if args.int8:
                rows += int8_cell(args, model, decoder, format)
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / f"model{FORMATS[format].suffix}"
                try:
                    report = model.export(
                        path,
                        format,
                        verbose=False,
                        outputs=("labels", "probabilities"),
                    )
                except (ValueError, ImportError) as error:
                    verdict = str(error).split(". ")[0].replace(folder, "")
                    rows.append([decoder, format, verdict[:70], *[""] * 4])
                    continue
            rows.append(
                [
                    decoder,
                    format,
                    "equal",
                    f"{100 * report.equal:.4f}",
                    f"{report.seconds:.4f}",
                    f"{report.native_seconds:.4f}",
                    f"{report.size / 1e6:.2f}",
                ]
            )
    return rows


def int8_cell(args, model, decoder, format):
    """The row of a format's int8 file, where it has one."""
    import numpy as np

    from keras_setr.export.formats import FORMATS
    from keras_setr.inference import resize_to

    if not FORMATS[format].quantizer:
        return []
    calibration = args.calibration
    if calibration is None:
        rng = np.random.default_rng(0)
        coarse = rng.uniform(0, 255, (8, 6, 8, 3)).astype(np.float32)
        calibration = [
            resize_to(one, args.size).round().astype(np.uint8) for one in coarse
        ]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"model{FORMATS[format].suffix}"
        try:
            report = model.export(
                path,
                format,
                verbose=False,
                quantize="int8",
                calibration=calibration,
            )
        except (ValueError, ImportError) as error:
            verdict = str(error).split(". ")[0].replace(folder, "")
            return [[decoder, f"{format} int8", verdict[:70], *[""] * 4]]
    kept = " ".join(report.float_parts) or "nothing"
    return [
        [
            decoder,
            f"{format} int8",
            f"{kept} in float",
            f"{100 * report.equal:.4f}",
            f"{report.seconds:.4f}",
            f"{report.float_seconds:.4f} float",
            f"{report.size / 1e6:.2f}",
        ]
    ]


def main():
    from keras_setr.export.formats import FORMATS
    from keras_setr.tables import text_table

    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--decoders", nargs="+", choices=DECODERS, default=DECODERS)
    add("--formats", nargs="+", choices=FORMATS, default=tuple(FORMATS))
    add("--size", nargs=2, type=int, default=(32, 48))
    add("--layers", type=int, default=2)
    add("--dim", type=int, default=24)
    add("--heads", type=int, default=2)
    add("--patch", type=int, default=8)
    add("--filters", type=int, default=16)
    add("--classes", type=int, default=19)
    add("--int8", action="store_true")
    add("--calibration", metavar="DIR")
    args = parser.parse_args()
    if len(args.backends) == 1 and "EXPORTS_CHILD" in os.environ:
        print(json.dumps(cells(args)))
        return
    titles = [
        *("backend", "decoder", "format", "verdict", "equal %"),
        *("s/image", "beside", "MB"),
    ]
    rows = [titles]
    given = sys.argv[1:]
    for backend in args.backends:
        command = [sys.executable, __file__, *given, "--backends", backend]
        found = last_json(command, backend, EXPORTS_CHILD="1")
        rows += [[backend, *row] for row in found]
    print("\n".join(text_table(rows, left=(0, 1, 2, 3))))


if __name__ == "__main__":
    main()
