"""What a run says of itself before its first step."""

import math

import keras
import pytest

import keras_setr as ks
from keras_setr.training.preflight import memory
from tests import tiny

BACKEND = keras.config.backend()


def test_memory_is_that_of_one_of_several_devices():
    models = []
    for devices in (1, None):
        with ks.distribute(devices, verbose=False) as run:
            models.append(tiny.build("pup"))
        count = run.num_devices
        with run:
            described = ks.training.describe_run(models[-1], 8)
        assert described.batch_size == 8 // count
        models[-1] = described.memory.activations
    # Auxiliary outputs and batch norm do not count per image alone.
    assert models[1] == pytest.approx(models[0] / count, rel=0.1)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = tiny.build("naive")
    model.compile(
        learning_rate=0.02, layer_decay=0.5, gradient_accumulation_steps=3
    )
    return model


def test_a_description_multiplies_out_the_batch_and_names_the_rates(model):
    run = ks.training.describe_run(model, 4, available=10**12)
    assert (run.batch_size, run.devices, run.accumulation_steps) == (4, 1, 3)
    assert run.effective_batch == 12
    assert run.image_size == (16, 24)
    # Embeddings 0.5^4 of 0.02, layer 3 of 3 half of it; heads ten times.
    assert run.rates["encoder"] == pytest.approx((0.00125, 0.01))
    assert run.rates["decoder"] == pytest.approx((0.2, 0.2))
    assert run.trainable + run.frozen == model.count_params()
    text = str(run)
    assert "batch 12 = 4 x 1 device x 3 accumulated, crop 16 x 24" in text
    assert "encoder 0.00125 to 0.01, decoder 0.2" in text
    assert "of 1000.00 GB" in text and "\n" not in text


def test_lora_leaves_few_parameters_to_train():
    # One layer of width 24 and MLPs of 96: two matrices of rank 2 and a bias
    # of each projection, qkv 24 -> 72, 24 -> 24, 24 -> 96 and 96 -> 24.
    encoder = 2 * (96 + 48 + 120 + 120) + (72 + 24 + 96 + 24)
    # Norm, 1x1 convolution and its batch norm, and the classifier.
    decoder = 2 * 24 + 24 * 8 + 2 * 8 + (8 + 1) * tiny.CLASSES
    model = tiny.smallest()
    model.backbone.enable_lora(2)
    model.compile()
    run = ks.training.describe_run(model, 4, available=10**12)
    assert (run.lora_rank, run.trainable) == (2, encoder + decoder)
    assert "parameters 1,285 trainable (LoRA of rank 2), " in str(run)
    assert run.trainable + run.frozen == model.count_params()


def test_memory_grows_with_the_batch_and_shrinks_by_rematerialisation(model):
    two, four = (ks.training.estimate_memory(model, n) for n in (2, 4))
    weights = sum(
        int(v.value.nbytes) if BACKEND != "tensorflow" else v.numpy().nbytes
        for v in model.variables
    )
    assert two.weights == weights == four.weights
    # Weights and gradients stay; what the forward pass keeps about doubles.
    assert two.gradients == four.gradients
    assert four.activations == pytest.approx(2 * two.activations, rel=0.1)
    again = ks.training.estimate_memory(model, 4, rematerialize=True)
    assert again.activations < 0.7 * four.activations
    assert not model.backbone.rematerialize
    # The momentum and the accumulated gradients of each trainable weight.
    trainable = 4 * sum(keras.ops.size(v) for v in model.trainable_variables)
    assert four.optimizer == pytest.approx(2 * int(trainable), rel=0.01)


def test_activations_follow_the_formula():
    # A grid of 2 x 3 and the class token make N = 7 tokens of width D = 8.
    backbone = ks.SETRBackbone(
        num_layers=2,
        hidden_dim=8,
        num_heads=2,
        mlp_dim=32,
        patch_size=8,
        image_shape=(16, 24, 3),
    )
    model = ks.SETRNaive(backbone, 3, auxiliary_layers=(), filters=4)
    values = {
        # 2 * (7 * (9 * 8 + 2 * 32)) + 6 * (1.3 * 8 + 3 * 4)
        # + 384 * (3 + 2.5 + 6)
        "torch": 1904 + 134.4 + 4416,
        # 2 * (7 * (8 * 8 + 5 * 32) + 2 * 2 * 49) + 6 * (4 * 8 + 4 * 4)
        # + 384 * (3 + 3.75 + 6)
        "jax": 3528 + 288 + 4896,
        # 2 * (7 * (10 * 8 + 4 * 32) + 2 * 49) + 6 * (3 * 8 + 2.25 * 4)
        # + 384 * (3 + 2.3 + 6)
        "tensorflow": 3108 + 198 + 4339.2,
    }[BACKEND]
    estimate = ks.training.estimate_memory(model, 5)
    assert estimate.activations == pytest.approx(4 * 5 * values, abs=1)


def test_what_tensorflow_gathers_for_the_largest_convolution_counts():
    backbone = ks.SETRBackbone(
        num_layers=2,
        hidden_dim=8,
        num_heads=2,
        patch_size=8,
        image_shape=(16, 24, 3),
    )
    model = ks.SETRPUP(backbone, 3, auxiliary_layers=(), filters=4)
    estimate = ks.training.estimate_memory(model, 5)
    # The last of three convolutions has a grid of 8 x 12, enlarged from
    # 2 x 3, and 4 filters.
    gathered = 4 * 5 * 7 * (8 * 12 * 4)
    values = {
        "torch": 0,
        "jax": 0,
        "tensorflow": 0.25 * estimate.activations
        + estimate.gradients
        + gathered,
    }[BACKEND]
    assert estimate.working == pytest.approx(values, abs=1)


def test_memory_is_compared_with_what_is_free(model, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10**6)
    run = ks.training.describe_run(model, 1)
    # The model itself lies outside of what is free.
    assert run.available >= 10**6 + run.memory.weights
    assert run.available <= 10**6 + run.memory.weights + run.memory.optimizer
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert ks.training.describe_run(model, 1).available is None


def test_a_step_that_cannot_fit_names_the_ways_out(model):
    half = ks.training.estimate_memory(model, 100).total
    needed = ks.training.estimate_memory(model, 200).total
    with pytest.raises(MemoryError) as error:
        ks.training.describe_run(model, 200, available=half)
    message = str(error.value)
    assert "with a batch of 200 x 1 device of 16 x 24" in message
    # Three batches make an update already: twice as many of half the size.
    assert "a batch of 100 with compile(gradient_accumulation_steps=6)" in (
        message.replace("a batch of 99 ", "a batch of 100 ")
    )
    assert "SETRBackbone(rematerialize=True), about" in message
    assert 'dtype="mixed_bfloat16"' in message
    assert "image_shape=(8, 16, 3), at most" in message
    with pytest.raises(MemoryError, match="not even one image fits"):
        ks.training.describe_run(model, 200, available=1000)
    # The estimate may be 30 % off, so a little too much is tried.
    run = ks.training.describe_run(model, 200, available=int(needed / 1.2))
    assert "which may not suffice" in str(run)


def test_the_largest_part_of_a_batch_that_fits_is_planned(model):
    def plan(available):
        return ks.training.plan_memory(model, 6, available=available)

    kept = ks.training.estimate_memory(model, 6, rematerialize=False).total
    again = ks.training.estimate_memory(model, 6, rematerialize=True).total
    halves = ks.training.estimate_memory(model, 3, rematerialize=True)
    halves = halves.total + halves.gradients
    assert kept > again > halves
    expected = {kept: (6, 1, False), again: (6, 1, True), halves: (3, 2, True)}
    for needed, (batch_size, parts, rematerialize) in expected.items():
        found = plan(math.ceil(1.3 * needed))
        assert (found.batch_size, found.accumulation_steps) == (
            batch_size,
            parts,
        )
        assert (found.rematerialize, found.needed) == (rematerialize, needed)
    # Where nothing fits, as little as there can be.
    assert plan(1000).batch_size == 1 and plan(1000).accumulation_steps == 6
    assert plan(None).available is not None
