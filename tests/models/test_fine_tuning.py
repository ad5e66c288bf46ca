"""Training with less memory or few images: precision, parts, accumulation."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.optimizers import schedule_of
from tests import tiny


def small(**options):
    """Two layers, one head with one convolution."""
    model = tiny.smallest(num_layers=2, **options)
    tiny.set_weights_by_path(model)
    return model


@pytest.mark.parametrize("policy", ("mixed_bfloat16", "mixed_float16"))
def test_mixed_precision_trains_with_logits_and_loss_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    model = tiny.smallest(rematerialize=True)
    tiny.set_weights_by_path(model)
    model.compile(learning_rate=0.05, metrics=None)
    block = model.backbone.blocks[0]
    assert block.mlp.expansion.kernel.dtype == "float32"
    assert block.compute_dtype == policy.removeprefix("mixed_")
    x, y = tiny.images(2), np.full((2, 16, 24), 3)
    history = model.fit(x, y, epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    logits = tiny.outputs(model, ops.cast(x, "float32"), training=True)[
        "logits"
    ]
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    loss = model.compute_loss(None, y, logits)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    # The decay is spread over the fit in either case.
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(1e-4)


def test_accumulated_batches_make_the_update_of_their_union():
    trained = []
    for batch_size, batches in ((4, 1), (2, 2)):
        model = small()
        # Batch norm alone sees each batch by itself.
        model.get_layer("decode_head").convolutions[0].norm.trainable = False
        model.compile(
            learning_rate=0.1,
            gradient_accumulation_steps=batches,
            metrics=None,
            **tiny.UNCOMPILED,
        )
        model.fit(
            tiny.images(8),
            tiny.labels(8),
            batch_size=batch_size,
            shuffle=False,
            verbose=0,
        )
        assert schedule_of(model.optimizer).span == (0, 2)
        trained.append([array(v) for v in model.weights])
    for a, b in zip(*trained, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.no_backend
def test_layer_decay_reaches_every_variable_of_the_encoder():
    model = ks.SETRPUP(
        tiny.backbone(num_layers=11, use_final_norm=True),
        num_classes=5,
        filters=8,
        auxiliary_filters=7,
    )
    model.compile("adamw", layer_decay=0.5, head_multiplier=4.0)
    assert isinstance(model.optimizer, ks.optimizers.AdamW)
    factors = {
        v.path.split("/")[0]: model.optimizer.multiplier(v.path)
        for v in model.trainable_variables
    }
    assert factors == {
        "patch_embedding": 0.5**12,
        "token_embedding": 0.5**12,
        **{f"block_{layer}": 0.5 ** (12 - layer) for layer in range(1, 12)},
        "final_norm": 1.0,
        "decode_head": 4.0,
        **{f"auxiliary_head_{i}": 4.0 for i in range(4)},
    }


@pytest.mark.no_backend
def test_a_given_optimizer_names_all_that_belongs_to_the_automatic_ones():
    with pytest.raises(ValueError, match="layer_decay=0.5, gradient_acc.*=2"):
        small().compile("sgd", layer_decay=0.5, gradient_accumulation_steps=2)


def test_frozen_layers_stay_and_have_no_optimizer_state():
    model = small()
    backbone = model.backbone
    backbone.freeze(1)
    model.compile("adamw", metrics=None, **tiny.UNCOMPILED)
    before = {v.path: array(v).copy() for v in model.weights}
    model.fit(tiny.images(), tiny.labels(), verbose=0)
    changed = {
        v.path.split("/")[0]
        for v in model.weights
        if np.abs(array(v) - before[v.path]).max() > 0
    }
    assert changed == {"block_2", "decode_head"}
    # The step, and two moments of each variable that is trained; the head
    # has two norms, a convolution, and a classifier with bias: 7.
    trained = len(model.trainable_variables)
    assert trained == len(backbone.blocks[1].weights) + 7
    assert len(model.optimizer.variables) == 1 + 2 * trained


@pytest.mark.parametrize(
    "frozen",
    [
        "trainable",
        # What is frozen is the same on all.
        pytest.param("freeze", marks=pytest.mark.backends("torch")),
        pytest.param("norm", marks=pytest.mark.backends("torch")),
    ],
)
def test_a_frozen_batch_norm_keeps_its_statistics_and_normalises_by_them(
    frozen,
):
    model = tiny.build("fcn", auxiliary_stage=None)
    tiny.set_weights_by_path(model)
    backbone = model.backbone
    layers = backbone.layers
    if frozen == "freeze":
        # The stem and the first of four stages.
        backbone.freeze(1)
        layers = [la for la in layers if not la.trainable]
    elif frozen == "trainable":
        backbone.trainable = False
    else:
        layers = [model.get_layer("decode_head").convolutions[0].norm]
        layers[0].trainable = False
    model.compile(learning_rate=0.05, metrics=None, **tiny.UNCOMPILED)

    def statistics():
        return {
            v.path: array(v).copy()
            for v in model.weights
            if v.name in ("moving_mean", "moving_variance")
        }

    kept = {v.path for layer in layers for v in layer.weights}
    before = statistics()
    model.fit(tiny.images(), tiny.labels(), verbose=0)
    after = statistics()
    unchanged = {p for p in after if np.array_equal(after[p], before[p])}
    assert unchanged == set(after) & kept
    assert unchanged and set(after) - kept
    if frozen == "trainable":
        x = ops.cast(tiny.images(), "float32")
        trained, tested = (
            array(tiny.outputs(backbone, x, training=training))
            for training in (True, False)
        )
        np.testing.assert_allclose(trained, tested, atol=1e-5)


@pytest.mark.no_backend
def test_depth_0_is_the_embeddings_alone():
    backbone = tiny.backbone(use_final_norm=True)
    backbone.freeze(0)
    frozen = {v.path.split("/")[0] for v in backbone.non_trainable_variables}
    assert frozen == {"patch_embedding", "token_embedding"}
    backbone.freeze()
    assert not backbone.trainable_variables
    backbone.freeze(3)
    assert {v.path for v in backbone.trainable_variables} == {
        "final_norm/gamma",
        "final_norm/beta",
    }
    with pytest.raises(ValueError, match=r"num_layers=3 .*Received: \[4\]"):
        backbone.freeze(4)


def test_one_switch_rematerialises_a_model_that_was_loaded(tmp_path):
    tiny.build("naive").save_to_preset(tmp_path / "preset")
    path = str(tmp_path / "preset")
    model = ks.SETRNaive.from_preset(path, rematerialize=True, verbose=False)
    assert model.backbone.rematerialize
    model = ks.SETRNaive.from_preset(path)
    assert not model.backbone.rematerialize
    model.backbone.rematerialize = True
    assert all(block.rematerialize for block in model.backbone.blocks)
    assert model.backbone.get_config()["rematerialize"]
