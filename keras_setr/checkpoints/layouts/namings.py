"""How vision transformers name their tensors, one record per naming.

Sources: timm, mmsegmentation 1.2, Hugging Face transformers, Google's
vision_transformer and KerasHub, as their files have them. Everything but the
names is alike: a joint or a split projection of query, key and value, heads
one after another, and positions of the special tokens before the patches'.
A few facts that files do not tell stand beside the names.
"""

import dataclasses
from typing import Any

import numpy as np

# === What arrays look like ===


def _transposed(*kernels):
    """Linear layers of torch, `(out, in)`, side by side as `(in, out)`."""
    return np.concatenate([kernel.T for kernel in kernels], axis=-1)


def from_torch_convolution(kernel):
    """`(out, in, h, w)` to `(h, w, in, out)`."""
    return kernel.transpose(2, 3, 1, 0)


def _side_by_side(*kernels):
    """`(D, m, d)`, or `(D, n)` already, each, as `(D, m * d + ..)`."""
    return np.concatenate([k.reshape(k.shape[0], -1) for k in kernels], axis=-1)


def _flat_output(kernel):
    """`(m, d, D)`, or `(D, D)` already, to `(m * d, D)`."""
    return kernel.reshape(-1, kernel.shape[-1])


def joined(*biases):
    return np.concatenate([bias.reshape(-1) for bias in biases])


def same(array):
    return array


def rows(tokens, dim):
    """Tokens as `(n, dim)`."""
    return tokens.reshape(-1, dim)


def class_position(positions, dim, before):
    """`(1, dim)` of positions with so many rows before the patches'."""
    if before:
        return rows(positions, dim)[:1]
    # Without a row of its own, it is part of the token already.
    return np.zeros((1, dim), "float32")


def patch_positions(positions, grid, dim, before):
    """`(rows, columns, dim)` of the same."""
    return rows(positions, dim)[before:].reshape(*grid, dim)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A framework's words for a layer's arrays, and their layouts."""

    kernel: str
    bias: str
    scale: str
    shift: str
    convolution: object
    attention_input: object
    attention_output: object
    linear: object

    def patch_shape(self, shape):
        """`(P, P, C, D)` of the kernel that embeds the patches."""
        if self.convolution is from_torch_convolution:
            return tuple(shape[i] for i in (2, 3, 1, 0))
        return tuple(shape)


TORCH = Arrays(
    "weight",
    "bias",
    "weight",
    "bias",
    from_torch_convolution,
    _transposed,
    _transposed,
    _transposed,
)
KERAS = Arrays(
    "kernel",
    "bias",
    "gamma",
    "beta",
    same,
    _side_by_side,
    _flat_output,
    _side_by_side,
)
FLAX = dataclasses.replace(KERAS, scale="scale", shift="bias")


# === What they are called ===


@dataclasses.dataclass(frozen=True)
class EncoderNames:
    """One naming. `{i}` counts layers from 0, `{n}` from 1.

    A name that ends in a separator stands for a layer, which `arrays`
    completes; the other names are whole. `prefixes` are what a file may have
    before every name. `""` stands for what an encoder has not; with an empty
    `positions` they are rotary, of the base `rotary_base`.

    `gated_mlp` names the gate and the two layers of a gated MLP, where a file
    has these in the place of `expansion` and `contraction`. `key_bias_mask`
    is where a file says that the keys' part of a joint bias is void. Where
    nothing else tells them, the last three fields do. `known_by` are tensors
    that no naming further down has beside the norm and the projection of the
    first layer.
    """

    name: str
    prefixes: tuple
    arrays: Arrays
    patches: str
    class_token: str
    positions: str
    attention_norm: str
    qkv: tuple
    output: str
    mlp_norm: str
    expansion: str
    contraction: str
    final_norm: str
    attention_scale: str = ""
    mlp_scale: str = ""
    distillation_token: str = ""
    registers: tuple = ()
    gated_mlp: tuple = ()
    key_bias_mask: str = ""
    known_by: tuple = ()
    ignored: tuple = ()
    rotary_base: float | None = None
    position_interpolation: str = "bilinear"
    layer_norm_epsilon: float = 1e-6

    @property
    def signature(self):
        """Names of the tensors by which a file is known to have the naming."""
        first = (
            self.attention_norm + self.arrays.scale,
            self.qkv[0] + self.arrays.kernel,
            *self.known_by,
        )
        return tuple(name.format(i=0, n=1) for name in first)


# Why tensors or variables are left out.
CLASSIFIER = "classifier of the pretraining"
COUNTER = (r".*\.num_batches_tracked", "torch's count of batches")
NO_CLASS_TOKEN = "the model has no class token"
NO_FINAL_NORM = "SETR has no norm behind its last layer"
_MASK = "stands for masked patches in pretraining"

TIMM = EncoderNames(
    name="timm",
    prefixes=("", "backbone."),
    arrays=TORCH,
    patches="patch_embed.proj.",
    class_token="cls_token",
    positions="pos_embed",
    attention_norm="blocks.{i}.norm1.",
    qkv=("blocks.{i}.attn.qkv.",),
    output="blocks.{i}.attn.proj.",
    mlp_norm="blocks.{i}.norm2.",
    expansion="blocks.{i}.mlp.fc1.",
    contraction="blocks.{i}.mlp.fc2.",
    final_norm="norm.",
    attention_scale="blocks.{i}.ls1.gamma",
    mlp_scale="blocks.{i}.ls2.gamma",
    distillation_token="dist_token",
    registers=("reg_token", "register_tokens"),
    ignored=(
        (r"(head|head_dist|pre_logits|fc_norm)\..*", CLASSIFIER),
        (r"mask_token", _MASK),
    ),
)
# Meta's own files, and timm's of the same.
DINOV2 = dataclasses.replace(
    TIMM,
    name="DINOv2",
    known_by=("blocks.{i}.ls1.gamma",),
    position_interpolation="bicubic",
)
_OF_ROTARY: dict[str, Any] = {
    "positions": "",
    "rotary_base": 100.0,
    "layer_norm_epsilon": 1e-5,
}
# Meta's own files.
DINOV3 = dataclasses.replace(
    TIMM,
    name="DINOv3",
    distillation_token="",
    registers=("storage_tokens",),
    known_by=("storage_tokens",),
    gated_mlp=tuple(f"blocks.{{i}}.mlp.w{n}." for n in (1, 2, 3)),
    key_bias_mask="blocks.{i}.attn.qkv.bias_mask",
    ignored=(
        (r"mask_token", _MASK),
        (r"rope_embed\.periods", "follows from the base of the positions"),
        (r"blocks\.\d+\.attn\.qkv\.bias_mask", "keys have no bias"),
        (r"local_cls_norm\..*", "norm of the pretraining's small crops"),
    ),
    **_OF_ROTARY,
)
TIMM_DINOV3 = dataclasses.replace(
    DINOV3,
    name="timm DINOv3",
    registers=("reg_token",),
    known_by=("reg_token", "blocks.{i}.gamma_1"),
    attention_scale="blocks.{i}.gamma_1",
    mlp_scale="blocks.{i}.gamma_2",
    gated_mlp=tuple(f"blocks.{{i}}.mlp.fc{n}." for n in ("1_g", "1_x", "2")),
)
MMSEGMENTATION = EncoderNames(
    name="mmsegmentation",
    prefixes=("backbone.", ""),
    arrays=TORCH,
    patches="patch_embed.projection.",
    class_token="cls_token",
    positions="pos_embed",
    attention_norm="layers.{i}.ln1.",
    qkv=("layers.{i}.attn.attn.in_proj_",),
    output="layers.{i}.attn.attn.out_proj.",
    mlp_norm="layers.{i}.ln2.",
    expansion="layers.{i}.ffn.layers.0.0.",
    contraction="layers.{i}.ffn.layers.1.",
    final_norm="ln1.",
)
HUGGING_FACE_VIT = EncoderNames(
    name="Hugging Face ViT",
    prefixes=("", "vit.", "deit."),
    arrays=TORCH,
    patches="embeddings.patch_embeddings.projection.",
    class_token="embeddings.cls_token",
    positions="embeddings.position_embeddings",
    attention_norm="encoder.layer.{i}.layernorm_before.",
    qkv=tuple(
        f"encoder.layer.{{i}}.attention.attention.{part}."
        for part in ("query", "key", "value")
    ),
    output="encoder.layer.{i}.attention.output.dense.",
    mlp_norm="encoder.layer.{i}.layernorm_after.",
    expansion="encoder.layer.{i}.intermediate.dense.",
    contraction="encoder.layer.{i}.output.dense.",
    final_norm="layernorm.",
    distillation_token="embeddings.distillation_token",
    ignored=(
        (
            r"(classifier|cls_classifier|distillation_classifier)\..*",
            CLASSIFIER,
        ),
        (r"(.*\.)?pooler\..*", CLASSIFIER),
        (r"(.*\.)?mask_token", _MASK),
    ),
)
# The names of transformers 5, where the library does not write the old ones.
HUGGING_FACE_VIT_5 = dataclasses.replace(
    HUGGING_FACE_VIT,
    name="Hugging Face ViT (transformers 5)",
    attention_norm="layers.{i}.layernorm_before.",
    qkv=tuple(f"layers.{{i}}.attention.{part}_proj." for part in "qkv"),
    output="layers.{i}.attention.o_proj.",
    mlp_norm="layers.{i}.layernorm_after.",
    expansion="layers.{i}.mlp.fc1.",
    contraction="layers.{i}.mlp.fc2.",
)
HUGGING_FACE_DINOV2 = dataclasses.replace(
    HUGGING_FACE_VIT,
    name="Hugging Face DINOv2",
    prefixes=("", "dinov2.", "dinov2_with_registers.", "backbone."),
    attention_norm="encoder.layer.{i}.norm1.",
    mlp_norm="encoder.layer.{i}.norm2.",
    expansion="encoder.layer.{i}.mlp.fc1.",
    contraction="encoder.layer.{i}.mlp.fc2.",
    attention_scale="encoder.layer.{i}.layer_scale1.lambda1",
    mlp_scale="encoder.layer.{i}.layer_scale2.lambda1",
    distillation_token="",
    registers=("embeddings.register_tokens",),
    position_interpolation="bicubic",
)
HUGGING_FACE_DINOV3 = EncoderNames(
    name="Hugging Face DINOv3",
    prefixes=("", "dinov3_vit.", "backbone."),
    arrays=TORCH,
    patches="embeddings.patch_embeddings.",
    class_token="embeddings.cls_token",
    registers=("embeddings.register_tokens",),
    attention_norm="layer.{i}.norm1.",
    qkv=tuple(f"layer.{{i}}.attention.{part}_proj." for part in "qkv"),
    output="layer.{i}.attention.o_proj.",
    mlp_norm="layer.{i}.norm2.",
    expansion="layer.{i}.mlp.up_proj.",
    contraction="layer.{i}.mlp.down_proj.",
    gated_mlp=tuple(
        f"layer.{{i}}.mlp.{p}_proj." for p in ("gate", "up", "down")
    ),
    final_norm="norm.",
    attention_scale="layer.{i}.layer_scale1.lambda1",
    mlp_scale="layer.{i}.layer_scale2.lambda1",
    ignored=((r"(.*\.)?mask_token", _MASK),),
    **_OF_ROTARY,
)
_GOOGLE_BLOCK = "Transformer/encoderblock_{i}/"
GOOGLE = EncoderNames(
    name="Google ViT",
    prefixes=("",),
    arrays=FLAX,
    patches="embedding/",
    class_token="cls",
    positions="Transformer/posembed_input/pos_embedding",
    attention_norm=_GOOGLE_BLOCK + "LayerNorm_0/",
    qkv=tuple(
        _GOOGLE_BLOCK + f"MultiHeadDotProductAttention_1/{part}/"
        for part in ("query", "key", "value")
    ),
    output=_GOOGLE_BLOCK + "MultiHeadDotProductAttention_1/out/",
    mlp_norm=_GOOGLE_BLOCK + "LayerNorm_2/",
    expansion=_GOOGLE_BLOCK + "MlpBlock_3/Dense_0/",
    contraction=_GOOGLE_BLOCK + "MlpBlock_3/Dense_1/",
    final_norm="Transformer/encoder_norm/",
    ignored=((r"(head|pre_logits)/.*", CLASSIFIER),),
)
_BIG_VISION_ATTENTION = _GOOGLE_BLOCK + "MultiHeadDotProductAttention_0/"
BIG_VISION = dataclasses.replace(
    GOOGLE,
    name="big_vision",
    prefixes=("params/", ""),
    positions="pos_embedding",
    qkv=tuple(
        _BIG_VISION_ATTENTION + f"{part}/" for part in ("query", "key", "value")
    ),
    output=_BIG_VISION_ATTENTION + "out/",
    mlp_norm=_GOOGLE_BLOCK + "LayerNorm_1/",
    expansion=_GOOGLE_BLOCK + "MlpBlock_0/Dense_0/",
    contraction=_GOOGLE_BLOCK + "MlpBlock_0/Dense_1/",
)
_KERAS_BLOCK = "vit_encoder/transformer_block_{n}/"
KERAS_HUB_VIT = EncoderNames(
    name="KerasHub ViT",
    prefixes=("",),
    arrays=KERAS,
    patches="vit_patching_and_embedding/patch_embedding/",
    class_token="vit_patching_and_embedding/class_token",
    positions="vit_patching_and_embedding/position_embedding/embeddings",
    attention_norm=_KERAS_BLOCK + "ln_1/",
    qkv=tuple(
        _KERAS_BLOCK + f"mha/{part}/" for part in ("query", "key", "value")
    ),
    output=_KERAS_BLOCK + "mha/attention_output/",
    mlp_norm=_KERAS_BLOCK + "ln_2/",
    expansion=_KERAS_BLOCK + "mlp/dense_1/",
    contraction=_KERAS_BLOCK + "mlp/dense_2/",
    final_norm="vit_encoder/ln/",
)
_DEIT_BLOCK = "deit_encoder/transformer_block_{n}/"
KERAS_HUB_DEIT = dataclasses.replace(
    KERAS_HUB_VIT,
    name="KerasHub DeiT",
    patches="deit_patching_and_embedding/patch_embedding/",
    class_token="deit_patching_and_embedding/class_token",
    distillation_token="deit_patching_and_embedding/distillation_token",
    positions="deit_patching_and_embedding/position_embedding",
    attention_norm=_DEIT_BLOCK + "ln_1/",
    qkv=tuple(
        _DEIT_BLOCK + f"mha/{part}/" for part in ("query", "key", "value")
    ),
    output=_DEIT_BLOCK + "mha/attention_output/",
    mlp_norm=_DEIT_BLOCK + "ln_2/",
    expansion=_DEIT_BLOCK + "mlp/dense/",
    contraction=_DEIT_BLOCK + "output_layer/output/",
    final_norm="deit_encoder/ln/",
    ignored=((r"(.*/)?mask_token", _MASK),),
)
_DINO_BLOCK = "encoder/layers_{i}/"
KERAS_HUB_DINOV2 = dataclasses.replace(
    KERAS_HUB_VIT,
    name="KerasHub DINOv2",
    patches="embeddings/patch_embeddings/projection/",
    class_token="embeddings/cls_token",
    registers=("embeddings/register_tokens",),
    positions="embeddings/position_embeddings",
    attention_norm=_DINO_BLOCK + "norm1/",
    qkv=tuple(
        _DINO_BLOCK + f"attention/attention/{part}/"
        for part in ("query", "key", "value")
    ),
    output=_DINO_BLOCK + "attention/attention/attention_output/",
    mlp_norm=_DINO_BLOCK + "norm2/",
    expansion=_DINO_BLOCK + "mlp/fc1/",
    contraction=_DINO_BLOCK + "mlp/fc2/",
    final_norm="layernorm/",
    attention_scale=_DINO_BLOCK + "layer_scale1/lambda1",
    mlp_scale=_DINO_BLOCK + "layer_scale2/lambda1",
    ignored=(
        (r"(.*/)?mask_token", _MASK),
        (
            r"embeddings/interpolated_position_embeddings",
            "a resampled copy of the positions",
        ),
    ),
    position_interpolation="bicubic",
)
KERAS_HUB_DINOV3 = dataclasses.replace(
    KERAS_HUB_DINOV2,
    name="KerasHub DINOv3",
    patches="embeddings/patch_embeddings/projection/",
    qkv=tuple(_DINO_BLOCK + f"attention/{part}_proj/" for part in "qkv"),
    output=_DINO_BLOCK + "attention/o_proj/",
    expansion=_DINO_BLOCK + "mlp/up_proj/",
    contraction=_DINO_BLOCK + "mlp/down_proj/",
    gated_mlp=tuple(
        _DINO_BLOCK + f"mlp/{part}_proj/" for part in ("gate", "up", "down")
    ),
    ignored=((r"(.*/)?mask_token", _MASK),),
    **_OF_ROTARY,
)

ENCODERS = (
    DINOV3,
    TIMM_DINOV3,
    DINOV2,
    TIMM,
    MMSEGMENTATION,
    HUGGING_FACE_VIT,
    HUGGING_FACE_VIT_5,
    HUGGING_FACE_DINOV2,
    HUGGING_FACE_DINOV3,
    GOOGLE,
    BIG_VISION,
    KERAS_HUB_VIT,
    KERAS_HUB_DEIT,
    KERAS_HUB_DINOV2,
    KERAS_HUB_DINOV3,
)
