"""Models small enough for a test: 8-pixel patches, 3 layers, width 24."""

import re
import zlib

import keras
import numpy as np

import keras_setr as ks

CHANNELS, CLASSES = 3, 5

# For tests of what a step computes, not of how it is compiled: tracing takes
# TensorFlow longer than the step. JAX compiles each operation anyway, which
# takes it longer than the whole step.
UNCOMPILED = (
    {"run_eagerly": True} if keras.config.backend() == "tensorflow" else {}
)


def backbone(image_shape=(16, 24, 3), **options):
    """Grid 2 x 3 on the default images."""
    options = {
        "num_layers": 3,
        "hidden_dim": 24,
        "num_heads": 4,
        "patch_size": 8,
        "position_grid": (2, 3),
        **options,
    }
    return ks.SETRBackbone(image_shape=image_shape, **options)


def resnet(image_shape=(16, 24, 3), **options):
    """Maps of 4 x 6, 2 x 3, 1 x 2 and 1 x 1 pixels, of 16 to 128 channels."""
    options = {"num_blocks": (1, 2, 1, 1), "filters": 4, **options}
    return ks.ResNetBackbone(image_shape=image_shape, **options)


# All in which it differs from a plain ViT.
DINOV3 = {
    "num_heads": 3,
    "mlp_dim": 20,
    "num_register_tokens": 2,
    "rotary_base": 100.0,
    "use_key_bias": False,
    "use_gated_mlp": True,
    "layer_scale_init": 1.0,
}


# A ResNet in front.
HYBRID = {
    "stem": {
        "num_blocks": (1, 1),
        "output_stride": 8,
        "filters": 4,
        "deep_stem": True,
    }
}


def _decoder(cls, **own):
    return lambda backbone, **k: cls(backbone, CLASSES, **{**own, **k})


_NAIVE = _decoder(ks.SETRNaive, filters=8, auxiliary_filters=7)
_PUP = _decoder(ks.SETRPUP, filters=8, auxiliary_filters=7)
MODELS = {
    "naive": _NAIVE,
    "pup": _PUP,
    "hybrid": _NAIVE,
    "mla": _decoder(ks.SETRMLA, auxiliary_filters=7),
    "fcn": _decoder(ks.FCN, filters=8, auxiliary_filters=7, dropout_rate=0.0),
    "semantic_fpn": _decoder(
        ks.SemanticFPN, neck_filters=8, filters=7, dropout_rate=0.0
    ),
    "pup_dinov3": _PUP,
}


def backbone_of(
    name, image_shape=(16, 24, 3), position_grid=(2, 3), num_layers=3
):
    """The encoder that a model of `MODELS` takes."""
    if name == "fcn":
        return resnet(image_shape, output_stride=8)
    if name == "semantic_fpn":
        # Batch norm over few pixels magnifies what the backends differ in.
        return resnet(image_shape, num_blocks=(1, 2), output_stride=8)
    options = {"pup_dinov3": DINOV3, "hybrid": HYBRID}.get(name, {})
    return backbone(
        image_shape,
        position_grid=position_grid,
        num_layers=num_layers,
        **options,
    )


def build(
    name,
    image_shape=(16, 24, 3),
    position_grid=(2, 3),
    num_layers=3,
    **options,
):
    backbone = backbone_of(name, image_shape, position_grid, num_layers)
    return MODELS[name](backbone, **options)


def shallow(name, image_shape=(16, 24, 3), **options):
    """Of one layer, or two where a decoder adds them up."""
    num_layers = 2 if name == "mla" else 1
    return build(name, image_shape, num_layers=num_layers, **options)


def smallest(**options):
    """One layer and one head: for what goes on around a model.

    Options are the encoder's.
    """
    return ks.SETRNaive(
        backbone(**{"num_layers": 1, **options}),
        CLASSES,
        filters=8,
        auxiliary_layers=(),
    )


def program(function):
    """On JAX one program, which is compiled faster than each operation."""
    if keras.config.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def outputs(layer, *inputs, **options):
    """What a built layer or model gives where it is called.

    On JAX as one program.
    """
    if keras.config.backend() != "jax":
        return layer(*inputs, **options)

    @program
    def call(trainable, state, inputs):
        return layer.stateless_call(trainable, state, *inputs, **options)

    values, state = call(
        [v.value for v in layer.trainable_variables],
        [v.value for v in layer.non_trainable_variables],
        inputs,
    )
    for variable, value in zip(layer.non_trainable_variables, state):
        variable.assign(value)
    return values


def trainable_values(model):
    """Copies of a model's trainable weights."""
    return [
        keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables
    ]


def unlearned(model, before):
    """Paths of trainable weights that a training has left as they were.

    A LayerNorm's shift right before a 1x1 convolution and a batch norm is
    left out: the batch norm subtracts every constant, so its gradient is 0.
    """
    return [
        variable.path
        for variable, old, new in zip(
            model.trainable_variables, before, trainable_values(model)
        )
        if np.array_equal(new, old)
        and not re.search(r"(neck|head).*/norm(_\d)?/beta", variable.path)
    ]


class Recorder(ks.SETRImageSegmenterPreprocessor):
    """The preprocessor, with the shapes of the images it was called with.

    In a compiled function it is called once for each compilation.
    """

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(tuple(images.shape))
        return super().__call__(images)


def images(count=2, size=(16, 24), seed=0):
    """uint8 `(count, *size, 3)`."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *size, CHANNELS)).astype("uint8")


def labels(count=2, size=(16, 24), seed=1):
    """Labels in 0..CLASSES-1 with an ignored first row."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, (count, *size)).astype("uint8")
    labels[:, 0] = 255
    return labels


def set_weights_by_path(model, scale=0.1):
    """The same weights on every backend, from each variable's path.

    Normal noise around 0, around 1 for scales and variances, which stay
    positive.
    """
    for variable in model.weights:
        if variable.dtype != "float32":
            continue
        rng = np.random.default_rng(zlib.crc32(variable.path.encode()))
        value = scale * rng.normal(size=variable.shape)
        if variable.name in ("gamma", "scale"):
            value = 1 + value
        elif variable.name == "moving_variance":
            value = np.exp(value)
        # JAX would compile a cast of each shape.
        variable.assign(value.astype("float32"))
