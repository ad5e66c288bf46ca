"""The published optimiser, step by step."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_setr as ks
from keras_setr.optimizers import SGD
from keras_setr.optimizers import PolynomialDecay


def rate(schedule, step):
    return float(ops.convert_to_numpy(schedule(step)))


def test_the_rate_decays_polynomially_to_its_floor():
    schedule = PolynomialDecay(0.01, 100, end_learning_rate=1e-4)
    assert rate(schedule, 0) == pytest.approx(0.01)
    # (0.01 - 0.0001) * (1 - 50 / 100)^0.9 + 0.0001
    expected = 0.0099 * 0.5**0.9 + 0.0001
    assert rate(schedule, 50) == pytest.approx(expected, rel=1e-5)
    assert rate(schedule, 100) == rate(schedule, 900) == pytest.approx(1e-4)


def test_heads_decay_from_ten_times_the_base_to_the_same_floor():
    schedule = PolynomialDecay(0.01, 100, end_learning_rate=1e-4)
    half = float(ops.convert_to_numpy(schedule.multiplied(10.0, 50)))
    assert half == pytest.approx(0.0999 * 0.5**0.9 + 0.0001, rel=1e-5)
    last = float(ops.convert_to_numpy(schedule.multiplied(10.0, 100)))
    assert last == pytest.approx(1e-4)


def test_a_schedule_without_length_is_constant():
    assert rate(PolynomialDecay(0.01), 10_000) == pytest.approx(0.01)


def test_a_base_below_the_floor_does_not_grow():
    schedule = PolynomialDecay(1e-5, 10)
    assert rate(schedule, 10) == pytest.approx(1e-5)


def variable(name, value):
    return keras.Variable(np.array([value], "float32"), name=name)


def test_momentum_is_torchs():
    # v = 0.9 v + g and w -= lr v, lr 0.1 then 0.01, g = 1 twice:
    # w = 5 - 0.1 * 1 - 0.01 * 1.9 = 4.881; Keras' form would give 4.8.
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.01])
    optimizer = SGD(rates, momentum=0.9)
    w = variable("w", 5.0)
    for _ in range(2):
        optimizer.apply([ops.ones((1,))], [w])
    np.testing.assert_allclose(ops.convert_to_numpy(w), [4.881], rtol=1e-6)


def test_multipliers_apply_to_the_variables_they_name():
    optimizer = SGD(0.1, momentum=0.0, learning_rate_multipliers={"head": 10.0})
    body, head = variable("block", 5.0), variable("decode_head", 5.0)
    optimizer.apply([ops.ones((1,))] * 2, [body, head])
    np.testing.assert_allclose(ops.convert_to_numpy(body), [4.9])
    np.testing.assert_allclose(ops.convert_to_numpy(head), [4.0])


def test_both_survive_serialisation():
    optimizer = SGD(
        PolynomialDecay(0.02, 7, 1e-3, 0.8),
        momentum=0.5,
        learning_rate_multipliers={"head": 3.0},
    )
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()
    assert again._learning_rate.get_config() == {
        "initial_learning_rate": 0.02,
        "decay_steps": 7,
        "end_learning_rate": 1e-3,
        "power": 0.8,
    }
    assert ks.optimizers.SGD is SGD
