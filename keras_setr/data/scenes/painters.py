"""What a street scene is painted on and under: sky, houses, ground, light."""

import numpy as np

from keras_setr.data.scenes.canvas import BUILDING
from keras_setr.data.scenes.canvas import ROAD
from keras_setr.data.scenes.canvas import SIDEWALK
from keras_setr.data.scenes.canvas import TERRAIN
from keras_setr.data.scenes.canvas import VEGETATION
from keras_setr.data.scenes.things import foliage
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
        canvas.paint(where, hedge, foliage(draws, *shape), VEGETATION)


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
