"""The layers that the encoder and the decoders are built of."""

from keras_setr.layers.convolution import BatchNormalization
from keras_setr.layers.convolution import ConvNormActivation
from keras_setr.layers.embedding import FeatureMap
from keras_setr.layers.embedding import PatchEmbedding
from keras_setr.layers.embedding import RotaryPositions
from keras_setr.layers.embedding import TokenEmbedding
from keras_setr.layers.residual import Bottleneck
from keras_setr.layers.residual import ResNetStem
from keras_setr.layers.residual import StandardizedConvNorm
from keras_setr.layers.transformer import MLP
from keras_setr.layers.transformer import LayerScale
from keras_setr.layers.transformer import SelfAttention
from keras_setr.layers.transformer import TransformerBlock

__all__ = [
    "BatchNormalization",
    "Bottleneck",
    "ConvNormActivation",
    "FeatureMap",
    "LayerScale",
    "MLP",
    "PatchEmbedding",
    "ResNetStem",
    "RotaryPositions",
    "SelfAttention",
    "StandardizedConvNorm",
    "TokenEmbedding",
    "TransformerBlock",
]


def __dir__():
    return __all__
