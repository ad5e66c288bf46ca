"""Images to token sequences (paper, section 3.2, "Image to sequence")."""

import math
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import dropped
from keras_setr.arguments import flag
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import GRID
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.layers.constructor import SPECIAL_TOKENS
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.initialization import EncoderInitializer
from keras_setr.layers.resampling import INTERPOLATIONS
from keras_setr.layers.resampling import float_of
from keras_setr.layers.resampling import is_known
from keras_setr.layers.resampling import resample_grid


def check_multiple_of_patch(height, width, patch_size, argument=None):
    """Raise unless the known sizes are multiples of `patch_size`.

    Sizes that are `None` or tensors are not known yet and pass.

    Args:
        height, width: of an image.
        patch_size: int.
        argument: str. Where the sizes were given, if that was one of its own.
    """
    sizes = (height, width)
    if any(isinstance(s, int) and (s % patch_size or s < 1) for s in sizes):
        up = tuple(
            max(1, -(-s // patch_size)) * patch_size
            if isinstance(s, int)
            else s
            for s in sizes
        )
        what, way = argument, "pass"
        if argument is None:
            what, way = "Image height and width", "pad or resize to"
        raise ValueError(
            f"{what} must be multiples of patch_size={patch_size}. Received "
            f"({height}, {width}); {way} ({up[0]}, {up[1]})."
        )


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    hidden_dim=WIDTH,
    patch_size=FACTOR,
    use_bias=flag(),
)
class PatchEmbedding(keras.layers.Layer):
    """Cut an image into patches and embed each of them linearly.

    `(B, H, W, C)` becomes `(B, H / P, W / P, D)` (paper, section 3.2:
    f: p -> e).

    Args:
        hidden_dim: int. D, width of an embedding.
        patch_size: int. P, height and width of a patch in pixels.
        use_bias: bool. Whether the projection adds a bias.

    Raises:
        ValueError: where the height or width is not a multiple of P.
    """

    def __init__(
        self,
        hidden_dim: int,
        patch_size: int,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.patch_size = patch_size
        self.use_bias = use_bias

    def build(self, images_shape):
        channels = images_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.patch_size, self.patch_size, channels, self.hidden_dim),
            initializer=EncoderInitializer(),
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.hidden_dim,), initializer="zeros"
            )

    def call(self, images):
        p = self.patch_size
        check_multiple_of_patch(images.shape[1], images.shape[2], p)
        _, height, width, channels = ops.shape(images)
        h, w = height // p, width // p
        images = ops.cast(images, self.compute_dtype)  # of bytes, too
        if keras.config.backend() == "torch" and not is_known(h, w):
            # Its programs know open lengths of convolutions, not of reshapes.
            x = ops.conv(images, self.kernel, p, data_format="channels_last")
            return x + self.bias if self.use_bias else x
        # A strided convolution written as the one matrix product that it is:
        # the same on every backend, and faster than their convolutions.
        x = ops.reshape(images, (-1, h, p, w, p, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))  # (B, h, w, P, P, C)
        x = ops.reshape(x, (-1, h, w, p * p * channels))
        kernel = ops.reshape(self.kernel, (p * p * channels, self.hidden_dim))
        x = ops.matmul(x, kernel)  # (B, h, w, D)
        return x + self.bias if self.use_bias else x

    def compute_output_shape(self, images_shape):
        batch, height, width, _ = images_shape
        check_multiple_of_patch(height, width, self.patch_size)
        return (
            batch,
            None if height is None else height // self.patch_size,
            None if width is None else width // self.patch_size,
            self.hidden_dim,
        )

    def get_config(self):
        return {**super().get_config(), **config_of(self, PatchEmbedding)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    grid_size=optional(GRID),
    use_class_token=flag(),
    num_register_tokens=SPECIAL_TOKENS,
    interpolation=choice(*INTERPOLATIONS),
    dropout_rate=dropped(),
)
class TokenEmbedding(keras.layers.Layer):
    """Flatten patch embeddings to Z^0: add positions, prepend special tokens.

    `(B, h, w, D)` becomes `(B, N, D)` with N = 1 + R + h * w: the class token
    (if any), R register tokens, then the patches row by row (paper, section
    3.2: E = {e_i + p_i}). The learned positions belong to a grid of their own
    size and are resampled to `(h, w)`, square or not (paper, section 4.1:
    "2D interpolation on the pre-trained position embeddings").

    Args:
        grid_size: `(int, int)`. Rows and columns of the learned positions;
            `None` adds none, for encoders with `RotaryPositions`.
        use_class_token: bool. Whether a class token leads the sequence.
        num_register_tokens: int. R, tokens without position behind it.
        interpolation: `"bilinear"`, `"bicubic"` or `"bicubic_antialiased"`,
            for the positions.
        dropout_rate: float in [0, 1), after the positions are added.
    """

    def __init__(
        self,
        grid_size: tuple[int, int] | None,
        use_class_token: bool = True,
        num_register_tokens: int = 0,
        interpolation: str = "bilinear",
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.grid_size = grid_size
        self.use_class_token = use_class_token
        self.num_register_tokens = num_register_tokens
        self.interpolation = interpolation
        self.dropout_rate = dropout_rate
        self.dropout = keras.layers.Dropout(
            dropout_rate, dtype=self.dtype_policy, name="dropout"
        )

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch: class token and registers."""
        return int(self.use_class_token) + self.num_register_tokens

    def build(self, patches_shape):
        dim = patches_shape[-1]

        def token(name, count):
            return self.add_weight(
                name=name, shape=(count, dim), initializer=EncoderInitializer()
            )

        if self.use_class_token:
            self.class_token = token("class_token", 1)
            if self.grid_size is not None:
                self.class_position = token("class_position", 1)
        if self.num_register_tokens:
            self.register_tokens = token(
                "register_tokens", self.num_register_tokens
            )
        if self.grid_size is not None:
            self.positions = self.add_weight(
                name="positions",
                shape=(*self.grid_size, dim),
                initializer=EncoderInitializer(),
            )

    def _add_positions(self, patches):
        _, h, w, _ = ops.shape(patches)
        positions = self.positions
        # Asked of a length that is open, a comparison would fix it.
        if not is_known(h, w) or (h, w) != self.grid_size:
            positions = ops.cast(
                resample_grid(
                    ops.cast(positions, "float32"), (h, w), self.interpolation
                ),
                self.compute_dtype,
            )
        return patches + positions

    def call(self, patches, training=None):
        batch, h, w, dim = ops.shape(patches)
        has_positions = self.grid_size is not None
        if has_positions:
            patches = self._add_positions(patches)
        x = ops.reshape(patches, (-1, h * w, dim))
        prefix = []
        if self.use_class_token:
            token = ops.convert_to_tensor(self.class_token)
            prefix.append(
                token + self.class_position if has_positions else token
            )
        if self.num_register_tokens:
            prefix.append(ops.convert_to_tensor(self.register_tokens))
        if prefix:
            prefix = ops.concatenate(prefix, axis=0)[None]  # (1, 1 + R, D)
            prefix = ops.broadcast_to(
                ops.cast(prefix, x.dtype),
                (batch, self.num_prefix_tokens, dim),
            )
            x = ops.concatenate([prefix, x], axis=1)  # (B, N, D)
        return self.dropout(x, training=training)

    def compute_output_shape(self, patches_shape):
        batch, h, w, dim = patches_shape
        if h is None or w is None:
            return (batch, None, dim)
        return (batch, self.num_prefix_tokens + h * w, dim)

    def get_config(self):
        return {**super().get_config(), **config_of(self, TokenEmbedding)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    head_dim=WIDTH,
    num_prefix_tokens=SPECIAL_TOKENS,
    base=number(above=0),
)
class RotaryPositions(keras.layers.Layer):
    """By how much each token turns its queries and keys, without weights.

    Called with patch embeddings `(B, h, w, D)`, it gives the cosines and the
    sines of the angles, `(2, N, d / 2)`, which `SelfAttention` takes
    (arXiv 2104.09864, in two dimensions as in DINOv3, arXiv 2508.10104). A
    patch whose centre lies at (y, x), both from -1 to 1 over the image, has
    the angles 2 pi y / base^(4 k / d) for k = 0 .. d / 4 - 1, then those of x.
    The special tokens in front do not turn: cosine 1, sine 0.

    Args:
        head_dim: int. d, width of a head; a multiple of 4.
        num_prefix_tokens: int. Special tokens at the front of the sequence.
        base: float. The longest period is base^(1 - 4 / d).

    Raises:
        ValueError: where d is no multiple of 4.
    """

    def __init__(
        self,
        head_dim: int,
        num_prefix_tokens: int = 0,
        base: float = 100.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if head_dim % 4:
            raise ValueError(
                "head_dim must be a multiple of 4 for rotary positions: pairs "
                f"of values turn by row and by column. Received: {head_dim}."
            )
        self.head_dim = head_dim
        self.num_prefix_tokens = num_prefix_tokens
        self.base = base

    def call(self, patches):
        _, h, w, _ = ops.shape(patches)
        quarter = self.head_dim // 4
        exponents = ops.arange(0, quarter, dtype="float32") / quarter
        turns = 2 * math.pi / ops.power(float(self.base), exponents)

        def angles(count):  # (count, d / 4)
            centres = ops.arange(0, count, dtype="float32") + 0.5
            centres = 2 * centres / float_of(count) - 1
            return centres[:, None] * turns

        shape = (h, w, quarter)
        rows = ops.broadcast_to(angles(h)[:, None], shape)
        columns = ops.broadcast_to(angles(w)[None], shape)
        x = ops.concatenate([rows, columns], axis=-1)
        x = ops.reshape(x, (h * w, 2 * quarter))
        x = ops.pad(x, ((self.num_prefix_tokens, 0), (0, 0)))  # (N, d / 2)
        return ops.cast(ops.stack([ops.cos(x), ops.sin(x)]), self.compute_dtype)

    def compute_output_shape(self, patches_shape):
        _, h, w, _ = patches_shape
        unknown = h is None or w is None
        length = None if unknown else self.num_prefix_tokens + h * w
        return (2, length, self.head_dim // 2)

    def get_config(self):
        return {**super().get_config(), **config_of(self, RotaryPositions)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    num_prefix_tokens=SPECIAL_TOKENS,
)
class FeatureMap(keras.layers.Layer):
    """Drop the special tokens and fold the patches back into their grid.

    Called with tokens `(B, N, D)` and the patch embeddings `(B, h, w, D)`,
    whose grid the result `(B, h, w, D)` takes (paper, section 3.3: Z from
    HW/256 x C to H/16 x W/16 x C).

    Args:
        num_prefix_tokens: int. Special tokens at the front of the sequence.
    """

    def __init__(self, num_prefix_tokens: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_prefix_tokens = num_prefix_tokens

    def call(self, tokens, patches):
        _, h, w, dim = ops.shape(patches)
        return ops.reshape(tokens[:, self.num_prefix_tokens :], (-1, h, w, dim))

    def compute_output_shape(self, tokens_shape, patches_shape):
        return tuple(patches_shape)

    def get_config(self):
        return {**super().get_config(), **config_of(self, FeatureMap)}
