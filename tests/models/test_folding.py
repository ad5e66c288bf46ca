"""`for_inference`: the same outputs, without what training needs."""

import functools

import keras
import keras_hub
import numpy as np
import pytest

import keras_setr as ks
from keras_setr.models.costs import cost_of
from tests import tiny

pytestmark = pytest.mark.usefixtures("uncompiled")
every_model = pytest.mark.parametrize("name", tiny.MODELS)

# Where images are normalised before a convolution that pads them.
ON_RESNETS = ("hybrid", "fcn", "semantic_fpn")


def with_statistics(model):
    """The model with weights of which no batch norm is the identity."""
    tiny.set_weights_by_path(model)
    rng = np.random.default_rng(7)
    for layer in batch_norms(model):
        shape = layer.gamma.shape
        layer.gamma.assign(rng.uniform(-1.5, 1.5, shape))
        layer.beta.assign(rng.normal(size=shape))
        layer.moving_mean.assign(rng.normal(size=shape))
        layer.moving_variance.assign(rng.uniform(0.2, 3.0, shape))
    return model


def trained(name, **options):
    return with_statistics(tiny.shallow(name, **options))


@pytest.fixture(scope="module")
def pair():
    """Name -> a model and the folded one; neither is changed."""

    @functools.cache
    def build(name):
        model = trained(name, classes=ks.Classes(list("abcde")))
        return model, model.for_inference()

    return build


def predicted(model, x=None):
    return model.predict(tiny.images() if x is None else x, verbose=0)


def assert_close(actual, expected, tolerance=1e-5):
    """Within parts of the largest logit, or of 1."""
    largest = np.abs(expected).max()
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * max(1, largest)
    )


def assert_same(folded, model, tolerance=1e-5):
    assert_close(predicted(folded), predicted(model), tolerance)


def batch_norms(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


@every_model
def test_a_folded_model_gives_the_same_with_less(name, pair):
    model, folded = pair(name)
    assert type(folded) is type(model) and folded.classes == model.classes
    assert_same(folded, model)
    assert not batch_norms(folded) and batch_norms(model)
    embedded = name not in ON_RESNETS
    assert folded.preprocessor.image_converter.folded == embedded
    assert not [v.path for v in folded.weights if "auxiliary" in v.path]
    config = folded.get_config()
    del config["backbone"]
    cost, _ = cost_of(
        type(model), folded.backbone.get_config(), config, (16, 24)
    )
    assert folded.count_params() == cost.parameters


@pytest.mark.parametrize("name", ("pup", "fcn"))
def test_images_of_other_sizes_are_cut_into_windows_as_before(name, pair):
    model, folded = pair(name)
    image = tiny.images(1, (20, 40))[0]
    small = tiny.images(1, (10, 14))[0]
    for x, options in (
        (image, {"scales": (0.75, 1.0), "flip": True}),
        (small, {"window_size": (16, 24)}),
    ):
        expected = model.segment(x, "probabilities", **options)
        actual = folded.segment(x, "probabilities", **options)
        assert_close(actual, expected)


@pytest.mark.parametrize("form", ("keras", "preset"))
@pytest.mark.parametrize("name", ("mla", "hybrid"))
def test_a_folded_model_is_saved_and_loaded(name, form, pair, tmp_path):
    _, folded = pair(name)
    if form == "keras":
        folded.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    else:
        folded.save_to_preset(tmp_path / "preset")
        loaded = ks.models.SETRSegmenter.from_preset(str(tmp_path / "preset"))
    assert type(loaded) is type(folded) and loaded.folded
    assert_same(loaded, folded, 1e-6)
    with pytest.raises(ValueError, match="for_inference"):
        loaded.fit(tiny.images(), tiny.labels())


def test_a_folded_model_is_evaluated_and_not_trained(pair):
    model, folded = pair("naive")
    x, y = tiny.images(), tiny.labels()
    expected = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(
        folded.evaluate(x, y, verbose=0), expected, rtol=1e-5
    )
    whole = ks.evaluate(folded, list(zip(x, y)))
    assert whole.mean_iou == ks.evaluate(model, list(zip(x, y))).mean_iou
    for train in (folded.compile, lambda: folded.fit(x, y)):
        with pytest.raises(ValueError, match=r"call for_inference\(\) again"):
            train()
    with pytest.raises(ValueError, match=r"call for_inference\(\) again"):
        folded.train_on_batch(x, y)


def test_what_the_original_learns_does_not_reach_the_folded_one():
    model = trained("pup")
    folded = model.for_inference()
    expected = predicted(folded)
    model.compile(learning_rate=1.0, total_steps=10, **tiny.UNCOMPILED)
    model.fit(tiny.images(), tiny.labels(), verbose=0)
    np.testing.assert_array_equal(predicted(folded), expected)
    assert not np.allclose(predicted(model), expected)


@pytest.mark.parametrize("name", ("pup", "hybrid"))
def test_a_call_takes_images_as_they_are_where_patches_normalise(name, pair):
    model, folded = pair(name)
    x = tiny.images()
    raw = model.preprocessor(x) if name in ON_RESNETS else x
    actual = keras.ops.convert_to_numpy(tiny.outputs(folded, raw))
    assert_close(actual, predicted(model))


def test_a_preprocessor_of_ones_own_stays():
    hubs = keras_hub.models.ImageSegmenterPreprocessor(
        keras_hub.layers.ImageConverter(scale=1 / 50, offset=-2.0)
    )
    for preprocessor in (None, hubs):
        model = trained("naive", preprocessor=preprocessor)
        folded = model.for_inference()
        assert_same(folded, model)
        assert type(folded.preprocessor) is type(preprocessor)


def test_patches_without_bias_get_the_one_of_the_normalisation():
    backbone = tiny.backbone(use_patch_bias=False, num_layers=1)
    model = with_statistics(tiny.MODELS["naive"](backbone))
    folded = model.for_inference()
    assert folded.backbone.use_patch_bias
    assert_same(folded, model)


def test_images_of_16_bits_and_four_channels_are_folded_too():
    converter = ks.SETRImageConverter(
        mean=(9000.0, 8000.0, 7000.0, 2.0), std=(4000.0, 3000.0, 2000.0, 1.0)
    )
    model = tiny.MODELS["pup"](
        tiny.backbone((16, 24, 4), num_layers=1),
        preprocessor=ks.SETRImageSegmenterPreprocessor(converter),
    )
    with_statistics(model)
    folded = model.for_inference()
    x = np.random.default_rng(0).integers(0, 20_000, (2, 16, 24, 4))
    x = x.astype("uint16")
    assert folded.preprocessor.image_converter.folded
    assert_close(predicted(folded, x), predicted(model, x))


def test_group_norm_stays():
    stem = {**tiny.HYBRID["stem"], "norm": "group"}
    backbone = tiny.backbone(stem=stem, num_layers=1)
    model = with_statistics(tiny.MODELS["naive"](backbone))
    folded = model.for_inference()
    assert folded.backbone.stem.norm == "group"
    assert_same(folded, model)


def test_lora_is_merged():
    model = trained("naive")
    model.backbone.enable_lora(2)
    with_statistics(model)
    folded = model.for_inference()
    assert folded.backbone.lora is None
    assert not [v.path for v in folded.weights if "lora" in v.path]
    assert_same(folded, model)


def test_int8_comes_after_folding():
    model = trained("naive")
    folded = model.for_inference()
    folded.quantize("int8")
    model.quantize("int8")
    assert_same(folded, model, 1e-4)
    with pytest.raises(ValueError, match="before quantize"):
        model.for_inference()


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        # Which JAX compiles for seconds.
        pytest.param(
            "bfloat16", marks=pytest.mark.backends("tensorflow", "torch")
        ),
    ],
)
def test_a_folded_model_keeps_its_policy(policy):
    keras.config.set_dtype_policy(policy)
    model = trained("pup")
    folded = model.for_inference()
    assert folded.dtype_policy.name == policy
    assert not folded.preprocessor.image_converter.folded
    assert {v.dtype for v in folded.weights} <= {v.dtype for v in model.weights}
    assert_same(folded, model, 0.02)
