"""What models take, in closed form from their arguments: nothing is built.

Multiply-adds are those of matrix products and convolutions, for one image at
inference. Auxiliary heads, which only training has, count nowhere.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

from keras_setr.facts.decoders import LAYERS
from keras_setr.facts.decoders import scaled_layers
from keras_setr.layers.residual import Bottleneck
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.baselines import FCN
from keras_setr.models.baselines import SemanticFPN
from keras_setr.models.resnet import ResNetBackbone
from keras_setr.models.setr import SETRMLA
from keras_setr.models.setr import SETRPUP
from keras_setr.models.setr import SETRNaive

# Variables of a channel: scale, shift and, of batch norm, mean and variance;
# what it is folded into has a bias.
_BATCH_NORM = 4
_NORM = 2
_FOLDED = 1
_NORMS = {"batch": _BATCH_NORM, "group": _NORM, None: _FOLDED}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a part of a model.

    Args:
        parameters: int. Weights, moving statistics among them.
        multiply_adds: int. For one image.
    """

    parameters: int
    multiply_adds: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.multiply_adds + other.multiply_adds,
        )

    def __rmul__(self, count: int) -> "Cost":
        return Cost(count * self.parameters, count * self.multiply_adds)


@dataclasses.dataclass(frozen=True)
class EncoderCost:
    """Of an encoder, with what a decoder reads.

    Args:
        cost: `Cost`.
        features: tuple of `(channels, (h, w))`, one for each layer or stage.
        tokens: int, special ones included; `None` of a ResNet.
    """

    cost: Cost
    features: tuple
    tokens: int | None


def _with_defaults(cls, arguments):
    """All arguments of a constructor."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    defaults = {
        p.name: p.default for p in parameters if p.default is not p.empty
    }
    return {**defaults, **arguments}


def _convolution(kernel, inputs, outputs, grid, bias=False, norm=0):
    """A convolution whose result has the size `grid`, and its norm."""
    weights = kernel**2 * inputs * outputs
    return Cost(weights + (bias + norm) * outputs, weights * math.prod(grid))


def _enlarged(grid, factor):
    return tuple(factor * side for side in grid)


# === Encoders ===


def _transformer(a, size):
    """A `SETRBackbone`."""
    dim, patch = a["hidden_dim"], a["patch_size"]
    mlp_dim = a["mlp_dim"] or 4 * dim
    grid = tuple(side // patch for side in size)
    learned = a.get("rotary_base") is None
    tokens = math.prod(grid) + a["use_class_token"] + a["num_register_tokens"]
    rows = (tokens,)

    before, channels = Cost(0), a["image_shape"][-1]
    if (stem := a.get("stem")) is not None:
        stem = _with_defaults(ResNetBackbone, stem)
        resnet = _resnet(stem, size)
        before, (channels, _) = resnet.cost, resnet.features[-1]
        patch //= stem["output_stride"]
    patches = _convolution(patch, channels, dim, grid, a["use_patch_bias"])
    vectors = a["num_register_tokens"] + a["use_class_token"] * (1 + learned)
    if learned:
        vectors += math.prod(a["position_grid"] or (24, 24))

    gates = 2 if a["use_gated_mlp"] else 1
    scales = 0 if a["layer_scale_init"] is None else 2
    # Queries and values have a bias where the keys have none.
    missing = a["use_qkv_bias"] and not a["use_key_bias"]
    layer = (
        _convolution(1, dim, 3 * dim, rows, a["use_qkv_bias"])
        + Cost(-dim * missing, 2 * tokens**2 * dim)  # Q K^T, and times V
        + _convolution(1, dim, dim, rows, bias=True)
        + _convolution(1, dim, gates * mlp_dim, rows, bias=True)
        + _convolution(1, mlp_dim, dim, rows, bias=True)
        + Cost((2 * _NORM + scales) * dim)
    )
    after = Cost(_NORM * dim * a["use_final_norm"])
    total = before + patches + Cost(vectors * dim) + after
    num_layers = a["num_layers"]
    return EncoderCost(
        total + num_layers * layer, ((dim, grid),) * num_layers, tokens
    )


def _resnet(a, size):
    """A `ResNetBackbone`."""

    def halved(grid):
        return tuple(-(-side // 2) for side in grid)

    norm = _NORMS[a["norm"]]
    filters, grid = a["filters"], halved(size)
    half, channels = max(1, filters // 2), a["image_shape"][-1]
    rows = [(7, filters)]
    if a["deep_stem"]:
        rows = [(3, half), (3, half), (3, filters)]
    cost = Cost(0)
    for kernel, outputs in rows:
        cost += _convolution(kernel, channels, outputs, grid, norm=norm)
        channels = outputs
    grid, stride = halved(grid), 4
    features = []
    for stage, count in enumerate(a["num_blocks"]):
        outside = grid
        if stage and stride < a["output_stride"]:
            grid, stride = halved(grid), 2 * stride
        elif stage and a["late_stages"] == "cut":
            break
        inside = filters * 2**stage
        wide = Bottleneck.EXPANSION * inside
        for _ in range(count):
            cost += _convolution(1, channels, inside, outside, norm=norm)
            cost += _convolution(3, inside, inside, grid, norm=norm)
            cost += _convolution(1, inside, wide, grid, norm=norm)
            if channels != wide or outside != grid:
                cost += _convolution(1, channels, wide, grid, norm=norm)
            channels, outside = wide, grid
        features.append((wide, grid))
    return EncoderCost(cost, tuple(features), None)


# === Decoders ===


def _batch_norm(a):
    return _FOLDED if a["folded"] else _BATCH_NORM


def _upsampling_head(cls, a, backbone, features):
    """The head of `SETRNaive` and `SETRPUP`."""
    channels, grid = features[-1]
    upsampling, kernel = a["upsampling"], a["kernel_size"]
    if upsampling is None:
        upsampling = cls._upsampling(backbone["patch_size"])
    if kernel is None:
        kernel = cls._kernel_size
    cost = Cost(_NORM * channels * a["use_layer_norm"])
    norm, size = _batch_norm(a), grid
    bias = a["use_bias"] and not a["folded"]
    for factor in upsampling:
        cost += _convolution(kernel, channels, a["filters"], grid, bias, norm)
        channels, size, grid = a["filters"], grid, _enlarged(grid, factor)
    # The classifier runs before the last enlargement.
    return cost + _convolution(1, channels, a["num_classes"], size, bias=True)


def _mla(cls, a, backbone, features):
    dim, grid = features[-1]
    layers = a["feature_layers"]
    if layers is None:
        layers = scaled_layers(LAYERS["mla", 24], len(features))
    width = a["neck_filters"] or dim // 2
    first, second = a["head_filters"] or (dim // 2, dim // 4)
    norm = _batch_norm(a)
    stream = (
        Cost(_NORM * dim * a["use_layer_norm"])
        + _convolution(1, dim, width, grid, norm=norm)
        + _convolution(3, width, width, grid, norm=norm)
        + _convolution(3, width, first, grid, norm=norm)
        + _convolution(3, first, second, grid, norm=norm)
    )
    kernel, channels = a["classifier_kernel_size"], len(layers) * second
    # A 1x1 classifier runs before the enlargement, with which it commutes.
    size = grid if kernel == 1 else _enlarged(grid, 4)
    return len(layers) * stream + _convolution(
        kernel, channels, a["num_classes"], size, bias=True
    )


def _fcn(cls, a, backbone, features):
    channels, grid = features[-1]
    filters, classes, norm = a["filters"], a["num_classes"], _batch_norm(a)
    return (
        _convolution(3, channels, filters, grid, norm=norm)
        + _convolution(3, filters, filters, grid, norm=norm)
        + _convolution(3, channels + filters, filters, grid, norm=norm)
        + _convolution(1, filters, classes, grid, bias=True)
    )


def _semantic_fpn(cls, a, backbone, features):
    width, filters, norm = a["neck_filters"], a["filters"], _batch_norm(a)
    cost = Cost(0)
    for level, (channels, grid) in enumerate(features):
        cost += _convolution(1, channels, width, grid, bias=True)
        cost += _convolution(3, width, width, grid, bias=True)
        for index in range(max(1, level)):
            inputs = filters if index else width
            size = _enlarged(grid, 2**index)
            cost += _convolution(3, inputs, filters, size, norm=norm)
    size = features[0][1]
    return cost + _convolution(1, filters, a["num_classes"], size, bias=True)


_DECODERS: dict[Any, Callable[..., Cost]] = {
    SETRNaive: _upsampling_head,
    SETRPUP: _upsampling_head,
    SETRMLA: _mla,
    FCN: _fcn,
    SemanticFPN: _semantic_fpn,
}


def cost_of(
    model_class: type | None,
    backbone: dict[str, Any],
    arguments: dict[str, Any],
    image_size: tuple[int, int],
) -> tuple[Cost, int | None]:
    """Parameters, multiply-adds and tokens of a model or an encoder.

    Args:
        model_class: one of `MODELS`, or `None` for an encoder alone.
        backbone: dict. Arguments of the `SETRBackbone`, or of the
            `ResNetBackbone`, which has `num_blocks`.
        arguments: dict. Those of the model beside it.
        image_size: `(H, W)`, whole patches.

    Returns:
        `(Cost, tokens)`; `tokens` is `None` of a ResNet.
    """
    on_resnet = "num_blocks" in backbone
    cls, encode = (
        (ResNetBackbone, _resnet) if on_resnet else (SETRBackbone, _transformer)
    )
    backbone = _with_defaults(cls, backbone)
    encoder = encode(backbone, image_size)
    cost = encoder.cost
    if model_class is not None:
        arguments = _with_defaults(model_class, arguments)
        cost += _DECODERS[model_class](
            model_class, arguments, backbone, encoder.features
        )
    return cost, encoder.tokens
