"""Rules for arguments, and one error for all that break them.

A rule says what a value must be and gives it back as its users expect it:
NumPy's integers as `int`, sequences as tuples. `checked` applies rules to the
arguments of a function, a constructor or a dataclass at the call, and refuses
names that are no argument:

```python
@checked(batch_size=integer(1), crop_size=optional(pair(1)))
def batches(batch_size, crop_size=None): ...
```

Rules that join two arguments stand in the functions themselves.
"""

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import operator
import os
import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import TypeVar

from keras_setr.tables import counted

# What `checked` decorates keeps its type.
T = TypeVar("T")

# Longer values are cut in messages.
_SHOWN = 120


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes:
        text: str. Completes "NAME must be ..".
        take: callable from a value to the one that is used. It raises
            `TypeError` or `ValueError` where the value does not fit.
    """

    text: str
    take: Callable

    def check(self, name, value):
        """The value as it is used, or a `ValueError` that says all of it."""
        try:
            return self.take(value)
        except (TypeError, ValueError) as error:
            hint = f" {error}" if isinstance(error, Hint) else ""
            raise ValueError(
                f"{name} must be {self.text}. Received: {shown(value)}.{hint}"
            ) from None


class Hint(ValueError):
    """A reason that belongs into the message."""


def shown(value):
    """A value for a message: `repr`, cut, and never the numbers of an array."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(shape):
        kind = type(value).__name__
        dtype = getattr(value, "dtype", None)
        rest = "" if dtype is None else f" and dtype {dtype}"
        return f"{kind} of shape {tuple(shape)}{rest}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}.."


def _require(condition):
    if not condition:
        raise ValueError


def _within(minimum, maximum):
    if minimum is not None and maximum is not None:
        return f" in {minimum}..{maximum}"
    if minimum is not None:
        return f" of at least {minimum}"
    return "" if maximum is None else f" of at most {maximum}"


def integer(minimum=None, maximum=None):
    """An integer, NumPy's too, but no bool."""

    def take(value):
        _require(not _is_bool(value))
        value = operator.index(value)
        _require(minimum is None or value >= minimum)
        _require(maximum is None or value <= maximum)
        return value

    return Rule(f"an integer{_within(minimum, maximum)}", take)


def number(minimum=None, maximum=None, *, above=None, below=None):
    """A finite real number; `above` and `below` are themselves left out."""

    def take(value):
        _require(isinstance(value, numbers.Real) and not _is_bool(value))
        value = value if isinstance(value, int) else float(value)
        _require(math.isfinite(value))
        _require(minimum is None or value >= minimum)
        _require(maximum is None or value <= maximum)
        _require(above is None or value > above)
        _require(below is None or value < below)
        return value

    text = "a number" + _within(minimum, maximum)
    if above is not None:
        text += f" above {above}"
    if below is not None:
        text += f"{' and' if above is not None else ''} below {below}"
    return Rule(text, take)


def dropped():
    """A share that is left out in training; something always stays."""
    return number(0, below=1)


def num_classes():
    """An integer of at least 2, and no more than label maps can tell apart."""
    rule = integer(2, 65_536)
    return dataclasses.replace(
        rule, text=f"{rule.text} (a background counts as a class)"
    )


def flag():
    """True or False, NumPy's too."""

    def take(value):
        _require(_is_bool(value))
        return bool(value)

    return Rule("True or False", take)


def _is_bool(value):
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def choice(*options):
    """One of a few strings or other constants."""

    def take(value):
        for option in options:
            if type(value) is type(option) and value == option:
                return option
        # 8 is nothing that '8' would be mistaken for.
        words = [o for o in options if type(o) is type(value)]
        raise Hint(nearest(value, words))

    *first, last = map(repr, options)
    return Rule(f"{', '.join(first)} or {last}" if first else last, take)


def pair(minimum=None, maximum=None):
    """An integer, which stands for both, or (height, width)."""
    one = integer(minimum, maximum)

    def take(value):
        if isinstance(value, (str, bytes, dict, set)):
            raise TypeError
        try:
            values = tuple(value)
        except TypeError:
            values = (value, value)
        _require(len(values) == 2)
        return tuple(one.take(v) for v in values)

    within = _within(minimum, maximum)
    return Rule(f"an integer or (height, width), integers{within}", take)


def sequence(
    rule, length=None, minimum_length=0, maximum_length=None, unique=False
):
    """A tuple, list or array of values that all follow a rule."""

    def take(value):
        # A set has no order, and the letters of a string are no names.
        _require(not isinstance(value, (str, bytes, dict, set, frozenset)))
        values = tuple(rule.take(v) for v in value)
        _require(length is None or len(values) == length)
        _require(len(values) >= minimum_length)
        _require(maximum_length is None or len(values) <= maximum_length)
        _require(not unique or len(set(values)) == len(values))
        return values

    count = f" of {length}" if length is not None else ""
    if minimum_length:
        count = f" of at least {minimum_length}"
    if maximum_length is not None:
        count = f" of {minimum_length}..{maximum_length}"
    distinct = ", all different" if unique else ""
    return Rule(f"a sequence{count}, each {rule.text}{distinct}", take)


def shard():
    """Which of several workers this one is."""
    rule = sequence(integer(0), length=2)

    def take(value):
        worker, num_workers = rule.take(value)
        _require(worker < num_workers)
        return worker, num_workers

    return Rule(
        "(worker, num_workers), integers with worker in 0..num_workers-1", take
    )


def mapping(key, value):
    """A dict whose keys and values follow a rule each."""

    def take(given):
        _require(isinstance(given, Mapping))
        return {key.take(k): value.take(v) for k, v in given.items()}

    return Rule(f"a dict, each key {key.text}, each value {value.text}", take)


def instance(text, *types):
    """An object of one of some classes, described by `text`."""

    def take(value):
        _require(isinstance(value, types))
        return value

    return Rule(text, take)


def having(text, *attributes):
    """An object that has some attributes, no string, dict or class."""

    def take(value):
        _require(not isinstance(value, (str, bytes, Mapping, type)))
        _require(all(hasattr(value, name) for name in attributes))
        return value

    return Rule(text, take)


def segmenter(*further):
    """A model that segments, of Keras or of an exported file.

    Args:
        *further: attributes that not every one has; `"backbone"` those of
            Keras alone.
    """
    of_keras = " of Keras" * ("backbone" in further)
    return having(f"a segmenter{of_keras}", "segment", "num_classes", *further)


def string():
    """A string that is not empty."""

    def take(value):
        _require(isinstance(value, str) and value != "")
        return value

    return Rule("a string", take)


def path(*endings):
    """A string or `os.PathLike`, that of a file with one of some endings."""

    def take(value):
        _require(isinstance(value, (str, os.PathLike)) and str(value) != "")
        # No system has such names, and Python tells not whose it is.
        _require("\0" not in str(value))
        if endings:
            _require(str(value).lower().endswith(endings))
            if os.path.isdir(value):
                raise Hint("That is a folder.")
        return value

    end = f" that ends in {' or '.join(endings)}" if endings else ""
    return Rule(f"a path{end}", take)


def folder():
    """The path of a folder, which may be missing."""
    rule = path()

    def take(value):
        if os.path.exists(rule.take(value)) and not os.path.isdir(value):
            raise Hint("That is a file.")
        return value

    return Rule("a path of a folder", take)


def function():
    """Anything that can be called."""

    def take(value):
        _require(callable(value))
        return value

    return Rule("a callable", take)


def dtype():
    """The name of a floating type or policy, or a policy of Keras."""

    def take(value):
        if isinstance(value, str):
            _require(_DTYPE.fullmatch(value))
        _require(not isinstance(value, (bool, numbers.Number, list, tuple)))
        return value

    return Rule(
        "the name of a floating type or of a policy, such as 'float32' or "
        "'mixed_bfloat16', or a keras.DTypePolicy",
        take,
    )


# Of Keras: 'float32', 'mixed_bfloat16', 'int8_from_mixed_bfloat16'.
_DTYPE = re.compile(
    r"([a-z]+\d+\S*_from_)?(mixed_)?(float16|bfloat16|float32|float64)"
)


def optional(rule):
    """What the rule says, or None."""

    def take(value):
        return None if value is None else rule.take(value)

    return Rule(f"{rule.text}, or None", take)


def either(*rules):
    """What the first of some rules says that fits."""

    def take(value):
        hints = []
        for rule in rules:
            try:
                return rule.take(value)
            except (TypeError, ValueError) as error:
                if isinstance(error, Hint) and str(error):
                    hints.append(error)
        raise hints[0] if hints else ValueError

    return Rule(" or ".join(rule.text for rule in rules), take)


def nearest(name, known):
    """A question that offers what a name is near to; empty where nothing is."""
    near = difflib.get_close_matches(
        str(name), list(dict.fromkeys(map(str, known))), n=2, cutoff=0.6
    )
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""


def index_of(index, size, noun):
    """An index, from the end where it is negative, as one of `0..size-1`.

    Args:
        index: int.
        size: int. Of the sequence.
        noun: str. What it holds, in the singular.

    Raises:
        ValueError: it is no integer.
        IndexError: there is no such item.
    """
    index = integer().check("index", index)
    if not -size <= index < size:
        raise IndexError(
            f"index must be in {-size}..{size - 1}, that of one of "
            f"{counted(size, noun)}. Received: {index}."
        )
    return index % size


# What Keras takes in constructors, and looks at late or not at all.
_OF_KERAS = {
    "name": optional(string()),
    "trainable": flag(),
    "dtype": optional(dtype()),
}


def checked(*further: str, **rules: Rule) -> Callable[[T], T]:
    """Check the arguments of a function or a class at the call.

    Args:
        *further: names that the `**kwargs` of the function may hold, such as
            `"name"` and `"dtype"` of a layer. Without any, all may.
        **rules: a `Rule` for each argument that has one.

    Returns:
        A decorator. The function keeps its signature and gets the values that
        the rules give back. A name that is no argument is a `TypeError` that
        offers the nearest; a value that breaks its rule is a `ValueError`.
    """

    def decorate(target):
        if isinstance(target, type):
            target.__init__ = checked(*further, **rules)(target.__init__)
            return target
        signature = inspect.signature(target)
        kinds = {name: p.kind for name, p in signature.parameters.items()}
        rest = next((n for n, k in kinds.items() if k == k.VAR_KEYWORD), None)
        known = [*kinds, *further]
        if missing := set(rules) - set(known):
            raise TypeError(f"{target.__qualname__} has no {missing}.")
        constructs = target.__name__ == "__init__"
        # A parameter may be called `name` in functions, too.
        of_keras = {n: r for n, r in _OF_KERAS.items() if n in known}
        used = of_keras | rules if constructs else rules
        offered = [n for n in known if n not in ("self", "cls", rest)]

        @functools.wraps(target)
        def call(*args, **kwargs):
            # A class may have the constructor of its base.
            public = type(args[0]) if constructs else target
            public = public.__qualname__
            if rest is None or further:
                check_names(public, kwargs, offered)
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{public}: {error}.") from None
            given = bound.arguments
            for name, rule in used.items():
                place = given if name in kinds else given.get(rest, {})
                if name in place:
                    place[name] = rule.check(name, place[name])
            return target(*bound.args, **bound.kwargs)

        # For those who ask without following what a function wraps.
        call.__signature__ = signature
        call.rules = used
        call.open = rest if not further else None
        return call

    return decorate


def rules_of(function):
    """`(rules, rest)` of a function that `checked` decorates, or of none.

    Args:
        function: callable.

    Returns:
        dict from the names of its arguments to their `Rule`, and the name of
        its `**kwargs` where those may hold any name, else None.
    """
    signature = inspect.signature(function)
    rest = [p.name for p in signature.parameters.values() if p.kind == 4]
    return getattr(function, "rules", {}), getattr(
        function, "open", rest[0] if rest else None
    )


def check_names(function, given, known):
    """Raise `TypeError` at a given name that is none of a function's."""
    for name in given:
        if name not in known:
            raise TypeError(
                f"{function} has no argument {name!r}. "
                + (
                    nearest(name, known)
                    or f"It has {', '.join(dict.fromkeys(known))}."
                )
            )
