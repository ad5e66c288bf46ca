"""The parts of a street scene, each painted from draws of its own."""

import numpy as np

from keras_setr.data.scenes.canvas import BUILDING
from keras_setr.data.scenes.canvas import CAR
from keras_setr.data.scenes.canvas import PERSON
from keras_setr.data.scenes.canvas import POLE
from keras_setr.data.scenes.canvas import ROAD
from keras_setr.data.scenes.canvas import SIDEWALK
from keras_setr.data.scenes.canvas import SIGN
from keras_setr.data.scenes.canvas import TERRAIN
from keras_setr.data.scenes.canvas import VEGETATION
from keras_setr.facts.label_rule import UNLABELLED

_SKIES = ((112, 158, 214), (168, 186, 204), (196, 196, 198), (214, 182, 168))
# Each class has colours of its own tendency, so that a small model learns the
# scenes within minutes; light, shadow and texture still blur them.
_WALLS = (
    (150, 82, 66),
    (176, 126, 92),
    (172, 132, 72),
    (138, 92, 84),
)
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


def sky(canvas, draws, street):
    bottom = max(street.foot(0), street.foot(canvas.width))
    where, y, _, shape = canvas.band(0, bottom)
    top = draws.color(_SKIES, 14)
    # Paler towards the horizon.
    pale = np.clip(y / street.horizon, 0, 1)[..., None] * 0.55
    clouds = draws.clouds(*shape, canvas.height / 5)[..., None]
    clouds = np.clip(clouds * 2.4 - 1.2, 0, 1) * 0.7
    sky = top + (226 - top) * pale
    canvas.image[where] = sky + (240 - sky) * clouds


def houses(canvas, draws, street):
    """House fronts side by side, taller and deeper away from the centre."""
    height, width = canvas.height, canvas.width
    bottom = max(street.foot(0), street.foot(width))
    where, y, x, shape = canvas.band(0, bottom)
    sideways = np.abs(x - street.center)
    foot = street.foot(x)
    edges = [0.0]
    while edges[-1] < width:
        far = 1 - min(abs(edges[-1] - street.center) / (0.5 * width), 1)
        edges.append(edges[-1] + height * draws.between(0.28, 0.6 - 0.2 * far))
    count = len(edges) - 1
    edges = np.array(edges, "float32")
    house = np.searchsorted(edges, x[0], side="right") - 1

    def per_house(draw):
        """One draw per house, laid out along the columns."""
        return np.array([draw() for _ in range(count)], "float32")[house]

    wall = per_house(lambda: draws.color(_WALLS))
    glass = per_house(lambda: draws.color(((54, 62, 74), (124, 150, 176))))
    rise = height * per_house(lambda: draws.between(0.16, 0.42))
    floor = height * per_house(lambda: draws.between(0.085, 0.13))
    bay = height * per_house(lambda: draws.between(0.07, 0.12))
    bricks = per_house(lambda: 22.0 if draws.chance(0.5) else 5.0)
    gap = per_house(lambda: draws.chance(0.15)) > 0

    roof = street.horizon - rise * (0.45 + 1.5 * sideways / width)
    below_roof, along = y - roof, x - edges[house]
    front = (below_roof >= 0) & (y < foot) & ~gap
    course = (y / (height / 42)) % 1 < 0.35
    grain = 26 * (draws.clouds(*shape, height / 50) - 0.5)
    color = wall - (bricks * course + grain)[..., None]
    u, v = (along / bay) % 1, (below_roof / floor) % 1
    window = (u > 0.28) & (u < 0.74) & (v > 0.34) & (v < 0.82)
    window &= y < foot - 0.5 * floor
    shine = (36 * draws.clouds(*shape, height / 12))[..., None]
    np.copyto(color, glass + shine, where=window[..., None])
    corner = (along < height / 85) | (below_roof < height / 45)
    np.copyto(color, 0.7 * wall, where=corner[..., None])
    canvas.paint(where, front, color, BUILDING)
    if gap.any():
        # Where no house stands, bushes close the view.
        top = street.horizon - height * 0.16 * draws.clouds(*shape, height / 14)
        hedge = gap & (y < foot) & (y > top)
        canvas.paint(where, hedge, _foliage(draws, *shape), VEGETATION)


def _foliage(draws, height, width):
    """Leaves in light and shade, a `(height, width, 3)` texture."""
    green = draws.color(((52, 92, 40), (70, 104, 36)), 14)
    coarse = draws.clouds(height, width, 6)
    leaves = 0.45 + 0.6 * coarse + 0.5 * draws.grain((height, width))
    return green * leaves[..., None]


def ground(canvas, draws, street):
    """Lawn, pavements and road, the latter two to the vanishing point."""
    height, width = canvas.height, canvas.width
    where, y, x, shape = canvas.band(street.horizon, height)
    green = draws.color(((136, 182, 78), (156, 188, 92)), 12)
    blades = 0.8 + 0.25 * draws.clouds(*shape, height / 16)
    blades = blades + 0.2 * draws.grain(shape)
    lawn = y >= street.foot(x)
    canvas.paint(where, lawn, green * blades[..., None], TERRAIN)

    t = (y - street.horizon - street.verge) / street.depth
    ahead = t > 0
    t = np.maximum(t, 0.001)
    left, right = (street.at(edge, t) for edge in street.pavement)
    slab = draws.color(((206, 172, 176), (196, 164, 160)), 10)
    # Joints between slabs crowd towards the horizon, as 1 / t.
    joints = ((2.5 / t) % 1 < 0.12) | (
        ((x - street.center) / (t * width * 0.16)) % 1 < 0.07
    )
    color = slab + (22 * draws.grain(shape) - 11 - 34 * joints)[..., None]
    mask = ahead & (x >= left) & (x < right)
    canvas.paint(where, mask, color, SIDEWALK)

    left, right = (street.at(edge, t) for edge in street.road)
    asphalt = draws.color(((92, 92, 98), (116, 114, 114), (74, 76, 84)), 8)
    patches = 26 * (draws.clouds(*shape, height / 7) - 0.5)
    color = asphalt + (patches + 26 * draws.grain(shape) - 13)[..., None]
    middle = street.at(sum(street.road) / 2, t)
    line = (np.abs(x - middle) < 0.018 * width * t) & ((1.2 / t) % 1 < 0.5)
    np.copyto(color, 214, where=line[..., None])
    curb = np.minimum(x - left, right - x) < 0.02 * width * t
    np.copyto(color, 1.4 * asphalt, where=curb[..., None])
    mask = ahead & (x >= left) & (x < right)
    canvas.paint(where, mask, color, ROAD)


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
    color = _foliage(draws, rows, columns)
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


def light(canvas, draws, street):
    """Time of day, tint, and the shadow of a house across the street."""
    height, width = canvas.height, canvas.width
    if draws.chance(0.5):
        lean, start = draws.between(-0.8, 0.8), draws.between(0.1, 0.9)
        where, y, x, _ = canvas.band(street.horizon, height)
        shaded = x < start * width + lean * (y - street.horizon)
        canvas.image[where] *= (1 - np.float32(0.28) * shaded)[..., None]
    gain = draws.between(0.74, 1.12)
    tint = 1 + 0.14 * (draws.grain((3,)) - 0.5)
    fall = 1 - draws.between(0, 0.2) * canvas.y / height
    canvas.image *= gain * tint * fall[..., None]


def own_car(canvas, draws):
    """The bonnet at the bottom and a dark frame, neither of them labelled."""
    height, width = canvas.height, canvas.width
    color = draws.color(((34, 36, 42), (120, 122, 126), (96, 24, 26)), 8)
    rise = height * draws.between(0.05, 0.09)
    where, y, x, _ = canvas.band(height - rise, height)
    bend = (x - width / 2) / (width * 0.46)
    crest = height - rise * (1 - bend * bend)
    gloss = 1.35 - 0.5 * (y - crest) / rise
    canvas.paint(where, y > crest, color * gloss[..., None], UNLABELLED)
    edge = max(height // 64, 2)
    for where in np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]:
        canvas.image[where] = 12
        canvas.label[where] = UNLABELLED
