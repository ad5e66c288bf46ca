"""Where windows lie on an image, and in which order they run.

The grid is that of the authors' code and of mmsegmentation: windows step by
`stride` from the top left corner, and the last one of a row or column is
shifted back to end at the border.
"""

import dataclasses


def window_starts(length, window, stride):
    """Where windows begin along one axis; each lies within `length`."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [
        max(min(index * stride, length - window), 0) for index in range(count)
    ]


def window_grid(image_size, window_size, stride):
    """The `(top, left)` corners of all windows, row by row."""
    rows, columns = (
        window_starts(*axis) for axis in zip(image_size, window_size, stride)
    )
    return [(top, left) for top in rows for left in columns]


@dataclasses.dataclass(frozen=True)
class View:
    """One scaled, perhaps mirrored look at an image.

    Attributes:
        size: `(H', W')` of the scaled image.
        window_size: `(h, w)`, at most `size`.
        stride: `(int, int)`.
        flip: bool. Whether the windows lie on the mirrored image. All
            coordinates here are those of the image as it is.
        weight: int. How many equal views this one stands for.
    """

    size: tuple
    window_size: tuple
    stride: tuple
    flip: bool = False
    weight: int = 1

    def tops(self):
        return window_starts(self.size[0], self.window_size[0], self.stride[0])

    def lefts(self):
        lefts = window_starts(self.size[1], self.window_size[1], self.stride[1])
        if self.flip:
            end = self.size[1] - self.window_size[1]
            return [end - left for left in reversed(lefts)]
        return lefts

    def bands(self):
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
