"""What mmsegmentation's SETR computes with weights made from their names.

    PYTHON tests/goldens/mmsegmentation_models.py REFERENCE

writes `mmsegmentation_{naive,pup,mla}.npz` anew. PYTHON is that of an
environment with mmsegmentation 1.2.2; REFERENCE is a script whose function
`build` makes its models. The files hold the names and shapes of all tensors,
but not their values, which `random_state` gives: the decoders' 256 channels
are fixed in mmsegmentation's configurations, and would take megabytes.
"""

import importlib.util
import json
import pathlib
import sys
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent
# Positions of a 3 x 3 grid, used on images of 2 x 2 patches.
CLASSES, DIM, DEPTH, HEADS, SIZE, BASE_SIZE = 3, 16, 4, 2, 32, 48
TAPS = {"naive": (0, 1, 2, 3), "pup": (0, 1, 2, 3), "mla": (0, 1, 2, 3)}


def random_state(shapes):
    """`{name: shape}` to float32 arrays, the same ones everywhere."""
    state = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        noise = rng.normal(size=shape)
        if name.endswith("num_batches_tracked"):
            state[name] = np.array(1, "int64")
            continue
        if len(shape) >= 2:  # keeps the scale of what passes through
            noise = noise * 1.5 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("running_var"):
            noise = np.exp(0.3 * noise)
        elif name.endswith("weight"):
            noise = 1 + 0.3 * noise
        else:
            noise = 0.3 * noise
        state[name] = noise.astype("float32")
    return state


def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, SIZE, SIZE, 3)).astype("float32")


def main(reference):
    import torch

    spec = importlib.util.spec_from_file_location("reference", reference)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for head, taps in TAPS.items():
        # The patch bias is in 0.x files, not in those of 1.x.
        model = module.build(
            head,
            CLASSES,
            DIM,
            DEPTH,
            HEADS,
            SIZE,
            taps,
            base_size=BASE_SIZE,
            patch_bias=head != "pup",
        ).eval()
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
        state = random_state(shapes)
        model.load_state_dict(
            {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
        )
        x = torch.from_numpy(images()).permute(0, 3, 1, 2)

        def last(tensor):
            return tensor.permute(0, 2, 3, 1).numpy()

        with torch.inference_mode():
            taps_out = model.backbone(x)
            features = model.neck(taps_out) if model.with_neck else taps_out
            logits = torch.nn.functional.interpolate(
                model.decode_head(features), size=(SIZE, SIZE), mode="bilinear"
            )
            arrays = {"logits": last(logits)}
            for i, auxiliary in enumerate(model.auxiliary_head):
                # A corner is enough of maps that are mostly upsampling.
                arrays[f"auxiliary_{i}"] = last(auxiliary(features))[:, :8, :8]
            for i, tensor in enumerate(taps_out):
                arrays[f"features_{i}"] = last(tensor)
        arrays["shapes"] = json.dumps(shapes)
        np.savez_compressed(FOLDER / f"mmsegmentation_{head}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
