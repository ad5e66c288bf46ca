"""The pre-norm transformer layer (paper, section 3.2, equations 1 to 3)."""

from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import dropped
from keras_setr.arguments import flag
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.layers.attention import attend
from keras_setr.layers.attention import probabilities
from keras_setr.layers.attention import weighted_sum
from keras_setr.layers.constructor import KERAS_ARGUMENTS
from keras_setr.layers.constructor import MLP_WIDTH
from keras_setr.layers.constructor import WIDTH
from keras_setr.layers.constructor import config_of
from keras_setr.layers.initialization import EncoderInitializer
from keras_setr.layers.on_cpu import computed_once
from keras_setr.layers.on_cpu import runs_on_cpu
from keras_setr.layers.projection import Projection
from keras_setr.layers.rematerialization import Dropout
from keras_setr.layers.rematerialization import rematerialize

# Of a layer's attention, MLP and paths.
_NO_SEEDS = ((None, None),) * 3


def _turn(x, rotations):
    """Turn the pairs (x_j, x_{j + d/2}) of `(B, N, m, d)` by their angles."""
    cosine, sine = rotations[0][:, None], rotations[1][:, None]  # (N, 1, d / 2)
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate(
        [first * cosine - second * sine, second * cosine + first * sine],
        axis=-1,
    )


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    num_heads=WIDTH,
    use_bias=flag(),
    use_key_bias=flag(),
    dropout_rate=dropped(),
    output_dropout_rate=dropped(),
)
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention, `(B, N, D)` to `(B, N, D)`.

    MSA(Z) = [SA_1(Z); ..; SA_m(Z)] W_O with SA = softmax(Q K^T / sqrt(d)) V
    and d = D / m (paper, equations 1 and 2, without the residual). Called
    with `rotations` of `RotaryPositions` beside the tokens, it turns Q and K
    by them before.

    Args:
        num_heads: int. m, divides D.
        use_bias: bool. Bias of the joint query, key and value projection.
        use_key_bias: bool. `False` leaves the keys' part of that bias out, as
            in DINOv3. It matters with rotary positions alone: without, it
            adds the same to all scores of a query.
        dropout_rate: float. Dropout of the attention probabilities.
        output_dropout_rate: float. Dropout after the output projection.
    """

    def __init__(
        self,
        num_heads: int,
        use_bias: bool = True,
        use_key_bias: bool = True,
        dropout_rate: float = 0.0,
        output_dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.use_bias = use_bias
        self.use_key_bias = use_key_bias
        self.dropout_rate = dropout_rate
        self.output_dropout_rate = output_dropout_rate
        self.attention_dropout = Dropout(
            dropout_rate, dtype=self.dtype_policy, name="attention_dropout"
        )
        self.output_dropout = Dropout(
            output_dropout_rate, dtype=self.dtype_policy, name="output_dropout"
        )

    def build(self, tokens_shape, rotations_shape=None):
        dim = tokens_shape[-1]
        if dim % self.num_heads:
            raise ValueError(
                "num_heads must divide the width of the tokens. Received: "
                f"num_heads={self.num_heads}, width {dim}."
            )
        self.head_dim = dim // self.num_heads
        # One product for all three: columns are [query; key; value], each
        # head after head, as in timm and mmsegmentation.
        self.qkv = Projection(
            3 * dim,
            use_bias=self.use_bias and self.use_key_bias,
            kernel_initializer=EncoderInitializer(),
            dtype=self.dtype_policy,
            name="qkv",
        )
        self.qkv.build(tokens_shape)
        if self.use_bias and not self.use_key_bias:
            self.query_bias, self.value_bias = (
                self.add_weight(name=name, shape=(dim,), initializer="zeros")
                for name in ("query_bias", "value_bias")
            )
        self.projection = Projection(
            dim,
            kernel_initializer=EncoderInitializer(),
            dtype=self.dtype_policy,
            name="projection",
        )
        self.projection.build(tokens_shape)

    def _split_heads(self, tokens, rotations):
        """Query, key and value, each `(B, N, m, d)`."""
        n = ops.shape(tokens)[1]
        heads = (self.num_heads, self.head_dim)
        qkv = self.qkv(tokens)  # (B, N, 3 * D)
        qkv = ops.reshape(qkv, (-1, n, 3, *heads))
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if self.use_bias and not self.use_key_bias:
            query = query + ops.reshape(self.query_bias, heads)
            value = value + ops.reshape(self.value_bias, heads)
        if rotations is not None:
            query, key = _turn(query, rotations), _turn(key, rotations)
        return query, key, value

    def draw_seeds(self) -> tuple[Any, Any]:
        """`seeds` of the next call, for a function that runs twice."""
        return (
            self.attention_dropout.draw_seed(),
            self.output_dropout.draw_seed(),
        )

    def call(self, tokens, rotations=None, training=None, seeds=(None, None)):
        attention_seed, output_seed = seeds
        n = ops.shape(tokens)[1]
        query, key, value = self._split_heads(tokens, rotations)
        if training and self.dropout_rate:
            # Dropping needs the probabilities of all heads.
            weights = self.attention_dropout(
                probabilities(query, key),
                training=training,
                seed=attention_seed,
            )
            x = weighted_sum(weights, value)
        else:
            x = attend(query, key, value)  # (B, N, m, d)
        x = ops.reshape(x, (-1, n, self.num_heads * self.head_dim))
        return self.output_dropout(
            self.projection(x), training=training, seed=output_seed
        )

    def attention_maps(self, tokens: Any, rotations: Any = None) -> Any:
        """The attention probabilities `(B, m, N, N)`; rows attend."""
        query, key, _ = self._split_heads(tokens, rotations)
        return probabilities(query, key)

    def compute_output_shape(self, tokens_shape, rotations_shape=None):
        return tuple(tokens_shape)

    def get_config(self):
        return {**super().get_config(), **config_of(self, SelfAttention)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    mlp_dim=MLP_WIDTH,
    use_gate=flag(),
    dropout_rate=dropped(),
)
class MLP(keras.layers.Layer):
    """Two dense layers with an exact GELU between, `(B, N, D)` kept.

    Args:
        mlp_dim: int. Width between the two layers.
        use_gate: bool. SiLU(x W_1) * (x W_2) in the place of GELU(x W)
            (SwiGLU, arXiv 2002.05202); one product makes both, [W_1; W_2].
        dropout_rate: float. Dropout after each dense layer.
    """

    def __init__(
        self,
        mlp_dim: int,
        use_gate: bool = False,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlp_dim = mlp_dim
        self.use_gate = use_gate
        self.dropout_rate = dropout_rate
        self.dropout = Dropout(
            dropout_rate, dtype=self.dtype_policy, name="dropout"
        )

    def build(self, tokens_shape):
        def dense(name, units, input_shape):
            layer = Projection(
                units,
                kernel_initializer=EncoderInitializer(),
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build(input_shape)
            return layer

        *leading, dim = tokens_shape
        width = self.mlp_dim * (2 if self.use_gate else 1)
        self.expansion = dense("expansion", width, tokens_shape)
        self.projection = dense("projection", dim, (*leading, self.mlp_dim))

    def draw_seeds(self) -> tuple[Any, Any]:
        """`seeds` of the next call, for a function that runs twice."""
        return self.dropout.draw_seed(), self.dropout.draw_seed()

    def call(self, tokens, training=None, seeds=(None, None)):
        on_tensorflow = keras.config.backend() == "tensorflow"
        plain = not self.use_gate and self.expansion.quantization_mode is None
        if on_tensorflow and plain and not training and runs_on_cpu():
            return self._call_in_parts(tokens)
        x = self._activate(self.expansion(tokens))
        x = self.dropout(x, training=training, seed=seeds[0])
        return self.dropout(
            self.projection(x), training=training, seed=seeds[1]
        )

    def _activate(self, x):
        if not self.use_gate:
            return ops.gelu(x, approximate=False)
        gate, x = ops.split(x, 2, axis=-1)
        return ops.silu(gate) * x

    def _call_in_parts(self, tokens, width=1024):
        """The sum over slices of the hidden width, for inference.

        TensorFlow's product into 4096 columns takes twice the time of four
        into 1024 on CPUs, and its result is fresh memory at every call.
        """
        # With their LoRA added, where there is one.
        expand, project = self.expansion.kernel, self.projection.kernel
        bias = self.expansion.bias
        x = self.projection.bias
        for start in range(0, self.mlp_dim, width):
            part = slice(start, start + width)
            hidden = ops.matmul(tokens, expand[:, part])
            hidden = ops.gelu(hidden + bias[part], approximate=False)
            x = x + ops.matmul(hidden, project[part])
        return x

    def compute_output_shape(self, tokens_shape):
        return tuple(tokens_shape)

    def get_config(self):
        return {**super().get_config(), **config_of(self, MLP)}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(
    *KERAS_ARGUMENTS,
    initial_value=number(),
)
class LayerScale(keras.layers.Layer):
    """A learned factor per channel on a residual branch (arXiv 2103.17239).

    Args:
        initial_value: float. All factors before training.
    """

    def __init__(self, initial_value: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, tokens_shape):
        self.scale = self.add_weight(
            name="scale",
            shape=(tokens_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_value),
        )

    def call(self, tokens):
        return tokens * self.scale

    def compute_output_shape(self, tokens_shape):
        return tuple(tokens_shape)

    def get_config(self):
        return {**super().get_config(), **config_of(self, LayerScale)}


# Rules for what an encoder hands to its layers.
BLOCK_RULES = {
    "num_heads": WIDTH,
    "use_qkv_bias": flag(),
    "use_key_bias": flag(),
    "use_gated_mlp": flag(),
    "layer_scale_init": optional(number()),
    "dropout_rate": dropped(),
    "attention_dropout_rate": dropped(),
    "drop_path_rate": dropped(),
    "layer_norm_epsilon": number(0),
    "rematerialize": flag(),
}


@keras.saving.register_keras_serializable(package="keras_setr")
@checked(*KERAS_ARGUMENTS, mlp_dim=MLP_WIDTH, **BLOCK_RULES)
class TransformerBlock(keras.layers.Layer):
    """One encoder layer, Z^{l-1} to Z^l, `(B, N, D)` kept (paper, eq. 3).

    Y = Z^{l-1} + MSA(LN(Z^{l-1})) and Z^l = Y + MLP(LN(Y)). `rotations` of
    `RotaryPositions` may be given beside the tokens.

    Args:
        num_heads: int. Attention heads.
        mlp_dim: int. Width of the MLP.
        use_qkv_bias: bool. Bias of the query, key and value projection.
        use_key_bias: bool. Whether the keys have a part in it.
        use_gated_mlp: bool. SwiGLU in the place of GELU; see `MLP`.
        layer_scale_init: float or `None`. Initial LayerScale factor of both
            branches; `None` leaves LayerScale out.
        dropout_rate: float. Dropout after each projection.
        attention_dropout_rate: float. Dropout of attention probabilities.
        drop_path_rate: float. Chance that a sample skips a branch in
            training (stochastic depth, arXiv 1603.09382).
        layer_norm_epsilon: float.
        rematerialize: bool. Keep only Z^{l-1} for the backward pass and
            compute the layer anew there (arXiv 1604.06174): memory for time.
            The gradients are the same, dropout included. Can be set later,
            before `compile`.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        use_qkv_bias: bool = True,
        use_key_bias: bool = True,
        use_gated_mlp: bool = False,
        layer_scale_init: float | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        rematerialize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.use_qkv_bias = use_qkv_bias
        self.use_key_bias = use_key_bias
        self.use_gated_mlp = use_gated_mlp
        self.layer_scale_init = layer_scale_init
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.drop_path_rate = drop_path_rate
        self.layer_norm_epsilon = layer_norm_epsilon
        self.rematerialize = rematerialize

        policy = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=policy, name="attention_norm"
        )
        self.attention = SelfAttention(
            num_heads,
            use_bias=use_qkv_bias,
            use_key_bias=use_key_bias,
            dropout_rate=attention_dropout_rate,
            output_dropout_rate=dropout_rate,
            dtype=policy,
            name="attention",
        )
        self.mlp_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=policy, name="mlp_norm"
        )
        self.mlp = MLP(
            mlp_dim,
            use_gate=use_gated_mlp,
            dropout_rate=dropout_rate,
            dtype=policy,
            name="mlp",
        )
        if layer_scale_init is not None:
            self.attention_scale = LayerScale(
                layer_scale_init, dtype=policy, name="attention_scale"
            )
            self.mlp_scale = LayerScale(
                layer_scale_init, dtype=policy, name="mlp_scale"
            )
        # One mask value per sample: (B, 1, 1) against (B, N, D).
        self.drop_path = Dropout(
            drop_path_rate,
            noise_shape=(None, 1, 1),
            dtype=policy,
            name="drop_path",
        )

    def build(self, tokens_shape, rotations_shape=None):
        self.attention_norm.build(tokens_shape)
        self.attention.build(tokens_shape)
        self.mlp_norm.build(tokens_shape)
        self.mlp.build(tokens_shape)
        if self.layer_scale_init is not None:
            self.attention_scale.build(tokens_shape)
            self.mlp_scale.build(tokens_shape)

    def call(self, tokens, rotations=None, training=None):
        if not (training and self.rematerialize):
            return self._call(tokens, rotations, training)
        seeds = (
            self.attention.draw_seeds(),
            self.mlp.draw_seeds(),
            (self.drop_path.draw_seed(), self.drop_path.draw_seed()),
        )

        def layer(tokens):
            return self._call(tokens, rotations, training, seeds)

        return rematerialize(layer, tokens)

    def _call(self, tokens, rotations, training, seeds=_NO_SEEDS):
        attention_seeds, mlp_seeds, path_seeds = seeds
        x = self.attention_norm(tokens)
        x = self.attention(
            x, rotations, training=training, seeds=attention_seeds
        )
        if self.layer_scale_init is not None:
            x = self.attention_scale(x)
        x = self.drop_path(x, training=training, seed=path_seeds[0])
        tokens = tokens + x
        if training:
            tokens = computed_once(tokens)
        x = self.mlp_norm(tokens)
        x = self.mlp(x, training=training, seeds=mlp_seeds)
        if self.layer_scale_init is not None:
            x = self.mlp_scale(x)
        x = self.drop_path(x, training=training, seed=path_seeds[1])
        tokens = tokens + x
        return computed_once(tokens) if training else tokens

    def attention_maps(self, tokens: Any, rotations: Any = None) -> Any:
        """Attention probabilities `(B, m, N, N)` for Z^{l-1}; rows attend."""
        x = self.attention_norm(tokens)
        return self.attention.attention_maps(x, rotations)

    def compute_output_shape(self, tokens_shape, rotations_shape=None):
        return tuple(tokens_shape)

    def get_config(self):
        return {**super().get_config(), **config_of(self, TransformerBlock)}
