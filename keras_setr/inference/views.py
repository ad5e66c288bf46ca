"""Which windows of which sizes: the published tests, as one record.

A view is one scaled, perhaps mirrored look at an image. Its windows are those
of the authors' code and of mmsegmentation: they step by `stride` from the top
left corner, and the last one of a row or column is shifted back to end at the
border. The two codes differ in how `scales` are meant and in images smaller
than a window, which is a `Protocol`.
"""

import collections
import dataclasses
from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import sequence
from keras_setr.arguments import string

# "multi-scale image scaling with factors (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# and random horizontal flip" (paper, section 4.1).
PAPER_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@checked(length=integer(1), window=integer(1), stride=integer(1))
def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one axis; each lies within `length`."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [
        max(min(index * stride, length - window), 0) for index in range(count)
    ]


@checked(
    size=pair(1),
    window_size=pair(1),
    stride=pair(1),
    flip=flag(),
    weight=integer(1),
)
@dataclasses.dataclass(frozen=True)
class View:
    """One scaled, perhaps mirrored look at an image.

    Attributes:
        size: `(H', W')` of the scaled image.
        window_size: `(h, w)`, at most `size`.
        stride: `(int, int)`.
        flip: bool. Whether the windows lie on the mirrored image. All
            coordinates here are those of the image as it is.
        weight: int. How many equal views this one stands for: scales that
            come to one size are run once, and count as often as they were
            asked for in the mean over views.
    """

    size: tuple
    window_size: tuple
    stride: tuple
    flip: bool = False
    weight: int = 1

    def tops(self) -> list[int]:
        return window_starts(self.size[0], self.window_size[0], self.stride[0])

    def lefts(self) -> list[int]:
        lefts = window_starts(self.size[1], self.window_size[1], self.stride[1])
        if self.flip:
            end = self.size[1] - self.window_size[1]
            return [end - left for left in reversed(lefts)]
        return lefts

    def bands(self) -> Any:
        """The rows of windows, in groups that run column by column.

        A group is one row. Only the last two rows go together where the last
        one, shifted back, overlaps the one before by more than the others do:
        what two groups share is held for the whole width of the image.
        """
        tops = self.tops()
        h, stride = self.window_size[0], self.stride[0]
        bands = [[top] for top in tops]
        if len(tops) > 1 and tops[-1] - tops[-2] < min(stride, h):
            bands[-2:] = [tops[-2:]]
        return bands


def _fit(image_size, sides):
    """The largest factor with which the image fits into the two sides."""
    return min(
        max(sides) / max(image_size),
        min(sides) / min(image_size),
    )


@checked(image_size=pair(1), window_size=pair(1), factor=number(above=0))
def covering_size(
    image_size: tuple[int, int],
    window_size: tuple[int, int],
    factor: float = 1.0,
) -> tuple[int, ...]:
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


@checked(
    name=string(),
    scales_of=choice("base", "image"),
    enlarges=flag(),
    source=string(),
)
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

    @checked(
        image_size=pair(1),
        window_size=pair(1),
        scale=optional(number(above=0)),
        base_scale=optional(pair(1)),
    )
    def view_size(
        self,
        image_size: tuple[int, int],
        window_size: tuple[int, int],
        scale: Any = None,
        base_scale: tuple[int, int] | None = None,
    ) -> tuple[int, ...]:
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


@checked(
    window_size=optional(pair(1)),
    stride=optional(pair(1)),
    scales=optional(
        either(
            choice("paper"),
            sequence(number(above=0, maximum=100), minimum_length=1),
        )
    ),
    flip=optional(flag()),
    protocol=either(choice(*PROTOCOLS), instance("a Protocol", Protocol)),
    base_scale=optional(pair(1, 65_536)),
    blend=choice("auto", "device", "host"),
)
@dataclasses.dataclass(frozen=True)
class Views:
    """How images are looked at: what `predict` and its like take as options.

    Args:
        window_size: int or `(h, w)`, multiples of the patch size. Defaults to
            the model's image size, or, where that is not fixed, to that of
            its learned positions.
        stride: int or `(int, int)`, at most the window. Defaults to two
            thirds of it.
        scales: sequence of float, one view each, or `"paper"`: 0.5, 0.75, 1,
            1.25, 1.5 and 1.75 with flip. Defaults to a single view.
        flip: bool. Look at each view mirrored, too. Defaults to False, except
            with `scales="paper"`.
        protocol: `"authors"`, `"mmsegmentation"` or a `Protocol`: what
            `scales` multiply, and what happens to views smaller than a
            window. The authors' enlarges them, mmsegmentation's runs them as
            they are, which compiles the model once more for each size in
            patches below the window's.
        base_scale: int or `(int, int)`. The sides into which images are
            fitted before they are cut. Defaults to the size of each image.
        blend: where windows are averaged. `"device"`: where the model runs,
            and only the result comes back. `"host"`: by NumPy, band by band,
            in memory that does not grow with the height of an image.
            `"auto"`: on the device if it is an accelerator, for images whose
            sums take at most 2 GiB there (`on_device.BUDGET`) and whose
            windows are not smaller than `window_size`. The labels are the
            same but for ties within rounding.

    Raises:
        ValueError: a value breaks its rule, or the stride exceeds the window.
        TypeError: a name that is none of these.
    """

    window_size: tuple | None = None
    stride: tuple | None = None
    scales: tuple | str | None = None
    flip: bool | None = None
    protocol: str | Protocol = "authors"
    base_scale: tuple | None = None
    blend: str = "auto"

    def __post_init__(self):
        if self.window_size and self.stride:
            if any(s > w for s, w in zip(self.stride, self.window_size)):
                raise ValueError(
                    "stride must be at most the window, or pixels would be "
                    f"left out. Received: stride={self.stride}, "
                    f"window_size={self.window_size}."
                )

    def options(self) -> dict[str, Any]:
        """The keyword arguments that make this record; defaults left out."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @checked(image_size=pair(1))
    def of(self, image_size: tuple[int, int]) -> list[View]:
        """The different `View`s of an image; equal ones are run once.

        Args:
            image_size: `(H, W)`.

        Raises:
            ValueError: there is no `window_size`.
        """
        if self.window_size is None:
            raise ValueError("window_size must be given. Received: None.")
        window = self.window_size
        # 512 -> 341, 768 -> 512 and 480 -> 320: the published strides.
        stride = self.stride or tuple(max(w * 2 // 3, 1) for w in window)
        protocol, scales, flip = self.protocol, self.scales, self.flip
        if isinstance(protocol, str):
            protocol = PROTOCOLS[protocol]
        if flip is None:
            flip = scales == "paper"
        scales = PAPER_SCALES if scales == "paper" else scales or (None,)
        sizes = collections.Counter(
            protocol.view_size(image_size, window, scale, self.base_scale)
            for scale in scales
        )
        return [
            View(
                size,
                tuple(min(w, s) for w, s in zip(window, size)),
                stride,
                flip=flipped,
                weight=count,
            )
            for size, count in sizes.items()
            for flipped in ((False, True) if flip else (False,))
        ]


VIEW_OPTIONS = tuple(field.name for field in dataclasses.fields(Views))
