"""Public functions say what they take and give, to a type checker too.

Public is what `keras_setr` and its parts list in `__all__` (or define, where
they have none), and the methods of the classes there; not what Keras calls or
defines, which it does not annotate.
"""

import inspect
import types

import pytest

import keras_setr

pytestmark = pytest.mark.no_backend

PARTS = [
    keras_setr,
    *(
        part
        for part in (getattr(keras_setr, n) for n in keras_setr.__all__)
        if isinstance(part, types.ModuleType)
    ),
]


def is_ours(value):
    return getattr(value, "__module__", "").startswith("keras_setr")


def names_of(part):
    own = [
        name
        for name, value in vars(part).items()
        if getattr(value, "__module__", None) == part.__name__
        and not name.startswith("_")
    ]
    return getattr(part, "__all__", own)


def _functions():
    """`{name: function}` of all that is public."""
    found = {}
    for part in PARTS:
        for name in names_of(part):
            value = getattr(part, name)
            if inspect.isfunction(value) and is_ours(value):
                found[value.__qualname__] = value
            elif inspect.isclass(value) and is_ours(value):
                found.update(_methods(value))
    return found


def _methods(cls):
    foreign = [base for base in cls.__mro__ if not is_ours(base)]
    for base in filter(is_ours, cls.__mro__):
        for name, value in vars(base).items():
            if name.startswith("_") and name != "__init__":
                continue
            if name != "__init__" and any(name in vars(b) for b in foreign):
                continue
            if isinstance(value, property):
                value = value.fget
            value = inspect.unwrap(getattr(value, "__func__", value))
            # Those of dataclasses are made from the annotations of fields.
            if inspect.isfunction(value) and is_ours(value):
                yield value.__qualname__, value


FUNCTIONS = _functions()


def test_there_are_functions_to_check():
    assert len(FUNCTIONS) > 150


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_public_function_is_annotated(name):
    signature = inspect.signature(FUNCTIONS[name])
    bare = [
        p.name
        for p in signature.parameters.values()
        if p.annotation is p.empty and p.name not in ("self", "cls")
    ]
    assert bare == []
    assert signature.return_annotation is not signature.empty
