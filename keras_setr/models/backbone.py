"""The encoder: a plain vision transformer (paper, section 3.2, Table 2)."""

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.facts.encoders import SIZES
from keras_setr.layers.constructor import DEPTH
from keras_setr.layers.constructor import FACTOR
from keras_setr.layers.constructor import GRID
from keras_setr.layers.constructor import MLP_WIDTH
from keras_setr.layers.constructor import SPECIAL_TOKENS
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.embedding import FeatureMap
from keras_setr.layers.embedding import PatchEmbedding
from keras_setr.layers.embedding import RotaryPositions
from keras_setr.layers.embedding import TokenEmbedding
from keras_setr.layers.embedding import check_multiple_of_patch
from keras_setr.layers.resampling import INTERPOLATIONS
from keras_setr.layers.transformer import BLOCK_RULES
from keras_setr.layers.transformer import TransformerBlock
from keras_setr.models import keras_internals
from keras_setr.models.encoder import IMAGE_SHAPE
from keras_setr.models.encoder import Encoder
from keras_setr.models.encoder import check_layers
from keras_setr.models.resnet import ResNetBackbone
from keras_setr.tables import counted

# Paper, Table 2, has T-Small and T-Large. T-Small is shaped as ViT-B, which the
# authors' code calls base: T_BASE names the same size. T_TINY is that of
# ViT-Ti, which the paper has not.
T_TINY = dict(SIZES["tiny"])
T_SMALL = dict(SIZES["base"])
T_BASE = dict(SIZES["base"])
T_LARGE = dict(SIZES["large"])


@keras.saving.register_keras_serializable(package="keras_setr")
class SETRBackbone(Encoder):
    """A vision transformer that keeps the features of all of its layers.

    Calling it maps images `(B, H, W, C)` to Z^L folded into its grid,
    `(B, H / P, W / P, D)`. `features` holds every Z^l the same way, as
    outputs of the functional model:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_SMALL, image_shape=(480, 480, 3)
    )
    levels = keras.Model(
        backbone.input, [backbone.features[l] for l in (3, 6, 9, 12)]
    )
    ```

    T-Large at 512 x 512 has 304,147,456 parameters:

        patches    16 * 16 * 3 * 1024 + 1024                  =     787,456
        class      1024                                       =       1,024
        positions  (1 + 32 * 32) * 1024                       =   1,049,600
        attention  1024 * 3072 + 3072 + 1024 * 1024 + 1024    =   4,198,400
        MLP        1024 * 4096 + 4096 + 4096 * 1024 + 1024    =   8,393,728
        norms      2 * 2 * 1024                               =       4,096
        layers     24 * (4,198,400 + 8,393,728 + 4,096)       = 302,309,376

    T-Tiny (ViT-Ti) has 5,683,008 there, T-Small, which is T-Base, 86,433,024.

    `maps` is what the patches are cut from, in the same model: the images, or
    what the `stem` makes of them.

    Args:
        num_layers: int. L, transformer layers.
        hidden_dim: int. D, width of the tokens.
        num_heads: int. Attention heads; divides D.
        mlp_dim: int. Width of the MLPs. Defaults to `4 * hidden_dim`.
        image_shape: `(int, int, int)`. Height, width and channels of the
            images; height and width may be `None` where they are not known.
            Any size that the patches divide, square or not, can be fed to a
            model built with `(None, None, 3)`.
        patch_size: int. P.
        position_grid: `(int, int)`. Rows and columns of the learned
            positions, resampled where the images have another grid. Defaults
            to that of `image_shape`, or to `(24, 24)`, the grid of the
            published 384 x 384 encoders, where that is not known. With
            rotary positions it only tells the model's own size.
        position_interpolation: `"bilinear"`, `"bicubic"` (DINOv2) or
            `"bicubic_antialiased"` (DINOv2 with registers).
        rotary_base: float or `None`. With a number, the learned positions
            give way to rotary ones of this base in every layer
            (`RotaryPositions`), as in DINOv3, which has 100.
        use_class_token: bool.
        num_register_tokens: int. Learned tokens without position
            (arXiv 2309.16588).
        use_patch_bias: bool. mmsegmentation 1.x leaves it out.
        use_qkv_bias: bool.
        use_key_bias: bool. Whether the keys have a part in it; not in DINOv3.
        use_gated_mlp: bool. SwiGLU in the MLPs, as in DINOv3's ViT-S+.
        use_final_norm: bool. A LayerNorm on Z^L. SETR has none; its heads
            bring their own.
        layer_scale_init: float or `None`. LayerScale in every layer
            (arXiv 2103.17239), as in DINOv2.
        dropout_rate: float. After the positions, the attention and MLP
            projections.
        attention_dropout_rate: float. Of the attention probabilities.
        drop_path_rate: float. Stochastic depth of the last layer; the layers
            before get less, linearly from 0.
        layer_norm_epsilon: float.
        rematerialize: bool. In training, keep only the input of each layer
            and compute the layer anew in the backward pass: less memory, more
            time, the same gradients. An attribute, too, that can be set
            before `compile`.
        stem: a `ResNetBackbone` or its arguments as a dict, for SETR-Hybrid
            (paper, section 4.1): its last stage is cut into patches in place
            of the image, `patch_size` pixels of the image to each. The layers
            and weights of the object become the encoder's. `None` for SETR.
        dtype: a Keras dtype or policy.

    SETR-Hybrid is a ResNet-50 of output stride 16 in front of T-Small, where
    a patch is one pixel of the ResNet's map:

    ```python
    backbone = keras_setr.SETRBackbone(
        **keras_setr.T_SMALL,
        image_shape=(768, 768, 3),
        stem=keras_setr.ResNetBackbone(
            **keras_setr.RESNET_50, output_stride=16, late_stages="dilated"
        ),
    )
    ```

    The paper says "ResNet-50 based FCN encoder", "output stride 1/16", and
    not what becomes of stage 4. The recipes keep and dilate it, as the FCN
    encoder of that stride has it in the code that the paper builds on
    (mmsegmentation's `fcn-d6_r50-d16`): 2048 channels reach the projection.
    `late_stages="cut"` leaves it out, as Google's hybrid does (arXiv
    2010.11929, section 3.1).

    Raises:
        ValueError: where the patches do not divide the images, the heads the
            width, or the stem's stride the patches.
    """

    can_rematerialize = True

    @checked(
        *("name", "trainable"),
        num_layers=DEPTH,
        hidden_dim=WIDTH,
        mlp_dim=optional(MLP_WIDTH),
        image_shape=IMAGE_SHAPE,
        patch_size=FACTOR,
        position_grid=optional(GRID),
        position_interpolation=choice(*INTERPOLATIONS),
        rotary_base=optional(number(above=0)),
        use_class_token=flag(),
        num_register_tokens=SPECIAL_TOKENS,
        use_patch_bias=flag(),
        use_final_norm=flag(),
        stem=optional(
            instance(
                "a ResNetBackbone or a dict of its arguments",
                *(ResNetBackbone, dict),
            )
        ),
        **BLOCK_RULES,
    )
    def __init__(
        self,
        num_layers: int = 24,
        hidden_dim: int = 1024,
        num_heads: int = 16,
        mlp_dim: int | None = None,
        image_shape: Sequence[int | None] = (None, None, 3),
        patch_size: int = 16,
        position_grid: tuple[int, int] | None = None,
        position_interpolation: str = "bilinear",
        rotary_base: float | None = None,
        use_class_token: bool = True,
        num_register_tokens: int = 0,
        use_patch_bias: bool = True,
        use_qkv_bias: bool = True,
        use_key_bias: bool = True,
        use_gated_mlp: bool = False,
        use_final_norm: bool = False,
        layer_scale_init: float | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        rematerialize: bool = False,
        stem: ResNetBackbone | dict[str, Any] | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if hidden_dim % num_heads:
            raise ValueError(
                "num_heads must divide hidden_dim. Received: "
                f"num_heads={num_heads}, hidden_dim={hidden_dim}."
            )
        if isinstance(stem, dict):
            stem = ResNetBackbone(**stem, dtype=dtype)
        stem_stride = 1 if stem is None else stem.output_stride
        if patch_size % stem_stride:
            raise ValueError(
                "patch_size must be a multiple of the stem's output_stride="
                f"{stem_stride}. Received: {patch_size}."
            )
        height, width, _ = image_shape
        check_multiple_of_patch(height, width, patch_size)
        if position_grid is None:
            if height is None or width is None:
                position_grid = (24, 24)
            else:
                position_grid = (height // patch_size, width // patch_size)
        mlp_dim = 4 * hidden_dim if mlp_dim is None else mlp_dim

        # === Layers ===
        self.patch_embedding = PatchEmbedding(
            hidden_dim,
            patch_size // stem_stride,
            use_bias=use_patch_bias,
            dtype=dtype,
            name="patch_embedding",
        )
        self.token_embedding = TokenEmbedding(
            position_grid if rotary_base is None else None,
            use_class_token=use_class_token,
            num_register_tokens=num_register_tokens,
            interpolation=position_interpolation,
            dropout_rate=dropout_rate,
            dtype=dtype,
            name="token_embedding",
        )
        self.blocks = [
            TransformerBlock(
                num_heads,
                mlp_dim,
                use_qkv_bias=use_qkv_bias,
                use_key_bias=use_key_bias,
                use_gated_mlp=use_gated_mlp,
                layer_scale_init=layer_scale_init,
                dropout_rate=dropout_rate,
                attention_dropout_rate=attention_dropout_rate,
                drop_path_rate=drop_path_rate * index / max(1, num_layers - 1),
                layer_norm_epsilon=layer_norm_epsilon,
                rematerialize=rematerialize,
                dtype=dtype,
                name=f"block_{index + 1}",
            )
            for index in range(num_layers)
        ]
        fold = FeatureMap(
            self.token_embedding.num_prefix_tokens,
            dtype=dtype,
            name="feature_map",
        )

        # === Functional model ===
        images = keras.Input(image_shape, name="images")
        self.maps = images if stem is None else stem.apply_to(images)
        patches = self.patch_embedding(self.maps)  # (B, h, w, D)
        tokens = self.token_embedding(patches)  # (B, N, D), Z^0
        self.tokens = {0: tokens}
        self.features = {}
        self._rotations = []
        if rotary_base is not None:
            rotary = RotaryPositions(
                hidden_dim // num_heads,
                self.token_embedding.num_prefix_tokens,
                rotary_base,
                dtype=dtype,
                name="rotary_positions",
            )
            self._rotations = [rotary(patches)]  # (2, N, d / 2)
        for layer, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, *self._rotations)
            self.tokens[layer] = tokens
            if layer == num_layers and use_final_norm:
                tokens = keras.layers.LayerNormalization(
                    epsilon=layer_norm_epsilon, dtype=dtype, name="final_norm"
                )(tokens)
            self.features[layer] = fold(tokens, patches)
        super().__init__(
            inputs=images,
            outputs=self.features[num_layers],
            dtype=dtype,
            **kwargs,
        )

        # === Config ===
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.image_shape = image_shape
        self.patch_size = patch_size
        self.position_grid = position_grid
        self.position_interpolation = position_interpolation
        self.rotary_base = rotary_base
        self.use_class_token = use_class_token
        self.num_register_tokens = num_register_tokens
        self.use_patch_bias = use_patch_bias
        self.use_qkv_bias = use_qkv_bias
        self.use_key_bias = use_key_bias
        self.use_gated_mlp = use_gated_mlp
        self.use_final_norm = use_final_norm
        self.layer_scale_init = layer_scale_init
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.drop_path_rate = drop_path_rate
        self.layer_norm_epsilon = layer_norm_epsilon
        self.stem = stem
        self.size_multiple = patch_size
        keras_internals.register_parameters(self)

    @property
    def num_prefix_tokens(self) -> int:
        """Class and register tokens in front of the patches."""
        return self.token_embedding.num_prefix_tokens

    @property
    def summary_line(self) -> str:
        return (
            f"{counted(self.num_layers, 'layer')}, width {self.hidden_dim}, "
            f"{counted(self.num_heads, 'head')}, patches of {self.patch_size}"
            + (f"; behind a {self.stem.summary_line}" if self.stem else "")
        )

    @property
    def native_size(self) -> tuple[int, ...]:
        """`(H, W)` of `image_shape`, or that of `position_grid`."""
        return tuple(
            rows * self.patch_size if size is None else size
            for size, rows in zip(self.image_shape, self.position_grid)
        )

    @property
    def rematerialize(self) -> bool:
        """Whether training computes the layers anew for their gradients."""
        return any(block.rematerialize for block in self.blocks)

    @rematerialize.setter
    def rematerialize(self, value: bool) -> None:
        for block in self.blocks:
            block.rematerialize = value

    def default_lora_layer_names(self) -> list[str]:
        """The projections of attention and MLP, which LoRA adapts."""
        return ["qkv", "projection", "expansion"]

    @checked(
        rank=integer(1),
        target_layer_names=optional(sequence(string(), minimum_length=1)),
    )
    def enable_lora(
        self, rank: int, target_layer_names: Sequence[str] | None = None
    ) -> None:
        """Train low-rank updates of the projections alone (2106.09685).

        All else of the encoder is frozen, but for the biases of these layers;
        a decoder goes on training. It counts from the next `compile` on. A
        saved model has the updates added to its weights.

        Args:
            rank: int. Of the updates.
            target_layer_names: sequence of `"qkv"`, `"projection"`, which is
                both that of the attention and that of the MLP, and
                `"expansion"`. Defaults to all of them.

        Raises:
            ValueError: for other names, and where it was done before.
        """
        integer(1, self.hidden_dim).check("rank", rank)
        known = self.default_lora_layer_names()
        names = known if target_layer_names is None else target_layer_names
        for name in names:
            choice(*known).check("target_layer_names", name)
        if self.lora is not None:
            raise ValueError(
                "enable_lora can be called once. Received: rank="
                f"{rank} for an encoder with LoRA of rank {self.lora['rank']}."
            )
        keras_hub.models.Backbone.enable_lora(self, rank, list(names))
        self._adapted = rank, tuple(names)

    @property
    def lora(self) -> dict[str, Any] | None:
        """`{"rank": .., "target_layer_names": ..}` of `enable_lora`."""
        if not hasattr(self, "_adapted"):
            return None
        rank, names = self._adapted
        return {"rank": rank, "target_layer_names": list(names)}

    @checked(mode=choice("int8"))
    def quantize(self, mode: str = "int8", config: Any = None) -> None:
        """Keep the projections as int8: a quarter of their memory.

        Their inputs are quantised as they come. For inference: these weights
        can no longer be trained.

        Args:
            mode: `"int8"`.
            config: `keras.quantizers.Int8QuantizationConfig`, or None.
        """
        if self.is_quantized:
            raise ValueError(
                "quantize can be called once. Received: an encoder of int8."
            )
        for block in self.blocks:
            attention, mlp = block.attention, block.mlp
            for layer in (
                attention.qkv,
                attention.projection,
                mlp.expansion,
                mlp.projection,
            ):
                layer.quantize(mode, config=config, type_check=False)
        keras_internals.forget_quantized(self, mode)

    @property
    def is_quantized(self) -> bool:
        """Whether the projections are int8."""
        return self.blocks[0].mlp.expansion.quantization_mode is not None

    @property
    def depths(self) -> dict[str, int]:
        """dict from the names of the layers with weights to their depth.

        0 is the embedding, l the l-th transformer layer, L + 1 what follows.
        """
        depths = {}
        depth = 0
        for layer in self.layers:
            if layer in self.blocks:
                depth += 1
                depths[layer.name] = depth
            elif layer.weights:
                after = depth == self.num_layers
                depths[layer.name] = depth + 1 if after else depth
        return depths

    @checked(layer=optional(integer()))
    def attention_maps(self, images: Any, layer: int | None = None) -> Any:
        """The attention probabilities of one layer.

        Args:
            images: `(B, H, W, C)`, normalised, as for a call.
            layer: int in 1..L. Defaults to L, the last one.

        Returns:
            `(B, m, N, N)` for m heads: row i holds what token i attends to.
            The first `num_prefix_tokens` tokens are no patches.
        """
        layer = self.num_layers if layer is None else layer
        check_layers((layer,), self.num_layers, "layer")
        before = keras.Model(
            self.input, [self.tokens[layer - 1], *self._rotations]
        )
        inputs = keras.tree.flatten(before(images))
        return self.blocks[layer - 1].attention_maps(*inputs)

    def attention_by_layer(self, images: Any) -> Iterator[Any]:
        """The attention probabilities of all layers, one after another.

        Who lets go of one before asking for the next holds a single one.

        Args:
            images: as for `attention_maps`.

        Yields:
            `(B, m, N, N)` of layer 1, 2, .. L.
        """
        start = keras.Model(self.input, [self.tokens[0], *self._rotations])
        tokens, *rotations = keras.tree.flatten(start(images))
        for block in self.blocks:
            yield block.attention_maps(tokens, *rotations)
            tokens = block(tokens, *rotations)

    def get_config(self):
        config = {**config_of(self, SETRBackbone), **super().get_config()}
        if self.stem is not None:
            config["stem"] = self.stem.arguments
        return config
