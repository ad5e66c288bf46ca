"""Ten training steps against mmsegmentation's own code, on equal weights.

    python tests/benchmarks/training_parity.py --peer PYTHON REFERENCE

PYTHON has mmsegmentation 1.2.2; REFERENCE is a script that makes a random
checkpoint of it (`make`) and builds its models (`build`). For each decoder
the peer trains on from its checkpoint with its own loss, optimiser and
schedule, head rates included: on batches without ignored pixels, and on
batches with them, averaged over all pixels (its default) and over the valid
ones. Each backend loads the checkpoint in a process of its own, trains on the
same batches and prints the largest relative difference of the total loss and
of each head's. `rounding` is what float32 alone does to the peer, whose
losses are those in float64. The verdict is about the total, the loss that is
trained on.
"""

import importlib.util
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
from processes import beside_peer
from processes import last_json
from processes import printed

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.goldens import mmsegmentation_training as golden  # noqa: E402

MODELS = {"naive": "SETRNaive", "pup": "SETRPUP", "mla": "SETRMLA"}
CLASSES, SIZE, DIM, DEPTH, HEADS = 7, 64, 48, 6, 4
TAPS = (0, 2, 3, 5)
TOLERANCE = 1e-4


def batches(ignored):
    return golden.batches(ignored, SIZE, CLASSES)


def checkpoint(work, head):
    return os.path.join(work, head, "checkpoint.pth")


def run_peer(args):
    """In mmsegmentation's Python: losses in float64 and in float32."""
    spec = importlib.util.spec_from_file_location("reference", args.reference)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    import torch

    for head in MODELS:
        state = torch.load(checkpoint(args.work, head))["state_dict"]
        arrays = {}
        for case, (ignored, average_over) in golden.CASES.items():
            for dtype in (torch.float64, torch.float32):
                model = reference.build(
                    head, CLASSES, DIM, DEPTH, HEADS, SIZE, TAPS
                )
                model.load_state_dict(state)
                arrays[f"{case}_{dtype}".replace("torch.", "")] = golden.train(
                    model.to(dtype), batches(ignored), average_over
                )
        np.savez_compressed(
            os.path.join(args.work, head, "losses.npz"), **arrays
        )


def losses_by_head(model, images, labels):
    """The weighted losses before a step, the decoder's first."""
    from keras import ops

    from keras_setr.layers.resampling import resize_bilinear

    # Batch norm updates its moving statistics, here once too often.
    before = [ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    outputs = dict(model(images, training=True))
    for variable, value in zip(model.non_trainable_variables, before):
        variable.assign(value)
    logits = outputs.pop("logits")
    outputs.pop("decode_head")  # the same before they are enlarged
    losses = [model.loss(labels, logits)]
    for name in sorted(outputs):
        enlarged = resize_bilinear(outputs[name], logits.shape[1:3])
        losses.append(model.auxiliary_weight * model.loss(labels, enlarged))
    return [float(ops.convert_to_numpy(loss)) for loss in losses]


def measure(args):
    """On one backend: JSON of the worst difference of each head and case."""
    import keras_setr as ks

    rows = []
    for head, name in MODELS.items():
        taps = [tap + 1 for tap in TAPS]
        layers = (
            {"feature_layers": taps}
            if head == "mla"
            else {"auxiliary_layers": taps[:3]}
        )
        with np.load(os.path.join(args.work, head, "losses.npz")) as arrays:
            expected = dict(arrays)
        for case, (ignored, average_over) in golden.CASES.items():
            model = getattr(ks, name).from_preset(
                checkpoint(args.work, head),
                num_heads=HEADS,
                image_shape=(SIZE, SIZE, 3),
                preprocessor=None,
                verbose=False,
                **layers,
            )
            model.compile(
                learning_rate=golden.LEARNING_RATE,
                total_steps=golden.DECAY_STEPS,
                loss=ks.losses.PixelCrossEntropy(golden.IGNORED, average_over),
            )
            totals, parts = [], []
            for images, labels in batches(ignored):
                parts.append(losses_by_head(model, images, labels))
                model.reset_metrics()
                logs = model.train_on_batch(images, labels, return_dict=True)
                totals.append(logs["loss"])
            theirs = expected[f"{case}_float64"]
            if head == "mla":  # they list the deepest level first
                theirs = theirs[:, [0, *range(theirs.shape[1] - 1, 0, -1)]]
            rounding = expected[f"{case}_float32"].sum(axis=1)
            rows.append(
                {
                    "head": head,
                    "case": case,
                    "first": totals[0],
                    "last": totals[-1],
                    "total": worst(totals, theirs.sum(axis=1)),
                    "parts": worst(parts, theirs),
                    "rounding": worst(rounding, theirs.sum(axis=1)),
                }
            )
    print(json.dumps(rows))


def worst(values, expected):
    return float(np.abs(np.asarray(values) / expected - 1).max())


def main():
    args = beside_peer(__doc__, run_peer, measure)
    if args is None:
        return
    python, reference = args.peer
    equal = True
    with tempfile.TemporaryDirectory() as work:
        sizes = {
            "--classes": CLASSES,
            "--size": SIZE,
            "--dim": DIM,
            "--depth": DEPTH,
            "--heads": HEADS,
            "--taps": ",".join(str(tap) for tap in TAPS),
        }
        options = [str(x) for pair in sizes.items() for x in pair]
        for head in MODELS:
            make = ["make", "--head", head, "--out", f"{work}/{head}"]
            printed([python, reference, *make, *options])
        call = [__file__, "--work", work]
        printed([python, *call, "--reference", reference])
        print(
            f"{'backend':12}{'decoder':9}{'batches':15}{'first':>7}{'last':>7}"
            f"{'total':>9}{'by head':>9}{'rounding':>10}  within {TOLERANCE:g}"
        )
        for backend in args.backends:
            rows = last_json([sys.executable, *call, "--measure"], backend)
            for row in rows:
                within = row["total"] < TOLERANCE
                equal = equal and within
                print(
                    f"{backend:12}{row['head']:9}{row['case']:15}"
                    f"{row['first']:7.3f}{row['last']:7.3f}"
                    f"{row['total']:9.1e}{row['parts']:9.1e}"
                    f"{row['rounding']:10.1e}  {'yes' if within else 'NO'}",
                    flush=True,
                )
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
