"""Samples made of several: CutMix, mosaic and copy-paste for labelled maps.

Images and labels are mixed alike, and nothing is resized: what is unlabelled
in one sample stays so where it is shown.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import number
from keras_setr.facts.label_rule import UNLABELLED

_SHARE = number(0, 1)
# Of a mosaic, the least share of height and width that a sample shows.
_MARGIN = 0.25


@checked(mosaic=_SHARE, cutmix=_SHARE, copy_paste=_SHARE)
@dataclasses.dataclass(frozen=True)
class Mixing:
    """How often samples are mixed with others, in this order.

    Args:
        mosaic: probability that four samples share a crop, each in a corner
            at its own place, around a point in the middle half of height and
            width (arXiv 2004.10934, without its resize).
        cutmix: probability that a box shows another sample. Its area is a
            uniform share of the crop, its centre anywhere in it, and what
            lies beyond is cut off (arXiv 1905.04899).
        copy_paste: probability that the pixels of half of another sample's
            classes, rounded up, lie over this one (ClassMix, arXiv
            2007.07936; objects in arXiv 2012.07177).
    """

    mosaic: float = 0.0
    cutmix: float = 0.0
    copy_paste: float = 0.0

    def __call__(
        self,
        image: np.ndarray,
        label: np.ndarray,
        rng: np.random.Generator,
        draw: Callable[[], tuple[np.ndarray, np.ndarray]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """A sample mixed with others.

        Args:
            image: `(h, w, C)`.
            label: `(h, w)`, 255 for unlabelled.
            rng: `numpy.random.Generator`.
            draw: callable that gives another `(image, label)` of this size.

        Returns:
            `(image, label)`, new arrays where anything was mixed.
        """
        sample = image, label
        if rng.random() < self.mosaic:
            sample = _mosaic(sample, rng, draw)
        if rng.random() < self.cutmix:
            sample = _cutmix(sample, rng, draw())
        if rng.random() < self.copy_paste:
            sample = _copy_paste(sample, rng, draw())
        return sample


def _mosaic(sample, rng, draw):
    y, x = (
        int(rng.integers(int(side * _MARGIN), int(side * (1 - _MARGIN)) + 1))
        for side in sample[1].shape
    )
    for box in (np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]):
        sample = _pasted(sample, draw(), box)
    return sample


def _cutmix(sample, rng, other):
    size = sample[1].shape
    side = np.sqrt(rng.random())
    box = []
    for length, centre in zip(size, rng.integers(size)):
        half = side * length / 2
        start, stop = round(centre - half), round(centre + half)
        box.append(slice(max(start, 0), max(stop, 0)))
    return _pasted(sample, other, tuple(box))


def _copy_paste(sample, rng, other):
    classes = np.unique(other[1])
    classes = classes[classes != UNLABELLED]
    count = -(-len(classes) // 2)
    chosen = rng.choice(classes, count, replace=False) if count else classes
    return _pasted(sample, other, np.isin(other[1], chosen))


def _pasted(sample, other, where):
    """A sample that shows the other in a box or under a mask."""
    mixed = tuple(part.copy() for part in sample)
    for part, new in zip(mixed, other):
        part[where] = new[where]
    return mixed
