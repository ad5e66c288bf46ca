"""Rules for arguments: what passes, what comes of it, what the error says."""

import dataclasses
import inspect

import numpy as np
import pytest

from keras_setr import arguments
from keras_setr.arguments import checked

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    "rule, value, taken",
    [
        (arguments.integer(1), np.int64(3), 3),
        (arguments.integer(0, 2), 0, 0),
        (arguments.number(0, 1), np.float32(0.5), 0.5),
        (arguments.number(above=0), 2, 2),
        (arguments.flag(), np.bool_(True), True),
        (arguments.choice("a", None), None, None),
        (arguments.pair(1), np.int32(4), (4, 4)),
        (arguments.pair(1), np.array([4, 6]), (4, 6)),
        (arguments.sequence(arguments.integer(1)), [2, 1], (2, 1)),
        (arguments.optional(arguments.integer(1)), None, None),
        (
            arguments.either(arguments.choice("paper"), arguments.number()),
            1.5,
            1.5,
        ),
        (arguments.path(), "runs/a", "runs/a"),
        (
            arguments.mapping(arguments.integer(), arguments.integer()),
            {np.uint8(3): np.int64(1)},
            {3: 1},
        ),
    ],
)
def test_a_value_that_fits_comes_back_as_its_users_expect_it(
    rule, value, taken
):
    found = rule.check("x", value)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    "rule, value, message",
    [
        (arguments.integer(1), True, "x must be an integer of at least 1"),
        (arguments.having("rows", "__iter__"), "abc", "rows. Received: 'abc'"),
        (arguments.having("rows", "__iter__"), {"a": 1}, "x must be rows"),
        (arguments.having("rows", "__len__"), 7, "x must be rows"),
        (arguments.integer(1), 0, "Received: 0"),
        (arguments.integer(1), 2.0, "Received: 2.0"),
        (arguments.integer(1, 4), "2", "in 1..4. Received: '2'"),
        (arguments.number(0), float("nan"), "number of at least 0.*nan"),
        (arguments.number(0), float("inf"), "inf"),
        (arguments.number(above=0, below=1), 1, "above 0 and below 1"),
        (arguments.number(), 1j, "a number"),
        (arguments.flag(), 1, "True or False. Received: 1"),
        (arguments.flag(), "yes", "True or False"),
        (
            arguments.choice("threads", "grain"),
            "thread",
            "'threads' or 'grain'. Received: 'thread'. Did you mean 'threads'",
        ),
        (arguments.choice("a"), np.zeros((2, 3)), r"shape \(2, 3\)"),
        (arguments.pair(1), (4, 5, 6), r"an integer or \(height, width\)"),
        (arguments.pair(1), "48", "'48'"),
        (arguments.pair(1), {4, 8}, "{8, 4}|{4, 8}"),
        (arguments.pair(1), (4, 0), "at least 1"),
        (arguments.sequence(arguments.string()), "road", "a sequence, each"),
        (
            arguments.sequence(arguments.string(), unique=True),
            ["a", "a"],
            "all different",
        ),
        (arguments.sequence(arguments.integer(), length=2), [1], "of 2"),
        (arguments.optional(arguments.integer()), "a", "or None"),
        (arguments.path(), 3, "a path"),
        (
            arguments.mapping(arguments.integer(), arguments.integer(0, 9)),
            {0: 10},
            "a dict, each key an integer, each value an integer in 0..9",
        ),
        (
            arguments.mapping(arguments.string(), arguments.path()),
            ["a.txt"],
            "a dict",
        ),
        (arguments.function(), 3, "a callable"),
        (arguments.string(), "", "a string"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error(rule, value, message):
    with pytest.raises(ValueError, match=message):
        rule.check("x", value)


def test_a_long_value_is_cut():
    assert len(arguments.shown(list(range(1000)))) < 130


@checked(batch_size=arguments.integer(1))
def batches(source, batch_size, *, seed=0):
    """Doc."""
    return source, batch_size, seed


def test_a_function_keeps_its_signature_and_gets_what_the_rules_give():
    assert batches("s", np.int64(2), seed=1) == ("s", 2, 1)
    assert type(batches("s", np.int64(2))[1]) is int
    assert list(inspect.signature(batches).parameters)[1] == "batch_size"
    assert inspect.getfullargspec(batches).args == ["source", "batch_size"]
    assert batches.__doc__ == "Doc."


def test_errors_name_function_argument_rule_and_the_nearest_name():
    with pytest.raises(ValueError, match="batch_size must be an integer"):
        batches("s", 0)
    with pytest.raises(TypeError, match="batches has no.*'sed'.*'seed'"):
        batches("s", 2, sed=1)
    with pytest.raises(TypeError, match="It has source, batch_size, seed"):
        batches("s", 2, xyz=1)
    with pytest.raises(TypeError, match="batches: missing.*'batch_size'"):
        batches("s")


class Layer:
    @checked(
        "name", "dtype", width=arguments.integer(1), name=arguments.string()
    )
    def __init__(self, width, **kwargs):
        self.width, self.kwargs = width, kwargs


def test_further_names_are_those_that_the_keywords_may_hold():
    assert Layer(2, name="a").kwargs == {"name": "a"}
    with pytest.raises(TypeError, match="Layer has no.*'widht'.*'width'"):
        Layer(2, widht=3)
    with pytest.raises(ValueError, match="name must be a string"):
        Layer(2, name=3)


def test_a_record_checks_itself_when_it_is_made_and_replaced():
    @checked(step=arguments.integer(0))
    @dataclasses.dataclass(frozen=True)
    class Position:
        step: int = 0

    assert dataclasses.replace(Position(), step=np.int32(4)).step == 4
    with pytest.raises(ValueError, match="step must be an integer"):
        Position(-1)
    with pytest.raises(TypeError, match="Position has no argument 'stop'"):
        Position(stop=1)


@pytest.mark.parametrize("given", [(2, 2), (-1, 2), (0,), 1, (0, 2.0)])
def test_a_shard_is_one_of_some_workers(given):
    rule = arguments.optional(arguments.shard())
    assert rule.check("shard", np.array([1, 2])) == (1, 2)
    message = r"\(worker, num_workers\), .* in 0\.\.num_workers-1, or None"
    with pytest.raises(ValueError, match=message):
        rule.check("shard", given)


def test_an_index_counts_from_either_end():
    places = [arguments.index_of(index, 3, "box") for index in range(-3, 3)]
    assert places == [0, 1, 2, 0, 1, 2]
    for index in (-4, 3):
        with pytest.raises(IndexError, match=f"-3..2.*3 boxes.*{index}"):
            arguments.index_of(index, 3, "box")
    with pytest.raises(ValueError, match="index must be an integer.*1.0"):
        arguments.index_of(1.0, 3, "box")


def test_a_rule_without_an_argument_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="has no {'b'}"):
        checked(b=arguments.flag())(lambda a: a)


def test_an_inherited_constructor_is_named_after_the_class_that_is_built():
    class Base:
        @checked(x=arguments.integer())
        def __init__(self, x):
            self.x = x

    class Derived(Base):
        pass

    with pytest.raises(TypeError, match="Derived has no argument 'y'"):
        Derived(y=1)
    assert Derived(np.int32(2)).x == 2
