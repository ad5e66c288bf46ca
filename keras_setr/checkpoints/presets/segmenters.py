"""The published segmenters: a row for each file of weights.

mIoU in percent, as published for the validation set, by sliding windows at a
single scale and at several with flips. Addresses and figures: mmsegmentation's
model zoo, the README and configurations of github.com/fudan-zvg/SETR.
"""

from keras_setr.checkpoints.presets.encoders import RESNET_PARAMETERS
from keras_setr.checkpoints.presets.encoders import encoder_parameters
from keras_setr.checkpoints.presets.preset import Preset
from keras_setr.facts.baselines import BASELINES
from keras_setr.facts.datasets import DATASETS
from keras_setr.facts.encoders import SIZES


def _parameters(decoder, encoder, side, dataset, filters=256):
    """Weights of a SETR without auxiliary heads, as mmsegmentation builds it.

    Args:
        decoder: a key of `facts.decoders.CLASSES`.
        encoder: a key of `facts.encoders.SIZES`.
        side: int. Of the crops.
        dataset: a key of `facts.datasets.DATASETS`.
        filters: int. Of the convolutions.
    """
    dim = SIZES[encoder]["hidden_dim"]
    norm = 4 * filters  # scale, shift and the two moving statistics
    count = encoder_parameters(encoder, "vit", side)
    if decoder == "naive":
        count += 2 * dim + dim * filters + norm
    elif decoder == "pup":
        count += 2 * dim + 9 * dim * filters + 27 * filters**2 + 4 * norm
    else:
        count -= 2 * dim  # no class token and no position of it
        half = filters // 2
        count += 4 * (2 * dim + dim * filters + 9 * filters**2 + 2 * norm)
        count += 4 * (9 * filters * half + 9 * half**2 + 2 * 4 * half)
        filters = 4 * half
    return count + (filters + 1) * DATASETS[dataset].num_classes


_MMSEGMENTATION = "https://download.openmmlab.com/mmsegmentation/v0.5/setr/"


def _mmsegmentation(decoder, dataset, batch, stamp, miou, multi_scale):
    name = f"setr_{decoder}_large_{dataset}"
    if dataset == "ade20k":
        size, folder = 512, f"setr_{decoder}_512x512_160k_b{batch}_{dataset}"
    else:
        size = 768
        folder = f"setr_{decoder}_vit-large_8x1_768x768_80k_{dataset}"
    file = f"{folder}_{stamp}.pth"
    return Preset(
        name=f"{name}_{size}_b8" if "_b8_" in file else f"{name}_{size}",
        decoder=decoder,
        description=f"SETR-{decoder.upper()}, ViT-L/16, {dataset}, "
        f"crops of {size} x {size}, trained by mmsegmentation",
        parameters=_parameters(decoder, "large", size, dataset),
        dataset=dataset,
        url=f"{_MMSEGMENTATION}{folder}/{file}",
        file=file,
        sha256=stamp.rpartition("-")[2],
        license="Apache-2.0",
        source="mmsegmentation",
        miou=miou,
        miou_multi_scale=multi_scale,
        image_size=size,
    )


# decoder, dataset, batch, date and hash, mIoU, mIoU at several scales
_MMSEGMENTATION_MODELS = tuple(
    _mmsegmentation(*row)
    for row in (
        ("naive", "ade20k", 16, "20210619_191258-061f24f5", 48.28, 49.56),
        ("pup", "ade20k", 16, "20210619_191343-7e0ce826", 48.24, 49.99),
        ("mla", "ade20k", 16, "20210619_191057-f9741de7", 47.39, 49.37),
        ("mla", "ade20k", 8, "20210619_191118-c6d21df0", 47.34, 49.05),
        ("naive", "cityscapes", 8, "20211123_000505-20728e80", 78.10, 80.22),
        ("pup", "cityscapes", 8, "20211122_155115-f6f37b8f", 79.21, 81.02),
        ("mla", "cityscapes", 8, "20211119_101003-7f8dccbe", 77.00, 79.59),
    )
)


def _authors(decoder, encoder, dataset, size, steps, batch, miou, multi_scale):
    vit = encoder.removeprefix("deit_")
    words = {"large": "ViT-L/16", "base": "ViT-B/16", "deit_base": "DeiT-B/16"}
    # The authors' MLA has a 3x3 classifier, their heads biases before norms.
    return Preset(
        name=f"setr_{decoder}_{encoder}_{dataset}_{size}_{steps}_b{batch}"
        "_authors",
        decoder=decoder,
        description=f"SETR-{decoder.upper()}, {words[encoder]}, {dataset}, "
        f"crops of {size} x {size}, {steps} steps of {batch}, trained by the "
        "authors",
        parameters=_parameters(decoder, vit, size, dataset)
        + {
            "naive": 256,
            "pup": 4 * 256,
            "mla": 8 * 512 * DATASETS[dataset].num_classes,
        }[decoder],
        dataset=dataset,
        url="https://github.com/fudan-zvg/SETR#main-results",
        file=None,
        sha256=None,
        license="MIT",
        source="fudan-zvg/SETR",
        miou=miou,
        miou_multi_scale=multi_scale,
        image_size=size,
        size=vit,
    )


# decoder, encoder, dataset, crop, steps, batch, mIoU, mIoU at several scales
_AUTHORS_MODELS = tuple(
    _authors(*row)
    for row in (
        ("naive", "large", "cityscapes", 768, "40k", 8, 77.37, None),
        ("naive", "large", "cityscapes", 768, "80k", 8, 77.90, None),
        ("pup", "large", "cityscapes", 768, "40k", 8, 78.39, None),
        ("pup", "large", "cityscapes", 768, "80k", 8, 79.34, None),
        ("mla", "large", "cityscapes", 768, "40k", 8, 76.65, None),
        ("mla", "large", "cityscapes", 768, "80k", 8, 77.24, None),
        ("naive", "base", "cityscapes", 768, "40k", 8, 75.54, None),
        ("naive", "base", "cityscapes", 768, "80k", 8, 76.25, None),
        ("naive", "deit_base", "cityscapes", 768, "40k", 8, 77.85, None),
        ("naive", "deit_base", "cityscapes", 768, "80k", 8, 78.66, None),
        ("mla", "deit_base", "cityscapes", 768, "40k", 8, 78.04, None),
        ("mla", "deit_base", "cityscapes", 768, "80k", 8, 78.98, None),
        ("pup", "deit_base", "cityscapes", 768, "40k", 8, 78.79, None),
        ("pup", "deit_base", "cityscapes", 768, "80k", 8, 79.45, None),
        ("naive", "large", "ade20k", 512, "160k", 16, 48.06, 48.80),
        ("pup", "large", "ade20k", 512, "160k", 16, 48.62, 50.09),
        ("mla", "large", "ade20k", 512, "160k", 8, 47.79, 50.03),
        ("mla", "large", "ade20k", 512, "160k", 16, 48.64, 50.28),
        ("mla", "deit_base", "ade20k", 512, "160k", 16, 46.15, None),
        ("pup", "deit_base", "ade20k", 512, "160k", 16, 46.34, None),
        ("naive", "large", "pascal_context", 480, "80k", 16, 52.89, 53.61),
        ("pup", "large", "pascal_context", 480, "80k", 16, 54.37, 55.27),
        ("mla", "large", "pascal_context", 480, "80k", 8, 54.39, 55.39),
        ("mla", "large", "pascal_context", 480, "80k", 16, 55.01, 55.83),
        ("mla", "deit_base", "pascal_context", 480, "80k", 16, 52.91, None),
        ("pup", "deit_base", "pascal_context", 480, "80k", 16, 52.00, None),
    )
)


def _baseline_parameters(decoder, encoder, num_classes):
    """Weights of a ResNet and of a baseline's decoder on it."""
    if decoder == "fcn":
        # Three convolutions, two of them from 2048 and to 512 channels.
        head = 2 * 9 * (2048 + 512) * 512 + 3 * 4 * 512
        return RESNET_PARAMETERS[encoder] + head + 513 * num_classes
    neck = (256 + 512 + 1024 + 2048) * 256 + 4 * 256
    neck += 4 * (9 * 256 + 1) * 256
    head = 4 * 9 * 256 * 128 + 3 * 9 * 128 * 128 + 7 * 4 * 128
    return RESNET_PARAMETERS[encoder] + neck + head + 129 * num_classes


def _of_baseline(row):
    """The preset of a row of `facts/baselines.py`."""
    words = {
        "fcn": f"FCN, output stride {16 if row.is_d6 else 8}",
        "semantic_fpn": "Semantic FPN",
    }
    encoder = f"resnet{row.depth}"
    crop = row.crop_size
    return Preset(
        name=row.name,
        decoder=row.decoder,
        description=f"{words[row.decoder]}, ResNet-{row.depth}, {row.dataset}, "
        f"crops of {crop[0]} x {crop[1]}, {row.thousand_steps},000 steps, "
        "trained by mmsegmentation",
        parameters=_baseline_parameters(
            row.decoder, encoder, DATASETS[row.dataset].num_classes
        ),
        dataset=row.dataset,
        url=row.url,
        file=row.file,
        sha256=row.stamp.rpartition("-")[2],
        license="Apache-2.0",
        source="mmsegmentation",
        miou=row.miou,
        miou_multi_scale=row.miou_multi_scale,
        image_size=row.crop,
        size=encoder,
        backbone_class="ResNetBackbone",
        arguments=row.arguments,
    )


SEGMENTERS = (
    *_MMSEGMENTATION_MODELS,
    *_AUTHORS_MODELS,
    *map(_of_baseline, BASELINES),
)
