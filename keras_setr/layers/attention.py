"""softmax(Q K^T / sqrt(d)) V without a matrix of N x N for all heads.

torch has a fused kernel. Elsewhere the matrix is made in parts, in training
too: what the backward pass keeps of it is the sum of each row (the scheme of
arXiv 2205.14135, algorithms 1 and 4). On CPUs a part is one head, or a block of
its queries, whose matrix stays in the cache; on accelerators it is a block of
queries of all heads, which fills the device. cuDNN's kernel takes half
precision on GPUs. `keras.ops.dot_product_attention` is not asked on TPUs: as
of Keras 3.15 it masks what comes later in the sequence there, and the kernel
behind it takes heads whose width is a multiple of 128.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_setr.layers.gradients import by_upstream
from keras_setr.layers.on_cpu import computes_at_once
from keras_setr.layers.on_cpu import runs_on_cpu

# Tokens from which on the matrices outweigh the price of the loop.
LONG = 512
# Queries of a block: a matrix of 512 x 2305 in float32 takes 4.7 MB a head.
_QUERIES = 512


def probabilities(query: Any, key: Any) -> Any:
    """softmax(Q K^T / sqrt(d)), `(B, m, N, N)`; rows attend.

    Args:
        query, key: `(B, N, m, d)`.
    """
    query = ops.transpose(query, (0, 2, 1, 3)) * query.shape[-1] ** -0.5
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))
    return ops.softmax(scores, axis=-1)


def weighted_sum(weights: Any, value: Any) -> Any:
    """`(B, N, m, d)`, the values by their `(B, m, N, N)` probabilities.

    Args:
        weights: `(B, m, N, N)`.
        value: `(B, N, m, d)`.
    """
    x = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
    return ops.transpose(x, (0, 2, 1, 3))


def attend(query: Any, key: Any, value: Any) -> Any:
    """softmax(Q K^T / sqrt(d)) V, `(B, N, m, d)`.

    Args:
        query, key, value: `(B, N, m, d)`.
    """
    backend = keras.config.backend()
    if backend == "torch":
        return ops.dot_product_attention(query, key, value)
    length = query.shape[1]
    if length is None or length < LONG or not computes_at_once():
        return weighted_sum(probabilities(query, key), value)
    if backend == "jax":
        import jax

        return jax.lax.platform_dependent(
            query, key, value, cpu=_by_heads, default=_on_accelerator
        )
    by_parts = _by_heads if runs_on_cpu() else _by_queries
    return by_parts(query, key, value)


def _on_accelerator(query, key, value):
    """JAX on GPUs and TPUs."""
    import jax

    half = query.dtype in (np.float16, jax.numpy.bfloat16)
    if half and jax.default_backend() == "gpu":
        return ops.dot_product_attention(query, key, value)
    return _by_queries(query, key, value)


# === The parts; Q is scaled, sequences stand before the last axis ===


def _part(query, key, value):
    """Attention of some queries and the logarithm of their rows' sums."""
    scores = ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32")
    largest = ops.max(scores, axis=-1, keepdims=True)
    weights = ops.exp(scores - largest)
    total = ops.sum(weights, axis=-1, keepdims=True)
    # Dividing after the product spares a pass over the matrix.
    mixed = ops.matmul(ops.cast(weights, value.dtype), value)
    mixed = mixed / ops.cast(total, mixed.dtype)
    return mixed, largest + ops.log(total)


def _part_gradients(query, key, value, mixed, log_total, upstream):
    """Gradients of `_part` by query, key and value."""
    scores = ops.cast(ops.matmul(query, ops.swapaxes(key, -1, -2)), "float32")
    weights = ops.exp(scores - log_total)
    dtype = value.dtype
    by_value = ops.matmul(
        ops.cast(ops.swapaxes(weights, -1, -2), dtype), upstream
    )
    by_weights = ops.matmul(upstream, ops.swapaxes(value, -1, -2))
    share = ops.sum(
        ops.cast(upstream, "float32") * ops.cast(mixed, "float32"),
        axis=-1,
        keepdims=True,
    )
    by_scores = weights * (ops.cast(by_weights, "float32") - share)
    by_scores = ops.cast(by_scores, dtype)
    by_query = ops.matmul(by_scores, key)
    by_key = ops.matmul(ops.swapaxes(by_scores, -1, -2), query)
    return by_query, by_key, by_value


def _part_in_blocks(query, key, value):
    """`_part` of one head, whose whole matrix would not stay in the cache."""
    length, dim = query.shape
    if length < 4 * _QUERIES:
        return _part(query, key, value)
    count = -(-length // _QUERIES)
    size = -(-length // count)
    queries = ops.pad(query, ((0, count * size - length), (0, 0)))
    parts = ops.map(
        lambda block: _part(block, key, value),
        ops.reshape(queries, (count, size, dim)),
    )
    return tuple(
        ops.reshape(x, (count * size, x.shape[-1]))[:length] for x in parts
    )


def _by_heads(query, key, value):
    """One head after another."""
    _, length, heads, dim = query.shape

    def split(x):  # (B, N, m, d) to (B * m, N, d)
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length, dim))

    def joined(x):
        x = ops.reshape(x, (-1, heads, length, dim))
        return ops.transpose(x, (0, 2, 1, 3))

    @ops.custom_gradient
    def attention(query, key, value):
        mixed, log_total = ops.map(
            lambda head: _part_in_blocks(*head), (query, key, value)
        )

        @by_upstream
        def gradients(upstream):
            return ops.map(
                lambda head: _part_gradients(*head),
                (query, key, value, mixed, log_total, upstream),
            )

        return mixed, gradients

    return joined(attention(split(query * dim**-0.5), split(key), split(value)))


def _by_queries(query, key, value):
    """A block of queries of all heads after another."""
    length, dim = query.shape[1], query.shape[-1]
    count = -(-length // _QUERIES)
    size = -(-length // count)

    def by_head(x):  # (B, N, m, d) to (B, m, N, d)
        return ops.transpose(x, (0, 2, 1, 3))

    def blocks(x):  # (B, m, N, ..) to (count, B, m, size, ..)
        x = ops.pad(x, ((0, 0), (0, 0), (0, count * size - length), (0, 0)))
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:2], count, size, shape[-1]))
        return ops.transpose(x, (2, 0, 1, 3, 4))

    def whole(x):  # the reverse
        x = ops.transpose(x, (1, 2, 0, 3, 4))
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:2], count * size, shape[-1]))
        return x[:, :, :length]

    @ops.custom_gradient
    def attention(query, key, value):
        queries = blocks(query)
        mixed, log_total = ops.map(
            lambda part: _part(part, key, value), queries
        )

        @by_upstream
        def gradients(upstream):
            upstreams = blocks(upstream)

            def add(index, sums):
                by_queries, by_key, by_value = sums
                by_query, more_key, more_value = _part_gradients(
                    queries[index],
                    key,
                    value,
                    *(x[index] for x in (mixed, log_total, upstreams)),
                )
                start = (index, 0, 0, 0, 0)
                return (
                    ops.slice_update(by_queries, start, by_query[None]),
                    by_key + more_key,
                    by_value + more_value,
                )

            by_queries, by_key, by_value = ops.fori_loop(
                0,
                count,
                add,
                tuple(ops.zeros_like(x) for x in (queries, key, value)),
            )
            return whole(by_queries), by_key, by_value

        return whole(mixed), gradients

    query = by_head(query * dim**-0.5)
    return by_head(attention(query, by_head(key), by_head(value)))
