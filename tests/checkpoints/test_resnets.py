"""ResNets, FCN, Semantic FPN and the hybrid from the originals' files."""

import json

import keras
import keras_hub
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from tests import tiny
from tests.checkpoints.test_encoders import save
from tests.goldens import mmsegmentation_baselines as golden
from tests.goldens import timm_hybrid
from tests.goldens.mmsegmentation_models import random_state

MODELS = {"fcn": ks.FCN, "semantic_fpn": ks.SemanticFPN}
D6 = {"output_stride": 16, "dilation_rate": 6}
# As mmsegmentation writes it, with what is no value in it.
CONFIGURATION = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        type='ResNetV1c', strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    decode_head=dict(
        type='FCNHead', norm_cfg=norm_cfg, dilation=6, align_corners=True),
    auxiliary_head={'type': 'FCNHead', 'dilation': 6},
    pretrained=print('run'))
total_iters = 40000
"""


def assert_close(value, expected, what=""):
    np.testing.assert_allclose(
        value, expected, atol=1e-5 * np.abs(expected).max(), err_msg=what
    )


def golden_of(name):
    """The arrays, and the weights that they come of."""
    with np.load(golden.FOLDER / f"mmsegmentation_{name}.npz") as arrays:
        arrays = dict(arrays)
    shapes = json.loads(str(arrays.pop("shapes")))
    return arrays, random_state(shapes)


@pytest.mark.parametrize("name", [*MODELS, "fcn_d6"])
def test_mmsegmentations_files_give_its_outputs(name, tmp_path, capsys):
    arrays, state = golden_of(name)
    path = save(tmp_path / "checkpoint.safetensors", state)
    kind = D6 if name == "fcn_d6" else {}
    model = ks.SETRSegmenter.from_preset(path, preprocessor=None, **kind)
    assert type(model) is MODELS[name.removesuffix("_d6")]
    assert "(mmsegmentation): encoder" in capsys.readouterr().out
    stages = {
        f"stage_{i}": tensor for i, tensor in model.backbone.features.items()
    }
    found = tiny.outputs(
        keras.Model(model.input, {**model.output, **stages}),
        golden.images(name),
    )
    for key, expected in arrays.items():
        if key == "logits_True":
            continue
        ours = key.partition("_False")[0]
        value = array(found[ours])
        if ours == "logits":
            value = value[:, ::4, ::5]
        assert_close(value, expected, key)


@pytest.mark.no_backend
def test_what_no_tensor_tells_is_told_elsewhere(tmp_path, capsys):
    _, state = golden_of("fcn")

    def write(name, meta):
        return save(
            tmp_path / name, state, lambda t: {"meta": meta, "state_dict": t}
        )

    def load(name, meta=None, **given):
        path = write(name, meta)
        model = ks.FCN.from_preset(path, preprocessor=None, **given)
        printed = capsys.readouterr().out
        found = (
            model.backbone.output_stride,
            model.dilation_rate,
            model.align_corners,
        )
        return *found, printed

    for key in ("config", "cfg"):  # of 0.x and 1.x
        meta = {key: CONFIGURATION}
        *found, printed = load("fcn_r50-d8_512x1024.pth", meta)
        assert found == [16, 6, True]
        assert (
            "  output_stride=16, dilation_rate=6, align_corners=True, of the "
            "configuration in the file" in printed
        )
        assert "run\n" not in printed
    for name, kind in (
        ("fcn_d6_r50b-d16_769x769_80k_cityscapes_2021.safetensors", (16, 6)),
        ("fcn-d6_r101-d16_4xb2-80k_cityscapes-769x769.pth", (16, 6)),
        ("fcn_r50-d8_512x1024_40k_cityscapes_2020.pth", (8, 1)),
    ):
        *found, printed = load(name)
        assert found == [*kind, False] and "of the file's name" in printed
    *found, printed = load("iter_40000.pth", {"config": "model = dict("})
    assert found == [8, 1, False] and "assumed" in printed
    assert "mmsegmentation's D6 has output_stride=16, dilation_r" in printed
    # What is given prevails, and is not told again.
    *found, printed = load("iter.pth", {"cfg": CONFIGURATION}, dilation_rate=2)
    assert found == [16, 2, True] and "\n  output_stride=16, align" in printed
    *found, printed = load("iter.pth", **D6)
    assert found == [16, 6, False] and "output_stride" not in printed
    encoder = ks.ResNetBackbone.from_preset(
        write("iter.pth", {"cfg": CONFIGURATION})
    )
    assert encoder.output_stride == 16
    assert "  output_stride=16, of the conf" in capsys.readouterr().out
    # Under a built-in name of the other kind.
    with pytest.raises(ValueError, match="output_stride 16 instead of 8"):
        ks.FCN.from_preset(
            "fcn_resnet50_cityscapes_769_40k", file=tmp_path / "iter.pth"
        )
    # Settings that cannot be.
    with pytest.raises(ValueError, match="iter.pth .* shapes or settings"):
        load("iter.pth", {"cfg": "model = dict(backbone=dict())"})


@pytest.mark.backends("torch")
def test_aligned_corners_are_mmsegmentations(tmp_path):
    arrays, state = golden_of("fcn")
    path = save(tmp_path / "checkpoint.safetensors", state)
    model = ks.FCN.from_preset(
        path, preprocessor=None, align_corners=True, verbose=False
    )
    logits = array(tiny.outputs(model, golden.images()))
    assert_close(logits[:, ::4, ::5], arrays["logits_True"])


@pytest.mark.backends("torch")
def test_an_encoder_alone_is_read_whole_or_cut(tmp_path, capsys):
    arrays, state = golden_of("semantic_fpn")
    path = save(tmp_path / "resnet.safetensors", state)
    whole = ks.ResNetBackbone.from_preset(path)
    assert "only the encoder was asked for" in capsys.readouterr().out
    found = array(tiny.outputs(whole, golden.images()))
    assert_close(found, arrays["stage_4"])
    assert whole.deep_stem and whole.output_stride == 32
    cut = ks.ResNetBackbone.from_preset(
        path, output_stride=16, late_stages="cut"
    )
    assert "cut before this stage" in capsys.readouterr().out
    found = array(tiny.outputs(cut, golden.images()))
    assert_close(found, arrays["stage_3"])
    # The decoder stays under another number of classes.
    model = ks.SemanticFPN.from_preset(path, num_classes=7, verbose=False)
    assert model.num_classes == 7


@pytest.mark.backends("torch")
def test_torchvisions_names_are_read(tmp_path):
    ours = tiny.resnet((None, None, 3))
    tiny.set_weights_by_path(ours)
    state = {"fc.weight": np.zeros((5, 128), "float32")}
    parts = {
        "reduction": ("conv1", "bn1"),
        "spatial": ("conv2", "bn2"),
        "expansion": ("conv3", "bn3"),
        "shortcut": ("downsample.0", "downsample.1"),
    }
    words = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    for v in ours.weights:
        layer, part, kind, name = v.path.split("/")
        names = ("conv1", "bn1")
        if layer != "stem":
            _, stage, _, block = layer.split("_")
            where = f"layer{stage}.{int(block) - 1}."
            names = [where + n for n in parts[part]]
        value = array(v)
        if name == "kernel":
            value = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
        state[f"{names[kind == 'norm']}.{words[name]}"] = value
    path = save(tmp_path / "resnet.safetensors", state)
    model = ks.FCN.from_preset(path, num_classes=5, output_stride=8)
    assert model.backbone.output_stride == 8
    plain = ks.ResNetBackbone.from_preset(path)
    x = np.random.default_rng(1).normal(size=(1, 37, 50, 3)).astype("float32")
    np.testing.assert_array_equal(
        array(tiny.outputs(plain, x)), array(tiny.outputs(ours, x))
    )


@pytest.mark.backends("torch")
def test_kerashubs_presets_are_read(tmp_path):
    theirs = keras_hub.models.ResNetBackbone(
        [64], [7], [64, 128], [2, 1], [1, 2], "bottleneck_block"
    )
    tiny.set_weights_by_path(theirs)
    theirs.save_to_preset(str(tmp_path))
    ours = ks.ResNetBackbone.from_preset(str(tmp_path))
    assert ours.num_blocks == (2, 1) and ours.output_stride == 8
    x = np.random.default_rng(0).normal(size=(2, 33, 50, 3)).astype("float32")
    expected = array(theirs(x, training=False))
    assert_close(array(tiny.outputs(ours, x)), expected)
    vd = keras_hub.models.ResNetBackbone(
        [8, 8, 64], [3, 3, 3], [64, 128], [1, 1], [1, 2], "bottleneck_block_vd"
    )
    vd.save_to_preset(str(tmp_path / "vd"))
    with pytest.raises(ValueError, match="in the file, but not in the model"):
        ks.ResNetBackbone.from_preset(str(tmp_path / "vd"))


@pytest.mark.backends("torch")
def test_encoders_of_the_other_kind_are_refused(tmp_path):
    model = tiny.build("fcn")
    model.save_to_preset(tmp_path / "fcn")
    folder = str(tmp_path / "fcn")
    again = ks.FCN.from_preset(folder, num_classes=3, output_stride=16)
    assert again.backbone.output_stride == 16 and again.num_classes == 3
    for cls in (ks.SETRPUP, ks.SemanticFPN):
        with pytest.raises(ValueError, match="holds a (FCN|ResNetBackbone)"):
            cls.from_preset(folder)
    with pytest.raises(ValueError, match="holds a ResNetBackbone"):
        ks.SETRBackbone.from_preset(folder)
    tiny.build("naive").save_to_preset(tmp_path / "setr")
    with pytest.raises(ValueError, match="holds a SETRBackbone"):
        ks.ResNetBackbone.from_preset(str(tmp_path / "setr"))
    with pytest.raises(ValueError, match="FCN is built on a ResNetBackbone"):
        ks.FCN.from_preset(str(tmp_path / "setr"))
    with pytest.raises(TypeError, match="no argument 'output_strid'.*'output"):
        ks.SETRSegmenter.from_preset(folder, output_strid=8)


@pytest.fixture
def hybrid_file(tmp_path):
    with np.load(timm_hybrid.FILE) as arrays:
        shapes = json.loads(str(arrays["shapes"]))
    return save(tmp_path / "hybrid.safetensors", random_state(shapes))


def test_timms_hybrid_gives_its_features(hybrid_file):
    size = (timm_hybrid.HEIGHT, timm_hybrid.WIDTH)
    model = ks.SETRBackbone.from_preset(
        hybrid_file,
        num_heads=timm_hybrid.HEADS,
        image_shape=(*size, 3),
        use_final_norm=True,
    )
    assert model.patch_size == 16 and model.stem.norm == "group"
    found = tiny.outputs(
        keras.Model(model.input, [model.maps, model.output]),
        timm_hybrid.images(),
    )
    with np.load(timm_hybrid.FILE) as arrays:
        assert_close(array(found[0]), arrays["maps"])
        assert_close(array(found[1]), arrays["features"])


@pytest.mark.backends("torch")
def test_a_hybrid_takes_any_decoder_and_size(hybrid_file):
    model = ks.SETRPUP.from_preset(
        hybrid_file,
        num_classes=5,
        image_shape=(48, 32, 3),
        filters=8,
        num_heads=timm_hybrid.HEADS,
        position_grid=(2, 3),
    )
    assert model.upsampling == (2, 2, 2, 1)
    assert model.predict(tiny.images(1, (48, 32)), verbose=0).shape[-1] == 5


@pytest.mark.backends("torch")
def test_a_transformer_alone_goes_behind_a_given_stem(tmp_path, capsys):
    plain = tiny.backbone((32, 48, 3), patch_size=16)
    tiny.set_weights_by_path(plain)
    plain.save_to_preset(tmp_path / "vit")
    stem = tiny.resnet((None, None, 3), output_stride=16)
    tiny.set_weights_by_path(stem)
    expected = [array(w).copy() for w in stem.weights]
    model = ks.SETRNaive.from_preset(
        str(tmp_path / "vit"), num_classes=5, stem=stem, filters=8
    )
    printed = capsys.readouterr().out
    assert "the stem is as it was given, what embeds its maps new" in printed
    assert "ignored 2 (patch_embedding/kernel, ..): the stem's" in printed
    backbone = model.backbone
    for ours, weight in zip(expected, backbone.stem.weights):
        np.testing.assert_array_equal(array(weight), ours)
    kernel = array(backbone.patch_embedding.kernel)
    assert kernel.shape == (1, 1, 128, 24) and np.abs(kernel).min() > 0
    for layer in ("block_3", "token_embedding"):
        for ours, theirs in zip(
            backbone.get_layer(layer).weights, plain.get_layer(layer).weights
        ):
            np.testing.assert_array_equal(array(ours), array(theirs))
