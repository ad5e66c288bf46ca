"""What every layer, head and model must do, in one place.

That all weights of a model learn stands in test_parity.py, which trains each.
"""

import dataclasses
import functools
import inspect
import json

import keras
import numpy as np
import pytest

import keras_setr as ks
from keras_setr import layers
from keras_setr.models import baseline_heads
from keras_setr.models import heads
from tests import tiny

pytestmark = pytest.mark.usefixtures("uncompiled")


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, its arguments, and the shapes of its inputs without batch."""

    cls: type
    arguments: dict
    shapes: tuple
    listed: bool = False  # called with one list instead of arguments

    def build(self, **options):
        return self.cls(**{**self.arguments, **options})

    def model(self, unknown=False, **options):
        def shape(known):
            return tuple(None for _ in known[:-1]) + known[-1:]

        inputs = [
            keras.Input(shape(known) if unknown else known)
            for known in self.shapes
        ]
        # A name without number, for the same weights whatever ran before.
        layer = self.build(name=self.cls.__name__.lower(), **options)
        outputs = layer(inputs) if self.listed else layer(*inputs)
        return keras.Model(inputs, outputs)

    def data(self, batch=2, seed=0):
        rng = np.random.default_rng(seed)
        return [
            rng.normal(size=(batch, *shape)).astype("float32")
            for shape in self.shapes
        ]


MAP = (3, 4, 6)  # non-square grid, width 6
TOKENS = (13, 6)
LAYERS = {
    case.cls.__name__: case
    for case in (
        Case(
            layers.PatchEmbedding,
            {"hidden_dim": 10, "patch_size": 4, "use_bias": True},
            ((8, 12, 3),),
        ),
        Case(
            layers.TokenEmbedding,
            {
                "grid_size": (2, 5),
                "use_class_token": True,
                "num_register_tokens": 2,
                "interpolation": "bicubic",
                "dropout_rate": 0.0,
            },
            (MAP,),
        ),
        Case(
            layers.RotaryPositions,
            {"head_dim": 8, "num_prefix_tokens": 2, "base": 50.0},
            (MAP,),
        ),
        Case(layers.FeatureMap, {"num_prefix_tokens": 1}, (TOKENS, MAP)),
        Case(
            layers.SelfAttention,
            {
                "num_heads": 3,
                "use_bias": True,
                "use_key_bias": False,
                "dropout_rate": 0.1,
                "output_dropout_rate": 0.2,
            },
            # Cosines and sines stand where others have a batch of 2.
            (TOKENS, (13, 1)),
        ),
        Case(
            layers.MLP,
            {"mlp_dim": 11, "use_gate": True, "dropout_rate": 0.1},
            (TOKENS,),
        ),
        Case(layers.LayerScale, {"initial_value": 0.5}, (TOKENS,)),
        Case(
            layers.TransformerBlock,
            {
                "num_heads": 2,
                "mlp_dim": 9,
                "use_qkv_bias": True,
                "use_key_bias": True,
                "use_gated_mlp": False,
                "layer_scale_init": 0.3,
                "dropout_rate": 0.1,
                "attention_dropout_rate": 0.1,
                "drop_path_rate": 0.2,
                "layer_norm_epsilon": 1e-5,
                "rematerialize": True,
            },
            (TOKENS,),
        ),
        Case(
            layers.ConvNormActivation,
            {
                "filters": 5,
                "kernel_size": 3,
                "use_bias": False,
                "strides": 2,
                "dilation_rate": 1,
                "use_activation": False,
                "use_norm": True,
            },
            (MAP,),
        ),
        Case(
            layers.StandardizedConvNorm,
            {
                "filters": 5,
                "kernel_size": 3,
                "strides": 2,
                "dilation_rate": 1,
                "use_activation": False,
            },
            (MAP,),
        ),
        Case(
            layers.ResNetStem,
            {"filters": 6, "deep": True, "norm": None},
            ((9, 14, 3),),
        ),
        Case(
            layers.Bottleneck,
            {
                # Of 2, standardised kernels are +-1 and learn nothing.
                "filters": 4,
                "strides": 1,
                "dilation_rate": 2,
                "norm": "group",
            },
            (MAP,),
        ),
        Case(
            layers.BatchNormalization,
            {"momentum": 0.8, "epsilon": 1e-4},
            (MAP,),
        ),
        Case(
            heads.UpsamplingHead,
            {
                "num_classes": 4,
                "upsampling": (2, 4),
                "kernel_size": 3,
                "filters": 5,
                "use_layer_norm": True,
                "use_bias": False,
                "classifier_kernel_size": 3,
                "use_batch_norm": True,
            },
            (MAP,),
        ),
        Case(
            heads.MLANeck,
            {"filters": 5, "use_layer_norm": True, "use_batch_norm": True},
            (MAP, MAP, MAP),
            listed=True,
        ),
        Case(
            heads.MLAHead,
            {
                "num_classes": 4,
                "filters": (5, 7),
                "upsampling": 4,
                "align_corners": True,
                "classifier_kernel_size": 3,
                "use_batch_norm": False,
            },
            (MAP, MAP, MAP),
            listed=True,
        ),
        Case(heads.ResizeLogits, {"align_corners": True}, (MAP, (6, 20, 3))),
        Case(
            baseline_heads.FCNHead,
            {
                "num_classes": 4,
                "filters": 5,
                "num_convolutions": 2,
                "dilation_rate": 2,
                "concatenate_input": True,
                "dropout_rate": 0.1,
                "use_batch_norm": False,
            },
            (MAP,),
        ),
        Case(
            baseline_heads.FeaturePyramid,
            {"filters": 5},
            ((5, 7, 3), (3, 4, 6), (2, 2, 4)),
            listed=True,
        ),
        Case(
            baseline_heads.SemanticFPNHead,
            {
                "num_classes": 4,
                "filters": 5,
                "dropout_rate": 0.1,
                "use_batch_norm": True,
            },
            ((5, 7, 3), (3, 4, 6), (2, 2, 4)),
            listed=True,
        ),
    )
}

every_layer = pytest.mark.parametrize("name", LAYERS)
every_model = pytest.mark.parametrize("name", tiny.MODELS)


@pytest.fixture(scope="module")
def layer():
    """Name -> a model of that layer alone, and its outputs; none changes it."""

    @functools.cache
    def build(name):
        case = LAYERS[name]
        model = case.model()
        tiny.set_weights_by_path(model)
        return model, flat(tiny.outputs(model, case.data()))

    return build


def two_layers(name, *arguments, **options):
    """Enough for one to be taken for another."""
    return tiny.build(name, *arguments, num_layers=2, **options)


@pytest.fixture(scope="module")
def segmenter():
    """Name -> a model with classes, and its logits; none changes it."""

    @functools.cache
    def build(name):
        model = two_layers(name, classes=ks.Classes(list("abcde")))
        tiny.set_weights_by_path(model)
        return model, model.predict(tiny.images(), verbose=0)

    return build


def flat(outputs):
    return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


def assert_equal_outputs(actual, expected, tolerance=1e-6):
    for a, b in zip(flat(actual), flat(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


def own_arguments(cls):
    names = inspect.signature(cls.__init__).parameters
    return set(names) - {"self", "kwargs", "args"}


@pytest.mark.no_backend
def test_every_public_layer_and_head_has_a_case():
    public = set(layers.__all__)
    public |= {
        name
        for module in (heads, baseline_heads)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
    assert public == set(LAYERS)


@pytest.mark.no_backend
@every_layer
def test_a_layers_config_is_its_constructors_arguments(name):
    case = LAYERS[name]
    layer = case.build()
    config = json.loads(json.dumps(layer.get_config()))
    assert own_arguments(case.cls) <= set(config)
    for argument, value in case.arguments.items():
        assert config[argument] == json.loads(json.dumps(value))
    assert case.cls.from_config(config).get_config() == layer.get_config()


@pytest.mark.no_backend
@every_layer
def test_a_layer_takes_numpys_integers_and_no_other_names_or_nan(name):
    case = LAYERS[name]
    numpys = {
        argument: np.int64(value)
        for argument, value in case.arguments.items()
        if type(value) is int
    }
    assert json.dumps(case.build(**numpys).get_config())
    with pytest.raises((TypeError, ValueError), match="no_argument"):
        case.build(no_argument=1)
    for argument in case.arguments:
        with pytest.raises(ValueError, match=f"^{argument} must be .*nan"):
            case.build(**{argument: np.nan})


# By Keras alone, as whole models below. JAX would compile each one twice.
@pytest.mark.backends("tensorflow", "torch")
@every_layer
def test_a_layer_saved_and_loaded_gives_the_same(name, layer, tmp_path):
    model, expected = layer(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    actual = tiny.outputs(loaded, LAYERS[name].data())
    assert_equal_outputs(actual, expected)


@every_layer
def test_a_layer_gives_the_same_where_sizes_are_unknown(name, layer):
    case = LAYERS[name]
    known, expected = layer(name)
    unknown = case.model(unknown=True)
    unknown.set_weights(known.get_weights())
    actual = tiny.outputs(unknown, case.data())
    assert_equal_outputs(actual, expected)
    for spec, value in zip(keras.tree.flatten(known.outputs), expected):
        assert tuple(spec.shape[1:]) == value.shape[1:]


@every_layer
def test_gradients_reach_every_weight_of_a_layer(name, layer):
    case = LAYERS[name]
    _, outputs = layer(name)
    model = case.model()
    tiny.set_weights_by_path(model)
    rng = np.random.default_rng(5)
    targets = [rng.normal(size=x.shape) for x in outputs]
    model.compile("sgd", ["mse"] * len(targets), **tiny.UNCOMPILED)
    before = tiny.trainable_values(model)
    model.train_on_batch(case.data(), targets)
    assert tiny.unlearned(model, before) == []


@every_layer
def test_a_layer_computes_in_the_policys_precision(name):
    case = LAYERS[name]
    model = case.model(dtype="mixed_bfloat16")
    expected = "float32" if name == "ResizeLogits" else "bfloat16"
    outputs = tiny.outputs(model, case.data())
    for x in keras.tree.flatten(outputs):
        assert keras.backend.standardize_dtype(x.dtype) == expected
    for weight in model.weights:
        assert weight.dtype in ("float32", "uint32", "int64")


@pytest.mark.no_backend
def test_the_backbones_config_is_its_constructors_arguments():
    arguments = {
        "num_layers": 2,
        "hidden_dim": 12,
        "num_heads": 3,
        "mlp_dim": 7,
        "image_shape": (None, 32, 4),
        "patch_size": 8,
        "position_grid": (3, 4),
        "position_interpolation": "bicubic",
        "rotary_base": 50.0,
        "use_class_token": False,
        "num_register_tokens": 2,
        "use_patch_bias": False,
        "use_qkv_bias": False,
        "use_key_bias": False,
        "use_gated_mlp": True,
        "use_final_norm": True,
        "layer_scale_init": 0.1,
        "dropout_rate": 0.1,
        "attention_dropout_rate": 0.2,
        "drop_path_rate": 0.3,
        "layer_norm_epsilon": 1e-5,
        "rematerialize": True,
        "stem": {
            "num_blocks": (1, 1, 1),
            "output_stride": 8,
            "late_stages": "cut",
            "filters": 4,
            "deep_stem": True,
            "norm": "batch",
        },
    }
    backbone = ks.SETRBackbone(**arguments)
    config = backbone.get_config()
    assert own_arguments(ks.SETRBackbone) - {"dtype"} == set(arguments)
    assert {name: config[name] for name in arguments} == arguments
    config = json.loads(json.dumps(config))
    assert ks.SETRBackbone.from_config(config).get_config()["mlp_dim"] == 7
    for argument in arguments:
        with pytest.raises(ValueError, match=f"^{argument} must be .*nan"):
            ks.SETRBackbone(**{argument: np.nan})


@pytest.mark.no_backend
@every_model
def test_a_models_config_is_its_constructors_arguments(name):
    model = tiny.build(name, ignore_class=9, auxiliary_weight=0.1)
    config = model.get_config()
    assert own_arguments(type(model)) <= set(config)
    config = json.loads(json.dumps(config))
    again = type(model).from_config(config)
    for argument in own_arguments(type(model)) - {"backbone", "preprocessor"}:
        assert getattr(again, argument) == getattr(model, argument)
    assert again.preprocessor.get_config() == model.preprocessor.get_config()
    assert again.backbone.get_config() == model.backbone.get_config()


@pytest.mark.no_backend
@every_model
def test_a_model_takes_no_other_names_and_no_nan(name):
    cls = type(tiny.build(name))
    backbone = tiny.backbone_of(name)
    with pytest.raises(TypeError, match=f"{cls.__name__} has no .*'num_cl'.*"):
        cls(backbone, num_cl=5)
    for argument in own_arguments(cls):
        given = {"backbone": backbone, "num_classes": 5, argument: np.nan}
        with pytest.raises(ValueError, match=f"^{argument} must be .*nan"):
            cls(**given)
    model = cls(backbone, np.int64(5), name="ours", trainable=False)
    assert type(model.num_classes) is int and model.name == "ours"
    assert not model.trainable_variables


# Who asks for the format are Keras' layers, alike on all backends; one model
# is built, trained and run with it on each in models/verbs/test_verbs.py.
@pytest.mark.backends("torch")
@every_model
def test_a_model_is_the_same_whatever_keras_data_format(name, segmenter):
    model, expected = segmenter(name)
    keras.config.set_image_data_format("channels_first")
    try:
        other = two_layers(name)
        other.set_weights(model.get_weights())
        logits = other.predict(tiny.images(), verbose=0)
    finally:
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_allclose(logits, expected, atol=1e-6)


@every_model
def test_a_model_saved_and_loaded_gives_the_same(name, segmenter, tmp_path):
    model, expected = segmenter(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    actual = loaded.predict(tiny.images(), verbose=0)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert not np.allclose(expected[0, 0, 0], expected[0, -1, -1])
    model.save_to_preset(tmp_path / "preset")
    # The same model with the same weights computes the same.
    again = type(model).from_preset(str(tmp_path / "preset"))
    for part in ("backbone", "preprocessor"):
        config = getattr(model, part).get_config()
        assert getattr(again, part).get_config() == config
    for a, b in zip(again.weights, model.weights, strict=True):
        assert a.path == b.path
        np.testing.assert_array_equal(
            *(keras.ops.convert_to_numpy(v) for v in (a, b))
        )
    for each in (loaded, again):
        assert each.classes == model.classes
        assert each.classes.names == tuple("abcde")


@every_model
def test_logits_have_the_images_size_known_or_not(name, segmenter):
    (known, logits), unknown = (
        segmenter(name),
        two_layers(name, (None, None, 3)),
    )
    unknown.set_weights(known.get_weights())
    assert known.output["logits"].shape == (None, 16, 24, 5)
    assert logits.shape == (2, 16, 24, 5)
    x = known.preprocessor(tiny.images())
    actual = flat(tiny.outputs(unknown, x))[0]
    np.testing.assert_allclose(actual, logits, atol=1e-6)
    other = tiny.images(size=(40, 8)).astype("float32")
    assert tuple(tiny.outputs(unknown, other).shape) == (2, 40, 8, 5)


@every_model
def test_logits_stay_float32_under_mixed_bfloat16(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny.shallow(name)
    assert model.backbone.layers[1].compute_dtype == "bfloat16"
    # As they come of the program that `predict` runs, too.
    logits = model.windowed(ks.inference.Views(), 2).forward(tiny.images())
    assert logits.dtype == np.float32
    predicted = model.predict(tiny.images(), batch_size=2, verbose=0)
    assert predicted.dtype == np.float32
    if keras.config.backend() == "jax" and name not in ("naive", "fcn"):
        return  # a step in bfloat16 is what it compiles longest
    model.compile("sgd", metrics=None, **tiny.UNCOMPILED)
    assert np.isfinite(model.train_on_batch(tiny.images(), tiny.labels()))
