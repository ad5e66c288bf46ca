"""Every public name, once: where it stands and on which page."""

import dataclasses
import types
from typing import Any

import keras_setr

PACKAGE = "keras_setr"
# The page of what the package has itself, and no part of it.
TOP = "keras_setr"


@dataclasses.dataclass(frozen=True)
class Name:
    """A public name.

    Attributes:
        name: str. Without its module.
        module: str. The shortest that has it.
        page: str. A part of the package, or `TOP`.
        value: what it stands for.
    """

    name: str
    module: str
    page: str
    value: Any

    @property
    def full(self):
        return f"{self.module}.{self.name}"


def _listed(module):
    own = (
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and not name.startswith("_")
    )
    return getattr(module, "__all__", own)


def parts():
    """`{name: module}` of the public modules."""
    values = {name: getattr(keras_setr, name) for name in keras_setr.__all__}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, types.ModuleType)
    }


def public_names():
    """A list of `Name`, part by part."""
    modules = parts()
    top = {
        name: getattr(keras_setr, name)
        for name in keras_setr.__all__
        if name not in modules and not name.startswith("__")
    }
    names = []
    for page, module in modules.items():
        for name in _listed(module):
            value = getattr(module, name)
            is_top = name in top and top.pop(name) is value
            home = PACKAGE if is_top else module.__name__
            names.append(Name(name, home, page, value))
    views = keras_setr.inference.Views
    names += [Name(n, PACKAGE, TOP, value) for n, value in top.items()]
    names.append(Name("Views", "keras_setr.inference", TOP, views))
    return names
