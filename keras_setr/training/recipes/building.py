"""The model of a recipe: what it is built of, and starts from."""

from keras_setr import checkpoints
from keras_setr.facts.baselines import FCN_D6
from keras_setr.facts.baselines import FCN_D8
from keras_setr.models import MODELS
from keras_setr.models import ResNetBackbone

# The built-in encoder that has the shape, whatever the training starts from.
ENCODERS = {
    "large": "vit_large_patch16_384",
    "base": "vit_base_patch16_384",
    "deit_base": "deit_base_distilled_patch16_384",
    "hybrid": "vit_base_patch16_384",
    "resnet50": "resnet50_v1c",
    "resnet101": "resnet101_v1c",
}
# What was trained for the paper, and never released.
UNRELEASED = {
    "resnet50_in21k": "ImageNet-21k",
    "resnet101_in21k": "ImageNet-21k",
}
# In front of the transformer of SETR-Hybrid; see `SETRBackbone`.
_STEM = {"output_stride": 16, "late_stages": "dilated"}


def build_model(recipe, weights, overrides):
    """As `Recipe.build_model`.

    Args:
        recipe: `Recipe`.
        weights: bool.
        overrides: dict.
    """
    start, of_stem = recipe.pretraining, recipe.stem_pretraining
    for name in (start, of_stem):
        if weights and name in UNRELEASED:
            raise ValueError(
                f"{recipe.name} starts from a ResNet of {UNRELEASED[name]} "
                "that was not released. Pass dataclasses.replace(recipe, "
                f"..) with another one than {name!r}, or weights=False."
            )
    arguments = {
        "num_classes": recipe.facts.num_classes,
        "classes": recipe.facts.classes,
        **_decoder_arguments(recipe),
        **_encoder_arguments(recipe),
        **overrides,
    }
    if recipe.encoder == "hybrid":
        arguments["stem"] = ResNetBackbone.from_preset(
            _shape(of_stem, "resnet50"),
            load_weights=weights and of_stem is not None,
            **{**_STEM, **arguments.pop("stem", {})},
        )
    model = MODELS[recipe.decoder].from_preset(
        _shape(start, recipe.encoder),
        load_weights=weights and start is not None,
        **arguments,
    )
    if recipe.lora_rank is not None:
        model.backbone.enable_lora(recipe.lora_rank)
    return model


def _shape(start, encoder):
    """The source that has the shape, and the weights where it was released."""
    return ENCODERS[encoder] if start in (None, *UNRELEASED) else start


def _decoder_arguments(recipe):
    """Of the model, but for its classes."""
    auxiliary = recipe.auxiliary_layers
    if recipe.decoder == "semantic_fpn":
        return {}
    if recipe.decoder == "fcn":
        return {
            "auxiliary_stage": auxiliary[0] if auxiliary else None,
            "align_corners": recipe.align_corners,
            "dilation_rate": _fcn_kind(recipe)["dilation_rate"],
        }
    arguments = checkpoints.decoder_arguments(
        recipe.decoder, recipe.variant, recipe.dataset
    )
    if recipe.decoder == "mla":
        arguments["feature_layers"] = recipe.feature_layers
        # Of no use to MLA, whose encoder drops it before the first layer.
        arguments["use_class_token"] = False
    else:
        (arguments["feature_layer"],) = recipe.feature_layers
        arguments["auxiliary_layers"] = auxiliary
    return arguments


def _encoder_arguments(recipe):
    arguments = dict(recipe.small_shape or {})
    if recipe.decoder in ("fcn", "semantic_fpn"):
        # Of any size, as it is tested on images of their own.
        arguments["image_shape"] = (None, None, 3)
        if recipe.decoder == "fcn":
            arguments["output_stride"] = _fcn_kind(recipe)["output_stride"]
        return arguments
    arguments["image_shape"] = (*recipe.crop_size, 3)
    if recipe.patch_size is not None:
        arguments["patch_size"] = recipe.patch_size
    return arguments


def _fcn_kind(recipe):
    return FCN_D6 if recipe.is_d6 else FCN_D8
