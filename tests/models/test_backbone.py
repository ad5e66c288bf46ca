"""The encoder's size, features and attention maps."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from tests import tiny


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "size, published",
    (
        ("T_TINY", 5_683_008),
        ("T_SMALL", 86_433_024),
        ("T_BASE", 86_433_024),
        ("T_LARGE", 304_147_456),
    ),
)
def test_sizes_have_the_parameters_of_the_hand_written_sum(size, published):
    shape = getattr(ks, size)
    num_layers, dim = shape["num_layers"], shape["hidden_dim"]
    patches = 16 * 16 * 3 * dim + dim
    positions = dim + (1 + 32 * 32) * dim
    attention = dim * 3 * dim + 3 * dim + dim * dim + dim
    mlp = dim * 4 * dim + 4 * dim + 4 * dim * dim + dim
    layer = attention + mlp + 2 * 2 * dim
    assert patches + positions + num_layers * layer == published
    # One layer is built; the others are like it.
    one = ks.SETRBackbone(
        **{**shape, "num_layers": 1}, image_shape=(512, 512, 3)
    )
    assert one.blocks[0].count_params() == layer
    assert one.count_params() + (num_layers - 1) * layer == published


@pytest.mark.no_backend
def test_t_small_and_t_base_are_the_size_of_vit_b():
    # Paper, Table 2: 12 layers of width 768 with 12 heads.
    assert ks.T_SMALL == ks.T_BASE
    assert tuple(ks.T_SMALL.values()) == (12, 768, 12)
    assert tuple(ks.T_TINY.values()) == (12, 192, 3)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "size, mlp_weights, published",
    (
        ((12, 384, 6), 2, 21_596_544),
        ((12, 384, 6), 3, 28_692_864),
        ((12, 768, 12), 2, 85_660_416),
        ((24, 1024, 16), 2, 303_129_600),
    ),
)
def test_dinov3_has_the_parameters_of_the_hand_written_sum(
    size, mlp_weights, published
):
    """ViT-S, S+ (three matrices in its MLPs), B and L, and their mask token."""
    num_layers, dim, num_heads = size
    patches = 16 * 16 * 3 * dim + dim
    tokens = (1 + 4) * dim
    attention = 3 * dim * dim + 2 * dim + dim * dim + dim  # keys have no bias
    mlp = mlp_weights * 4 * dim * dim + (mlp_weights - 1) * 4 * dim + dim
    layer = attention + mlp + 2 * 2 * dim + 2 * dim  # norms, LayerScale
    total = patches + tokens + num_layers * layer + 2 * dim
    assert total + dim == published
    one = ks.SETRBackbone(
        num_layers=1,
        hidden_dim=dim,
        num_heads=num_heads,
        num_register_tokens=4,
        rotary_base=100.0,
        use_key_bias=False,
        use_gated_mlp=mlp_weights == 3,
        layer_scale_init=1.0,
        use_final_norm=True,
    )
    assert one.blocks[0].count_params() == layer
    assert one.count_params() + (num_layers - 1) * layer == total


def test_every_layers_features_are_at_hand():
    backbone = tiny.backbone(use_final_norm=True)
    assert list(backbone.features) == [1, 2, 3]
    model = keras.Model(backbone.input, list(backbone.features.values()))
    x = tiny.images().astype("float32") / 255
    first, second, last = map(array, tiny.outputs(model, x))
    assert first.shape == (2, 2, 3, 24)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(last, array(tiny.outputs(backbone, x)))
    # The final norm's output has mean 0 over the channels.
    np.testing.assert_allclose(last.mean(axis=-1), 0, atol=1e-5)
    assert np.abs(second.mean(axis=-1)).max() > 1e-5


@pytest.mark.parametrize("layer", (1, 3))
@pytest.mark.parametrize(
    "options", ({}, {"num_heads": 3, "rotary_base": 100.0})
)
def test_attention_maps_are_those_of_the_layer(layer, options):
    backbone = tiny.backbone(num_register_tokens=1, **options)
    tiny.set_weights_by_path(backbone, scale=0.5)
    x = tiny.images().astype("float32") / 255
    maps = array(backbone.attention_maps(x, layer))
    assert backbone.num_prefix_tokens == 2
    heads = backbone.num_heads
    assert maps.shape == (2, heads, 8, 8)  # 2 + 2 * 3 tokens
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    inputs = {"tokens": backbone.tokens[layer - 1]}
    if options:
        rotary = backbone.get_layer("rotary_positions")
        inputs["rotations"] = rotary.output
    inputs = tiny.outputs(keras.Model(backbone.input, inputs), x)
    block = backbone.blocks[layer - 1]
    inputs["tokens"] = block.attention_norm(inputs["tokens"])
    expected = array(block.attention.attention_maps(**inputs))
    np.testing.assert_allclose(maps, expected, atol=1e-5)


@pytest.mark.no_backend
def test_the_model_size_is_that_of_the_images_or_else_of_the_positions():
    assert tiny.backbone((16, 24, 3)).native_size == (16, 24)
    assert tiny.backbone((None, None, 3)).native_size == (16, 24)
    free = ks.SETRBackbone(num_layers=1, hidden_dim=8, num_heads=2)
    assert free.native_size == (384, 384)


def test_other_grids_see_stretched_positions():
    # With zero patches the tokens are the positions: constant ones stay.
    backbone = tiny.backbone((None, None, 3), use_patch_bias=False)
    positions = backbone.token_embedding.positions
    positions.assign(np.full(positions.shape, 3.0))
    tokens = keras.Model(backbone.input, backbone.tokens[0])
    x = array(tiny.outputs(tokens, np.zeros((1, 40, 8, 3), "float32")))
    assert x.shape == (1, 1 + 5 * 1, 24)
    np.testing.assert_allclose(x[0, 1:], 3.0, atol=1e-6)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "options, message",
    (
        ({"image_shape": (30, 48, 3)}, r"patch_size=8.*\(30, 48\).*\(32, 48\)"),
        ({"image_shape": (32, 48)}, r"image_shape must be .*\(32, 48\)"),
        ({"num_heads": 5}, "num_heads=5, hidden_dim=24"),
        ({"num_layers": 0}, "in 1..1000. Received: 0"),
    ),
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        tiny.backbone(**options)


@pytest.mark.no_backend
def test_names_that_are_no_argument_are_errors():
    with pytest.raises(TypeError, match="no argument 'depth'. It has num_lay"):
        ks.SETRBackbone(depth=12)
    with pytest.raises(TypeError, match="'img_size'"):
        tiny.backbone(img_size=(16, 24))


@pytest.mark.no_backend
def test_an_attention_layer_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"num_layers=3 .*Received: \[4\]"):
        tiny.backbone().attention_maps(np.zeros((1, 16, 24, 3)), layer=4)
