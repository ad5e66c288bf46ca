"""The three decoders: defaults, variants and errors."""

import json

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.facts.encoders import FAMILIES
from tests import tiny


@pytest.fixture(scope="module")
def encoder():
    return tiny.backbone()


def deep(num_layers, **options):
    return tiny.backbone(num_layers=num_layers, hidden_dim=8, **options)


@pytest.mark.no_backend
def test_t_larges_auxiliary_heads_are_the_papers():
    backbone = deep(24)
    assert ks.SETRNaive(backbone, 5).auxiliary_layers == (10, 15, 20)
    assert ks.SETRPUP(backbone, 5).auxiliary_layers == (10, 15, 20, 24)
    assert ks.SETRMLA(backbone, 5).feature_layers == (6, 12, 18, 24)


@pytest.mark.no_backend
def test_other_depths_keep_the_relative_depths():
    # 12 / 24 of 10, 15, 20, 24, rounded up.
    assert ks.SETRPUP(deep(12), 5).auxiliary_layers == (5, 8, 10, 12)
    assert ks.SETRMLA(deep(12), 5).feature_layers == (3, 6, 9, 12)


@pytest.mark.no_backend
@pytest.mark.parametrize("num_layers", (1, 5))
@pytest.mark.parametrize("family", FAMILIES)
def test_any_decoder_stands_on_any_encoder_of_any_depth(family, num_layers):
    patch_size = FAMILIES[family].get("patch_size", 16)
    backbone = ks.SETRBackbone(
        num_layers=num_layers,
        hidden_dim=8,
        num_heads=2,
        image_shape=(2 * patch_size, 3 * patch_size, 3),
        **{**FAMILIES[family], "patch_size": patch_size},
    )
    for cls, argument in (
        (ks.SETRNaive, "auxiliary_layers"),
        (ks.SETRPUP, "auxiliary_layers"),
        (ks.SETRMLA, "feature_layers"),
    ):
        model = cls(backbone, 5)
        layers = getattr(model, argument)
        assert layers == tuple(sorted(set(layers)))
        assert 1 <= layers[0] and layers[-1] <= num_layers
        logits = model.output["logits"].shape
        assert logits == (None, 2 * patch_size, 3 * patch_size, 5)


@pytest.mark.no_backend
def test_pup_doubles_as_often_as_the_patches_need():
    for patch_size, upsampling in ((16, (2, 2, 2, 1)), (14, (2, 2, 2, 1))):
        backbone = tiny.backbone(
            (None, None, 3), patch_size=patch_size, hidden_dim=8
        )
        assert ks.SETRPUP(backbone, 5).upsampling == upsampling
    assert tiny.build("pup").upsampling == (2, 2, 1)


@pytest.mark.no_backend
def test_mla_halves_the_channels_twice_as_the_paper_says():
    model = ks.SETRMLA(tiny.backbone(hidden_dim=40), 5)
    assert (model.neck_filters, model.head_filters) == (20, (20, 10))


def test_a_last_doubling_in_the_head_gives_the_same_logits():
    backbone = tiny.backbone()
    paper = ks.SETRPUP(backbone, 5, filters=8, upsampling=(2, 2, 1))
    mmseg = ks.SETRPUP(backbone, 5, filters=8, upsampling=(2, 2, 2))
    tiny.set_weights_by_path(paper, scale=0.5)
    mmseg.set_weights(paper.get_weights())
    x = tiny.images().astype("float32") / 255
    np.testing.assert_allclose(
        array(tiny.outputs(paper, x)), array(tiny.outputs(mmseg, x)), atol=1e-5
    )


def test_a_1x1_classifier_before_the_upsampling_is_the_one_after_it():
    head = ks.models.heads.UpsamplingHead(4, upsampling=(4,), filters=6)
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 5)).astype("float32")
    before = array(head(x))
    features = head.convolutions[0](head.norm(x))
    upsampled = ks.layers.resampling.upsample_bilinear(features, 4)
    after = array(head.classifier(upsampled))
    assert before.shape == after.shape == (1, 8, 12, 4)
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_the_mla_neck_sums_from_the_deepest_layer_up():
    neck = ks.models.heads.MLANeck(4, use_layer_norm=False)
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(1, 2, 3, 5)).astype("float32") for _ in range(3)]
    maps = neck(x)
    projected = [p(y) for p, y in zip(neck.projections, x)]
    shallow = projected[0] + projected[1] + projected[2]
    expected = neck.fusions[0](shallow)
    np.testing.assert_allclose(array(maps[0]), array(expected), atol=1e-5)
    deepest = neck.fusions[2](projected[2])
    np.testing.assert_allclose(array(maps[2]), array(deepest), atol=1e-5)


@pytest.mark.parametrize(
    "name, options, heads",
    (
        ("naive", {"auxiliary_layers": ()}, 0),
        ("pup", {"auxiliary_upsampling": (4, 4)}, 2),
        ("mla", {"auxiliary": "neck"}, 3),
        ("mla", {"auxiliary": None}, 0),
        (
            "mla",
            {"align_corners": True, "classifier_kernel_size": 3},
            3,
        ),
        ("naive", {"upsampling": (4,), "use_bias": True}, 2),
    ),
)
def test_published_variants_are_a_matter_of_arguments(name, options, heads):
    model = tiny.build(name, **options)
    x = np.zeros((1, 16, 24, 3), "float32")
    outputs = tiny.outputs(keras.Model(model.input, model.output), x)
    assert len(outputs) == 2 + heads
    assert outputs["logits"].shape == (1, 16, 24, 5)
    if options.get("auxiliary_upsampling"):
        assert outputs["auxiliary_0"].shape == (1, 32, 48, 5)
    if options.get("auxiliary") == "neck":
        classifier = model.get_layer("auxiliary_head_0")
        assert [w.shape for w in classifier.weights] == [(1, 1, 12, 5), (5,)]


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "name, options, message",
    (
        ("pup", {"num_classes": 1}, "num_classes must be .* Received: 1"),
        ("mla", {"num_classes": 2.0}, "Received: 2.0"),
        (
            "mla",
            {"feature_layers": (1, 4)},
            r"feature_layers .*num_layers=3 .*Received: \[1, 4\]",
        ),
        ("naive", {"feature_layer": 0}, "feature_layer .*from 1 to"),
        ("pup", {"kernel_size": 0}, "kernel_size must be .* Received: 0"),
        ("pup", {"backbone": "vit"}, "backbone must be a SETRBackbone.*'vit'"),
        ("mla", {"preprocessor": "none"}, "'auto' or a KerasHub .*'none'"),
        ("naive", {"classes": ["a"]}, r"a keras_setr.Classes or .*\['a'\]"),
        ("mla", {"auxiliary_weight": -0.1}, "at least 0. Received: -0.1"),
        ("pup", {"ignore_class": "void"}, "ignore_class must be .*or None"),
        ("pup", {"auxiliary_layers": (9,)}, "auxiliary_layers"),
        ("mla", {"auxiliary": "both"}, "auxiliary must be .*'both'"),
        (
            "pup",
            {"classes": ks.Classes(["a", "b"])},
            "2 names for num_classes=5",
        ),
    ),
)
def test_wrong_arguments_are_named(name, options, message, encoder):
    build = {"naive": ks.SETRNaive, "pup": ks.SETRPUP, "mla": ks.SETRMLA}[name]
    options = {"backbone": encoder, "num_classes": 5, **options}
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_the_preprocessor_normalises_with_the_published_statistics():
    model = tiny.build("naive")
    x = np.full((1, 16, 24, 3), 255, "uint8")
    y = array(model.preprocessor(x))
    expected = [
        (255 - 123.675) / 58.395,
        (255 - 116.28) / 57.12,
        (255 - 103.53) / 57.375,
    ]
    np.testing.assert_allclose(y[0, 0, 0], expected, rtol=1e-5)


def test_images_of_other_channels_need_their_own_statistics():
    backbone = tiny.backbone((16, 24, 1))
    with pytest.raises(ValueError, match=r"RGB.*\(\.\., 1\).*mean=.*1 number "):
        ks.SETRNaive(backbone, 5)
    converter = ks.SETRImageConverter(mean=(100.0,), std=(50.0,))
    grey = ks.SETRNaive(
        backbone, 5, preprocessor=ks.SETRImageSegmenterPreprocessor(converter)
    )
    images = tiny.images()[..., :1]
    y = array(grey.preprocessor(images))
    np.testing.assert_allclose(y, (images - 100.0) / 50, rtol=1e-5, atol=1e-5)
    assert grey.predict(images, verbose=0).shape == (2, 16, 24, 5)


@pytest.mark.no_backend
def test_configs_from_before_upsampling_had_its_name_are_read():
    model = tiny.build("pup", upsampling=(2, 4), auxiliary_upsampling=(4, 2))
    config = model.get_config()
    config["scales"] = config.pop("upsampling")
    config["auxiliary_scales"] = config.pop("auxiliary_upsampling")
    again = ks.SETRPUP.from_config(json.loads(json.dumps(config)))
    assert again.upsampling == (2, 4)
    assert again.auxiliary_upsampling == (4, 2)
    for head, former in (("UpsamplingHead", "scales"), ("MLAHead", "scale")):
        cls = getattr(ks.models.heads, head)
        ours = {"num_classes": 4, "filters": 5, "upsampling": (2,)}
        if head == "MLAHead":
            ours.update(filters=(5, 6), upsampling=2)
        config = cls(**ours).get_config()
        config[former] = config.pop("upsampling")
        assert cls.from_config(config).upsampling == ours["upsampling"]


def test_without_preprocessor_images_are_normalised_already():
    model = tiny.build("naive")
    plain = tiny.build("naive", preprocessor=None)
    plain.set_weights(model.get_weights())
    images = tiny.images()
    normalised = array(model.preprocessor(images))
    np.testing.assert_allclose(
        plain.predict(normalised, verbose=0),
        model.predict(images, verbose=0),
        atol=1e-5,
    )


@pytest.mark.no_backend
def test_no_head_that_ends_at_the_pixels_holds_their_logits():
    # The loss and the resize enlarge them; mmsegmentation's factors.
    model = ks.SETRPUP(
        tiny.backbone((32, 48, 3), patch_size=16),
        5,
        upsampling=(2, 2, 2, 2),
        auxiliary_upsampling=(4, 4),
        auxiliary_layers=(1,),
    )
    shapes = {name: x.shape[1:3] for name, x in model.output.items()}
    assert shapes == {
        "logits": (32, 48),
        "decode_head": (16, 24),
        "auxiliary_0": (8, 12),
    }
    assert model.get_config()["upsampling"] == (2, 2, 2, 2)
    # On other patches they do not end there.
    other = tiny.backbone(patch_size=8)
    model = ks.SETRPUP(other, 5, upsampling=(2, 2), auxiliary_layers=())
    assert model.output["decode_head"].shape[1] == other.image_shape[0] // 2
