"""What the built-in names look like inside, known without their files."""

from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import instance
from keras_setr.checkpoints.presets import Preset
from keras_setr.facts.datasets import DATASETS
from keras_setr.facts.decoders import CLASSES
from keras_setr.facts.decoders import published_layers
from keras_setr.facts.encoders import FAMILIES
from keras_setr.facts.encoders import RESNETS
from keras_setr.facts.encoders import SIZES


@checked(
    decoder=choice(*CLASSES),
    variant=choice("paper", "authors", "mmsegmentation"),
    dataset=choice(*DATASETS),
)
def decoder_arguments(
    decoder: str, variant: str, dataset: str
) -> dict[str, Any]:
    """Arguments of a published decoder, beside the layers that feed it.

    Args:
        decoder: `"naive"`, `"pup"` or `"mla"`.
        variant: `"paper"`, the defaults of our classes; `"authors"` or
            `"mmsegmentation"`, the decoders of the published files.
        dataset: str. mmsegmentation's Naive differs between datasets.
    """
    if variant == "paper":
        return {}
    by_authors = variant == "authors"
    if decoder == "mla":
        return {
            "neck_filters": 256,
            "head_filters": (128, 128),
            "align_corners": by_authors,
            "classifier_kernel_size": 3 if by_authors else 1,
            "auxiliary": "neck",
        }
    naive = decoder == "naive"
    kernel = 1 if naive else 3
    kernels = {"kernel_size": kernel, "auxiliary_kernel_size": kernel}
    if by_authors:
        return {
            **kernels,
            "upsampling": (1,) if naive else (2, 2, 2, 1),
            "auxiliary_upsampling": (1,) if naive else (4,),
            "use_bias": True,
        }
    once = naive and dataset == "cityscapes"
    return {
        **kernels,
        "upsampling": (4,) if naive else (2, 2, 2, 2),
        "auxiliary_upsampling": (4,) if once else (4, 4),
    }


@checked(preset=instance("a Preset, such as of PRESETS", Preset))
def architecture(preset: Preset) -> Any:
    """Arguments of `SETRBackbone` and of the model, without its file.

    They are what `recognise` finds in the file; auxiliary heads included.
    """
    if preset.backbone_class == "ResNetBackbone":
        return _baseline(preset)
    backbone = {
        **SIZES[preset.size],
        "image_shape": (preset.image_size, preset.image_size, 3),
        "patch_size": 16,
        "use_class_token": preset.decoder != "mla",
        "num_register_tokens": 0,
        "use_gated_mlp": False,
        **FAMILIES[preset.family],
    }
    side = preset.image_size // backbone["patch_size"]
    backbone["position_grid"] = (side, side)
    if preset.decoder is None:
        return backbone, {}
    by_authors = preset.source == "fudan-zvg/SETR"
    variant = "authors" if by_authors else "mmsegmentation"
    arguments = {
        "num_classes": DATASETS[preset.dataset].num_classes,
        **decoder_arguments(preset.decoder, variant, preset.dataset),
    }
    if preset.decoder != "mla":
        arguments["auxiliary_layers"] = published_layers(
            preset.decoder, backbone["num_layers"], variant
        )
    return backbone, arguments


def _baseline(preset):
    """The same of a ResNet, and of the baselines on one."""
    decoder = preset.decoder
    not_told = dict(preset.arguments)
    stride = not_told.pop("output_stride", 8 if decoder == "fcn" else 32)
    backbone = {
        **RESNETS[preset.size],
        "filters": 64,
        "deep_stem": True,
        "norm": "batch",
        "output_stride": stride,
        "image_shape": (None, None, 3),
    }
    if decoder is None:
        return backbone, {}
    arguments = {"num_classes": DATASETS[preset.dataset].num_classes}
    if decoder == "fcn":
        arguments.update(filters=512, auxiliary_stage=3, auxiliary_filters=256)
    else:
        arguments.update(neck_filters=256, filters=128)
    return backbone, {**arguments, **not_told}
