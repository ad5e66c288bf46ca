"""Synthetic street scenes with labels, drawn from a seed.

They stand in for a driving dataset where none is at hand: nothing to download,
exact labels, any size, and a small vision transformer learns them in minutes.

Every number comes from `numpy.random.Generator.random` and `integers`, and the
pixels from NumPy's elementwise arithmetic alone. Both give the same bits on
every platform; transcendental functions, sums and drawing libraries do not.
"""

import json
import operator
import os
import pathlib
import warnings
from typing import Any

import numpy as np
from PIL import Image

from keras_setr.arguments import checked
from keras_setr.arguments import index_of
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import path
from keras_setr.arguments import string
from keras_setr.classes import Classes
from keras_setr.data.scenes import painters
from keras_setr.data.scenes.canvas import Canvas
from keras_setr.data.scenes.canvas import Draws
from keras_setr.data.scenes.canvas import Street
from keras_setr.data.scenes.things import things
from keras_setr.facts.label_rule import UNLABELLED
from keras_setr.files.masks import save_labels
from keras_setr.files.whole import written_whole
from keras_setr.tables import counted
from keras_setr.tables import listed

_CLASSES = Classes(
    names=(
        "road",
        "sidewalk",
        "building",
        "sky",
        "vegetation",
        "terrain",
        "pole",
        "traffic sign",
        "car",
        "person",
    ),
    palette=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (70, 130, 180),
        (107, 142, 35),
        (152, 251, 152),
        (153, 153, 153),
        (220, 220, 0),
        (0, 0, 142),
        (220, 20, 60),
    ),
)


class StreetScenes:
    """A sequence of `num_scenes` pairs `(image, label)`.

    `scenes[i]` is an `(H, W, 3)` uint8 image and its `(H, W)` uint8 label: a
    street seen from a car, with building fronts, trees, poles, traffic signs,
    parked and moving cars and people who hide one another. A thin frame and
    the bonnet of the car carry the label `ignore_class`.

    Sizes follow H: a pole is about H / 10 wide, a person 0.45 H tall.

    Args:
        num_scenes: int. Length of the sequence.
        image_size: `(H, W)`, each at least 64, below which people and poles
            are lost.
        seed: int. Scene i of one seed is always the same, whatever
            `num_scenes`; take another seed for validation.

    Raises:
        ValueError: an argument is out of range.
    """

    classes = _CLASSES
    num_classes = len(_CLASSES)
    ignore_class = UNLABELLED

    @checked(num_scenes=integer(1), image_size=pair(64), seed=integer(0))
    def __init__(
        self,
        num_scenes: int,
        image_size: tuple[int, int] = (128, 192),
        seed: int = 0,
    ) -> None:
        self.num_scenes = num_scenes
        self.image_size = image_size
        self.seed = seed

    def __len__(self) -> int:
        return self.num_scenes

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        index = index_of(index, self.num_scenes, "scene")
        return _draw_scene(self.image_size, self.seed, index)

    @checked(directory=path(), subset=optional(string()))
    def write(
        self, directory: str | os.PathLike[str], subset: str | None = None
    ) -> Any:
        """Writes `images/` and `masks/` for `SegmentationFolder`.

        Files are `images/scene_0000.png` and `masks/scene_0000.png`, or
        `images/train/..` and `masks/train/..` with `subset="train"`. The
        class names and their colours go to `classes.json`.

        Args:
            directory: path, made where missing.
            subset: optional str.

        Returns:
            The directory, a `pathlib.Path`.

        Warns:
            UserWarning: other files are there as well, which stay.
        """
        directory = pathlib.Path(directory)
        images = directory / "images" / (subset or "")
        masks = directory / "masks" / (subset or "")
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        names = [f"scene_{index:04d}.png" for index in range(self.num_scenes)]
        there = {file.name for file in images.iterdir() if file.is_file()}
        further = there - {*names}
        if further:
            warnings.warn(
                f"{images} holds {counted(len(further), 'further file')}, "
                f"which are read with the scenes: {listed(sorted(further), 3)}."
                " Write to another directory, or remove them.",
                stacklevel=2,
            )
        for index, name in enumerate(names):
            image, label = self[index]
            with written_whole(images / name) as partial:
                Image.fromarray(image).save(partial)
            save_labels(masks / name, label, self.classes)
        classes = {
            "names": self.classes.names,
            "palette": self.classes.palette,
        }
        with written_whole(directory / "classes.json") as partial:
            partial.write_text(json.dumps(classes), encoding="utf-8")
        return directory


def _draw_scene(image_size, seed, index):
    height, width = image_size
    draws = Draws(seed, index)
    canvas = Canvas(height, width)
    street = Street(draws, height, width)
    painters.sky(canvas, draws, street)
    painters.houses(canvas, draws, street)
    painters.ground(canvas, draws, street)
    # From far to near, so that near things hide far ones.
    standing = things(draws)
    for nearness, _, thing in sorted(standing, key=operator.itemgetter(0, 1)):
        thing(canvas, draws, street, nearness)
    painters.light(canvas, draws, street)
    painters.own_car(canvas, draws)
    # Noise of the sensor, +-7 grey levels.
    noisy = canvas.image + (14 * draws.grain((height, width, 3)) - 7)
    image = np.clip(noisy, 0, 255).astype("uint8")
    return image, canvas.label
