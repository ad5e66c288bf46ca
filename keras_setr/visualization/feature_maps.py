"""Features of the encoder and of the decoder (paper, Figures 5 and 9)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import segmenter
from keras_setr.arguments import sequence
from keras_setr.visualization.drawing import WIDTH
from keras_setr.visualization.drawing import draw_panels
from keras_setr.visualization.drawing import stretched
from keras_setr.visualization.looking import Look
from keras_setr.visualization.looking import check_numbers
from keras_setr.visualization.looking import on_host
from keras_setr.visualization.looking import without_gradients


@checked(
    model=segmenter("backbone", "load_image"),
    layers=optional(sequence(integer())),
    stages=optional(sequence(integer())),
    size=optional(pair(1)),
    columns=integer(1),
    width=WIDTH,
)
def features(
    model: Any,
    image: Any,
    layers: Sequence[int] | None = None,
    stages: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
    columns: int = 6,
    width: int = 200,
) -> Image.Image:
    """Features of encoder layers and decoder stages in colour.

    Each map is reduced to its three principal components, which are its red,
    green and blue, between the least and the largest value of all three: the
    published script's way. Colours of two maps cannot be compared.

    Args:
        model: a segmenter.
        image: path, `PIL.Image` or `(H, W, C)` array. It is resized to the
            model's size, which the picture says; no windows slide.
        layers: sequence of int in 1..L, the Z^l of a transformer or the
            stages of a ResNet. Defaults to all; `()` for none.
        stages: sequence of int in 1..n + 1: U^1 .. U^n come behind each
            convolution of a decoder with its upsampling, or behind each
            stream of MLA or Semantic FPN, and U^(n + 1) are the logits at the
            image's size. Defaults to all; `()` for none.
        size: `(height, width)` to look at, of models for any size. Defaults
            to the model's own.
        columns: int. Maps in a row, at most.
        width: int. Pixels of each map.

    Returns:
        A `PIL.Image`: the image, then the maps.

    Raises:
        ValueError: a layer or a stage that there is not, a size that the
            model does not take.
    """
    import keras

    depth = model.backbone.num_layers
    layers = range(1, depth + 1) if layers is None else layers
    check_numbers(layers, depth, "layers", "the encoder's layers")
    look = Look(model, image, size)
    head = model.get_layer("decode_head")
    inner = keras.Model(
        model.backbone.input,
        {
            "layers": [model.backbone.features[layer] for layer in layers],
            "head": head.input,
        },
    )
    with without_gradients():
        maps = inner(look.batch, training=False)
        decoded = head.stages(maps["head"])
        count = len(decoded) + 1
        stages = range(1, count + 1) if stages is None else stages
        check_numbers(stages, count, "stages", "the decoder's stages")
        if count in stages:
            decoded.append(model(look.batch, training=False))
    named = [(f"Z{n}", x) for n, x in zip(layers, maps["layers"])]
    named += [(f"U{n}", decoded[n - 1]) for n in stages]
    cells = [(look.note or "image", look.picture(look.shown, width))]
    for name, x in named:
        colors = in_colors(on_host(x)[0])
        cells.append((name, look.picture(colors, width)))
    return draw_panels(cells, columns)


def in_colors(features):
    """`(h, w, D)` as `(h, w, 3)` uint8, by principal components."""
    height, width, dim = features.shape
    x = principal_components(features.reshape(-1, dim), 3)
    x = np.rint(255 * stretched(x)).astype("uint8")
    return x.reshape(height, width, 3)


def principal_components(x: np.ndarray, count: int) -> np.ndarray:
    """The coordinates of points along the axes of their largest variance.

    Args:
        x: `(n, D)` floats.
        count: int. Axes; those beyond D are 0. The largest entry of each is
            positive, so that the result does not depend on a sign.

    Returns:
        `(n, count)`, with mean 0.
    """
    x = x - x.mean(axis=0)
    _, axes = np.linalg.eigh(x.T @ x / len(x))  # columns, smallest first
    axes = axes[:, ::-1][:, :count]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    return np.pad(x @ axes, ((0, 0), (0, count - axes.shape[1])))
