"""The encoder in a checkpoint: what it tells and how it becomes ours."""

import functools
import math
import re

import numpy as np

from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.checkpoints.layouts.namings import ENCODERS
from keras_setr.checkpoints.layouts.namings import TORCH
from keras_setr.checkpoints.layouts.namings import joined
from keras_setr.checkpoints.layouts.namings import same
from keras_setr.checkpoints.transfer import TensorRule

_NO_CLASS_TOKEN = "the model has no class token"
_NO_FINAL_NORM = "SETR has no norm behind its last layer"

# Widths whose heads are not 64 wide: ViT-H, ViT-g and ViT-G have 16 heads.
_UNUSUAL_HEADS = {1280: 16, 1408: 16, 1664: 16}


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

    @functools.cached_property
    def registers(self):
        return next((r for r in self.names.registers if self._has(r)), None)

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

    def _grid(self, patch_size, given):
        """Rows and columns of the positions."""
        if self.square_side is not None:
            return (self.square_side, self.square_side)
        count = self.num_positions - self._num_specials
        shapes = [given.get("position_grid")]
        if None not in given.get("image_shape", (None,)):
            height, width = given["image_shape"][:2]
            shapes.append((height // patch_size, width // patch_size))
        for shape in shapes:
            if shape and math.prod(shape) == count:
                return tuple(shape)
        raise ValueError(
            f"{self.checkpoint.origin} has {count} positions of "
            "patches, which form no square. Pass position_grid=(rows, "
            "columns) of the images that it was trained with."
        )

    def _num_heads(self, hidden_dim):
        names = self.names
        if names.arrays is not TORCH:
            kernel = self._full(names.qkv[0] + names.arrays.kernel)
            return self.checkpoint.shape(kernel)[1]
        heads = self._setting("num_attention_heads", integer(1))
        if heads is not None:
            return heads
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
        bias = names.expansion + arrays.bias
        registers = self.registers
        arguments = {
            "num_layers": self.num_layers,
            "hidden_dim": dim,
            "num_heads": (
                given["num_heads"]
                if "num_heads" in given
                else self._num_heads(dim)
            ),
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
            "layer_norm_epsilon": self._setting("layer_norm_eps", number(0))
            or 1e-6,
        }
        if "dinov2" in names.name.lower():
            arguments["position_interpolation"] = "bicubic"
        return arguments

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

        def dense(target, sources, convert, **options):
            kernels = tuple(s + arrays.kernel for s in sources)
            biases = tuple(s + arrays.bias for s in sources)
            yield rule(target + "/kernel", kernels, convert, **options)
            if self._has(biases[0]):
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
                    yield rule(block + ours + "/scale", theirs, **at)
        if self._has(names.final_norm + arrays.scale):
            yield from norm(
                "final_norm", names.final_norm, otherwise=_NO_FINAL_NORM
            )

    def _token_rules(self, rule, arguments):
        names = self.names
        dim, grid = arguments["hidden_dim"], arguments["position_grid"]
        before = self.num_positions - math.prod(grid)

        def class_position(positions):
            # Without a row of its own, it is part of the token already.
            rows = positions.reshape(-1, dim)
            return rows[:1] if before else np.zeros((1, dim), "float32")

        def patch_positions(positions):
            return positions.reshape(-1, dim)[before:].reshape(*grid, dim)

        def rows(token):
            return token.reshape(-1, dim)

        if self._has(names.class_token):
            yield rule(
                "token_embedding/class_token",
                names.class_token,
                rows,
                _NO_CLASS_TOKEN,
            )
            yield rule(
                "token_embedding/class_position",
                names.positions,
                class_position,
                _NO_CLASS_TOKEN,
            )
        if self.registers:
            yield rule("token_embedding/register_tokens", self.registers, rows)
        yield rule(
            "token_embedding/positions", names.positions, patch_positions
        )
