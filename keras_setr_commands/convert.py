"""Convert weights from anywhere into a Keras preset folder with a model card.

    keras-setr convert SOURCE OUT [options]

SOURCE is whatever `from_preset` takes: a built-in name, a .pth, .safetensors
or .npz file of mmsegmentation, the SETR authors, timm or Google, a folder or
handle of Hugging Face. A whole SETR becomes a preset of its class; --encoder
makes one of SETRBackbone, which any decoder can start from.
"""

import argparse
import os
import re

from keras_setr_commands import presets
from keras_setr_commands import values

AFTER_INTERRUPT = "No preset was written; the same command starts anew"
DEFAULTS = {
    "file": None,
    "encoder": False,
    "num_heads": None,
    "auxiliary_layers": None,
    "feature_layers": None,
    "license": None,
    "data_license": None,
    "upload": None,
}


def add_options(parser):
    add = parser.add_argument
    add("source", type=presets.preset, help="what from_preset takes")
    add("out", type=values.new_folder, help="folder to write; must not exist")
    add(
        "--file",
        type=values.file,
        help="the file of a built-in name without an address",
    )
    add(
        "--encoder",
        action="store_true",
        help="write a SETRBackbone: the source holds nothing else, or its "
        "decoder is not wanted",
    )
    add(
        "--num-heads",
        type=values.integer(1),
        metavar="N",
        help="where the file does not tell",
    )
    for name in ("--auxiliary-layers", "--feature-layers"):
        add(
            name,
            type=values.integer(1),
            nargs="+",
            metavar="LAYER",
            help="where the encoder's depth is none of the published ones",
        )
    add("--license", type=values.text, help="of the weights, an SPDX name")
    add(
        "--data-license",
        type=values.text,
        metavar="TERMS",
        help="terms of the data they were trained on",
    )
    add("--upload", metavar="URI", help="hf://.. or kaggle://.. to send it to")


def check(parser, given):
    out = given["out"]
    if os.path.exists(out):
        parser.error(
            f"argument out: must not exist. Received: {out!r}, which is there "
            "already; name another"
        )
    upload = given.get("upload")
    if upload is not None and not re.match(r"(hf|kaggle)://[^/]+/", upload):
        parser.error(
            "argument --upload: must be hf://USER/NAME or "
            f"kaggle://USER/MODEL/keras/VARIANT. Received: {upload!r}"
        )


def run(args: argparse.Namespace, given: dict) -> None:
    import keras_setr as ks
    from keras_setr.files.whole import folder_written_whole

    model_class = ks.SETRBackbone if args.encoder else ks.SETRSegmenter
    passed = ("file", "num_heads", "auxiliary_layers", "feature_layers")
    model = model_class.from_preset(
        args.source, **{k: given[k] for k in passed if k in given}
    )
    file = args.file or (args.source if os.path.isfile(args.source) else None)
    card = ks.checkpoints.model_card(
        model,
        args.source,
        sha256=file and ks.checkpoints.hash_file(file),
        license=args.license,
        data_license=args.data_license,
        address=args.upload or args.out,
    )
    with folder_written_whole(args.out, replace=False) as folder:
        model.save_to_preset(folder)
        ks.checkpoints.write_model_card(folder, card)
    print(f"{type(model).__name__} in {args.out}")
    if args.upload:
        ks.checkpoints.upload_preset(args.upload, args.out)
        print(f"uploaded to {args.upload}")
