"""ADE20K: the paper's Tables 1(e) and 3, section 4.3, and the lists.

160_000 steps * 16 images / 20_210 = 127 epochs.
"""

from dataclasses import replace

from keras_setr.training.recipes.recipe import Recipe
from keras_setr.training.recipes.table import differences
from keras_setr.training.recipes.table.differences import AUTHORS_README
from keras_setr.training.recipes.table.differences import METAFILE

_NAIVE = Recipe(
    name="setr_naive_large_ade20k_512_160k",
    dataset="ade20k",
    crop_size=(512, 512),
    steps=160_000,
    batch_size=16,
    learning_rate=0.01,
    decoder="naive",
    variant="authors",
    encoder="large",
    pretraining="vit_large_patch16_384",
    feature_layers=(24,),
    auxiliary_layers=(10, 15, 20),
    scales=(0.5, 0.75, 1.0),
    follows="authors",
    because=(
        differences.PRETRAINING,
        differences.NAIVE_RATE,
        differences.THREE_SCALES,
        differences.README_FIGURE,
    ),
    preset="setr_naive_large_ade20k_512_160k_b16_authors",
    miou={
        AUTHORS_README: 48.06,
        "paper, Table 1(e), SETR-Naive, ADE20K": 48.18,
    },
    miou_multi_scale={AUTHORS_README: 48.80},
)
_PUP = Recipe(
    name="setr_pup_large_ade20k_512_160k",
    dataset="ade20k",
    crop_size=(512, 512),
    steps=160_000,
    batch_size=16,
    learning_rate=0.001,
    decoder="pup",
    variant="authors",
    encoder="large",
    pretraining="vit_large_patch16_384",
    feature_layers=(24,),
    auxiliary_layers=(10, 15, 20, 24),
    follows="authors",
    because=(differences.PRETRAINING, differences.README_FIGURE),
    preset="setr_pup_large_ade20k_512_160k_b16_authors",
    miou={
        AUTHORS_README: 48.62,
        "paper, Table 1(e), SETR-PUP, ADE20K": 48.58,
        "paper, Table 3, SETR-PUP (16, 160k, SS)": 48.58,
    },
    miou_multi_scale={
        AUTHORS_README: 50.09,
        "paper, Table 3, SETR-PUP (16, 160k, MS)": 50.09,
    },
)
_MLA = Recipe(
    name="setr_mla_large_ade20k_512_160k_b16",
    dataset="ade20k",
    crop_size=(512, 512),
    steps=160_000,
    batch_size=16,
    learning_rate=0.001,
    decoder="mla",
    variant="authors",
    encoder="large",
    pretraining="vit_large_patch16_384",
    feature_layers=(6, 12, 18, 24),
    auxiliary_layers=(6, 12, 18, 24),
    scales=(0.5, 0.75, 1.0),
    follows="authors",
    because=(
        differences.PRETRAINING,
        differences.MLA_DECODER,
        differences.THREE_SCALES,
    ),
    preset="setr_mla_large_ade20k_512_160k_b16_authors",
    miou={
        AUTHORS_README: 48.64,
        "paper, Table 1(e), SETR-MLA, ADE20K": 48.64,
        "paper, Table 3, SETR-MLA (16, 160k, SS)": 48.64,
    },
    miou_multi_scale={
        AUTHORS_README: 50.28,
        "paper, Table 3, SETR-MLA (16, 160k, MS)": 50.28,
    },
)

_LARGE = (
    _NAIVE,
    _PUP,
    replace(
        _MLA,
        name="setr_mla_large_ade20k_512_160k_b8",
        batch_size=8,
        because=(
            differences.PRETRAINING,
            differences.MLA_DECODER,
            differences.THREE_SCALES,
            differences.README_FIGURE,
        ),
        preset="setr_mla_large_ade20k_512_160k_b8_authors",
        miou={
            AUTHORS_README: 47.79,
            "paper, Table 3, SETR-MLA (8, 160k, SS)": 48.27,
        },
        miou_multi_scale={
            AUTHORS_README: 50.03,
            "paper, Table 3, SETR-MLA (8, 160k, MS)": 50.03,
        },
    ),
    _MLA,
)

_DEIT = (
    replace(
        _PUP,
        name="setr_pup_deit_base_ade20k_512_160k",
        encoder="deit_base",
        pretraining="deit_base_distilled_patch16_384",
        feature_layers=(12,),
        auxiliary_layers=(5, 8, 10, 12),
        because=(
            "The paper has no row with DeiT. The released configuration's "
            "heads expect 1024 channels and cannot run on the encoder's 768; "
            "here they have the encoder's.",
        ),
        preset="setr_pup_deit_base_ade20k_512_160k_b16_authors",
        miou={AUTHORS_README: 46.34},
        miou_multi_scale={},
    ),
    replace(
        _MLA,
        name="setr_mla_deit_base_ade20k_512_160k",
        encoder="deit_base",
        pretraining="deit_base_distilled_patch16_384",
        feature_layers=(3, 6, 9, 12),
        auxiliary_layers=(3, 6, 9, 12),
        because=("The paper has no row with DeiT.",),
        preset="setr_mla_deit_base_ade20k_512_160k_b16_authors",
        miou={AUTHORS_README: 46.15},
        miou_multi_scale={},
    ),
)

_BATCH = (
    "The paper says 160,000 iterations on train and validation images and no "
    "batch size; 16 is taken."
)
_SERVER = (
    replace(
        _PUP,
        name="setr_pup_large_ade20k_512_160k_trainval",
        split="train+validation",
        tested_on="test",
        follows="paper",
        because=(differences.NO_CONFIGURATION, _BATCH, differences.SERVER),
        preset=None,
        miou={},
        miou_multi_scale={},
        miou_test_server={"paper, section 4.3, SETR-PUP": 44.42},
    ),
    replace(
        _MLA,
        name="setr_mla_large_ade20k_512_160k_trainval",
        split="train+validation",
        tested_on="test",
        follows="paper",
        because=(differences.NO_CONFIGURATION, _BATCH, differences.SERVER),
        preset=None,
        miou={},
        miou_multi_scale={},
        miou_test_server={"paper, section 4.3, SETR-MLA": 44.11},
    ),
)

_SIX_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
_MMSEGMENTATION = (
    replace(
        _NAIVE,
        name="setr_naive_large_ade20k_512_160k_mmsegmentation",
        variant="mmsegmentation",
        scales=_SIX_SCALES,
        protocol="mmsegmentation",
        follows="mmsegmentation",
        because=(differences.MMSEGMENTATION, differences.NAIVE_RATE),
        preset="setr_naive_large_ade20k_512",
        miou={METAFILE: 48.28},
        miou_multi_scale={METAFILE: 49.56},
    ),
    replace(
        _PUP,
        name="setr_pup_large_ade20k_512_160k_mmsegmentation",
        variant="mmsegmentation",
        auxiliary_layers=(10, 15, 20),
        protocol="mmsegmentation",
        follows="mmsegmentation",
        because=(
            differences.MMSEGMENTATION,
            "It has no auxiliary head on Z^24.",
        ),
        preset="setr_pup_large_ade20k_512",
        miou={METAFILE: 48.24},
        miou_multi_scale={METAFILE: 49.99},
    ),
    replace(
        _MLA,
        name="setr_mla_large_ade20k_512_160k_b8_mmsegmentation",
        batch_size=8,
        variant="mmsegmentation",
        scales=_SIX_SCALES,
        protocol="mmsegmentation",
        follows="mmsegmentation",
        because=(differences.MMSEGMENTATION,),
        preset="setr_mla_large_ade20k_512_b8",
        miou={METAFILE: 47.34},
        miou_multi_scale={METAFILE: 49.05},
    ),
    replace(
        _MLA,
        name="setr_mla_large_ade20k_512_160k_b16_mmsegmentation",
        variant="mmsegmentation",
        scales=_SIX_SCALES,
        protocol="mmsegmentation",
        follows="mmsegmentation",
        because=(differences.MMSEGMENTATION,),
        preset="setr_mla_large_ade20k_512",
        miou={METAFILE: 47.39},
        miou_multi_scale={METAFILE: 49.37},
    ),
)

RECIPES = (*_LARGE, *_DEIT, *_SERVER, *_MMSEGMENTATION)
