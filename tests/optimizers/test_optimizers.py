"""The published optimiser, step by step."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_setr as ks
from keras_setr.optimizers import SGD
from keras_setr.optimizers import AdamW
from keras_setr.optimizers import CosineDecay
from keras_setr.optimizers import PolynomialDecay
from keras_setr.optimizers import layer_decay_multipliers
from keras_setr.optimizers import schedule_of


def rate(schedule, step):
    return float(ops.convert_to_numpy(schedule(step)))


def test_a_penalty_enters_the_momentum_as_torchs_weight_decay_does():
    variable = keras.Variable([1.0], name="kernel")
    optimizer = SGD(0.1, momentum=0.5, l2=0.2)
    # g = 1 each: v = 1 + 0.2 * 1 = 1.2, w = 1 - 0.12 = 0.88;
    # v = 0.6 + 1 + 0.2 * 0.88 = 1.776, w = 0.88 - 0.1776.
    for expected in (0.88, 0.7024):
        optimizer.apply([keras.ops.ones(1)], [variable])
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable), expected, rtol=1e-6
        )
    assert SGD.from_config(optimizer.get_config()).l2 == 0.2


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


def test_slower_parts_decay_in_proportion():
    schedule = PolynomialDecay(0.01, 100, end_learning_rate=1e-3)
    rates = [ops.convert_to_numpy(schedule.multiplied(0.05, t)) for t in (0, 9)]
    assert float(rates[0]) == pytest.approx(0.0005)
    assert float(rates[1]) == pytest.approx(0.05 * rate(schedule, 9))


def test_a_schedule_without_length_is_constant():
    assert rate(PolynomialDecay(0.01), 10_000) == pytest.approx(0.01)


def test_a_base_below_the_floor_does_not_grow():
    schedule = PolynomialDecay(1e-5, 10)
    assert rate(schedule, 10) == pytest.approx(1e-5)


def test_a_cosine_falls_slowly_at_both_ends():
    schedule = CosineDecay(0.4, 60, end_learning_rate=0.1)
    # 0.3 * (1 + cos(pi t / 60)) / 2 + 0.1 at t = 0, 20, 30, 60: of the
    # cosine 1, 1/2, 0 and -1.
    for step, expected in ((0, 0.4), (20, 0.325), (30, 0.25), (60, 0.1)):
        assert rate(schedule, step) == pytest.approx(expected, rel=1e-5)
    assert rate(schedule, 900) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "schedule, half",
    (
        (PolynomialDecay(0.6, 12, 0.0, 2.0, warmup_steps=2), 0.15),
        (CosineDecay(0.6, 12, warmup_steps=2), 0.3),
    ),
)
def test_a_rate_rises_before_it_decays_over_the_rest(schedule, half):
    # Thirds of 0.6; then 10 steps, half of which are over at 2 + 5.
    for step, expected in ((0, 0.2), (1, 0.4), (2, 0.6), (7, half), (12, 0)):
        assert rate(schedule, step) == pytest.approx(expected, abs=1e-6)
    again = type(schedule).from_config(schedule.get_config())
    assert again.get_config() == schedule.get_config()
    assert rate(again, 1) == rate(schedule, 1)


def test_a_warm_up_is_that_of_each_part_and_spreads_with_the_decay():
    schedule = CosineDecay(0.6, warmup_steps=2)
    assert rate(schedule, 1) == pytest.approx(0.4)
    assert rate(schedule, 10_000) == pytest.approx(0.6)
    # From step 100 on over 12: half of the way is step 100 + 2 + 5.
    schedule.spread(100, 12)
    for multiplier, step, expected in (
        (10.0, 100, 2.0),
        (0.5, 101, 0.2),
        (0.5, 107, 0.15),
    ):
        found = schedule.multiplied(multiplier, step)
        assert float(ops.convert_to_numpy(found)) == pytest.approx(expected)


@pytest.mark.no_backend
def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match="warmup_steps=12 of decay_steps=12"):
        PolynomialDecay(0.1, 12, warmup_steps=12)
    with pytest.raises(ValueError, match="warmup_steps=5 of .* this fit=4"):
        CosineDecay(0.1, warmup_steps=5).spread(0, 4)


def test_adamw_warms_up_by_layers_and_counts_updates():
    # Two batches an update; Adam's first step is lr * sign(g). Rates of the
    # first two updates 0.1 and 0.2, of "block_1" half as much.
    optimizer = AdamW(
        CosineDecay(0.3, 100, warmup_steps=2),
        0.0,
        learning_rate_multipliers={"block_1": 0.5},
        gradient_accumulation_steps=2,
    )
    head, block = variable("head", 5.0), variable("block_1", 5.0)
    for _ in range(4):
        optimizer.apply([ops.ones((1,))] * 2, [head, block])
    np.testing.assert_allclose(ops.convert_to_numpy(head), [4.7], rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(block), [4.85], rtol=1e-5)


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


def test_nesterov_looks_ahead_as_torchs():
    # v = 1, then 1.9, and w -= 0.1 * (g + 0.9 v): 5 - 0.19 - 0.271.
    optimizer = SGD(0.1, momentum=0.9, nesterov=True)
    w = variable("w", 5.0)
    for _ in range(2):
        optimizer.apply([ops.ones((1,))], [w])
    np.testing.assert_allclose(ops.convert_to_numpy(w), [4.539], rtol=1e-6)


def test_the_rate_that_is_set_later_counts_updates_as_well():
    optimizer = SGD(0.1, momentum=0.0, gradient_accumulation_steps=2)
    optimizer.learning_rate = 0.2
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.1, 0.01])
    optimizer.learning_rate = decay
    assert schedule_of(optimizer) is decay
    w = variable("w", 5.0)
    for _ in range(4):
        optimizer.apply([ops.ones((1,))], [w])
    # Two updates: 5 - 0.1 - 0.01.
    np.testing.assert_allclose(ops.convert_to_numpy(w), [4.89], rtol=1e-6)


def test_multipliers_apply_to_the_variables_they_name():
    optimizer = SGD(0.1, momentum=0.0, learning_rate_multipliers={"head": 10.0})
    body, head = variable("block", 5.0), variable("decode_head", 5.0)
    optimizer.apply([ops.ones((1,))] * 2, [body, head])
    np.testing.assert_allclose(ops.convert_to_numpy(body), [4.9])
    np.testing.assert_allclose(ops.convert_to_numpy(head), [4.0])


@pytest.mark.no_backend
def test_a_piece_of_a_path_ends_where_its_number_does():
    optimizer = SGD(learning_rate_multipliers={"block_1": 0.5, "block_12": 3.0})
    paths = ("block_1/mlp/kernel", "block_12/mlp/kernel", "block_10/kernel")
    assert [optimizer.multiplier(p) for p in paths] == [0.5, 3.0, 1.0]


@pytest.mark.no_backend
def test_layer_decay_falls_towards_the_embeddings():
    depths = {"embedding": 0, "block_1": 1, "block_2": 2, "final_norm": 3}
    assert layer_decay_multipliers(depths, 2, 0.5) == {
        "embedding": 0.125,
        "block_1": 0.25,
        "block_2": 0.5,
        "final_norm": 1.0,
    }
    with pytest.raises(ValueError, match="at most 1.*Received: 1.5"):
        layer_decay_multipliers(depths, 2, 1.5)


def test_adamw_decays_kernels_alone_each_at_its_own_rate():
    # Adam's first step is lr * sign(g). Before it a kernel loses lr * 0.1 of
    # itself: 5 * (1 - 0.01) - 0.1, and ten times as much in the head.
    optimizer = AdamW(0.1, 0.1, learning_rate_multipliers={"head": 10.0})
    names = ("kernel", "bias", "head_kernel", "class_token")
    variables = [variable(name, 5.0) for name in names]
    optimizer.apply([ops.full((1,), 7.0)] * 4, variables)
    values = [float(ops.convert_to_numpy(v)[0]) for v in variables]
    np.testing.assert_allclose(values, [4.85, 4.9, 3.5, 4.9], rtol=1e-5)


def test_sgd_decays_weights_at_their_own_rate():
    optimizer = SGD(0.1, 0.0, {"head": 10.0}, weight_decay=0.5)
    body, head = variable("kernel", 4.0), variable("head", 4.0)
    optimizer.apply([ops.zeros((1,))] * 2, [body, head])
    np.testing.assert_allclose(ops.convert_to_numpy(body), [3.8])
    np.testing.assert_allclose(ops.convert_to_numpy(head), [2.0])


def apply_scaled(optimizer, gradients, variables):
    """`LossScaleOptimizer.apply`, which on JAX has no state of its own."""
    if keras.config.backend() != "jax":
        return optimizer.apply(gradients, variables)
    if not optimizer.built:
        optimizer.build(variables)
    state = [v.value for v in optimizer.variables]
    values, state = optimizer.stateless_apply(
        state, gradients, [v.value for v in variables]
    )
    for variable, value in zip(variables, values):
        variable.assign(value)
    for variable, value in zip(optimizer.variables, state):
        variable.assign(value)


@pytest.mark.parametrize("cls", (SGD, AdamW))
@pytest.mark.parametrize("scaled", (False, True))
def test_accumulated_batches_make_the_steps_of_their_mean(cls, scaled):
    def run(gradients, **options):
        optimizer = cls(
            PolynomialDecay(0.1, 3, 0.0),
            weight_decay=0.1,
            learning_rate_multipliers={"head": 10.0},
            **options,
        )
        apply, scale = type(optimizer).apply, 1.0
        if scaled:
            apply, scale = apply_scaled, 4.0
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, scale)
        variables = [variable("kernel", 5.0), variable("head_kernel", 5.0)]
        values = []
        for g in gradients:
            apply(optimizer, [ops.full((1,), scale * g)] * 2, variables)
            values += [float(ops.convert_to_numpy(v)[0]) for v in variables]
        assert int(ops.convert_to_numpy(optimizer.iterations)) == 2
        return values

    means = run([2.0, 3.0])
    batches = run([1.0, 3.0, 2.0, 4.0], gradient_accumulation_steps=2)
    expected = [5.0, 5.0, *means[:2], *means[:2], *means[2:]]
    np.testing.assert_allclose(batches, expected, rtol=1e-5)


def test_a_step_with_an_infinite_gradient_is_skipped():
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(0.1), 4.0)
    w = variable("kernel", 5.0)
    for gradient in (np.inf, 2.0):
        apply_scaled(optimizer, [ops.full((1,), gradient)], [w])
    # The scale is halved to 2, so that a gradient of 2 stands for 1.
    np.testing.assert_allclose(ops.convert_to_numpy(w), [4.9])


@pytest.mark.parametrize("cls", (SGD, AdamW))
def test_both_survive_serialisation(cls):
    optimizer = cls(
        PolynomialDecay(0.02, 7, 1e-3, 0.8),
        weight_decay=0.05,
        learning_rate_multipliers={"head": 3.0},
        gradient_accumulation_steps=3,
    )
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()
    assert schedule_of(again).get_config() == {
        "initial_learning_rate": 0.02,
        "decay_steps": 7,
        "end_learning_rate": 1e-3,
        "power": 0.8,
        "warmup_steps": 0,
    }
    assert getattr(ks.optimizers, cls.__name__) is cls
