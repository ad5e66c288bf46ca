"""Convert weights from anywhere into a Keras preset folder with a model card.

    python examples/convert_weights.py SRC OUT [options]

SRC is whatever `from_preset` takes: a built-in name, a .pth, .safetensors or
.npz file of mmsegmentation, the SETR authors, timm or Google, a folder or
handle of Hugging Face. A whole SETR becomes a preset of its class; --encoder
makes one of SETRBackbone, which any decoder can start from.
"""

import argparse
import os


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", help="what from_preset takes")
    add("out", help="preset folder to write; must not exist")
    add("--backend", choices=("tensorflow", "jax", "torch"))
    add("--file", help="the file of a built-in name without an address")
    add(
        "--encoder",
        action="store_true",
        help="write a SETRBackbone: the source holds nothing else, or its "
        "decoder is not wanted",
    )
    add("--num-heads", type=int, help="where the file does not tell")
    for name in ("--auxiliary-layers", "--feature-layers"):
        add(
            name,
            type=int,
            nargs="+",
            help="where the encoder's depth is none of the published ones",
        )
    add("--license", help="of the weights, an SPDX name")
    add("--data-license", help="terms of the data they were trained on")
    add("--upload", metavar="URI", help="hf://.. or kaggle://.. to send it to")
    return parser.parse_args()


def load(ks, args):
    options = {
        "file": args.file,
        "num_heads": args.num_heads,
        "auxiliary_layers": args.auxiliary_layers,
        "feature_layers": args.feature_layers,
    }
    options = {k: v for k, v in options.items() if v is not None}
    model_class = ks.SETRBackbone if args.encoder else ks.SETRSegmenter
    return model_class.from_preset(args.source, **options)


def main():
    args = parse()
    if os.path.exists(args.out):
        raise SystemExit(f"{args.out} exists already; nothing was written.")
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras_setr as ks
    from keras_setr.files.whole import folder_written_whole

    model = load(ks, args)
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


if __name__ == "__main__":
    main()
