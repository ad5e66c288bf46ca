"""The published test protocols: at which sizes an image is looked at.

Both slide the same windows and average logits where they overlap. They differ
in how `scales` are meant and in images smaller than a window.
"""

import dataclasses

# "multi-scale image scaling with factors (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# and random horizontal flip" (paper, section 4.1).
PAPER_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How one published code scales its test images.

    Without `scales` both fit the image into the base scale, if there is one,
    keeping its aspect ratio. What then does not hold a window is enlarged until
    it does by the paper's rule (section 4.1), in the authors' protocol: images
    of Pascal Context, fitted into 520 x 520, come to a shorter side of 480,
    the window, where the authors' last code refuses them. Its first release
    had 520, which is `scales=(1.0,)`.

    With several views both average the softmax of
    their logits, resized to the image first, and take the largest.

    Attributes:
        name: str.
        scales_of: what each of `scales` multiplies. `"base"`: the base scale,
            whose shorter side then becomes that of the image, however long
            the other gets. `"image"`: the image itself.
        enlarges: bool. Whether a view that does not hold a window is enlarged
            until it does. If not, it gets smaller windows.
        source: str. Where it is written.
    """

    name: str
    scales_of: str
    enlarges: bool
    source: str

    def view_size(self, image_size, window_size, scale=None, base_scale=None):
        """`(H', W')` at which an image of `image_size` is looked at.

        Args:
            image_size: `(H, W)`.
            window_size: `(h, w)`.
            scale: float, or None for the test at a single scale.
            base_scale: the two sides into which images fit, in any order, or
                None for the size of the image.
        """
        shorter = min(image_size)
        if scale is None:
            factor = _fit(image_size, base_scale or image_size)
        elif self.scales_of == "base":
            factor = int(min(base_scale or image_size) * scale) / shorter
        else:
            scaled = [int(side * scale + 0.5) for side in image_size]
            factor = _fit(image_size, scaled)
        if not self.enlarges:
            return tuple(max(int(s * factor + 0.5), 1) for s in image_size)
        return covering_size(image_size, window_size, factor)


def _fit(image_size, sides):
    """The largest factor with which the image fits into the two sides."""
    return min(
        max(sides) / max(image_size),
        min(sides) / min(image_size),
    )


def covering_size(image_size, window_size, factor=1.0):
    """The scaled size, at least such that the image holds one window.

    "If the shorter side is smaller than the size of the sliding window, the
    image is scaled with its shorter side to the size of the sliding window"
    (paper, section 4.1). The aspect ratio is kept.
    """
    least = max(w / s for s, w in zip(image_size, window_size))
    if factor >= least:
        return tuple(int(s * factor + 0.5) for s in image_size)
    return tuple(
        max(int(s * least + 0.5), w) for s, w in zip(image_size, window_size)
    )


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "authors",
            scales_of="base",
            enlarges=True,
            source="fudan-zvg/SETR, mmseg/datasets/pipelines/transforms.py, "
            "setr_multi_scale; small images as in the paper, section 4.1",
        ),
        Protocol(
            "mmsegmentation",
            scales_of="image",
            enlarges=False,
            source="mmsegmentation 1.2.2, tta_pipeline, SegTTAModel and "
            "EncoderDecoder.slide_inference",
        ),
    )
}


def resolve_protocol(protocol):
    """A `Protocol` from its name or itself."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"protocol must be one of {sorted(PROTOCOLS)} or a Protocol. "
            f"Received: {protocol!r}."
        )
    return PROTOCOLS[protocol]


def resolve_scales(scales, flip):
    """`(scales, flip)` with `"paper"` spelled out.

    Args:
        scales: None, a sequence of positive numbers, or `"paper"`.
        flip: bool, or None: with the paper's scales, as in the paper, and not
            otherwise.
    """
    if flip is None:
        flip = isinstance(scales, str)
    if scales is None:
        return (None,), flip
    if isinstance(scales, str) and scales == "paper":
        return PAPER_SCALES, flip
    try:
        scales = tuple(float(scale) for scale in scales)
        wrong = not scales or min(scales) <= 0
    except (TypeError, ValueError):
        wrong = True
    if wrong:
        raise ValueError(
            "scales must be positive numbers, such as (0.5, 1.0), or 'paper' "
            f"for {PAPER_SCALES} with flip. Received: {scales!r}."
        )
    return scales, flip
