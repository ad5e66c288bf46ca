"""The model's settings in the configuration that mmsegmentation keeps.

Beside the weights its files have the text of the configuration, which tells
what no tensor does: strides, dilation, how corners align. It is Python, of
which nothing is run: what is not written out in it is left out.
"""

import ast
from typing import Any

# The published ones have some 10 kB.
_MOST_CHARACTERS = 1 << 20


def model_settings(text: str) -> dict[str, Any]:
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
