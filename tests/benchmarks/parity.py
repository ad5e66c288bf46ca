"""The whole comparison with the originals, one line per case and backend.

    python tests/benchmarks/parity.py --peer PYTHON REFERENCE
        [--dinov2 FOLDER] [--backends tensorflow jax torch]

PYTHON is that of an environment with mmsegmentation 1.2.2, REFERENCE a script
that writes random checkpoints with their outputs. FOLDER holds a Hugging Face
DINOv2 encoder, compared with KerasHub's. Where transformers and torch are
installed, random ViT and DINOv2 encoders of that library are compared too.
Printed are the largest differences of features, logits and auxiliary outputs
as fractions of the largest value; above 1e-5 the exit code is 1.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
from processes import BACKENDS
from processes import printed

LIMIT = 1e-5

# Head, layers tapped (0-based), and further options of REFERENCE.
CASES = {
    "naive": ("naive", (1, 3, 4, 5), {}),
    "naive, other grid": ("naive", (0, 2, 3, 4), {"base-size": 48, "seed": 1}),
    "pup": ("pup", (1, 3, 4, 5), {"seed": 2}),
    "pup, no patch bias": ("pup", (1, 3, 4, 5), {"no-patch-bias": None}),
    "pup, other grid": (
        "pup",
        (1, 2, 5, 7),
        {"base-size": 80, "depth": 8, "dim": 64, "heads": 2, "classes": 11},
    ),
    "mla": ("mla", (1, 3, 4, 5), {"seed": 3}),
    "mla, other grid": (
        "mla",
        (0, 2, 4, 5),
        {"base-size": 32, "size": 96, "no-patch-bias": None},
    ),
}
DEFAULTS = {"heads": 4, "size": 64}


def difference(value, expected):
    return float(np.abs(value - expected).max() / np.abs(expected).max())


def compare_mmsegmentation(folder):
    import keras

    import keras_setr as ks

    for name, (head, taps, options) in CASES.items():
        case = pathlib.Path(folder) / name
        with np.load(case / "arrays.npz") as arrays:
            arrays = dict(arrays)
        layers = tuple(tap + 1 for tap in taps)
        heads = options.get("heads", DEFAULTS["heads"])
        size = options.get("size", DEFAULTS["size"])
        model = ks.SETRSegmenter.from_preset(
            str(case / "checkpoint.pth"),
            num_heads=heads,
            image_shape=(size, size, 3),
            preprocessor=None,
            verbose=False,
            **(
                {"feature_layers": layers}
                if head == "mla"
                # The published models have no auxiliary head on the last.
                else {
                    "auxiliary_layers": layers[:3],
                    "feature_layer": layers[3],
                }
            ),
        )
        features = {
            f"features_{i}": model.backbone.features[layer]
            for i, layer in enumerate(layers)
        }
        outputs = keras.Model(model.input, {**model.output, **features})(
            arrays["images"], training=False
        )
        for key, expected in arrays.items():
            if key == "images":
                continue
            ours = key.replace("aux_", "auxiliary_")
            if head == "mla" and key.startswith("aux"):
                ours = f"auxiliary_{3 - int(key[-1])}"
            found = outputs[ours]
            if key.startswith("aux"):
                # Ours leave a last enlargement to the pixels to the resize.
                found = model.resize_logits(found, expected.shape[1:3])
            found = keras.ops.convert_to_numpy(found)
            yield name, key, difference(found, expected)
        with np.load(case / "slide.npz") as slide:
            logits = model.predict(
                [slide["image"]],
                window_size=int(slide["window"]),
                stride=int(slide["stride"]),
                verbose=0,
            )
            yield name, "slide", difference(logits[0], slide["logits"])


def compare_hugging_face(folder):
    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"Hugging Face is left out: {error}")
        return
    import keras

    import keras_setr as ks

    common = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 64,
    }
    for name, patch, specials in (
        ("ViT", 16, 1),
        ("Dinov2", 8, 1),
        ("Dinov2WithRegisters", 8, 5),
    ):
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(
            **common,
            **(
                {"mlp_ratio": 4}
                if name.startswith("Dino")
                else {"intermediate_size": 112}
            ),
            patch_size=patch,
        )
        model = getattr(transformers, f"{name}Model")(config).eval()
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.2)
        target = os.path.join(folder, name)
        model.save_pretrained(target)
        images = torch.randn(2, 3, 64, 64)
        with torch.inference_mode():
            tokens = model(images).last_hidden_state[:, specials:].numpy()
        ours = ks.SETRBackbone.from_preset(
            target, use_final_norm=True, verbose=False
        )
        features = keras.ops.convert_to_numpy(
            ours(images.permute(0, 2, 3, 1).numpy())
        )
        yield (
            name,
            "features",
            difference(features.reshape(tokens.shape), tokens),
        )


def compare_dinov2(folder):
    import keras
    import keras_hub

    import keras_setr as ks

    rng = np.random.default_rng(0)
    # Away from its own grid KerasHub resamples with the backend's bicubic.
    # DINOv2 means torch's (a = -0.75), TensorFlow and JAX have a = -0.5.
    sizes = (518, 224) if keras.config.backend() == "torch" else (518,)
    for size in sizes:
        theirs = keras_hub.models.DINOV2Backbone.from_preset(
            folder, image_shape=(size, size, 3)
        )
        ours = ks.SETRBackbone.from_preset(
            folder,
            image_shape=(size, size, 3),
            use_final_norm=theirs.apply_layernorm,
            verbose=False,
        )
        images = rng.normal(size=(1, size, size, 3)).astype("float32")
        expected = keras.ops.convert_to_numpy(theirs(images))[:, 1:]
        value = keras.ops.convert_to_numpy(ours(images))
        yield (
            "DINOv2 small",
            f"features at {size}",
            difference(value.reshape(expected.shape), expected),
        )


def measure(args):
    """Compare in this process; prints a line per output, then the worst."""
    worst = 0.0
    results = [compare_mmsegmentation(args.measure)]
    results.append(compare_hugging_face(args.measure))
    if args.dinov2:
        results.append(compare_dinov2(args.dinov2))
    for result in results:
        for case, key, value in result:
            print(f"{case:22}{key:20}{value:10.1e}", flush=True)
            worst = max(worst, value)
    print(json.dumps(worst))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "REFERENCE"))
    parser.add_argument("--dinov2", metavar="FOLDER")
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--measure", help="internal")
    args = parser.parse_args()
    if args.measure:
        return measure(args)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, (head, taps, options) in CASES.items():
            command = [*args.peer, "make", "--head", head]
            command += ["--out", os.path.join(folder, name)]
            command += ["--taps", ",".join(map(str, taps))]
            for key, value in options.items():
                command += [f"--{key}"] + (
                    [] if value is None else [str(value)]
                )
            printed(command)
        for backend in args.backends:
            command = [sys.executable, __file__, "--measure", folder]
            if args.dinov2:
                command += ["--dinov2", args.dinov2]
            *lines, worst = printed(command, backend)
            print(f"== {backend}", *lines, sep="\n", flush=True)
            failed |= float(worst) > LIMIT
    sys.exit(failed)


if __name__ == "__main__":
    main()
