"""The built-in names: published models and the encoders they start from.

mIoU in percent, as published for the validation set, by sliding windows at a
single scale and at several with flips. Addresses and figures: mmsegmentation's
model zoo, the README and configurations of github.com/fudan-zvg/SETR, and the
releases of timm, Google, DeiT, DINOv2, DINOv3 and FlexiViT.
"""

import dataclasses
import re
from typing import Any

from keras_setr.facts.baselines import BASELINES
from keras_setr.facts.datasets import DATASETS
from keras_setr.facts.decoders import CLASSES
from keras_setr.facts.encoders import FAMILIES
from keras_setr.facts.encoders import SIZES


@dataclasses.dataclass(frozen=True)
class Preset:
    """One published file of weights.

    Attributes:
        name: str. What `from_preset` takes.
        decoder: a key of `facts.decoders.CLASSES`, or `None` for an encoder
            alone.
        description: str.
        parameters: int. Of the model without its auxiliary heads, or of the
            encoder.
        dataset: str. `keras_setr.data.DATASETS` has its facts; for encoders,
            what they were trained on.
        url: str. Where the file is, or, for files that have no fixed address
            (`file` is `None`), the page that links to it.
        file: str or `None`. Its name.
        sha256: str or `None`. The first digits of its hash, or `None` where
            none is published.
        license: str. Of the weights, an SPDX name, or Hugging Face's for one
            that SPDX has not.
        source: str. Who published it.
        miou, miou_multi_scale: float or `None`, percent.
        image_size: int, or `(H, W)`. Of the training crops.
        size, family: str. Of the encoder, in `facts/encoders.py`; of a
            ResNet the size alone.
        gated: bool. Whether its licence has to be accepted, on the page
            `url`, before there is anything to download.
        backbone_class: str. `"SETRBackbone"` or `"ResNetBackbone"`.
        arguments: dict. What the model needs and its file does not tell.
    """

    name: str
    decoder: str | None
    description: str
    parameters: int
    dataset: str
    url: str
    file: str | None
    sha256: str | None
    license: str
    source: str
    miou: float | None = None
    miou_multi_scale: float | None = None
    image_size: int | tuple[int, int] = 512
    size: str = "large"
    family: str = "vit"
    gated: bool = False
    backbone_class: str = "SETRBackbone"
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def model_class(self) -> str | None:
        """The name of the class, or `None` for an encoder alone."""
        return self.decoder and CLASSES[self.decoder]

    @property
    def downloads(self) -> bool:
        """Whether the file has an address to fetch it from."""
        return self.file is not None


# Parameters without auxiliary heads, by decoder, classes and crop: the sums
# of the weights that the converted models have.
_LARGE = 302_309_376  # 24 * 12,596,224, the layers of T-Large
_BASE = 85_054_464  # 12 * 7,087,872, those of T-Base: 12 layers, width 768


def _parameters(decoder, dim, size, dataset, layers, filters=256):
    """Weights of an encoder at `size`, and of the published decoder."""
    num_classes = DATASETS[dataset].num_classes
    grid = (size // 16) ** 2
    patches = (16 * 16 * 3 + 1) * dim
    class_token = 0 if decoder == "mla" else 2 * dim
    encoder = patches + class_token + grid * dim + layers
    norm = 4 * filters  # scale, shift and the two moving statistics
    if decoder == "naive":
        head = 2 * dim + dim * filters + norm
    elif decoder == "pup":
        head = 2 * dim + 9 * dim * filters + 27 * filters**2 + 4 * norm
    else:
        half = filters // 2
        neck = 4 * (2 * dim + dim * filters + 9 * filters**2 + 2 * norm)
        head = 4 * (9 * filters * half + 9 * half**2 + 2 * 4 * half) + neck
        filters = 4 * half
    return encoder + head + (filters + 1) * num_classes


_MMSEGMENTATION = "https://download.openmmlab.com/mmsegmentation/v0.5/setr/"


def _mmsegmentation(name, decoder, dataset, size, file, miou, multi_scale):
    folder, _, _ = file.rpartition("_20")
    sha256 = file.rpartition("-")[2].removesuffix(".pth")
    return Preset(
        name=name,
        decoder=decoder,
        description=f"SETR-{decoder.upper()}, ViT-L/16, {dataset}, "
        f"crops of {size} x {size}, trained by mmsegmentation",
        parameters=_parameters(decoder, 1024, size, dataset, _LARGE),
        dataset=dataset,
        url=f"{_MMSEGMENTATION}{folder}/{file}",
        file=file,
        sha256=sha256,
        license="Apache-2.0",
        source="mmsegmentation",
        miou=miou,
        miou_multi_scale=multi_scale,
        image_size=size,
    )


_MMSEGMENTATION_MODELS = (
    _mmsegmentation(
        "setr_naive_large_ade20k_512",
        "naive",
        "ade20k",
        512,
        "setr_naive_512x512_160k_b16_ade20k_20210619_191258-061f24f5.pth",
        48.28,
        49.56,
    ),
    _mmsegmentation(
        "setr_pup_large_ade20k_512",
        "pup",
        "ade20k",
        512,
        "setr_pup_512x512_160k_b16_ade20k_20210619_191343-7e0ce826.pth",
        48.24,
        49.99,
    ),
    _mmsegmentation(
        "setr_mla_large_ade20k_512",
        "mla",
        "ade20k",
        512,
        "setr_mla_512x512_160k_b16_ade20k_20210619_191057-f9741de7.pth",
        47.39,
        49.37,
    ),
    _mmsegmentation(
        "setr_mla_large_ade20k_512_b8",
        "mla",
        "ade20k",
        512,
        "setr_mla_512x512_160k_b8_ade20k_20210619_191118-c6d21df0.pth",
        47.34,
        49.05,
    ),
    _mmsegmentation(
        "setr_naive_large_cityscapes_768",
        "naive",
        "cityscapes",
        768,
        "setr_naive_vit-large_8x1_768x768_80k_cityscapes_20211123_000505-"
        "20728e80.pth",
        78.10,
        80.22,
    ),
    _mmsegmentation(
        "setr_pup_large_cityscapes_768",
        "pup",
        "cityscapes",
        768,
        "setr_pup_vit-large_8x1_768x768_80k_cityscapes_20211122_155115-"
        "f6f37b8f.pth",
        79.21,
        81.02,
    ),
    _mmsegmentation(
        "setr_mla_large_cityscapes_768",
        "mla",
        "cityscapes",
        768,
        "setr_mla_vit-large_8x1_768x768_80k_cityscapes_20211119_101003-"
        "7f8dccbe.pth",
        77.00,
        79.59,
    ),
)


def _authors(decoder, encoder, dataset, size, steps, batch, miou, multi_scale):
    large = encoder == "large"
    dim, layers = (1024, _LARGE) if large else (768, _BASE)
    words = {"large": "ViT-L/16", "base": "ViT-B/16", "deit_base": "DeiT-B/16"}
    # The authors' MLA has a 3x3 classifier, their heads biases before norms.
    return Preset(
        name=f"setr_{decoder}_{encoder}_{dataset}_{size}_{steps}_b{batch}"
        "_authors",
        decoder=decoder,
        description=f"SETR-{decoder.upper()}, {words[encoder]}, {dataset}, "
        f"crops of {size} x {size}, {steps} steps of {batch}, trained by the "
        "authors",
        parameters=_parameters(decoder, dim, size, dataset, layers)
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
        size="large" if large else "base",
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

_TIMM = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/"
    "v0.1-vitjx/"
)


# Of ResNets with a deep stem: weights and moving statistics.
_RESNETS = {
    "resnet50": 23_527_264 + 53_248,
    "resnet101": 42_519_392 + 105_472,
}


def _baseline_parameters(decoder, encoder, num_classes):
    """Weights of a ResNet and of a baseline's decoder on it."""
    if decoder == "fcn":
        # Three convolutions, two of them from 2048 and to 512 channels.
        head = 2 * 9 * (2048 + 512) * 512 + 3 * 4 * 512
        return _RESNETS[encoder] + head + 513 * num_classes
    neck = (256 + 512 + 1024 + 2048) * 256 + 4 * 256
    neck += 4 * (9 * 256 + 1) * 256
    head = 4 * 9 * 256 * 128 + 3 * 9 * 128 * 128 + 7 * 4 * 128
    return _RESNETS[encoder] + neck + head + 129 * num_classes


def _of_baseline(row):
    """The preset of a row of `facts/baselines.py`."""
    words = {"fcn": "FCN, output stride 8", "semantic_fpn": "Semantic FPN"}
    encoder = f"resnet{row.depth}"
    crop = row.crop if isinstance(row.crop, tuple) else (row.crop, row.crop)
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
        sha256=row.file.rpartition("-")[2].removesuffix(".pth"),
        license="Apache-2.0",
        source="mmsegmentation",
        miou=row.miou,
        miou_multi_scale=row.miou_multi_scale,
        image_size=row.crop,
        size=encoder,
        backbone_class="ResNetBackbone",
        arguments={"align_corners": True} if row.aligns_corners else {},
    )


_BASELINES = tuple(map(_of_baseline, BASELINES))


def _encoder_parameters(size, family, side):
    """Weights of an encoder without the norm behind its last layer."""
    shape = {**SIZES[size], **FAMILIES[family]}
    dim = shape["hidden_dim"]
    mlp_dim = 4 * dim
    patch = shape.get("patch_size", 16)
    biases = 3 if shape.get("use_key_bias", True) else 2
    expansions = 2 if shape.get("use_gated_mlp") else 1
    attention = 3 * dim**2 + biases * dim + dim**2 + dim
    mlp = expansions * (dim + 1) * mlp_dim + (mlp_dim + 1) * dim
    norms = 4 * dim
    scales = 2 * dim if "layer_scale_init" in shape else 0
    tokens = (patch * patch * 3 + 1) * dim
    if "stem" in shape:
        # 3, 4 and 9 blocks; one pixel of their 1024 channels for each patch.
        tokens = 11_894_848 + (1024 + 1) * dim
    tokens += (1 + shape.get("num_register_tokens", 0)) * dim
    if "rotary_base" not in shape:
        tokens += (1 + (side // patch) ** 2) * dim
    return tokens + shape["num_layers"] * (attention + mlp + norms + scales)


def _encoder(name, size, dataset, side, url, description, source, family="vit"):
    gated = family.startswith("dinov3")
    file = None if gated else url.rpartition("/")[2]
    # timm and DeiT write the hash into the name.
    sha256 = re.search(r"-([0-9a-f]{8})\.pth$", url)
    return Preset(
        name=name,
        decoder=None,
        description=description,
        parameters=_encoder_parameters(size, family, side),
        dataset=dataset,
        url=url,
        file=file,
        sha256=sha256 and sha256[1],
        license="dinov3-license" if gated else "Apache-2.0",
        source=source,
        image_size=side,
        size=size,
        family=family,
        gated=gated,
    )


_21K, _1K = "ImageNet-21k", "ImageNet-1k"
_BOTH = f"{_21K}, then {_1K}"
_GOOGLE = "timm, after Google's ViT"
_AUGREG = "https://storage.googleapis.com/vit_models/augreg/"
_FINE_TUNED = "--imagenet2012-steps_20k-lr_"
_META = "https://dl.fbaipublicfiles.com/"
_BIG_VISION = "https://storage.googleapis.com/big_vision/flexivit/"

_VITS = (
    _encoder(
        "vit_large_patch16_384",
        "large",
        _BOTH,
        384,
        _TIMM + "jx_vit_large_p16_384-b3be5167.pth",
        "ViT-L/16, the encoder that the authors' T-Large models start from",
        _GOOGLE,
    ),
    _encoder(
        "vit_base_patch16_384",
        "base",
        _BOTH,
        384,
        _TIMM + "jx_vit_base_p16_384-83fb41ba.pth",
        "ViT-B/16, the encoder that the authors' T-Base models start from",
        _GOOGLE,
    ),
    _encoder(
        "vit_large_patch16_224_in21k",
        "large",
        _21K,
        224,
        _TIMM + "jx_vit_large_patch16_224_in21k-606da67d.pth",
        "ViT-L/16, the pretraining that the paper names",
        _GOOGLE,
    ),
    _encoder(
        "vit_base_patch16_224_in21k",
        "base",
        _21K,
        224,
        _TIMM + "jx_vit_base_patch16_224_in21k-e5005f0a.pth",
        "ViT-B/16, the pretraining that the paper names",
        _GOOGLE,
    ),
)

_HYBRIDS = tuple(
    _encoder(
        f"vit_base_r50_s16_{name}",
        "base",
        dataset,
        side,
        f"{_TIMM}jx_vit_base_resnet50_{name}-{sha256}.pth",
        "ViT-B/16 behind a ResNet of 3, 4 and 9 blocks, for SETR-Hybrid",
        _GOOGLE,
        "r50",
    )
    for name, side, dataset, sha256 in (
        ("384", 384, _BOTH, "9fd3c705"),
        ("224_in21k", 224, _21K, "6f7c7740"),
    )
)

_RESNET_ENCODERS = tuple(
    Preset(
        name=f"{size}_v1c",
        decoder=None,
        description=f"ResNet-{size[6:]} with a deep stem, the encoder that "
        "mmsegmentation's FCN and Semantic FPN start from",
        parameters=_RESNETS[size],
        dataset=_1K,
        url="https://download.openmmlab.com/pretrain/third_party/"
        f"{size}_v1c-{sha256}.pth",
        file=f"{size}_v1c-{sha256}.pth",
        sha256=sha256,
        # Third parties trained them; neither names one.
        license="unknown",
        source="open-mmlab",
        image_size=224,
        size=size,
        backbone_class="ResNetBackbone",
    )
    for size, sha256 in (("resnet50", "2cccc1ad"), ("resnet101", "e67eebb6"))
)

# Of the many of AugReg those that timm has: regularisation of the pretraining,
# learning rate of the fine-tuning.
_AUGREGS = tuple(
    _encoder(
        f"vit_{size}_patch16_{side}_augreg{suffix}",
        size,
        dataset,
        side,
        f"{_AUGREG}{short}_16-i21k-300ep-lr_0.001-aug_{settings}{tuning}.npz",
        f"ViT-{short}/16 of AugReg (arXiv 2106.10270)",
        "Google",
    )
    for size, short, settings, rate in (
        ("tiny", "Ti", "none-wd_0.03-do_0.0-sd_0.0", "0.03"),
        ("small", "S", "light1-wd_0.03-do_0.0-sd_0.0", "0.03"),
        ("base", "B", "medium1-wd_0.1-do_0.0-sd_0.0", "0.01"),
        ("large", "L", "medium1-wd_0.1-do_0.1-sd_0.1", "0.01"),
    )
    for side, suffix, dataset, tuning in (
        (224, "_in21k", _21K, ""),
        (384, "", _BOTH, f"{_FINE_TUNED}{rate}-res_384"),
    )
)

_DEITS = tuple(
    _encoder(
        f"deit_{name}",
        size,
        _1K,
        side,
        f"{_META}deit/deit_{name}-{sha256}.pth",
        description,
        "DeiT",
    )
    for size, name, side, sha256, description in (
        ("tiny", "tiny_patch16_224", 224, "a1311bcf", "DeiT-Ti"),
        ("small", "small_patch16_224", 224, "cd65a155", "DeiT-S"),
        ("base", "base_patch16_224", 224, "b5f2ef4d", "DeiT-B"),
        ("base", "base_patch16_384", 384, "8de9b5d1", "DeiT-B"),
        ("tiny", "tiny_distilled_patch16_224", 224, "b40b3cf7", "DeiT-Ti"),
        ("small", "small_distilled_patch16_224", 224, "649709d9", "DeiT-S"),
        ("base", "base_distilled_patch16_224", 224, "df68dfff", "DeiT-B"),
        (
            "base",
            "base_distilled_patch16_384",
            384,
            "d0272ac0",
            "DeiT-B, the encoder of the SETR-DeiT models",
        ),
    )
)

_DINOV2S = tuple(
    _encoder(
        f"dinov2_vit_{size}_patch14{suffix}",
        size,
        "LVD-142M",
        518,
        f"{_META}dinov2/dinov2_vit{size[0]}14/dinov2_vit{size[0]}14{suffix}"
        "_pretrain.pth",
        f"DINOv2 ViT-{size[0].upper()}/14{words}",
        "Meta",
        f"dinov2{suffix}",
    )
    for size in ("small", "base", "large")
    for suffix, words in (("", ""), ("_reg4", " with 4 registers"))
)

_FLEXIVITS = tuple(
    _encoder(
        f"flexivit_{size}",
        size,
        _1K,
        224,
        f"{_BIG_VISION}flexivit_{size[0]}_i1k.npz",
        f"FlexiViT-{size[0].upper()} (arXiv 2212.08013); patch_size= gives "
        "any patch size from 8 to 48",
        "Google",
        "flexivit",
    )
    for size in ("small", "base", "large")
)

_DINOV3S = tuple(
    _encoder(
        f"dinov3_vit_{name}_patch16{suffix}",
        name.removesuffix("_plus"),
        dataset,
        224,
        f"https://huggingface.co/facebook/dinov3-vit{file}",
        f"DINOv3 ViT-{name[0].upper()}{'+' * name.endswith('_plus')}/16",
        "Meta",
        "dinov3_plus" if name.endswith("_plus") else "dinov3",
    )
    for name, suffix, dataset, file in (
        ("small", "", "LVD-1689M", "s16-pretrain-lvd1689m"),
        ("small_plus", "", "LVD-1689M", "s16plus-pretrain-lvd1689m"),
        ("base", "", "LVD-1689M", "b16-pretrain-lvd1689m"),
        ("large", "", "LVD-1689M", "l16-pretrain-lvd1689m"),
        ("large", "_sat493m", "SAT-493M", "l16-pretrain-sat493m"),
    )
)
_ENCODERS = (
    *_VITS,
    *_HYBRIDS,
    *_RESNET_ENCODERS,
    *_AUGREGS,
    *_DEITS,
    *_DINOV2S,
    *_FLEXIVITS,
    *_DINOV3S,
)

PRESETS = {
    preset.name: preset
    for preset in (
        *_MMSEGMENTATION_MODELS,
        *_AUTHORS_MODELS,
        *_BASELINES,
        *_ENCODERS,
    )
}


def presets_of(
    model_class: str | None = None, backbone_class: str | None = None
) -> dict[str, dict[str, Any]]:
    """The built-in names that a class can load, as plain dicts.

    Args:
        model_class: the name of a segmenter, for its published models and
            encoders alone; or `None`, for all models.
        backbone_class: `"SETRBackbone"` or `"ResNetBackbone"`, for what has
            such an encoder; or `None`, for all.

    Returns:
        dict from name to a dict of `Preset`'s other attributes.
    """
    facts = {}
    for name, preset in PRESETS.items():
        of_model = preset.model_class in (model_class, None)
        of_encoder = backbone_class in (preset.backbone_class, None)
        if (model_class is None or of_model) and of_encoder:
            facts[name] = dataclasses.asdict(preset) | {
                "model": preset.model_class
            }
            del facts[name]["name"]
    return facts
