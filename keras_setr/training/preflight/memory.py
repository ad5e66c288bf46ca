"""What a training step holds in memory, worked out before it runs."""

import dataclasses
import math

import keras
import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import segmenter
from keras_setr.layers.attention import LONG
from keras_setr.layers.residual import Bottleneck
from keras_setr.layers.residual import ResNetStem
from keras_setr.losses import PixelCrossEntropy
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.baseline_heads import FCNHead
from keras_setr.models.baseline_heads import FeaturePyramid
from keras_setr.models.baseline_heads import SemanticFPNHead
from keras_setr.models.heads import MLAHead
from keras_setr.models.heads import MLANeck
from keras_setr.models.heads import UpsamplingHead
from keras_setr.models.verbs.division import batch_divisor
from keras_setr.optimizers import unwrapped
from keras_setr.training.preflight.free import free_memory


@dataclasses.dataclass(frozen=True)
class _Kept:
    """How many values a backend keeps for the backward pass; see below.

    Read off its differentiation of our layers, and calibrated with
    tests/benchmarks/training_memory.py on CPUs.
    """

    layer: float  # of width D
    mlp: float  # of width M
    attention: float  # N x N, for each head, of short sequences
    norm: float  # of width D, at the head of a head
    convolution: float  # of width F, with its batch norm and ReLU
    pixel: float  # of each head's loss, beside the logits
    working: float = 0.0  # share of all these for operations in between
    patches: float = 0.0  # of the largest map that a 3 x 3 convolution makes
    updates: bool = False  # of all weights at the same time


_KEPT = {
    # Operations that do not wait for each other run at the same time, and
    # gradients of a convolution gather the surroundings of each pixel.
    "tensorflow": _Kept(
        10, 4, 1, 3, 2.25, 2.3, working=0.25, patches=7, updates=True
    ),
    "jax": _Kept(8, 5, 2, 4, 4, 3.75),
    # Its fused attention never stores the N x N matrix.
    "torch": _Kept(9, 2, 0, 1.3, 3, 2.5),
}
# Values a pixel of the images and labels, raw and normalised.
_IMAGE = 6
# Measured peaks lie within 30 % of the estimate.
TOLERANCE = 1.3
# Whose maps are counted one by one.
_CONVOLVING = (
    ResNetStem,
    Bottleneck,
    FCNHead,
    FeaturePyramid,
    SemanticFPNHead,
)
# In half precision the norms, softmax and losses still keep float32.
_BYTES = {"float32": 4, "float16": 3, "bfloat16": 3}


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device during a training step.

    Args:
        weights: int. All variables of the model.
        optimizer: int. Momenta and the like, accumulated gradients and
            averaged weights included.
        gradients: int. Of the trainable weights.
        activations: int. What the forward pass keeps for the backward pass.
        working: int. What single operations need in between.
    """

    weights: int
    optimizer: int
    gradients: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        """Their sum; measured peaks lie within 30 % of it."""
        return sum(dataclasses.astuple(self))

    @checked(batch_size=integer(1), memory=integer(0))
    def largest_batch(self, batch_size: int, memory: int) -> int:
        """How many of `batch_size` images fit into `memory`; 0 if none does."""
        fixed = self.weights + self.optimizer + self.gradients
        for_images = self.activations + self.working
        return max(0, int(batch_size * (memory - fixed) / for_images))


@checked(
    model=segmenter("backbone", "optimizer"),
    batch_size=integer(1),
    image_size=optional(pair(1)),
    rematerialize=optional(flag()),
)
def estimate_memory(
    model: keras.Model,
    batch_size: int,
    image_size: tuple[int, int] | None = None,
    rematerialize: bool | None = None,
) -> MemoryEstimate:
    """Estimate the memory of a step of `fit`, without running one.

    Of B images of H x W, in h x w patches that make N tokens of width D, the
    forward pass keeps as many values, with the factors of `_KEPT`:

        a layer, MLP of M, m heads  B * N * (layer * D + mlp * M)
                                    + B * attention * m * N^2
        the same, rematerialised    B * N * D, and one whole layer at a time
        a head's LayerNorm          B * h * w * norm * D
        a convolution to F filters  B * h * w * convolution * F, h and w
                                    enlarged by the upsampling before it,
                                    + B * h * w * F if there is one
        MLA, each of its streams    the same, and its sum and concatenation
        a ResNet, FCN, Semantic FPN the same for each of their convolutions
        each head's loss            B * H * W * (K + pixel), all in float32
        images and labels           B * H * W * _IMAGE
        the largest convolution     B * patches * its output's values

    To these come the weights, the gradients, and the optimizer's variables.

    Args:
        model: a compiled `SETRSegmenter`.
        batch_size: int. Images on one device.
        image_size: `(H, W)` of the crops. Defaults to the model's size.
        rematerialize: bool. Defaults to what the backbone does.

    Returns:
        `MemoryEstimate`.
    """
    backbone = model.backbone
    height, width = image_size or backbone.native_size
    if rematerialize is None:
        rematerialize = backbone.rematerialize
    kept = _KEPT[keras.config.backend()]
    maps, largest = _convolutions(model, (height, width), kept)
    one_layer = 0
    if isinstance(backbone, SETRBackbone):
        grid = height // backbone.patch_size, width // backbone.patch_size
        one_layer = _layer(backbone, grid, kept)
        tokens = math.prod(grid) * backbone.hidden_dim
        maps += backbone.num_layers * (tokens if rematerialize else one_layer)
        decoder, largest_of_decoder = _decoder(model, grid, kept)
        maps += decoder
        largest = max(largest, largest_of_decoder)
    # The loss of the main head alone, where all are taken in tiles, leaves
    # logits at full size: those that the metrics see.
    in_tiles = isinstance(model.loss, PixelCrossEntropy)
    heads = 1 if in_tiles else len(model.outputs) - 1
    per_pixel = heads * (model.num_classes + kept.pixel) + _IMAGE
    width_of_map = _BYTES.get(model.compute_dtype, 4) * batch_size
    activations = int(
        width_of_map * maps + 4 * batch_size * height * width * per_pixel
    )
    trainable = _sum_sizes(model.trainable_variables)
    return MemoryEstimate(
        weights=_sum_sizes(model.variables),
        optimizer=_optimizer_size(model, trainable),
        gradients=trainable,
        activations=activations,
        working=int(
            width_of_map * (one_layer * rematerialize + kept.patches * largest)
            + kept.updates * trainable
            + kept.working * activations
        ),
    )


def _layer(backbone, grid, kept):
    """Values of one transformer layer and one image."""
    tokens = backbone.num_prefix_tokens + math.prod(grid)
    attention = kept.attention if tokens < LONG else 0
    if backbone.attention_dropout_rate:
        # Scores, probabilities and mask: no fused kernel drops any.
        attention = max(attention, 3)
    mlp_dim = backbone.mlp_dim * (2 if backbone.use_gated_mlp else 1)
    width = kept.layer * backbone.hidden_dim + kept.mlp * mlp_dim
    return tokens * (width + attention * backbone.num_heads * tokens)


def _convolutions(model, size, kept):
    """Values of a ResNet and of the heads on it, of one image.

    And those of the largest map that a 3 x 3 convolution makes.
    """
    total = largest = 0
    shapes = {}
    for layer in model.layers:
        if isinstance(layer, _CONVOLVING):
            inputs = keras.tree.flatten(layer.input)
            known = [shapes[id(x)] for x in inputs if id(x) in shapes]
            known = known or [(1, *size, inputs[0].shape[-1])]
            given = known if isinstance(layer.input, list) else known[0]
            found = layer.compute_output_shape(given)
            outputs = found if isinstance(found, list) else [found]
            tensors = keras.tree.flatten(layer.output)
            shapes.update(zip(map(id, tensors), outputs))
            maps, wide_maps = _maps(layer, given, outputs)
            total += kept.convolution * (sum(maps) + sum(wide_maps))
            largest = max(largest, *maps)
    return total, largest


def _maps(layer, given, outputs):
    """Values of each map that a layer's convolutions make.

    Those of 3 x 3 and larger kernels, and those of 1 x 1 kernels.
    """
    areas = [math.prod(shape[1:3]) for shape in outputs]
    if isinstance(layer, ResNetStem):
        return [c.filters * 4 * areas[0] for c in layer.convolutions], ()
    if isinstance(layer, Bottleneck):
        before = layer.filters * math.prod(given[1:3])
        wide = layer.EXPANSION * layer.filters * areas[0]
        count = 1 if layer.shortcut is None else 2
        return [layer.filters * areas[0]], [before, *count * [wide]]
    if isinstance(layer, FCNHead):
        count = layer.num_convolutions + layer.concatenate_input
        return count * [layer.filters * areas[0]], ()
    if isinstance(layer, FeaturePyramid):
        maps = [layer.filters * area for area in areas]
        return maps, maps
    # Of Semantic FPN, each as large as it is once enlarged.
    maps = [
        layer.filters * math.prod(shape[1:3]) * 4**index
        for shape, stream in zip(given, layer.streams)
        for index in range(len(stream))
    ]
    return maps, ()


def _decoder(model, grid, kept):
    """Values of all heads up to their own logits, of one image.

    And those of the largest map that a 3 x 3 convolution makes.
    """
    dim = model.backbone.hidden_dim
    width = largest = 0  # of all maps and of one, as many values a patch
    for layer in model.layers:
        if isinstance(layer, UpsamplingHead):
            width += kept.norm * dim
            enlarged = 1
            for factor in (1, *layer.upsampling)[: len(layer.upsampling)]:
                enlarged *= factor**2
                copies = kept.convolution + (factor > 1)
                width += enlarged * copies * layer.filters
                if layer.kernel_size > 1:
                    largest = max(largest, enlarged * layer.filters)
        elif isinstance(layer, MLANeck):
            copies = 2 * kept.convolution + 1
            width += len(layer.projections) * (
                kept.norm * dim + copies * layer.filters
            )
            largest = max(largest, layer.filters)
        elif isinstance(layer, MLAHead):
            width += len(layer.streams) * (
                kept.convolution * sum(layer.filters) + layer.filters[-1]
            )
            largest = max(largest, *layer.filters)
    return math.prod(grid) * width, math.prod(grid) * largest


def _optimizer_size(model, trainable):
    optimizer = unwrapped(model.optimizer)
    if optimizer.built:
        return _sum_sizes(optimizer.variables)
    # How many values it keeps for each weight shows on a copy with one.
    copy = type(optimizer).from_config(optimizer.get_config())
    copy.build([keras.Variable(np.zeros(3, "float32"), name="kernel")])
    slots = sum(tuple(v.shape) == (3,) for v in copy.variables)
    return trainable * (slots + (model.averages is not None))


def _sum_sizes(variables):
    def width(variable):
        dtype = keras.backend.standardize_dtype(variable.dtype)
        return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize

    return sum(math.prod(v.shape) * width(v) for v in variables)


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """How a batch is trained on in the memory that there is.

    Args:
        batch_size: int. Images in a step, over all devices.
        accumulation_steps: int. Steps of one update.
        rematerialize: bool. Whether the encoder's layers are computed anew.
        needed: int. Bytes on one device, by the estimate.
        available: int or None. Bytes that were free; None where nothing told.
    """

    batch_size: int
    accumulation_steps: int
    rematerialize: bool
    needed: int
    available: int | None


@checked(
    model=segmenter("backbone", "optimizer"),
    batch_size=integer(1),
    image_size=optional(pair(1)),
    available=optional(integer(0)),
)
def plan_memory(
    model: keras.Model,
    batch_size: int,
    image_size: tuple[int, int] | None = None,
    available: int | None = None,
) -> MemoryPlan:
    """The plan with the largest part of a batch that fits into the memory.

    What fits by the estimate and 30 % more is taken: first the batch as it
    is, then with the encoder rematerialised, then in ever more parts.

    Args:
        model: a compiled `SETRSegmenter`.
        batch_size: int. Images of an update, over all devices.
        image_size: `(H, W)` of the crops. Defaults to the model's size.
        available: int. Bytes that the training may take on one device.
            Defaults to what is free and what the model holds already.

    Returns:
        `MemoryPlan`. Where nothing fits, that of single images.
    """
    if available is None:
        available = available_memory(model)
    devices = batch_divisor(model)
    divisors = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
    backbone = model.backbone
    ways = [(1, backbone.rematerialize)]
    ways += [(n, backbone.can_rematerialize) for n in divisors]
    for parts, rematerialize in ways:
        part = batch_size // parts
        memory = estimate_memory(
            model, math.ceil(part / devices), image_size, rematerialize
        )
        # Accumulated gradients are held beside those of the step.
        needed = memory.total + (parts > 1) * memory.gradients
        plan = MemoryPlan(part, parts, rematerialize, needed, available)
        if available is None or TOLERANCE * needed <= available:
            break
    return plan


def available_memory(model):
    """Bytes of one device that a training may take; `None` if nothing tells.

    They are free, or held by the model already.
    """
    free = free_memory()
    if free is None:
        return None
    optimizer = unwrapped(model.optimizer)
    held = optimizer.variables if optimizer.built else []
    return free + _sum_sizes([*model.variables, *held])
