"""What a preset's configuration says, against the weights beside it.

Before anything is built: a model of 1000 layers takes minutes, and is built
for nothing where the weights are those of 12.
"""

import collections
import os
import re

import h5py

from keras_setr.checkpoints import hub
from keras_setr.tables import listed

_AGAIN = "copy or download the whole preset again."
_VALUES = "/vars/"
# Of a decoder's last layer, wherever it lies.
_CLASSIFIER = "/classifier/vars/0"
_LAST_OF_BLOCK = r"layers/bottleneck(_\d+)?/expansion/convolution/vars/0"
# What may differ where all weights are equal.
_FREE = {"name", "trainable", "dtype"}


def check_equal(source, what, stated):
    """Raise where two files of a preset contradict each other.

    Args:
        source: str. The preset.
        what: str. What both describe.
        stated: dict from the names of the two files to a dict each.
    """
    (first, one), (second, other) = stated.items()
    for name in one.keys() & other.keys() - _FREE:
        if one[name] != other[name]:
            raise ValueError(
                f"{first} and {second} of {source} must describe the same "
                f"{what}. Received: {name}={one[name]!r} in the one and "
                f"{name}={other[name]!r} in the other; {_AGAIN}"
            )


def check_sizes(source, config_name, arguments, weights, kind):
    """Raise where arguments state other sizes than the weights have.

    Args:
        source: str. The preset.
        config_name: str. The file that holds the arguments.
        arguments: dict.
        weights: str. Path of a `.weights.h5` file, or of the `.json` of a
            split one. Its headers alone are read.
        kind: str. Class name of what has these arguments.
    """
    try:
        shapes = _shapes(weights)
    # Damaged; who reads the values says so.
    except (OSError, RuntimeError, ValueError):
        return
    for name, found in _sizes(shapes, arguments, kind).items():
        value = arguments.get(name)
        values = value if isinstance(value, list) else [value]
        if value is None or value in found or all(v in found for v in values):
            continue
        raise ValueError(
            _contradiction(source, config_name, name, arguments, weights)
            + f", where the weights have {' or '.join(map(str, found))}; "
            + _AGAIN
        )


def check_foreign_sizes(source, config_name, arguments, weights):
    """The same of an encoder of KerasHub, whose variables have other paths.

    As far as it goes: some variable has each width, and no layer has none.
    """
    try:
        shapes = _shapes(weights)
    except (OSError, RuntimeError, ValueError):
        return
    sides = sorted({n for shape in shapes.values() for n in shape})
    wrong = [
        name
        for name in ("hidden_dim", "mlp_dim", "intermediate_dim")
        if arguments.get(name) is not None and arguments[name] not in sides
    ]
    num_layers = arguments.get("num_layers")
    if isinstance(num_layers, int) and num_layers > len(shapes):
        wrong.append("num_layers")
    if wrong:
        raise ValueError(
            _contradiction(source, config_name, wrong[0], arguments, weights)
            + f", where the weights are {len(shapes)} variables with sides "
            f"{listed(sides[::-1])}; {_AGAIN}"
        )


def _contradiction(source, config_name, name, arguments, weights):
    return (
        f"{config_name} of {source} must state the sizes of "
        f"{os.path.basename(weights)} beside it. Received: "
        f"{name}={arguments[name]!r}"
    )


def check_all_read(source, weights, variables):
    """Raise where a file holds more values than a model has read of it.

    Args:
        source: str. The preset.
        weights: as of `check_sizes`.
        variables: list. The weights of the model that the file is for.
    """
    held = len(_shapes(weights))
    if held > len(variables):
        raise ValueError(
            f"{os.path.basename(weights)} of {source} holds {held} variables, "
            "and the model that is described beside it has "
            f"{len(variables)}; {_AGAIN}"
        )


def _shapes(weights):
    """dict from the paths of Keras' variables to their shapes."""
    files = [weights]
    if weights.endswith(".json"):
        folder, name = os.path.split(weights)
        parts = hub.read_parts(folder, name)
        files = [os.path.join(folder, part) for part in parts]
    shapes = {}

    def note(path, item):
        if _VALUES in path and isinstance(item, h5py.Dataset):
            shapes[path] = item.shape

    for path in files:
        with h5py.File(path) as file:
            file.visititems(note)
    return shapes


def _sizes(shapes, arguments, kind):
    """dict from arguments to those values, of them or within, that fit."""
    if kind == "SETRBackbone":
        return _transformer_sizes(shapes, arguments)
    if kind == "ResNetBackbone":
        return _resnet_sizes(shapes, arguments)
    return _decoder_sizes(shapes)


def _resnet_sizes(shapes, arguments):
    widths = collections.Counter(
        shape[-1]
        for path, shape in sorted(shapes.items())
        if re.fullmatch(_LAST_OF_BLOCK, path)
    )
    if not widths:
        return {}
    sizes = {"filters": [min(widths) // 4]}
    if arguments.get("late_stages") != "cut":
        sizes["num_blocks"] = [[widths[width] for width in sorted(widths)]]
    return sizes


def _decoder_sizes(shapes):
    ends = [s for p, s in shapes.items() if p.endswith(_CLASSIFIER)]
    outputs = sorted({s[-1] for s in shapes.values() if len(s) == 4})
    if not ends:
        return {}
    names = ["filters", "neck_filters", "head_filters"]
    # Where nothing is auxiliary, its filters are any number.
    names += ["auxiliary_filters"] * (len(ends) > 1)
    return {"num_classes": [ends[0][-1]], **dict.fromkeys(names, outputs)}


def _transformer_sizes(shapes, arguments):
    blocks = {
        path.split("/")[1]
        for path in shapes
        if path.startswith("layers/transformer_block")
    }
    sizes = {"num_layers": [len(blocks)]} if blocks else {}
    kernel = shapes.get("layers/patch_embedding/vars/0")
    if kernel is not None:
        sizes["hidden_dim"] = [kernel[-1]]
        if arguments.get("stem") is None:
            sizes["patch_size"] = [kernel[0]]
    contraction = shapes.get("layers/transformer_block/mlp/projection/vars/0")
    if contraction is not None:
        sizes["mlp_dim"] = [contraction[0]]
    grids = [
        list(shape[:2])
        for path, shape in shapes.items()
        if path.startswith("layers/token_embedding/vars/") and len(shape) == 3
    ]
    return sizes | ({"position_grid": grids} if grids else {})
