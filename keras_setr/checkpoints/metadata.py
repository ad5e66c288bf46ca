"""What mmsegmentation keeps beside the weights: class names and settings.

The text of the configuration tells what no tensor does: strides, dilation, how
corners align. It is Python, of which nothing is run: what is not written out
in it is left out.
"""

import ast
from typing import Any

# The published ones have some 10 kB.
_MOST_CHARACTERS = 1 << 20


def metadata_of(meta: Any) -> dict[str, Any]:
    """The metadata of a `Checkpoint`.

    Args:
        meta: what versions 0.x and 1.x store under `"meta"`, or anything.
    """
    if not isinstance(meta, dict):
        return {}
    found = _class_names(meta)
    texts = (meta.get(name) for name in ("config", "cfg"))
    text = next((text for text in texts if isinstance(text, str)), "")
    if settings := _model_settings(text):
        found["settings"] = settings
    return found


def _class_names(meta):
    """Class names and colours."""
    for group, names, palette in (
        (meta, "CLASSES", "PALETTE"),
        (meta.get("dataset_meta"), "classes", "palette"),
    ):
        if isinstance(group, dict) and isinstance(
            group.get(names), (list, tuple)
        ):
            return {
                "names": [str(name).strip() for name in group[names]],
                "palette": group.get(palette) or None,
            }
    return {}


def _model_settings(text):
    """What a configuration assigns to `model`.

    Args:
        text: str, as `Config.pretty_text` gives it: values, lists, tuples and
            dicts, these as `dict(..)` too.

    Returns:
        dict; `{}` where the text is none of this.
    """
    if len(text) > _MOST_CHARACTERS:
        return {}
    try:
        # What is nested too deeply is met with errors of three kinds.
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign([ast.Name("model")], value):
                    found = _value(value)
                    return found if isinstance(found, dict) else {}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return {}


def _value(node):
    """What an expression is, where it is written out; `None` otherwise."""
    match node:
        case ast.Call(ast.Name("dict"), [], keywords):
            return {k.arg: _value(k.value) for k in keywords}
        case ast.Dict(keys, values):
            return {_value(k): _value(v) for k, v in zip(keys, values)}
        case ast.List(items) | ast.Tuple(items):
            return tuple(map(_value, items))
        case ast.Constant(value):
            return value
    return None
