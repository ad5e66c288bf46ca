"""Closed forms against models that are built."""

import keras
import numpy as np
import pytest

import keras_setr as ks
from keras_setr import checkpoints
from keras_setr.layers.initialization import values_follow
from keras_setr.layers.on_cpu import plain_operations
from keras_setr.models import MODELS
from keras_setr.models.costs import cost_of
from tests import tiny

SIZE = (64, 96)
TRANSFORMER = {
    "num_layers": 3,
    "hidden_dim": 24,
    "num_heads": 4,
    "image_shape": (*SIZE, 3),
    "patch_size": 16,
    "position_grid": (4, 6),
}
RESNET = {"num_blocks": (1, 2, 1, 1), "filters": 8, "image_shape": (*SIZE, 3)}
# decoder, or None; arguments of the encoder; arguments of the model.
CASES = {
    "encoder": (None, TRANSFORMER, {}),
    "all that an encoder may have": (
        None,
        TRANSFORMER
        | {
            "num_heads": 6,
            "mlp_dim": 36,
            "num_register_tokens": 2,
            "use_gated_mlp": True,
            "use_key_bias": False,
            "layer_scale_init": 1e-5,
            "use_final_norm": True,
            "rotary_base": 100.0,
        },
        {},
    ),
    "little of an encoder": (
        None,
        TRANSFORMER
        | {
            "use_class_token": False,
            "use_patch_bias": False,
            "use_qkv_bias": False,
        },
        {},
    ),
    "naive": ("naive", TRANSFORMER, {}),
    "naive of mmsegmentation": ("naive", TRANSFORMER, {"upsampling": (4,)}),
    "pup": ("pup", TRANSFORMER, {"filters": 8}),
    "pup of patches of 32": (
        "pup",
        TRANSFORMER | {"patch_size": 32, "position_grid": (2, 3)},
        {},
    ),
    "pup of the authors": (
        "pup",
        TRANSFORMER,
        {"use_bias": True, "use_layer_norm": False, "upsampling": (2, 2)},
    ),
    "mla": ("mla", TRANSFORMER, {}),
    "mla of the authors": (
        "mla",
        TRANSFORMER,
        {
            "feature_layers": (1, 3),
            "neck_filters": 6,
            "head_filters": (5, 4),
            "classifier_kernel_size": 3,
        },
    ),
    "resnet": (None, RESNET | {"norm": "group"}, {}),
    "fcn": ("fcn", RESNET | {"output_stride": 8, "deep_stem": True}, {}),
    "fcn, cut": (
        "fcn",
        RESNET | {"output_stride": 16, "late_stages": "cut"},
        {"filters": 6, "auxiliary_stage": None},
    ),
    "semantic_fpn": ("semantic_fpn", RESNET, {"neck_filters": 12}),
}


def build(decoder, backbone, arguments):
    on_resnet = "num_blocks" in backbone
    encoder = (ks.ResNetBackbone if on_resnet else ks.SETRBackbone)(**backbone)
    return MODELS[decoder](encoder, **arguments) if decoder else encoder


def count_parameters(model):
    """Those of inference."""
    return sum(
        layer.count_params()
        for layer in model.layers
        if not layer.name.startswith("auxiliary_head")
    )


@pytest.mark.backends("torch")
@pytest.mark.parametrize("case", CASES)
def test_a_built_model_has_and_does_what_the_closed_form_says(case):
    from torch.nn.attention import SDPBackend
    from torch.nn.attention import sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    decoder, backbone, arguments = CASES[case]
    if decoder is not None:
        arguments = arguments | {"num_classes": tiny.CLASSES}
    model = build(decoder, backbone, arguments)
    cost, tokens = cost_of(
        MODELS.get(decoder), backbone, arguments, image_size=SIZE
    )
    assert cost.parameters == count_parameters(model)
    if "num_blocks" in backbone:
        assert tokens is None
    elif decoder is None:
        assert tokens == model.tokens[1].shape[1]
    images = np.zeros((1, *SIZE, 3), "float32")
    counter = FlopCounterMode(display=False)
    # The fused attention is no product.
    with plain_operations(), counter, sdpa_kernel(SDPBackend.MATH):
        model(keras.ops.convert_to_tensor(images))
    # It counts a multiply-add as two.
    assert counter.get_total_flops() == 2 * cost.multiply_adds


@pytest.mark.no_backend
@pytest.mark.parametrize("name", checkpoints.PRESETS)
def test_the_parameters_of_each_preset_are_those_that_it_states(name):
    preset = checkpoints.PRESETS[name]
    backbone, arguments = checkpoints.architecture(preset)
    cost, _ = cost_of(
        MODELS.get(preset.decoder), backbone, arguments, image_size=(512, 512)
    )
    assert cost.parameters == preset.parameters


@pytest.mark.no_backend
def test_t_large_at_512_by_hand():
    backbone = {**ks.T_LARGE, "position_grid": (32, 32)}
    cost, tokens = cost_of(None, backbone, {}, image_size=(512, 512))
    assert tokens == 1 + 32 * 32
    assert cost.parameters == 304_147_456
    # Patches, then per layer 12 D^2 of each token and N^2 D twice.
    layer = 12 * 1024**2 * 1025 + 2 * 1025**2 * 1024
    assert cost.multiply_adds == 32 * 32 * 768 * 1024 + 24 * layer


@pytest.mark.no_backend
def test_a_real_model_is_as_large_as_its_closed_form():
    backbone = {**ks.T_SMALL, "image_shape": (480, 480, 3)}
    with values_follow():  # random values of 86 million parameters take long
        model = build("mla", backbone, {"num_classes": 60})
    cost, _ = cost_of(
        ks.SETRMLA,
        {**backbone, "position_grid": (30, 30)},
        {"num_classes": 60},
        image_size=(480, 480),
    )
    assert cost.parameters == count_parameters(model)
