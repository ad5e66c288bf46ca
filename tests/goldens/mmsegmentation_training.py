"""The losses of mmsegmentation's SETR over ten steps of its recipe.

    PYTHON tests/goldens/mmsegmentation_training.py REFERENCE

writes `mmsegmentation_training.npz` anew, arrays `(10, heads)` of weighted
losses, the decoder's first. PYTHON is that of an environment with
mmsegmentation 1.2.2; REFERENCE is a script whose function `build` makes its
models. Weights are made from names, see `mmsegmentation_models.py`.

Training multiplies rounding errors: with ten times the learning rate, or the
classifiers' weights, mmsegmentation in float32 leaves its own losses in
float64 by 1e-3 to 1e-1 within ten steps. Here it stays within 2e-6, and the
losses are those in float64.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.goldens import mmsegmentation_models as models  # noqa: E402

FILE = pathlib.Path(__file__).with_suffix(".npz")
CLASSES, BATCH, SIZE = 3, 3, 48
STEPS, DECAY_STEPS = 10, 12
LEARNING_RATE = 0.001
IGNORED = 255
# Whether the batches have ignored pixels, and what the losses average over.
CASES = {
    "labelled": (False, "valid"),
    "ignored_all": (True, "all"),
    "ignored_valid": (True, "valid"),
}


def random_state(shapes):
    """Weights from names, the classifiers' as small as in a new model."""
    state = models.random_state(shapes)
    for name in state:
        if name.endswith("conv_seg.weight"):
            state[name] = 0.1 * state[name]
    return state


def batches(ignored, size=SIZE, classes=CLASSES):
    """Ten batches of normalised images and labels of colour blocks."""
    rng = np.random.default_rng(0)
    colors = rng.normal(size=(classes, 3))
    for step in range(STEPS):
        labels = rng.integers(0, classes, (BATCH, 3, 3))
        labels = labels.repeat(-(-size // 3), 1).repeat(-(-size // 3), 2)
        labels = labels[:, :size, :size]
        images = colors[labels] + 0.3 * rng.normal(size=(*labels.shape, 3))
        if ignored:
            # From a tenth of the rows of the first image to nearly all.
            labels[0, : (step + 1) * size // (STEPS + 1)] = IGNORED
            labels[1, :, : size // 5] = IGNORED
        yield images.astype("float32"), labels.astype("int32")


def train(model, data, average_over):
    """Mmsegmentation's own loss, optimiser and schedule: `(10, heads)`."""
    import torch
    from mmengine.optim import PolyLR
    from mmengine.optim import build_optim_wrapper
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    model.train()
    dtype = next(model.parameters()).dtype
    for head in (model.decode_head, *model.auxiliary_head):
        head.loss_decode.avg_non_ignore = average_over == "valid"
    optimizer = build_optim_wrapper(
        model,
        {
            "type": "OptimWrapper",
            "optimizer": {
                "type": "SGD",
                "lr": LEARNING_RATE,
                "momentum": 0.9,
                "weight_decay": 0.0,
            },
            "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 10.0}}},
        },
    )
    # PolyLR is at its minimum in step end - 1, the paper's rule in step T.
    schedule = PolyLR(
        optimizer, 1e-4, power=0.9, end=DECAY_STEPS + 1, by_epoch=False
    )
    losses = []
    for images, labels in data:
        samples = []
        for label in labels:
            label = torch.from_numpy(label[None]).long()
            samples.append(SegDataSample(gt_sem_seg=PixelData(data=label)))
        x = torch.from_numpy(images).to(dtype).permute(0, 3, 1, 2)
        found = model.loss(x, samples)
        total, _ = model.parse_losses(found)
        optimizer.update_params(total)
        schedule.step()
        losses.append([float(v) for k, v in found.items() if "loss" in k])
    return np.array(losses)


def main(reference):
    import torch

    spec = importlib.util.spec_from_file_location("reference", reference)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arrays = {}
    for head, taps in models.TAPS.items():
        with np.load(models.FOLDER / f"mmsegmentation_{head}.npz") as golden:
            state = random_state(json.loads(str(golden["shapes"])))
        for case, (ignored, average_over) in CASES.items():
            model = module.build(
                head,
                CLASSES,
                models.DIM,
                models.DEPTH,
                models.HEADS,
                SIZE,
                taps,
                patch_bias=head != "pup",
            )
            model.load_state_dict(
                {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
            )
            arrays[f"{head}_{case}"] = train(
                model.double(), batches(ignored), average_over
            )
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
