"""What patches attend to, and where they know to be (paper, Figures 6 to 10).

Two ways to show attention are offered. `attention` shows the probabilities of
one layer, each head for itself: so the published scripts draw Figures 6
(`direction="to"`) and 7 (`"from"`). `attention_rollout` follows them through
all layers: the recursion that the paper's appendix describes.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import segmenter
from keras_setr.arguments import sequence
from keras_setr.visualization.drawing import INK
from keras_setr.visualization.drawing import MARGIN
from keras_setr.visualization.drawing import PAPER
from keras_setr.visualization.drawing import TEXT_SIZE
from keras_setr.visualization.drawing import WIDTH
from keras_setr.visualization.drawing import draw_panels
from keras_setr.visualization.drawing import draw_scale
from keras_setr.visualization.drawing import font
from keras_setr.visualization.drawing import scale_colors
from keras_setr.visualization.drawing import stretched
from keras_setr.visualization.looking import Look
from keras_setr.visualization.looking import check_numbers
from keras_setr.visualization.looking import check_transformer
from keras_setr.visualization.looking import on_host
from keras_setr.visualization.looking import without_gradients

_POINT = sequence(integer(0), length=2)
_DIRECTION = choice("from", "to")
# Tiles of positions along a side, and pixels of their sides.
_TILES, _TILE = 12, 64


@checked(
    model=segmenter("backbone", "load_image"),
    point=_POINT,
    layer=optional(integer()),
    heads=optional(sequence(integer(), minimum_length=1)),
    direction=_DIRECTION,
    size=optional(pair(1)),
    columns=integer(1),
    width=WIDTH,
    alpha=number(0, 1),
)
def attention(
    model: Any,
    image: Any,
    point: tuple[int, int],
    layer: int | None = None,
    heads: Sequence[int] | None = None,
    direction: str = "from",
    size: tuple[int, int] | None = None,
    columns: int = 6,
    width: int = 200,
    alpha: float = 0.7,
) -> Image.Image:
    """The attention of a point's patch in one layer, head by head.

    Args:
        model: a segmenter on a `SETRBackbone`.
        image: path, `PIL.Image` or `(H, W, C)` array. It is resized to the
            model's size, which the picture says; no windows slide.
        point: `(y, x)` in pixels of the image.
        layer: int in 1..L. Defaults to L, the last one, as in the paper.
        heads: sequence of int in 1..m. Defaults to all.
        direction: `"from"` for what the point attends to, its row of the
            matrix (Figure 7), or `"to"` for what attends to it, its column
            (Figure 6).
        size: `(height, width)` to look at, of models for any size. Defaults
            to the model's own.
        columns: int. Maps in a row, at most.
        width: int. Pixels of each map.
        alpha: float in 0..1. Share of the colours, 0 leaves the image.

    Returns:
        A `PIL.Image`: the image with the point, then a map for each head,
        each from its least to its largest value.

    Raises:
        ValueError: a point outside the image, a layer or a head that there is
            not, a model without attention.
    """
    check_transformer(model, "Attention")
    backbone = model.backbone
    heads = range(1, backbone.num_heads + 1) if heads is None else heads
    check_numbers(heads, backbone.num_heads, "heads", "the heads")
    layer = backbone.num_layers if layer is None else layer
    look = Look(model, image, size)
    grid, token = _place(model, look, point)
    with without_gradients():
        maps = backbone.attention_maps(look.batch, layer)[0]  # (m, N, N)
        along = maps[:, token] if direction == "from" else maps[:, :, token]
    along = on_host(along)[:, backbone.num_prefix_tokens :]
    title = f"layer {layer}, {direction} the point"
    cells = [(f"head {h}", along[h - 1].reshape(grid)) for h in heads]
    return _drawn(look, point, title, cells, columns, width, alpha)


@checked(
    model=segmenter("backbone", "load_image"),
    point=_POINT,
    layers=optional(sequence(integer(), minimum_length=1)),
    direction=_DIRECTION,
    size=optional(pair(1)),
    columns=integer(1),
    width=WIDTH,
    alpha=number(0, 1),
)
def attention_rollout(
    model: Any,
    image: Any,
    point: tuple[int, int],
    layers: Sequence[int] | None = None,
    direction: str = "from",
    size: tuple[int, int] | None = None,
    columns: int = 6,
    width: int = 200,
    alpha: float = 0.7,
) -> Image.Image:
    """The attention of a point's patch, followed through the layers.

    With A_l, the mean over the heads of layer l, and the identity for the
    residual, R_l = (A_l + I) / 2 R_{l-1} from R_0 = I (arXiv 2005.00928). The
    paper names this recursion; its scripts define it and show `attention`.

    Args:
        layers: sequence of int in 1..L. After which layers to show R_l.
            Defaults to the last.
        model, image, point, direction, size, columns, width, alpha: as for
            `attention`.

    Returns:
        A `PIL.Image`: the image with the point, then a map for each of
        `layers`, each from its least value to the one that 1 % exceed: the
        point itself, which the residuals keep, outshines all else.

    Raises:
        ValueError: as for `attention`.
    """
    check_transformer(model, "Attention")
    backbone = model.backbone
    depth = backbone.num_layers
    layers = (depth,) if layers is None else layers
    check_numbers(layers, depth, "layers", "the encoder's layers")
    look = Look(model, image, size)
    grid, token = _place(model, look, point)
    found = {}
    with without_gradients():
        # `map` lets go of a layer's matrix before the next one is made.
        means = map(_mean_of_heads, backbone.attention_by_layer(look.batch))
        for layer, rolled in enumerate(rollout(means), start=1):
            if layer in layers:
                along = (
                    rolled[token] if direction == "from" else rolled[:, token]
                )
                along = along[backbone.num_prefix_tokens :]
                found[layer] = along.reshape(grid)
            if layer == max(layers):
                break
    title = f"rollout {direction} the point"
    cells = [(f"through layer {layer}", found[layer]) for layer in layers]
    return _drawn(look, point, title, cells, columns, width, alpha, 0.99)


def _mean_of_heads(maps):
    from keras import ops

    return on_host(ops.mean(maps[0], axis=0))


def rollout(matrices: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """R_l = (A_l + I) / (1 + sum of the row) R_{l-1}, one after another.

    Args:
        matrices: iterable of A_l, `(N, N)`, from the first layer on; rows
            attend.

    Yields:
        R_l, `(N, N)`, whose rows sum to 1.
    """
    rolled = None
    for matrix in matrices:
        step = matrix + np.eye(len(matrix), dtype=matrix.dtype)
        step /= step.sum(axis=-1, keepdims=True)
        rolled = step if rolled is None else step @ rolled
        yield rolled


def _place(model, look, point):
    """The grid of patches, and which token the point lies in."""
    height, width = look.shown.shape[:2]
    y, x = point
    if y >= height or x >= width:
        raise ValueError(
            f"point must lie in the image, (y, x) in 0..{height - 1} and "
            f"0..{width - 1}. Received: {point}."
        )
    patch = model.backbone.patch_size
    rows, columns = (side // patch for side in look.batch.shape[1:3])
    row, column = y * rows // height, x * columns // width
    token = model.backbone.num_prefix_tokens + row * columns + column
    return (rows, columns), token


def _drawn(look, point, title, maps, columns, width, alpha, share=1.0):
    def marked(picture):
        scale = width / look.shown.shape[1]
        y, x = ((p + 0.5) * scale for p in point)
        radius = max(width / 60, 3)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(picture).ellipse(
            box, fill=(220, 30, 30), outline=PAPER, width=max(width // 200, 1)
        )
        return picture

    image = look.picture(look.shown, width)
    title = f"{title}, {look.note}" if look.note else title
    cells = [(title, marked(image.copy()))]
    for name, values in maps:
        heat = look.picture(scale_colors(stretched(values, share)), width)
        cells.append((name, marked(Image.blend(image, heat, alpha))))
    most = "most" if share == 1 else f"top {100 - 100 * share:.0f} %"
    below = draw_scale("least", most, "attention, in each map by itself")
    return draw_panels(cells, columns, below)


@checked(model=segmenter("backbone", "load_image"))
def position_similarity(model: Any) -> Image.Image:
    """How alike the learned positions are (paper, Figure 8).

    A tile for each patch holds the cosine similarity of its position to those
    of all patches, laid out as these are. Of more than 12 rows or columns,
    12 are shown, evenly spaced; one scale holds for all tiles.

    Args:
        model: a segmenter on a `SETRBackbone` with learned positions.

    Returns:
        A `PIL.Image`; rows and columns are numbered from 1.

    Raises:
        ValueError: a model without learned positions.
    """
    check_transformer(model, "A position embedding")
    embedding = model.backbone.token_embedding
    if embedding.grid_size is None:
        raise ValueError(
            "model must have learned positions. Received: one with rotary "
            f"positions, rotary_base={model.backbone.rotary_base}, which have "
            "no weights."
        )
    similar = cosine_similarity(on_host(embedding.positions))
    rows, columns, *_ = similar.shape
    low = float(similar.min())
    shown = [_spaced(rows), _spaced(columns)]
    tile = (_TILE, max(round(_TILE * rows / columns), 1))
    step = [tile[1] + 4, tile[0] + 4]
    left = top = MARGIN + TEXT_SIZE + 12
    what = "cosine similarity of the position in that row and column to all"
    below = draw_scale(f"{low:.2f}", "1", what)
    size = (
        max(left + step[1] * len(shown[1]) + MARGIN, below.width),
        top + step[0] * len(shown[0]) + below.height,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, row in enumerate(shown[0]):
        y = top + i * step[0]
        middle = (left - 8, y + tile[1] / 2)
        draw.text(middle, str(row + 1), font=font(), fill=INK, anchor="rm")
        for j, column in enumerate(shown[1]):
            x = left + j * step[1]
            values = (similar[row, column] - low) / max(1 - low, 1e-6)
            picture = Image.fromarray(scale_colors(values))
            nearest = Image.Resampling.NEAREST
            sheet.paste(picture.resize(tile, nearest), (x, y))
    for j, column in enumerate(shown[1]):
        middle = (left + j * step[1] + tile[0] / 2, top - 6)
        text = str(column + 1)
        draw.text(middle, text, font=font(), fill=INK, anchor="mb")
    sheet.paste(below, (0, size[1] - below.height))
    return sheet


def _spaced(count):
    """Up to 12 of `count`, the first and the last among them."""
    return np.unique(
        np.rint(np.linspace(0, count - 1, min(count, _TILES))).astype(int)
    ).tolist()


def cosine_similarity(positions: np.ndarray) -> np.ndarray:
    """`(h, w, D)` to `(h, w, h, w)`, that of each with each; 0 of a zero."""
    norms = np.linalg.norm(positions, axis=-1, keepdims=True)
    unit = positions / np.maximum(norms, np.finfo("float32").tiny)
    return np.einsum("ijd,kld->ijkl", unit, unit, optimize=True)
