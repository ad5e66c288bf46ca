"""How vision transformers name their tensors, one record per naming.

Sources: timm, mmsegmentation 1.2, Hugging Face transformers, Google's
vision_transformer and KerasHub, as their files have them. Everything but the
names is alike: a joint or a split projection of query, key and value, heads
one after another, and positions of the special tokens before the patches'.
"""

import dataclasses
import functools
import math
import re

import numpy as np

from keras_setr.checkpoints.transfer import Copy

_NO_CLASS_TOKEN = "the model has no class token"
_NO_FINAL_NORM = "SETR has no norm behind its last layer"

# Widths whose heads are not 64 wide: ViT-H, ViT-g and ViT-G have 16 heads.
_UNUSUAL_HEADS = {1280: 16, 1408: 16, 1664: 16}


# === What arrays look like ===


def _transposed(*kernels):
    """Linear layers of torch, `(out, in)`, side by side as `(in, out)`."""
    return np.concatenate([kernel.T for kernel in kernels], axis=-1)


def _from_torch_convolution(kernel):
    """`(out, in, h, w)` to `(h, w, in, out)`."""
    return kernel.transpose(2, 3, 1, 0)


def _flat_heads(*kernels):
    """`(D, m, d)` each, side by side as `(D, 3 * m * d)`."""
    return np.concatenate([k.reshape(k.shape[0], -1) for k in kernels], axis=-1)


def _flat_output(kernel):
    """`(m, d, D)`, or `(D, D)` already, to `(m * d, D)`."""
    return kernel.reshape(-1, kernel.shape[-1])


def _joined(*biases):
    return np.concatenate([bias.reshape(-1) for bias in biases])


def same(array):
    return array


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
        if self.convolution is _from_torch_convolution:
            return tuple(shape[i] for i in (2, 3, 1, 0))
        return tuple(shape)


TORCH = Arrays(
    "weight",
    "bias",
    "weight",
    "bias",
    _from_torch_convolution,
    _transposed,
    _transposed,
    _transposed,
)
KERAS = Arrays(
    "kernel", "bias", "gamma", "beta", same, _flat_heads, _flat_output, same
)
FLAX = dataclasses.replace(KERAS, scale="scale", shift="bias")


# === What they are called ===


@dataclasses.dataclass(frozen=True)
class EncoderNames:
    """One naming. `{i}` counts layers from 0, `{n}` from 1.

    A name that ends in a separator stands for a layer, which `arrays`
    completes; the other names are whole. `prefixes` are what a file may have
    before every name.
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
    ignored: tuple = ()


_CLASSIFIER = "classifier of the pretraining"
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
        (r"(head|head_dist|pre_logits|fc_norm)\..*", _CLASSIFIER),
        (r"mask_token", _MASK),
    ),
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
            _CLASSIFIER,
        ),
        (r"(.*\.)?pooler\..*", _CLASSIFIER),
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
    ignored=((r"(head|pre_logits)/.*", _CLASSIFIER),),
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
)

ENCODERS = (
    TIMM,
    MMSEGMENTATION,
    HUGGING_FACE_VIT,
    HUGGING_FACE_VIT_5,
    HUGGING_FACE_DINOV2,
    GOOGLE,
    KERAS_HUB_VIT,
    KERAS_HUB_DEIT,
    KERAS_HUB_DINOV2,
)


# === What a file tells ===


class Encoder:
    """The encoder in one checkpoint, under one naming.

    Args:
        checkpoint: `Checkpoint`.
        names: `EncoderNames`, one that `find` found.
        prefix: str. What the file has before every name.
    """

    def __init__(self, checkpoint, names, prefix):
        self.checkpoint = checkpoint
        self.names = names
        self.prefix = prefix

    @classmethod
    def find(cls, checkpoint):
        """The encoder that the checkpoint holds, or `None`."""
        for names in ENCODERS:
            for prefix in names.prefixes:
                first = [
                    names.attention_norm + names.arrays.scale,
                    names.qkv[0] + names.arrays.kernel,
                ]
                if all(
                    prefix + f.format(i=0, n=1) in checkpoint for f in first
                ):
                    return cls(checkpoint, names, prefix)
        return None

    @property
    def ignored(self):
        prefix = re.escape(self.prefix)
        patterns = [(prefix + p, reason) for p, reason in self.names.ignored]
        # Some files keep the classifier beside the prefixed encoder.
        patterns += self.names.ignored
        if self.names.distillation_token:
            patterns.append(
                (
                    re.escape(self._full(self.names.distillation_token)),
                    "SETR drops the distillation token",
                )
            )
        return tuple(patterns)

    def _full(self, name, layer=0):
        return self.prefix + name.format(i=layer, n=layer + 1)

    def _has(self, name):
        return bool(name) and self._full(name) in self.checkpoint

    @functools.cached_property
    def num_layers(self):
        layer = 0
        norm = self.names.attention_norm + self.names.arrays.scale
        while self._full(norm, layer) in self.checkpoint:
            layer += 1
        return layer

    @functools.cached_property
    def registers(self):
        return next((r for r in self.names.registers if self._has(r)), None)

    def _num_positions(self):
        return self.checkpoint.shape(self._full(self.names.positions))[-2]

    def _grid(self, patch_size, given):
        """Rows and columns of the positions, and how many come before."""
        count = self._num_positions()
        specials = int(self._has(self.names.class_token)) + int(
            self._has(self.names.distillation_token)
        )
        for before in dict.fromkeys((specials, 0)):
            side = math.isqrt(count - before)
            if side * side == count - before:
                return (side, side), before
        shapes = [given.get("position_grid")]
        if None not in given.get("image_shape", (None,)):
            height, width = given["image_shape"][:2]
            shapes.append((height // patch_size, width // patch_size))
        for shape in shapes:
            if shape and math.prod(shape) == count - specials:
                return tuple(shape), specials
        raise ValueError(
            f"{self.checkpoint.origin} has {count - specials} positions of "
            "patches, which form no square. Pass position_grid=(rows, "
            "columns) of the images that it was trained with."
        )

    def _num_heads(self, hidden_dim):
        names = self.names
        if names.arrays is not TORCH:
            kernel = self._full(names.qkv[0] + names.arrays.kernel)
            return self.checkpoint.shape(kernel)[1]
        config = self.checkpoint.metadata.get("config", {})
        if "num_attention_heads" in config:
            return config["num_attention_heads"]
        if hidden_dim in _UNUSUAL_HEADS:
            return _UNUSUAL_HEADS[hidden_dim]
        if hidden_dim % 64 == 0:
            return hidden_dim // 64
        raise ValueError(
            f"{self.checkpoint.origin} does not tell the number of attention "
            f"heads, and its width {hidden_dim} is none of the published "
            "ones, whose heads are 64 wide. Pass num_heads=..."
        )

    def arguments(self, given):
        """Arguments of `SETRBackbone` under which the tensors fit.

        Args:
            given: dict of the arguments that the user gives, which prevail;
                `num_heads` and `position_grid` among them tell what the file
                itself may not.
        """
        names, arrays = self.names, self.names.arrays
        shape = self.checkpoint.shape
        patch_size, _, channels, dim = arrays.patch_shape(
            shape(self._full(names.patches + arrays.kernel))
        )
        grid, _ = self._grid(patch_size, given)
        bias = names.expansion + arrays.bias
        registers = self.registers
        config = self.checkpoint.metadata.get("config", {})
        arguments = {
            "num_layers": self.num_layers,
            "hidden_dim": dim,
            "num_heads": given.get("num_heads") or self._num_heads(dim),
            "mlp_dim": shape(self._full(bias))[0],
            "image_shape": (
                grid[0] * patch_size,
                grid[1] * patch_size,
                channels,
            ),
            "patch_size": patch_size,
            "position_grid": grid,
            "use_class_token": self._has(names.class_token),
            "num_register_tokens": (
                shape(self._full(registers))[-2] if registers else 0
            ),
            "use_patch_bias": self._has(names.patches + arrays.bias),
            "use_qkv_bias": self._has(names.qkv[0] + arrays.bias),
            "layer_scale_init": (
                1e-5 if self._has(names.attention_scale) else None
            ),
            "layer_norm_epsilon": config.get("layer_norm_eps", 1e-6),
        }
        if "dinov2" in names.name.lower():
            arguments["position_interpolation"] = "bicubic"
        return arguments

    def copies(self, given):
        """A `Copy` for each of the encoder's variables."""
        names, arrays = self.names, self.names.arrays

        def copy(target, sources, convert=same, otherwise=None, layer=0):
            if not isinstance(sources, tuple):
                sources = (sources,)
            sources = tuple(self._full(s, layer) for s in sources)
            return Copy(
                target.format(i=layer, n=layer + 1), sources, convert, otherwise
            )

        def norm(target, source, **options):
            yield copy(
                target + "/gamma", source + arrays.scale, same, **options
            )
            yield copy(target + "/beta", source + arrays.shift, same, **options)

        def dense(target, sources, convert, **options):
            kernels = tuple(s + arrays.kernel for s in sources)
            biases = tuple(s + arrays.bias for s in sources)
            yield copy(target + "/kernel", kernels, convert, **options)
            if self._has(biases[0]):
                yield copy(target + "/bias", biases, _joined, **options)

        yield copy(
            "patch_embedding/kernel",
            names.patches + arrays.kernel,
            arrays.convolution,
        )
        if self._has(names.patches + arrays.bias):
            yield copy("patch_embedding/bias", names.patches + arrays.bias)
        yield from self._token_copies(copy, given)
        for layer in range(self.num_layers):
            block = "block_{n}/"
            at = {"layer": layer}
            yield from norm(
                block + "attention_norm", names.attention_norm, **at
            )
            yield from dense(
                block + "attention/qkv",
                names.qkv,
                arrays.attention_input,
                **at,
            )
            yield from dense(
                block + "attention/projection",
                (names.output,),
                arrays.attention_output,
                **at,
            )
            yield from norm(block + "mlp_norm", names.mlp_norm, **at)
            for ours, theirs in (
                ("expansion", names.expansion),
                ("projection", names.contraction),
            ):
                yield from dense(
                    block + "mlp/" + ours, (theirs,), arrays.linear, **at
                )
            for ours, theirs in (
                ("attention_scale", names.attention_scale),
                ("mlp_scale", names.mlp_scale),
            ):
                if self._has(theirs):
                    yield copy(block + ours + "/scale", theirs, **at)
        if self._has(names.final_norm + arrays.scale):
            yield from norm(
                "final_norm", names.final_norm, otherwise=_NO_FINAL_NORM
            )

    def _token_copies(self, copy, given):
        names, arrays = self.names, self.names.arrays
        patch_shape = self.checkpoint.shape(
            self._full(names.patches + arrays.kernel)
        )
        patch_size, _, _, dim = arrays.patch_shape(patch_shape)
        grid, before = self._grid(patch_size, given)

        def class_position(positions):
            # Without a row of its own, it is part of the token already.
            rows = positions.reshape(-1, dim)
            return rows[:1] if before else np.zeros((1, dim), "float32")

        def patch_positions(positions):
            return positions.reshape(-1, dim)[before:].reshape(*grid, dim)

        def rows(token):
            return token.reshape(-1, dim)

        if self._has(names.class_token):
            yield copy(
                "token_embedding/class_token",
                names.class_token,
                rows,
                _NO_CLASS_TOKEN,
            )
            yield copy(
                "token_embedding/class_position",
                names.positions,
                class_position,
                _NO_CLASS_TOKEN,
            )
        if self.registers:
            yield copy("token_embedding/register_tokens", self.registers, rows)
        yield copy(
            "token_embedding/positions", names.positions, patch_positions
        )
