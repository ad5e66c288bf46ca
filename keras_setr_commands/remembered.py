"""What a preset folder remembers of the masks that it was trained on."""

import json
import pathlib

_FILE = "labels.json"


def write_labels(preset, folder, args):
    """Write beside a preset how its masks were read.

    Args:
        preset: path of the folder.
        folder: the `SegmentationFolder` that was trained on.
        args: the options of `keras-setr train`.
    """
    from keras_setr.files.whole import written_whole

    label_map = args.label_map and [list(pair) for pair in args.label_map]
    content = {
        "ignore_values": list(args.ignore),
        "label_map": label_map,
        "reduce_zero_label": args.reduce_zero_label,
        # In another folder some may be missing, and the others would move up.
        "colors": [list(color) for color in folder.colors],
    }
    with written_whole(pathlib.Path(preset) / _FILE) as partial:
        partial.write_text(json.dumps(content, indent=2), encoding="utf-8")


def read_labels(preset):
    """Arguments of `SegmentationFolder`; `{}` where none were written."""
    path = pathlib.Path(preset) / _FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        label_map = content["label_map"]
        return {
            "ignore_values": content["ignore_values"],
            "label_map": label_map and {raw: to for raw, to in label_map},
            "reduce_zero_label": content["reduce_zero_label"],
            "colors": [tuple(color) for color in content["colors"]] or None,
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be as keras-setr train wrote it. Received: {error}; "
            "remove it, and say --ignore or --label-map."
        ) from error
