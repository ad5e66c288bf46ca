"""What stands on the ground of a street scene, by draws of its own."""

import numpy as np

from keras_setr.data.scenes.canvas import CAR
from keras_setr.data.scenes.canvas import PERSON
from keras_setr.data.scenes.canvas import POLE
from keras_setr.data.scenes.canvas import SIGN
from keras_setr.data.scenes.canvas import VEGETATION

_PAINTS = (
    (36, 62, 150),
    (28, 84, 132),
    (38, 42, 84),
    (70, 58, 150),
)
_CLOTHES = (
    (226, 186, 44),
    (200, 50, 150),
    (232, 120, 36),
    (214, 70, 96),
)
_SKINS = ((232, 190, 160), (198, 144, 108), (126, 84, 60))
# (border, face) of a traffic sign.
_SIGNS = (
    ((204, 22, 30), (244, 244, 240)),
    ((244, 244, 240), (204, 22, 30)),
)


def things(draws):
    """`(nearness, order, painter)` of everything that stands on the ground."""
    painters = (
        [_tree] * draws.count(1, 3)
        + [_pole] * draws.count(1, 2)
        + [_parked_car] * draws.count(0, 2)
        + [_car_ahead] * draws.count(0, 2)
        + [_person] * draws.count(1, 3)
    )
    reach = {
        _tree: (0.08, 0.45),
        _pole: (0.25, 0.60),
        _parked_car: (0.25, 0.55),
        _car_ahead: (0.20, 0.75),
        _person: (0.35, 0.80),
    }
    return [
        (draws.between(*reach[painter]), order, painter)
        for order, painter in enumerate(painters)
    ]


def foliage(draws, height, width):
    """Leaves in light and shade, a `(height, width, 3)` texture."""
    green = draws.color(((52, 92, 40), (70, 104, 36)), 14)
    coarse = draws.clouds(height, width, 6)
    leaves = 0.45 + 0.6 * coarse + 0.5 * draws.grain((height, width))
    return green * leaves[..., None]


def _roadside(draws, street, nearness, offset):
    """Column beside the road; `offset` 0 at the kerb, 1 at the lawn."""
    side = draws.count(0, 1)
    edge = street.road[side]
    edge = edge + (street.pavement[side] - edge) * offset
    return street.at(edge, nearness)


def _tree(canvas, draws, street, nearness):
    unit = canvas.height * (0.75 + 0.7 * nearness)
    foot = street.row(nearness)
    x0 = _roadside(draws, street, nearness, draws.between(0.1, 1.6))
    half = 0.036 * unit
    bark = draws.color(((84, 66, 50), (104, 92, 80)), 10)
    crown = foot - draws.between(0.34, 0.48) * unit
    canvas.shade(foot, x0, 0.05 * unit, 0.2 * unit, 0.55)
    canvas.trapezoid(
        crown,
        foot,
        (x0 - 0.7 * half, x0 + 0.7 * half),
        (x0 - half, x0 + half),
        bark,
        VEGETATION,
    )
    ry = draws.between(0.15, 0.23) * unit
    rx = draws.between(0.14, 0.22) * unit
    where, y, x = canvas.box(
        crown - 1.3 * ry, crown + 1.3 * ry, x0 - 1.3 * rx, x0 + 1.3 * rx
    )
    rows, columns = y.size, x.size
    if not rows or not columns:
        return
    ragged = draws.clouds(rows, columns, canvas.height / 16)
    distance = ((y - crown) / ry) ** 2 + ((x - x0) / rx) ** 2
    # Lit from above.
    color = foliage(draws, rows, columns)
    color = color * (1.1 - 0.25 * (y - crown) / ry)[..., None]
    canvas.paint(where, distance < 0.75 + 0.55 * ragged, color, VEGETATION)


def _pole(canvas, draws, street, nearness):
    unit = canvas.height * (0.85 + 0.4 * nearness)
    foot = street.row(nearness)
    x0 = _roadside(draws, street, nearness, draws.between(0.1, 0.7))
    # A pole outside the picture would be no pole.
    x0 = min(max(x0, 0.06 * canvas.width), 0.94 * canvas.width)
    half = 0.05 * unit
    metal = draws.color(((56, 112, 112), (72, 132, 126)), 10)
    signed = draws.chance(0.7)
    tall = draws.between(0.5, 0.62) if signed else draws.between(0.6, 0.85)
    # The sign stays in the picture.
    top = max(foot - tall * unit, 0.14 * canvas.height if signed else 0)
    canvas.shade(foot, x0, 0.02 * unit, 0.08 * unit, 0.6)
    where, y, x = canvas.box(top, foot, x0 - half, x0 + half)
    # A round rod: bright left of the middle, dark at the edges.
    turn = (x - x0) / half
    shade = 1.3 - 0.55 * (turn + 0.3) ** 2
    mask = (y >= top) & (y < foot) & (np.abs(turn) < 1)
    canvas.paint(where, mask, metal * shade[..., None], POLE)
    if signed:
        _sign(canvas, draws, top + 0.05 * unit, x0, 0.14 * unit)


def _sign(canvas, draws, y0, x0, radius):
    """A round, diamond-shaped or square sign with a rim and a symbol."""
    radius = radius * draws.between(0.95, 1.25)
    border, face = _SIGNS[draws.count(0, len(_SIGNS) - 1)]
    shape = draws.count(0, 2)
    where, y, x = canvas.box(y0 - radius, y0 + radius, x0 - radius, x0 + radius)
    dy, dx = np.abs(y - y0) / radius, np.abs(x - x0) / radius
    if shape == 0:
        distance = np.sqrt(dy * dy + dx * dx)
    elif shape == 1:
        distance = dy + dx
    else:
        distance = np.maximum(dy, dx) * 1.15
    canvas.paint(where, distance < 1, border, SIGN)
    canvas.paint(where, distance < 0.78, face)
    symbol = (
        (dy < 0.5) & (dx < 0.14)
        if draws.chance(0.5)
        else ((dy < 0.14) & (dx < 0.5))
    )
    canvas.paint(where, symbol, border)


def _car_ahead(canvas, draws, street, nearness):
    """A car on the road, seen from behind or in front."""
    lane = draws.between(0.12, 0.88)
    left, right = street.road
    x0 = street.at(left + (right - left) * lane, nearness)
    _car(canvas, draws, street, nearness, x0, from_side=False)


def _parked_car(canvas, draws, street, nearness):
    x0 = _roadside(draws, street, nearness, draws.between(-0.1, 0.5))
    _car(canvas, draws, street, nearness, x0, from_side=draws.chance(0.6))


def _car(canvas, draws, street, nearness, x0, from_side):
    unit = canvas.height * (0.16 + 0.5 * nearness)
    foot = street.row(nearness)
    half = unit * (draws.between(0.8, 0.95) if from_side else 0.5)
    tall = unit * draws.between(0.68, 0.8)
    paint = draws.color(_PAINTS)
    belt = foot - 0.55 * tall
    roof = foot - tall
    glass = draws.color(((44, 54, 66), (96, 116, 134)), 10)
    black = np.array((26, 26, 28), "float32")
    canvas.shade(foot, x0, 0.18 * unit, 1.2 * half, 0.4)
    narrow = 0.62 if from_side else 0.78
    for inset, color in ((0, paint * np.float32(0.92)), (0.07 * unit, glass)):
        canvas.trapezoid(
            roof + inset,
            belt + 1,
            (x0 - narrow * half + inset, x0 + narrow * half - inset),
            (x0 - 0.92 * half + inset, x0 + 0.92 * half - inset),
            color,
            CAR,
        )
    wheel = 0.17 * unit
    for side in (-1, 1):
        if from_side:
            canvas.ellipse(
                foot - 0.8 * wheel,
                x0 + side * 0.6 * half,
                wheel,
                wheel,
                black,
                CAR,
            )
        else:
            middle = x0 + side * 0.74 * half
            canvas.rectangle(
                foot - wheel,
                foot,
                middle - 0.2 * half,
                middle + 0.2 * half,
                black,
                CAR,
            )
    # The body catches light on top and darkens towards the sills.
    bottom = foot - 0.13 * unit
    where, y, x = canvas.box(belt, bottom, x0 - half, x0 + half)
    mask = (y >= belt) & (y < bottom) & (np.abs(x - x0) < half)
    light = 1.12 - 0.4 * (y - belt) / (bottom - belt)
    canvas.paint(where, mask, paint * light[..., None], CAR)
    if from_side:
        canvas.rectangle(roof, belt, x0 - 0.03 * unit, x0 + 0.03 * unit, paint)
        for side in (-1, 1):
            canvas.ellipse(
                foot - 0.8 * wheel,
                x0 + side * 0.6 * half,
                0.5 * wheel,
                0.5 * wheel,
                (168, 168, 172),
            )
        return
    lamp = ((206, 34, 30), (248, 240, 206))[draws.count(0, 1)]
    for side in (-1, 1):
        middle = x0 + side * 0.78 * half
        canvas.rectangle(
            belt + 0.08 * unit,
            belt + 0.19 * unit,
            middle - 0.14 * half,
            middle + 0.14 * half,
            lamp,
        )
    plate = 0.28 * half
    canvas.rectangle(
        bottom - 0.14 * unit,
        bottom - 0.05 * unit,
        x0 - plate,
        x0 + plate,
        (226, 226, 220),
    )


def _person(canvas, draws, street, nearness):
    unit = canvas.height * (0.33 + 0.2 * nearness)
    foot = street.row(nearness)
    if draws.chance(0.7):
        x0 = _roadside(draws, street, nearness, draws.between(0.1, 0.9))
    else:
        x0 = draws.between(0.1, 0.9) * canvas.width
    x0 = min(max(x0, 0.05 * canvas.width), 0.95 * canvas.width)
    coat, legs = draws.color(_CLOTHES), draws.color(_CLOTHES) * 0.7
    skin, hair = draws.color(_SKINS, 8), draws.color(((50, 38, 30),), 20)
    half = 0.18 * unit * draws.between(0.95, 1.2)
    neck, hip = foot - 0.80 * unit, foot - 0.42 * unit
    canvas.shade(foot, x0, 0.05 * unit, 0.3 * unit, 0.5)
    canvas.trapezoid(
        hip - 1,
        foot,
        (x0 - 0.8 * half, x0 + 0.8 * half),
        (x0 - 0.9 * half, x0 + 0.9 * half),
        legs,
        PERSON,
    )
    seam = 0.1 * half
    canvas.rectangle(
        hip + 0.1 * unit, foot, x0 - seam, x0 + seam, legs * np.float32(0.5)
    )
    canvas.trapezoid(
        neck,
        hip,
        (x0 - half, x0 + half),
        (x0 - 0.85 * half, x0 + 0.85 * half),
        coat,
        PERSON,
    )
    for side in (-1, 1):
        middle = x0 + side * 0.86 * half
        canvas.rectangle(
            neck + 0.03 * unit,
            hip + 0.04 * unit,
            middle - 0.2 * half,
            middle + 0.2 * half,
            coat * np.float32(0.78),
            PERSON,
        )
    radius = 0.115 * unit
    head = neck - 0.8 * radius
    canvas.ellipse(head, x0, 1.15 * radius, radius, hair, PERSON)
    canvas.ellipse(head + 0.3 * radius, x0, 0.8 * radius, 0.8 * radius, skin)
