"""What labels and logits tell pixel by pixel: errors and uncertainty."""

from typing import Any

import numpy as np
from PIL import Image

from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.visualization.drawing import WIDTH
from keras_setr.visualization.drawing import checked_labels
from keras_setr.visualization.drawing import draw_legend
from keras_setr.visualization.drawing import draw_panels
from keras_setr.visualization.drawing import draw_scale
from keras_setr.visualization.drawing import hatch
from keras_setr.visualization.drawing import height_at
from keras_setr.visualization.drawing import scale_colors
from keras_setr.visualization.drawing import with_share
from keras_setr.visualization.overlays import check_size
from keras_setr.visualization.overlays import shown_image

# Vermilion and a blue, which all readers tell apart.
_WRONG, _RIGHT = (213, 94, 0), (86, 146, 200)


@checked(
    ignore_class=optional(integer()),
    width=WIDTH,
    alpha=number(0, 1),
)
def error_map(
    image: Any,
    truth: np.ndarray,
    prediction: np.ndarray,
    ignore_class: int | None = 255,
    width: int = 640,
    alpha: float = 0.65,
) -> Image.Image:
    """Where a prediction is wrong, laid over the grey image.

    Args:
        image: as for `overlay`.
        truth: `(H, W)` or `(H, W, 1)` integers of the image's size.
        prediction: the same.
        ignore_class: int or None. Pixels whose truth it is are hatched and
            count nowhere.
        width: int. Pixels of the map.
        alpha: float in 0..1. Share of the colours.

    Returns:
        A `PIL.Image` with a legend: the shares of right and wrong pixels.

    Raises:
        ValueError: labels of another size than the image.
    """
    image = shown_image(image)
    truth, prediction = checked_labels(truth), checked_labels(prediction)
    check_size("truth", truth, image)
    check_size("prediction", prediction, image)
    ignored = np.zeros(truth.shape, bool)
    if ignore_class is not None:
        ignored = truth == ignore_class
    wrong = (truth != prediction) & ~ignored
    colors = np.where(wrong[..., None], _WRONG, _RIGHT)
    grey = image.mean(axis=-1, keepdims=True)
    mixed = np.rint((1 - alpha) * grey + alpha * colors).astype("uint8")
    picture = np.array(_at_width(mixed, width))
    hidden = np.asarray(
        _at_width(ignored, width, Image.Resampling.NEAREST), bool
    )
    picture[hidden] = 0
    picture[hidden & hatch(*hidden.shape)] = 70
    counted = max(truth.size - ignored.sum(), 1)
    share = wrong.sum() / counted
    names: list[tuple[str, Any]] = [
        (with_share("wrong", share), _WRONG),
        (with_share("right", 1 - share), _RIGHT),
    ]
    if ignored.any():
        names.append(("ignored", None))
    below = draw_legend(names, width)
    return draw_panels([("", Image.fromarray(picture))], 1, below)


@checked(maximum=optional(number(above=0)), width=WIDTH)
def entropy_map(
    entropy: np.ndarray,
    maximum: float | None = None,
    width: int = 640,
) -> Image.Image:
    """How undecided a model is in each pixel, with a scale.

    Args:
        entropy: `(H, W)` of at least 0, in nats, as
            `model.segment(image, entropy=True)` gives it; its maximum for K
            classes is ln K. Or any other such map.
        maximum: number. What the lightest colour stands for. Defaults to the
            largest value that there is.
        width: int. Pixels of the map.

    Returns:
        A `PIL.Image`.

    Raises:
        ValueError: `entropy` is not `(H, W)`, or holds values below 0, NaN or
            infinity.
    """
    entropy = np.asarray(entropy)
    if entropy.ndim != 2 or not entropy.size or entropy.dtype.kind != "f":
        raise ValueError(
            "entropy must be floats (H, W). Received: "
            f"{entropy.dtype} {entropy.shape}; it is the second of what "
            "model.segment(image, entropy=True) gives."
        )
    if not (np.isfinite(entropy) & (entropy >= 0)).all():
        raise ValueError(
            "entropy must be finite and at least 0 in all pixels. Received: "
            f"values in {entropy.min()}..{entropy.max()}."
        )
    top = entropy.max() if maximum is None else maximum
    share = np.clip(entropy / (top or 1), 0, 1)
    picture = _at_width(scale_colors(share), width)
    below = draw_scale("0", f"{top:.2f}", "entropy in nats")
    return draw_panels([("", picture)], 1, below)


def _at_width(array, width, resampling=Image.Resampling.BILINEAR):
    height = height_at(width, array)
    return Image.fromarray(array).resize((width, height), resampling)
