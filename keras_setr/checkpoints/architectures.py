"""What the built-in names look like inside, known without their files."""

from keras_setr.checkpoints.presets import NUM_CLASSES


def decoder_arguments(model, variant, dataset):
    """Arguments of a published decoder, beside the layers that feed it.

    Args:
        model: `"SETRNaive"`, `"SETRPUP"` or `"SETRMLA"`.
        variant: `"paper"`, the defaults of our classes; `"authors"` or
            `"mmsegmentation"`, the decoders of the published files.
        dataset: str. mmsegmentation's Naive differs between datasets.
    """
    if variant == "paper":
        return {}
    by_authors = variant == "authors"
    if model == "SETRMLA":
        return {
            "neck_filters": 256,
            "head_filters": (128, 128),
            "align_corners": by_authors,
            "classifier_kernel_size": 3 if by_authors else 1,
            "auxiliary": "neck",
        }
    naive = model == "SETRNaive"
    kernel = 1 if naive else 3
    kernels = {"kernel_size": kernel, "auxiliary_kernel_size": kernel}
    if by_authors:
        return {
            **kernels,
            "scales": (1,) if naive else (2, 2, 2, 1),
            "auxiliary_scales": (1,) if naive else (4,),
            "use_bias": True,
        }
    once = naive and dataset == "cityscapes"
    return {
        **kernels,
        "scales": (4,) if naive else (2, 2, 2, 2),
        "auxiliary_scales": (4,) if once else (4, 4),
    }


def architecture(preset):
    """Arguments of `SETRBackbone` and of the model, without its file.

    They are what `recognise` finds in the file; auxiliary heads included.
    """
    dim = 1024 if "large" in preset.name else 768
    grid = (preset.image_size // 16,) * 2
    backbone = {
        "num_layers": 24 if dim == 1024 else 12,
        "hidden_dim": dim,
        "num_heads": dim // 64,
        "image_shape": (preset.image_size, preset.image_size, 3),
        "patch_size": 16,
        "position_grid": grid,
        "use_class_token": preset.model != "SETRMLA",
    }
    if preset.model is None:
        return backbone, {}
    by_authors = preset.source == "fudan-zvg/SETR"
    arguments = {
        "num_classes": NUM_CLASSES[preset.dataset],
        **decoder_arguments(
            preset.model,
            "authors" if by_authors else "mmsegmentation",
            preset.dataset,
        ),
    }
    if preset.model == "SETRMLA":
        return backbone, arguments
    naive = preset.model == "SETRNaive"
    if not by_authors:
        arguments["auxiliary_layers"] = (10, 15, 20)
    elif dim == 768:
        arguments["auxiliary_layers"] = (3, 6, 9) if naive else (5, 8, 10, 12)
    return backbone, arguments
