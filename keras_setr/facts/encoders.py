"""The published encoders: their sizes, and how families differ from ViT."""

from typing import Any

# Of ViT (arXiv 2010.11929, Table 1; tiny and small: DeiT, arXiv 2012.12877).
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"num_layers": 12, "hidden_dim": 192, "num_heads": 3},
    "small": {"num_layers": 12, "hidden_dim": 384, "num_heads": 6},
    "base": {"num_layers": 12, "hidden_dim": 768, "num_heads": 12},
    "large": {"num_layers": 24, "hidden_dim": 1024, "num_heads": 16},
}

# Of ResNet (arXiv 1512.03385, Table 1).
RESNETS: dict[str, dict[str, tuple[int, ...]]] = {
    "resnet50": {"num_blocks": (3, 4, 6, 3)},
    "resnet101": {"num_blocks": (3, 4, 23, 3)},
}

_DINOV2 = {
    "patch_size": 14,
    "layer_scale_init": 1e-5,
    "position_interpolation": "bicubic",
}
_DINOV3 = {
    "num_register_tokens": 4,
    "rotary_base": 100.0,
    "use_key_bias": False,
    "layer_scale_init": 1e-5,
    "layer_norm_epsilon": 1e-5,
}
# Arguments of `SETRBackbone` other than its defaults.
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {},
    # The kernel and the 7 x 7 positions that are resized to each patch size
    # (arXiv 2212.08013, section 3.4).
    "flexivit": {"patch_size": 32},
    # Behind Google's ResNet (arXiv 2010.11929, section 3.1).
    "r50": {
        "stem": {
            "num_blocks": (3, 4, 9),
            "output_stride": 16,
            "filters": 64,
            "deep_stem": False,
            "norm": "group",
        }
    },
    "dinov2": _DINOV2,
    "dinov2_reg4": {
        **_DINOV2,
        "num_register_tokens": 4,
        "position_interpolation": "bicubic_antialiased",
    },
    "dinov3": _DINOV3,
    "dinov3_plus": {**_DINOV3, "use_gated_mlp": True},
}
