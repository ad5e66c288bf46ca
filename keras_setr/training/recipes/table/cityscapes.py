"""Cityscapes: the paper's Tables 1, 5 and 6, and the lists.

40_000 steps of 8 are 108 epochs of the 2,975 finely labelled images.
"""

import functools

from keras_setr.training.recipes.table import differences
from keras_setr.training.recipes.table.differences import MLA_RATE
from keras_setr.training.recipes.table.differences import NO_CONFIGURATION
from keras_setr.training.recipes.table.differences import PRETRAINING
from keras_setr.training.recipes.table.row import row

_naive = functools.partial(row, "naive", "large", "cityscapes")
_pup = functools.partial(row, "pup", "large", "cityscapes")
_mla = functools.partial(row, "mla", "large", "cityscapes")

_MLA = (PRETRAINING, differences.MLA_DECODER, MLA_RATE)
_LARGE = (
    _naive(
        40,
        (PRETRAINING,),
        single={
            "Table 1(a), SETR-Naive, 40k": 77.37,
            "Table 1(e), SETR-Naive, Cityscapes": 77.37,
        },
    ),
    _naive(80, (PRETRAINING,), single={"Table 1(a), SETR-Naive, 80k": 77.90}),
    _pup(
        40,
        (PRETRAINING,),
        single={
            "Table 1(a), SETR-PUP, 40k": 78.39,
            "Table 1(e), SETR-PUP, Cityscapes": 78.39,
            "Table 5, SETR-PUP (40k, SS)": 78.39,
        },
        multi={"Table 5, SETR-PUP (40k, MS)": 81.57},
    ),
    _pup(
        80,
        (PRETRAINING,),
        single={
            "Table 1(a), SETR-PUP, 80k": 79.34,
            "Table 5, SETR-PUP (80k, SS)": 79.34,
        },
        multi={"Table 5, SETR-PUP (80k, MS)": 82.15},
    ),
    _mla(
        40,
        (
            *_MLA,
            "The caption of Table 1(b) speaks of 80k iterations, its figure "
            "is the one that Table 1(a) has at 40k.",
        ),
        single={
            "Table 1(a), SETR-MLA, 40k": 76.65,
            "Table 1(b), SETR-MLA": 76.65,
            "Table 1(e), SETR-MLA, Cityscapes": 76.65,
        },
    ),
    _mla(80, _MLA, single={"Table 1(a), SETR-MLA, 80k": 77.24}),
)

_PRETRAINING = (
    _pup(
        40,
        (
            NO_CONFIGURATION,
            "All but the start is that of setr_pup_large_cityscapes_768_40k.",
        ),
        follows="paper",
        suffix="_random",
        pretraining=None,
        single={"Table 1(c), Random": 42.27},
    ),
    _pup(
        40,
        (
            "The pretraining is the one that the paper names, where the "
            "authors' configuration of the same figure loads another file: "
            "setr_pup_large_cityscapes_768_40k. Positions of 14 x 14 patches "
            "are resampled instead of 24 x 24.",
        ),
        follows="paper",
        suffix="_21k",
        pretraining="vit_large_patch16_224_in21k",
        single={"Table 1(c), ImageNet-21k": 78.39},
    ),
    _pup(
        40,
        (
            "By its configuration, setr_pup_large_cityscapes_768_40k starts "
            "from the same file, yet the paper has another figure for it; "
            "which file gave which figure is not known.",
        ),
        follows="paper",
        suffix="_21k_1k",
        single={"Table 1(c), ImageNet-21k+1k": 78.34},
    ),
)

_server = functools.partial(_pup, 100, follows="paper", tested_on="test")
_SERVER = (
    _server(
        (
            NO_CONFIGURATION,
            "The paper says that the fine set was trained on, not whether the "
            "validation images were: "
            "setr_pup_large_cityscapes_768_100k_trainval is the other reading "
            "of the same row.",
            differences.SERVER,
        ),
        server={"Table 6, SETR-PUP (100k)": 81.08},
    ),
    _server(
        (
            NO_CONFIGURATION,
            "The paper says that the fine set was trained on, not whether the "
            "validation images were: setr_pup_large_cityscapes_768_100k is "
            "the other reading of the same row. A figure on the validation "
            "images says nothing here.",
            differences.SERVER,
        ),
        suffix="_trainval",
        split="train+validation",
        server={"Table 6, SETR-PUP (100k)": 81.08},
    ),
    _server(
        (
            NO_CONFIGURATION,
            "The paper says that fine and coarse labels were trained on, but "
            "neither in which order nor for how long: here both are mixed, "
            "over the steps of the other row of Table 6.",
            differences.SERVER,
        ),
        suffix="_coarse",
        coarse_split="train_extra",
        server={"Table 6, SETR-PUP, fine and coarse": 81.64},
    ),
)

_by_mmsegmentation = functools.partial(
    row,
    encoder="large",
    dataset="cityscapes",
    thousand_steps=80,
    follows="mmsegmentation",
    hardware="8 GPUs with one image each, by the file's name",
)
_MMSEGMENTATION = (
    _by_mmsegmentation("naive", because=(differences.MMSEGMENTATION,)),
    _by_mmsegmentation(
        "pup",
        because=(differences.MMSEGMENTATION, differences.NO_LAST_AUXILIARY),
    ),
    _by_mmsegmentation("mla", because=(differences.MMSEGMENTATION, MLA_RATE)),
)


def _small(decoder, called, steps, miou, because, follows="paper"):
    """A row of Table 1(d)."""
    return row(
        *(decoder, "base", "cityscapes", steps, because),
        follows=follows,
        single={f"Table 1(d), SETR-{called}-S, {steps}k": miou},
    )


_LIKE_DEIT = (NO_CONFIGURATION, differences.SAME_DEPTH)
_SMALL = (
    _small("naive", "Naive", 40, 75.54, (PRETRAINING,), "authors"),
    _small("naive", "Naive", 80, 76.25, (PRETRAINING,), "authors"),
    _small("pup", "PUP", 40, 76.71, _LIKE_DEIT),
    _small("pup", "PUP", 80, 78.02, _LIKE_DEIT),
    _small("mla", "MLA", 40, 75.60, (*_LIKE_DEIT, MLA_RATE)),
    _small("mla", "MLA", 80, 76.87, (*_LIKE_DEIT, MLA_RATE)),
)

_HYBRID_READING = (
    NO_CONFIGURATION,
    "The paper does not say whether stage 4 of the ResNet is dilated or left "
    "out: it is dilated, as in mmsegmentation's FCN of output stride 16. Rate "
    "and auxiliary heads are those of the authors' Naive-S.",
)
_UNRELEASED = (
    "The ResNet-50 that the authors trained on ImageNet-21k was not released."
)


def _hybrid(steps, stem, transformer, miou):
    """A row of Table 1(d) with SETR-Hybrid."""
    on_21k = stem == "21k"
    because = _HYBRID_READING
    because += (_UNRELEASED,) if on_21k else ()
    because += (PRETRAINING,) if transformer == "21k" else ()
    return row(
        *("naive", "hybrid", "cityscapes", steps, because),
        follows="paper",
        suffix=f"_{stem}_{transformer}",
        stem_pretraining="resnet50_in21k" if on_21k else "resnet50_v1c",
        **({"pretraining": None} if transformer == "random" else {}),
        single={
            f"Table 1(d), SETR-Hybrid ({stem}-{transformer}), {steps}k": miou
        },
    )


_HYBRID = tuple(
    _hybrid(*case)
    for case in (
        (40, "1k", "random", 74.48),
        (40, "21k", "random", 75.03),
        (40, "1k", "21k", 76.76),
        (40, "21k", "21k", 76.90),
        (80, "1k", "random", 77.36),
        (80, "21k", "random", 77.57),
        (80, "1k", "21k", 76.57),
        (80, "21k", "21k", 77.61),
    )
)

_DEIT = tuple(
    row(decoder, "deit_base", "cityscapes", steps, (differences.NO_DEIT_ROW,))
    for decoder in ("naive", "pup", "mla")
    for steps in (40, 80)
)

RECIPES = (
    *_LARGE,
    *_PRETRAINING,
    *_SERVER,
    *_MMSEGMENTATION,
    *_SMALL,
    *_HYBRID,
    *_DEIT,
)
