"""The encoders that segmenters start from: a row for each published file.

Addresses: the releases of timm, Google, DeiT, DINOv2, DINOv3 and FlexiViT, and
mmsegmentation's ResNets.
"""

import re

from keras_setr.checkpoints.presets.preset import Preset
from keras_setr.facts.encoders import FAMILIES
from keras_setr.facts.encoders import SIZES

# Of ResNets with a deep stem: weights and moving statistics.
RESNET_PARAMETERS = {
    "resnet50": 23_527_264 + 53_248,
    "resnet101": 42_519_392 + 105_472,
}


def encoder_parameters(size, family, side):
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
        parameters=encoder_parameters(size, family, side),
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


_TIMM = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/"
    "v0.1-vitjx/"
)
_21K, _1K = "ImageNet-21k", "ImageNet-1k"
_BOTH = f"{_21K}, then {_1K}"
_GOOGLE = "timm, after Google's ViT"
_AUGREG = "https://storage.googleapis.com/vit_models/augreg/"
_FINE_TUNED = "--imagenet2012-steps_20k-lr_"
_META = "https://dl.fbaipublicfiles.com/"
_BIG_VISION = "https://storage.googleapis.com/big_vision/flexivit/"

_VITS = tuple(
    _encoder(
        f"vit_{size}_patch16_{name}",
        size,
        dataset,
        side,
        f"{_TIMM}jx_vit_{size}_{file}.pth",
        f"ViT-{size[0].upper()}/16, {words}",
        _GOOGLE,
    )
    for size, name, side, dataset, file, words in (
        (
            "large",
            "384",
            384,
            _BOTH,
            "p16_384-b3be5167",
            "the encoder that the authors' T-Large models start from",
        ),
        (
            "base",
            "384",
            384,
            _BOTH,
            "p16_384-83fb41ba",
            "the encoder that the authors' T-Base models start from",
        ),
        (
            "large",
            "224_in21k",
            224,
            _21K,
            "patch16_224_in21k-606da67d",
            "the pretraining that the paper names",
        ),
        (
            "base",
            "224_in21k",
            224,
            _21K,
            "patch16_224_in21k-e5005f0a",
            "the pretraining that the paper names",
        ),
    )
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

_RESNETS = tuple(
    Preset(
        name=f"{size}_v1c",
        decoder=None,
        description=f"ResNet-{size[6:]} with a deep stem, the encoder that "
        "mmsegmentation's FCN and Semantic FPN start from",
        parameters=RESNET_PARAMETERS[size],
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

ENCODERS = (
    *_VITS,
    *_HYBRIDS,
    *_RESNETS,
    *_AUGREGS,
    *_DEITS,
    *_DINOV2S,
    *_FLEXIVITS,
    *_DINOV3S,
)
