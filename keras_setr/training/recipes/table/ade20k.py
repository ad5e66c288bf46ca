"""ADE20K: the paper's Tables 1(e) and 3, section 4.3, and the lists.

160_000 steps * 16 images / 20_210 = 127 epochs.
"""

import functools

from keras_setr.training.recipes.table import differences
from keras_setr.training.recipes.table.differences import MLA_DECODER
from keras_setr.training.recipes.table.differences import MMSEGMENTATION
from keras_setr.training.recipes.table.differences import NO_CONFIGURATION
from keras_setr.training.recipes.table.differences import PRETRAINING
from keras_setr.training.recipes.table.differences import README_FIGURE
from keras_setr.training.recipes.table.row import row


def _row(decoder, because, encoder="large", **others):
    return row(decoder, encoder, "ade20k", 160, because, **others)


_THREE_SCALES = (0.5, 0.75, 1.0)
_LARGE = (
    _row(
        "naive",
        (
            PRETRAINING,
            differences.NAIVE_RATE,
            differences.THREE_SCALES,
            README_FIGURE,
        ),
        scales=_THREE_SCALES,
        single={"Table 1(e), SETR-Naive, ADE20K": 48.18},
    ),
    _row(
        "pup",
        (PRETRAINING, README_FIGURE),
        single={
            "Table 1(e), SETR-PUP, ADE20K": 48.58,
            "Table 3, SETR-PUP (16, 160k, SS)": 48.58,
        },
        multi={"Table 3, SETR-PUP (16, 160k, MS)": 50.09},
    ),
    _row(
        "mla",
        (PRETRAINING, MLA_DECODER, differences.THREE_SCALES, README_FIGURE),
        suffix="_b8",
        batch_size=8,
        scales=_THREE_SCALES,
        single={"Table 3, SETR-MLA (8, 160k, SS)": 48.27},
        multi={"Table 3, SETR-MLA (8, 160k, MS)": 50.03},
    ),
    _row(
        "mla",
        (PRETRAINING, MLA_DECODER, differences.THREE_SCALES),
        suffix="_b16",
        scales=_THREE_SCALES,
        single={
            "Table 1(e), SETR-MLA, ADE20K": 48.64,
            "Table 3, SETR-MLA (16, 160k, SS)": 48.64,
        },
        multi={"Table 3, SETR-MLA (16, 160k, MS)": 50.28},
    ),
)

_DEIT = (
    _row("pup", (differences.DEIT_PUP,), encoder="deit_base"),
    _row(
        "mla",
        (differences.NO_DEIT_ROW,),
        encoder="deit_base",
        scales=_THREE_SCALES,
    ),
)

_BATCH = (
    "The paper says 160,000 iterations on train and validation images and no "
    "batch size; 16 is taken."
)
_server = functools.partial(
    _row,
    because=(NO_CONFIGURATION, _BATCH, differences.SERVER),
    follows="paper",
    suffix="_trainval",
    split="train+validation",
    tested_on="test",
)
_SERVER = (
    _server("pup", server={"section 4.3, SETR-PUP": 44.42}),
    _server(
        "mla",
        scales=_THREE_SCALES,
        server={"section 4.3, SETR-MLA": 44.11},
    ),
)

_mmsegmentation = functools.partial(_row, follows="mmsegmentation")
_MMSEGMENTATION = (
    _mmsegmentation(
        "naive",
        (MMSEGMENTATION, differences.NAIVE_RATE),
    ),
    _mmsegmentation(
        "pup",
        (MMSEGMENTATION, differences.NO_LAST_AUXILIARY),
    ),
    _mmsegmentation(
        "mla",
        (MMSEGMENTATION,),
        suffix="_b8",
        batch_size=8,
        preset="setr_mla_large_ade20k_512_b8",
    ),
    _mmsegmentation(
        "mla",
        (MMSEGMENTATION,),
        suffix="_b16",
    ),
)

RECIPES = (*_LARGE, *_DEIT, *_SERVER, *_MMSEGMENTATION)
