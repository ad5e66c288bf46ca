"""ResNets, and the baselines on them: sizes, counts, dilation, errors."""

import keras_hub
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr import checkpoints
from keras_setr.layers.initialization import values_follow
from keras_setr.layers.resampling import resize_nearest
from tests import tiny


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.no_backend
def test_parameters_are_those_of_the_originals():
    # torchvision's ResNet-50: 25,557,032 with 2048 * 1000 + 1000 of its
    # classifier; ResNet-101: 44,549,160.
    fifty = ks.ResNetBackbone(**ks.RESNET_50)
    assert trainable(fifty) == 25_557_032 - 2_049_000 == 23_508_032
    # Each batch norm has two moving statistics a channel.
    assert fifty.count_params() == 23_508_032 + 53_120
    larger = ks.ResNetBackbone(**ks.RESNET_101)
    assert trainable(larger) == 44_549_160 - 2_049_000 == 42_500_160
    # 17 more blocks of stage 3: 1024 * 256 + 9 * 256^2 + 256 * 1024 + 12 * 256
    assert 42_500_160 - 23_508_032 == 17 * 1_117_184
    # Three 3x3 convolutions, 3 to 32 to 32 to 64, and their norms, for one
    # of 7x7: 864 + 9,216 + 18,432 + 256 - (9,408 + 128).
    deep = ks.ResNetBackbone(**ks.RESNET_50, deep_stem=True)
    assert trainable(deep) - 23_508_032 == 28_768 - 9_536
    presets = checkpoints.PRESETS
    assert deep.count_params() == presets["resnet50_v1c"].parameters
    deeper = ks.ResNetBackbone(**ks.RESNET_101, deep_stem=True)
    assert deeper.count_params() == presets["resnet101_v1c"].parameters
    # 25,557,032 - 2,049,000 - 14,964,736, without stage 4.
    cut = ks.ResNetBackbone(**ks.RESNET_50, output_stride=16, late_stages="cut")
    assert trainable(cut) == 8_543_296 and cut.num_layers == 3


@pytest.mark.no_backend
def test_parameters_of_the_baselines_are_those_in_their_docstrings():
    options = {**ks.RESNET_50, "deep_stem": True}
    fcn = ks.FCN(ks.ResNetBackbone(**options, output_stride=8), 19)
    assert trainable(fcn) == (
        23_527_264 + 11_796_480 + 11_796_480 + 3_072 + 9_747
    ) + (2_359_808 + 4_883)
    fpn = ks.SemanticFPN(ks.ResNetBackbone(**options), 19)
    # On ResNet-101, mmsegmentation's parameters() count these.
    larger = {**ks.RESNET_101, "deep_stem": True}
    assert 68_489_862 == trainable(
        ks.FCN(ks.ResNetBackbone(**larger, output_stride=8), 19)
    )
    assert 47_490_035 == trainable(
        ks.SemanticFPN(ks.ResNetBackbone(**larger), 19)
    )
    assert trainable(fpn) == (
        23_527_264 + 984_064 + 2_360_320 + 1_179_648 + 442_368 + 1_792 + 2_451
    )
    for model in (fcn, fpn):
        assert f"{trainable(model):,}" in type(model).__doc__


@pytest.mark.no_backend
def test_parameters_of_the_hybrids():
    def hybrid(size, stem, **options):
        with values_follow():
            return ks.SETRBackbone(
                **ks.T_SMALL, image_shape=(size, size, 3), stem=stem, **options
            )

    # timm's vit_base_r50_s16_384: 98,950,952 without 768 * 1000 + 1000 of
    # its classifier. Its ResNet has 3, 4 and 9 blocks.
    google = hybrid(
        384,
        {"num_blocks": (3, 4, 9), "output_stride": 16, "norm": "group"},
        use_final_norm=True,
    )
    assert google.count_params() == 98_950_952 - 769_000
    # ResNet-50, 2048 channels to 768, class token and 1 + 48 * 48 positions,
    # the layers of T-Small.
    paper = hybrid(768, {**ks.RESNET_50, "output_stride": 16})
    assert trainable(paper) == (
        23_508_032 + 2048 * 768 + 768 + 768 + 2305 * 768 + 12 * 7_087_872
    )


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "stride, dilations, sizes",
    (
        # (first block, the others) of stages 2, 3 and 4; 65 x 98 images.
        (32, ((1, 1), (1, 1), (1, 1)), ((9, 13), (5, 7), (3, 4))),
        (16, ((1, 1), (1, 1), (1, 2)), ((9, 13), (5, 7), (5, 7))),
        (8, ((1, 1), (1, 2), (2, 4)), ((9, 13), (9, 13), (9, 13))),
    ),
)
def test_stages_beyond_the_stride_are_dilated(stride, dilations, sizes):
    backbone = tiny.resnet(
        (65, 98, 3), num_blocks=(1, 2, 2, 2), output_stride=stride
    )
    for stage, (rates, size) in enumerate(zip(dilations, sizes), start=2):
        blocks = [
            backbone.get_layer(f"stage_{stage}_block_{i}") for i in (1, 2)
        ]
        assert tuple(b.dilation_rate for b in blocks) == rates
        assert backbone.features[stage].shape[1:3] == size
    assert backbone.is_dilated == (stride < 32)
    cut = tiny.resnet(output_stride=stride, late_stages="cut")
    assert len(cut.features) == {8: 2, 16: 3, 32: 4}[stride]
    assert not cut.is_dilated


def test_at_stride_32_it_computes_what_kerashubs_does():
    theirs = keras_hub.models.ResNetBackbone(
        [64], [7], [64, 128], [2, 1], [1, 2], "bottleneck_block"
    )
    tiny.set_weights_by_path(theirs)
    ours = ks.ResNetBackbone((2, 1), output_stride=8)
    x = np.random.default_rng(0).normal(size=(2, 33, 50, 3))
    x = x.astype("float32")
    renamed = {}
    for v in theirs.weights:
        layer, name = v.path.split("/")
        renamed[_ours(layer) + ("kernel" if name == "kernel" else name)] = v
    for v in ours.weights:
        v.assign(renamed[v.path])
    expected = array(tiny.outputs(theirs, x, training=False))
    found = array(tiny.outputs(ours, x, training=False))
    assert found.shape == expected.shape == (2, 5, 7, 512)
    np.testing.assert_allclose(
        found, expected, atol=1e-5 * np.abs(expected).max()
    )


def _ours(layer):
    """The start of our path for a layer of KerasHub's."""
    *where, kind = layer.split("_")
    kind = {"conv": "convolution/", "bn": "norm/"}[kind]
    if where == ["conv1"]:
        return f"stem/convolution_0/{kind}"
    stack, block, part = where
    parts = ("shortcut", "reduction", "spatial", "expansion")
    return (
        f"stage_{int(stack[5:]) + 1}_block_{int(block[5:]) + 1}/"
        f"{parts[int(part)]}/{kind}"
    )


def test_nearest_pixels_are_torchs_at_odd_sizes():
    # floor(i * 3 / 5) of i = 0 .. 4, and floor(i * 2 / 3).
    x = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
    found = array(resize_nearest(ops.convert_to_tensor(x), (3, 5)))
    expected = x[:, [0, 0, 1]][:, :, [0, 0, 1, 1, 2]]
    np.testing.assert_array_equal(found, expected)


def test_images_of_any_size_are_segmented():
    model = tiny.build("fcn", (None, None, 3))
    assert model.backbone.native_size == (512, 512)
    labels = model.segment(tiny.images(1, (19, 37))[0], window_size=(16, 24))
    assert labels.shape == (19, 37)
    # A window as large as any image, under mmsegmentation's protocol, is its
    # "whole" mode: one pass over the image as it is.
    image = tiny.images(1, (19, 37))
    whole = model.segment(
        image[0],
        window_size=(64, 64),
        protocol="mmsegmentation",
        output="logits",
    )
    x = model.preprocessor(image)
    direct = array(tiny.outputs(model, x))[0]
    np.testing.assert_allclose(whole, direct, atol=1e-4)


def test_aligned_corners_reach_every_resize():
    model = tiny.build("fcn", align_corners=True)
    tiny.set_weights_by_path(model, scale=0.2)
    plain = tiny.build("fcn")
    plain.set_weights(model.get_weights())
    x = tiny.images().astype("float32") / 255
    aligned, usual = (array(tiny.outputs(m, x)) for m in (model, plain))
    # Corner pixels are those of the head's 2 x 3 map.
    np.testing.assert_allclose(aligned[:, 0, 0], usual[:, 0, 0], rtol=1e-3)
    assert np.abs(aligned - usual).max() > 1e-3 * np.abs(usual).max()
    small = {"window_size": (16, 24), "protocol": "mmsegmentation"}
    image = tiny.images(1, (9, 11))
    free = tiny.build("fcn", (None, None, 3), align_corners=True)
    free.set_weights(model.get_weights())
    direct = array(tiny.outputs(free, free.preprocessor(image)))[0]
    found = free.segment(image[0], output="logits", **small)
    np.testing.assert_allclose(found, direct, atol=1e-4 * direct.max())


@pytest.mark.no_backend
def test_freezing_counts_stages():
    backbone = tiny.resnet()
    backbone.freeze(2)
    frozen = {la.name for la in backbone.layers if not la.trainable}
    assert "stem" in frozen and "stage_2_block_2" in frozen
    assert "stage_3_block_1" not in frozen
    assert backbone.depths["stem"] == 0
    assert backbone.depths["stage_4_block_1"] == 4


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "call, message",
    (
        (
            lambda: tiny.resnet(num_blocks=(1, 1), output_stride=16),
            "output_stride must be at most 8, that of 2 stages. Received: 16",
        ),
        (lambda: tiny.resnet(output_stride=4), "8, 16 or 32. Received: 4"),
        (lambda: tiny.resnet(late_stages="kept"), "'dilated' or 'cut'"),
        (lambda: tiny.resnet(norm="layer"), "'batch', 'group' or None"),
        (
            lambda: ks.SemanticFPN(tiny.resnet(output_stride=8), 5),
            "ever smaller maps. Received: output_stride=8 with 4 stages",
        ),
        (
            lambda: ks.FCN(tiny.backbone(), 5),
            "backbone must be a ResNetBackbone",
        ),
        (
            lambda: ks.SETRPUP(tiny.resnet(), 5),
            "backbone must be a SETRBackbone",
        ),
        (
            lambda: ks.FCN(tiny.resnet(), 5, auxiliary_stage=5),
            r"auxiliary_stage must .* 1 to num_layers=4 .*Received: \[5\]",
        ),
        (lambda: tiny.resnet().enable_lora(4), "a ResNetBackbone, which has"),
        (lambda: tiny.build("fcn").quantize("int8"), "quantize changes"),
        (
            lambda: setattr(tiny.resnet(), "rematerialize", True),
            "rematerialize must be False",
        ),
    ),
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_memory_of_a_step_is_estimated():
    with values_follow():
        model = tiny.build("fcn")
    two, four = (ks.training.estimate_memory(model, n) for n in (2, 4))
    assert abs(four.activations - 2 * two.activations) <= 1  # rounded
    assert two.gradients == 4 * trainable(model)
    larger = ks.training.estimate_memory(model, 2, image_size=(32, 48))
    assert abs(larger.activations - 4 * two.activations) <= 3
    plan = ks.training.plan_memory(model, 4, available=1)
    assert plan.batch_size == 1 and not plan.rematerialize
    hybrid, naive = tiny.build("hybrid"), tiny.build("naive")
    more = ks.training.estimate_memory(hybrid, 2)
    assert more.activations > ks.training.estimate_memory(naive, 2).activations
