"""A model for inference alone, without what only training needs."""

import keras
import numpy as np
from keras import ops

from keras_setr.layers.convolution import ConvNormActivation
from keras_setr.layers.initialization import values_follow
from keras_setr.layers.projection import Projection
from keras_setr.models import keras_internals
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.preprocessor import SETRImageConverter


def fold(model):
    """The model of `SETRSegmenter.for_inference`; see there.

    Args:
        model: `SETRSegmenter`.
    """
    backbone = model.backbone
    if backbone.is_quantized:
        raise ValueError(
            "for_inference folds floats. Received: a model with an encoder of "
            "int8. Call it before quantize(), on the model or a preset of it."
        )
    values = _folded_values(model)
    encoder = {**backbone.get_config(), "dtype": backbone.dtype_policy}
    if "norm" in encoder:
        encoder |= _without_norm(encoder)
    elif encoder["stem"] is not None:
        encoder["stem"] = encoder["stem"] | _without_norm(encoder["stem"])
    preprocessor = model.preprocessor
    if _can_normalize(backbone, preprocessor):
        encoder["use_patch_bias"] = True
        values |= _normalizing_patches(backbone, preprocessor.image_converter)
        preprocessor = _without_statistics(preprocessor)
    arguments = model.get_config()
    del arguments["backbone"]
    arguments |= {"preprocessor": preprocessor, "folded": True}
    arguments |= model.without_auxiliary
    # All random values would be replaced.
    with values_follow():
        folded = type(model)(type(backbone)(**encoder), **arguments)
    for variable in folded.weights:
        if keras.backend.is_float_dtype(variable.dtype):  # no dropout's seed
            # JAX would share it, and lose it to the original's next step. On
            # the host, for else it compiles a copy of each shape.
            value = ops.convert_to_numpy(values[variable.path])
            variable.assign(np.array(value))
    return folded


def _folded_values(model):
    """dict from the paths of a folded model's variables to their values."""
    values = {v.path: v for v in model.weights}
    for layer in keras_internals.layers_by_name(model).values():
        if isinstance(layer, ConvNormActivation):
            path = layer.convolution.path
            values[f"{path}/kernel"], values[f"{path}/bias"] = (
                layer.folded_weights()
            )
        elif isinstance(layer, Projection):
            # With its LoRA, if it has one.
            values[f"{layer.path}/kernel"] = layer.kernel
    return values


def _without_norm(arguments):
    """What a ResNet of such arguments has in the place of batch norm."""
    return {"norm": None} if arguments["norm"] == "batch" else {}


def _can_normalize(backbone, preprocessor):
    """Whether the first layer can normalise, exactly.

    Not a convolution that pads normalised images with zeros, and no kernel
    of bfloat16, whose rounding counts more where images are no more centred.
    """
    converter = getattr(preprocessor, "image_converter", None)
    return (
        isinstance(converter, SETRImageConverter)
        and not converter.folded
        and isinstance(backbone, SETRBackbone)
        and backbone.stem is None
        and backbone.compute_dtype == "float32"
    )


def _normalizing_patches(backbone, converter):
    """The values of a patch embedding that takes images as they are."""
    embedding = backbone.patch_embedding
    # In float64: the bias is the difference of sums larger than itself.
    kernel = np.asarray(ops.convert_to_numpy(embedding.kernel), "float64")
    kernel = kernel / np.reshape(converter.std, (-1, 1))  # (P, P, C, D)
    bias = -np.einsum("hwcd,c->d", kernel, converter.mean)
    if embedding.use_bias:
        bias = bias + ops.convert_to_numpy(embedding.bias)
    return {
        f"{embedding.path}/kernel": kernel.astype("float32"),
        f"{embedding.path}/bias": bias.astype("float32"),
    }


def _without_statistics(preprocessor):
    """The same, which leaves images as they are."""
    config = preprocessor.get_config()
    config["image_converter"]["config"]["folded"] = True
    return type(preprocessor).from_config(config)
