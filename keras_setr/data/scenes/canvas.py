"""Where the parts of a street scene stand, and what they are painted on."""

import numpy as np

# Labels, in the order of the classes of `StreetScenes`.
ROAD, SIDEWALK, BUILDING, SKY, VEGETATION = range(5)
TERRAIN, POLE, SIGN, CAR, PERSON = range(5, 10)


class Draws:
    """The draws of one scene, by `random` and `integers` only."""

    def __init__(self, seed, index):
        self._generator = np.random.default_rng((seed, index))

    def between(self, low, high):
        return low + (high - low) * self._generator.random()

    def chance(self, probability):
        return self._generator.random() < probability

    def count(self, low, high):
        """An integer in low..high, both included."""
        return int(self._generator.integers(low, high + 1))

    def color(self, colors, spread=18):
        """One of `colors`, each channel moved by up to `spread`."""
        color = np.array(colors[self.count(0, len(colors) - 1)], "float32")
        return color + spread * (2 * self.grain((3,)) - 1)

    def grain(self, shape):
        return self._generator.random(shape, dtype="float32")

    def clouds(self, height, width, cell):
        """Smooth noise in 0..1, `(height, width)`, features `cell` wide."""
        rows = np.arange(height, dtype="float32") / np.float32(cell)
        columns = np.arange(width, dtype="float32") / np.float32(cell)
        row, column = rows.astype(int), columns.astype(int)
        grid = self.grain((row[-1] + 2, column[-1] + 2))
        rows, columns = rows[:, None] % 1, columns % 1
        grid = grid[row] * (1 - rows) + grid[row + 1] * rows
        return grid[:, column] * (1 - columns) + grid[:, column + 1] * columns


class Canvas:
    """Image and label under construction; the last one to paint is in front."""

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.image = np.zeros((height, width, 3), "float32")
        self.label = np.full((height, width), SKY, "uint8")
        self.y = np.arange(height, dtype="float32")[:, None]
        self.x = np.arange(width, dtype="float32")[None, :]

    def box(self, top, bottom, left, right):
        """`(slices, y, x)` of the part of a box that lies in the picture."""
        rows = slice(max(int(top), 0), max(int(bottom) + 1, 0))
        columns = slice(max(int(left), 0), max(int(right) + 1, 0))
        return (rows, columns), self.y[rows], self.x[:, columns]

    def band(self, top, bottom):
        """`(slices, y, x, (rows, columns))` of all columns between two rows."""
        where, y, x = self.box(top, bottom, 0, self.width)
        return where, y, x, (y.size, x.size)

    def paint(self, where, mask, color, label=None):
        """Paints `mask` of the box `where`; None keeps the label."""
        image = self.image[where]
        np.copyto(image, color, where=mask[..., None])
        if label is not None:
            self.label[where][mask] = label

    def rectangle(self, top, bottom, left, right, color, label=None):
        """Paints rows `top` to `bottom` of columns `left` to `right`."""
        where, y, x = self.box(top, bottom, left, right)
        mask = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        self.paint(where, mask, color, label)

    def trapezoid(self, top, bottom, upper, lower, color, label=None):
        """Between `upper` = (left, right) at the top and `lower` below."""
        where, y, x = self.box(
            top, bottom, min(upper[0], lower[0]), max(upper[1], lower[1])
        )
        t = (y - top) / max(bottom - top, 1)
        left = upper[0] + (lower[0] - upper[0]) * t
        right = upper[1] + (lower[1] - upper[1]) * t
        mask = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        self.paint(where, mask, color, label)

    def ellipse(self, y0, x0, ry, rx, color, label=None):
        where, y, x = self.box(y0 - ry, y0 + ry, x0 - rx, x0 + rx)
        mask = ((y - y0) / ry) ** 2 + ((x - x0) / rx) ** 2 < 1
        self.paint(where, mask, color, label)

    def shade(self, y0, x0, ry, rx, factor):
        """Darkens an ellipse, as a shadow on the ground does."""
        where, y, x = self.box(y0 - ry, y0 + ry, x0 - rx, x0 + rx)
        distance = ((y - y0) / ry) ** 2 + ((x - x0) / rx) ** 2
        factor = factor + (1 - factor) * np.minimum(distance, 1)
        self.image[where] *= factor[..., None]


class Street:
    """Where things stand: the vanishing point and what leads to it."""

    def __init__(self, draws, height, width):
        self.horizon = height * draws.between(0.36, 0.46)
        self.center = width * draws.between(0.35, 0.65)
        self.depth = height - self.horizon
        self.road = (
            width * draws.between(-0.30, 0.08),
            width * draws.between(0.92, 1.30),
        )
        # Rows between the horizon and the far end of the street.
        self.verge = 0.03 * height
        pavement = width * draws.between(0.35, 0.55)
        self.pavement = (self.road[0] - pavement, self.road[1] + pavement)
        # Rows per column by which the foot of the houses falls sideways: up to
        # 0.4 H over the width of any picture.
        self.slope = draws.between(0.12, 0.36) * height / width

    def foot(self, x):
        """Row in which the house front at column x stands on the ground."""
        sideways = np.abs(x - self.center)
        return self.horizon + 0.4 * self.verge + self.slope * sideways

    def at(self, x, nearness):
        """Column on the line from the vanishing point to (bottom row, x)."""
        return self.center + (x - self.center) * nearness

    def row(self, nearness):
        """Row of the ground at nearness 0 (horizon) .. 1 (bottom)."""
        return self.horizon + self.depth * nearness
