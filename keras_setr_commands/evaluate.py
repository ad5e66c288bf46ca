"""Evaluate a preset on labelled images with sliding windows.

    keras-setr evaluate PRESET --data DIR [--subset val]

Prints the table of classes; --out writes it as JSON. A preset of
"keras-setr train" remembers --ignore, --label-map and --reduce-zero-label.
"""

import argparse
import json

from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import values
from keras_setr_commands.loading import load_model

AFTER_INTERRUPT = "Nothing was written; the same command starts anew"
DEFAULTS = {
    **options.VIEW_DEFAULTS,
    **options.LABEL_DEFAULTS,
    "subset": None,
    "base_scale": None,
    "published": None,
    "out": None,
}
_LABEL_OPTIONS = {
    "ignore": "ignore_values",
    "label_map": "label_map",
    "reduce_zero_label": "reduce_zero_label",
    "colors": "colors",
}


def add_options(parser):
    options.add_model(parser)
    add = parser.add_argument
    add(
        "--data",
        required=True,
        type=values.folder,
        metavar="DIR",
        help="folder of images and masks",
    )
    add(
        "--subset",
        type=values.text,
        help="train, val or test; defaults to all pairs",
    )
    add(
        "--out",
        type=values.new_file,
        metavar="FILE",
        help="JSON file for the figures",
    )
    options.add_labels(parser, remembered=True)
    options.add_views(parser)
    add("--base-scale", type=values.integer(1), nargs=2, metavar=("H", "W"))
    add(
        "--published",
        type=values.one_of(names.DATASETS, "dataset"),
        metavar="DATASET",
        help="use the window, stride and base scale of one of "
        + ", ".join(names.DATASETS),
    )


def check(parser, given):
    options.check_out(parser, given)
    options.check_labels(parser, given)
    options.check_views(parser, given)
    options.check_pairs(parser, given)


def label_options(args, given, classes):
    """How masks are read: as was said, else as the model's classes were."""
    found = options.folder_options(args)
    if classes is None or classes.masks is None:
        return found
    kept = classes.masks.folder_options()
    said = [
        argument for name, argument in _LABEL_OPTIONS.items() if name in given
    ]
    if "label_map" in said or "reduce_zero_label" in said:
        # The one that was said takes the place of both.
        said += ["label_map", "reduce_zero_label"]
    found.update({k: v for k, v in kept.items() if k not in said})
    return found


def run(args: argparse.Namespace, given: dict) -> None:
    import keras_setr as ks
    from keras_setr.files.whole import written_whole

    model = load_model(args.preset)
    data = ks.data.SegmentationFolder(
        args.data,
        num_classes=model.num_classes,
        **label_options(args, given, model.classes),
    )
    if args.subset:
        data = data.subset(args.subset)
    options.check_folder(data, data.report(), listed=False)
    found = options.views(args)
    if args.base_scale:
        found["base_scale"] = args.base_scale
    if args.published:
        found = {**ks.data.DATASETS[args.published].test_options, **found}
    result = ks.evaluate(model, data, **found)
    print(result)
    if args.out:
        with written_whole(args.out) as partial:
            partial.write_text(json.dumps(result.as_dict()))
