"""The encoder in a checkpoint: what it tells and how it becomes ours."""

import functools
import math
import operator
import re

from keras_setr.arguments import choice
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import pair
from keras_setr.checkpoints.layouts.namings import NO_CLASS_TOKEN
from keras_setr.checkpoints.layouts.namings import NO_FINAL_NORM
from keras_setr.checkpoints.layouts.namings import TORCH
from keras_setr.checkpoints.layouts.namings import class_position
from keras_setr.checkpoints.layouts.namings import joined
from keras_setr.checkpoints.layouts.namings import patch_positions
from keras_setr.checkpoints.layouts.namings import rows
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.transfer import TensorRule

# Side in pixels of a model with rotary positions whose file tells none; that
# of DINOv3's folders.
_ROTARY_SIZE = 224

# Widths whose heads are not 64 wide: ViT-H, ViT-g and ViT-G have 16 heads.
_UNUSUAL_HEADS = {1280: 16, 1408: 16, 1664: 16}


class Part:
    """An encoder, or what stands in front of one, in a checkpoint.

    Args:
        checkpoint: `Checkpoint`.
        names: one of `namings`, under which it is there.
        prefix: str. What the file has before every name.
    """

    def __init__(self, checkpoint, names, prefix):
        self.checkpoint = checkpoint
        self.names = names
        self.prefix = prefix

    @property
    def ignored(self):
        """`(pattern, reason)` of each tensor that is left out."""
        prefix = re.escape(self.prefix)
        patterns = [(prefix + p, reason) for p, reason in self.names.ignored]
        # Some files keep the classifier beside the prefixed encoder.
        return (*patterns, *self.names.ignored)


class Encoder(Part):
    """The vision transformer in one checkpoint, under one `EncoderNames`."""

    backbone_class = "SETRBackbone"

    @property
    def ignored(self):
        token = self.names.distillation_token
        if not token:
            return super().ignored
        reason = "SETR drops the distillation token"
        return (*super().ignored, (re.escape(self._full(token)), reason))

    def _full(self, name, layer=0):
        return self.prefix + name.format(i=layer, n=layer + 1)

    def _has(self, name):
        return bool(name) and self._full(name) in self.checkpoint.tensors

    @functools.cached_property
    def num_layers(self):
        layer = 0
        norm = self.names.attention_norm + self.names.arrays.scale
        while self._full(norm, layer) in self.checkpoint.tensors:
            layer += 1
        return layer

    @functools.cached_property
    def patch_shape(self):
        """`(P, P, C, D)`: size and channels of the patches, and the width."""
        name = self._full(self.names.patches + self.names.arrays.kernel)
        shape = self.checkpoint.shape(name)
        try:
            return self.names.arrays.patch_shape(shape)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.checkpoint.origin} must hold the kernel of patches of "
                f"an image under {name!r}. Received: shape {shape}."
            ) from error

    def facts(self):
        """What tells published files apart, by the arguments' names."""
        patch_size, _, _, hidden_dim = self.patch_shape
        facts = {
            "num_layers": self.num_layers,
            "hidden_dim": hidden_dim,
            "patch_size": patch_size,
            "num_register_tokens": self.num_registers,
            "use_gated_mlp": self.is_gated,
        }
        if self.has_positions:
            facts["position_grid"] = (self.square_side,) * 2
        return facts

    @functools.cached_property
    def registers(self):
        return next((r for r in self.names.registers if self._has(r)), None)

    @property
    def num_registers(self):
        if self.registers is None:
            return 0
        return self.checkpoint.shape(self._full(self.registers))[-2]

    @property
    def has_positions(self):
        """Whether these are learned; rotary ones are no tensors."""
        return bool(self.names.positions)

    @property
    def num_positions(self):
        """Of the patches, and of special tokens where these have some."""
        return self.checkpoint.shape(self._full(self.names.positions))[-2]

    @functools.cached_property
    def _num_specials(self):
        tokens = (self.names.class_token, self.names.distillation_token)
        return sum(self._has(token) for token in tokens)

    @functools.cached_property
    def square_side(self):
        """Rows of the positions where they form a square, else `None`."""
        for specials in (self._num_specials, 0):
            side = math.isqrt(self.num_positions - specials)
            if side**2 == self.num_positions - specials:
                return side
        return None

    @functools.cached_property
    def _mlp(self):
        """Names of the layers into the MLP, its gate first, and out of it."""
        gated = self.names.gated_mlp
        if gated and self._has(gated[0] + self.names.arrays.kernel):
            return gated[:2], gated[2]
        return (self.names.expansion,), self.names.contraction

    @property
    def is_gated(self):
        return len(self._mlp[0]) > 1

    @functools.cached_property
    def _has_key_bias(self):
        # The second of three, or the joint one.
        key = (self.names.qkv[1:2] or self.names.qkv)[0]
        void = self._has(self.names.key_bias_mask)
        return self._has(key + self.names.arrays.bias) and not void

    def _rotary_grid(self, patch_size):
        """Rows and columns of the images that a configuration names."""
        size = self._setting("image_size", pair(1)) or (_ROTARY_SIZE,) * 2
        return tuple(max(1, side // patch_size) for side in size)

    def _grid(self, patch_size, given):
        """Rows and columns of the positions."""
        if not self.has_positions:
            return self._rotary_grid(patch_size)
        if self.square_side is not None:
            return (self.square_side, self.square_side)
        # Special tokens may have positions, too.
        counts = (self.num_positions - self._num_specials, self.num_positions)
        shapes = [given.get("position_grid")]
        if None not in given.get("image_shape", (None,)):
            height, width = given["image_shape"][:2]
            shapes.append((height // patch_size, width // patch_size))
        for shape in shapes:
            if shape and math.prod(shape) in counts:
                return tuple(shape)
        raise ValueError(
            f"{self.checkpoint.origin} has {counts[0]} positions of "
            "patches, which form no square. Pass position_grid=(rows, "
            "columns) of the images that it was trained with."
        )

    def _num_heads(self, hidden_dim):
        names = self.names
        heads = self._setting("num_attention_heads", integer(1))
        if heads is not None:
            return heads
        if names.arrays is not TORCH:
            kernel = self._full(names.qkv[0] + names.arrays.kernel)
            return self.checkpoint.shape(kernel)[1]
        if hidden_dim in _UNUSUAL_HEADS:
            return _UNUSUAL_HEADS[hidden_dim]
        if hidden_dim % 64 == 0:
            return hidden_dim // 64
        raise ValueError(
            f"{self.checkpoint.origin} does not tell the number of attention "
            f"heads, and its width {hidden_dim} is none of the published "
            "ones, whose heads are 64 wide. Pass num_heads=..."
        )

    def _setting(self, name, rule):
        """A value of a Hugging Face folder's configuration, or `None`."""
        config = self.checkpoint.metadata.get("config", {})
        if name not in config:
            return None
        origin = f"{name} in config.json of {self.checkpoint.origin}"
        return rule.check(origin, config[name])

    def arguments(self, given):
        """Arguments of `SETRBackbone` under which the tensors fit.

        Args:
            given: dict of the encoder's arguments that the user gives;
                `num_heads`, `position_grid` and `image_shape` among them tell
                what the file itself may not.
        """
        names, arrays = self.names, self.names.arrays
        shape = self.checkpoint.shape
        patch_size, _, channels, dim = self.patch_shape
        grid = self._grid(patch_size, given)
        activation = "silu" if self.is_gated else "gelu"
        # Of another one the results would be others.
        self._setting("hidden_act", choice(activation))
        rotary_base = names.rotary_base
        if not self.has_positions:
            theta = self._setting("rope_theta", number(above=0))
            rotary_base = theta or rotary_base
        interpolation = names.position_interpolation
        if self.num_registers and interpolation == "bicubic":
            # The two kinds of DINOv2 differ in this, too.
            interpolation = "bicubic_antialiased"
        return {
            "num_layers": self.num_layers,
            "hidden_dim": dim,
            "num_heads": (
                given["num_heads"]
                if "num_heads" in given
                else self._num_heads(dim)
            ),
            "mlp_dim": shape(self._full(self._mlp[0][0] + arrays.bias))[0],
            "image_shape": (
                grid[0] * patch_size,
                grid[1] * patch_size,
                channels,
            ),
            "patch_size": patch_size,
            "position_grid": grid,
            "position_interpolation": interpolation,
            "rotary_base": rotary_base,
            "use_class_token": self._has(names.class_token),
            "num_register_tokens": self.num_registers,
            "use_patch_bias": self._has(names.patches + arrays.bias),
            "use_qkv_bias": self._has(names.qkv[0] + arrays.bias),
            "use_key_bias": self._has_key_bias,
            "use_gated_mlp": self.is_gated,
            "layer_scale_init": (
                1e-5 if self._has(names.attention_scale) else None
            ),
            "layer_norm_epsilon": self._setting("layer_norm_eps", number(0))
            or names.layer_norm_epsilon,
        }

    def rules(self, arguments):
        """A `TensorRule` for each of the encoder's variables.

        Args:
            arguments: dict that `arguments` has given.
        """
        names, arrays = self.names, self.names.arrays

        def rule(target, sources, convert=same, otherwise=None, layer=0):
            if not isinstance(sources, tuple):
                sources = (sources,)
            sources = tuple(self._full(s, layer) for s in sources)
            return TensorRule(
                target.format(i=layer, n=layer + 1), sources, convert, otherwise
            )

        def norm(target, source, **options):
            yield rule(
                target + "/gamma", source + arrays.scale, same, **options
            )
            yield rule(target + "/beta", source + arrays.shift, same, **options)

        def dense(target, sources, convert, has_bias=None, **options):
            kernels = tuple(s + arrays.kernel for s in sources)
            biases = tuple(s + arrays.bias for s in sources)
            yield rule(target + "/kernel", kernels, convert, **options)
            if self._has(biases[0]) if has_bias is None else has_bias:
                yield rule(target + "/bias", biases, joined, **options)

        yield rule(
            "patch_embedding/kernel",
            names.patches + arrays.kernel,
            arrays.convolution,
        )
        if self._has(names.patches + arrays.bias):
            yield rule("patch_embedding/bias", names.patches + arrays.bias)
        yield from self._token_rules(rule, arguments)
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
                self._has_key_bias,
                **at,
            )
            if not self._has_key_bias:
                yield from self._bias_rules(rule, arguments, layer)
            yield from dense(
                block + "attention/projection",
                (names.output,),
                arrays.attention_output,
                **at,
            )
            yield from norm(block + "mlp_norm", names.mlp_norm, **at)
            expansions, contraction = self._mlp
            for ours, theirs in (
                ("expansion", expansions),
                ("projection", (contraction,)),
            ):
                yield from dense(
                    block + "mlp/" + ours, theirs, arrays.linear, **at
                )
            for ours, theirs in (
                ("attention_scale", names.attention_scale),
                ("mlp_scale", names.mlp_scale),
            ):
                if self._has(theirs):
                    yield rule(block + ours + "/scale", theirs, **at)
        if self._has(names.final_norm + arrays.scale):
            yield from norm(
                "final_norm", names.final_norm, otherwise=NO_FINAL_NORM
            )

    def _bias_rules(self, rule, arguments, layer):
        """Of queries and values, where keys have no bias."""
        dim = arguments["hidden_dim"]
        query, *_, value = self.names.qkv * 2  # of a joint one, both
        if not self._has(query + self.names.arrays.bias):
            return
        for ours, theirs, part in (
            ("query_bias", query, slice(None, dim)),
            ("value_bias", value, slice(-dim, None)),
        ):
            yield rule(
                "block_{n}/attention/" + ours,
                theirs + self.names.arrays.bias,
                operator.itemgetter(part),
                layer=layer,
            )

    def _token_rules(self, rule, arguments):
        names = self.names
        dim, grid = arguments["hidden_dim"], arguments["position_grid"]
        has_positions = self.has_positions
        before = self.num_positions - math.prod(grid) if has_positions else 0
        partial = functools.partial

        if self._has(names.class_token):
            yield rule(
                "token_embedding/class_token",
                names.class_token,
                partial(rows, dim=dim),
                NO_CLASS_TOKEN,
            )
            if has_positions:
                yield rule(
                    "token_embedding/class_position",
                    names.positions,
                    partial(class_position, dim=dim, before=before),
                    NO_CLASS_TOKEN,
                )
        if self.registers:
            yield rule(
                "token_embedding/register_tokens",
                self.registers,
                partial(rows, dim=dim),
            )
        if has_positions:
            yield rule(
                "token_embedding/positions",
                names.positions,
                partial(patch_positions, grid=grid, dim=dim, before=before),
            )
