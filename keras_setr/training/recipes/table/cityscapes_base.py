"""Cityscapes, encoders of 12 layers: the paper's Table 1(d), and DeiT."""

from dataclasses import replace

from keras_setr.training.recipes.recipe import Recipe
from keras_setr.training.recipes.table import differences
from keras_setr.training.recipes.table.differences import AUTHORS_README

_NAIVE = Recipe(
    name="setr_naive_base_cityscapes_768_40k",
    dataset="cityscapes",
    crop_size=(768, 768),
    steps=40_000,
    batch_size=8,
    learning_rate=0.01,
    decoder="naive",
    variant="authors",
    encoder="base",
    pretraining="vit_base_patch16_384",
    feature_layers=(12,),
    auxiliary_layers=(3, 6, 9),
    follows="authors",
    because=(differences.PRETRAINING,),
    preset="setr_naive_base_cityscapes_768_40k_b8_authors",
    miou={
        AUTHORS_README: 75.54,
        "paper, Table 1(d), SETR-Naive-S, 40k": 75.54,
    },
)
_PUP = Recipe(
    name="setr_pup_base_cityscapes_768_40k",
    dataset="cityscapes",
    crop_size=(768, 768),
    steps=40_000,
    batch_size=8,
    learning_rate=0.01,
    decoder="pup",
    variant="authors",
    encoder="base",
    pretraining="vit_base_patch16_384",
    feature_layers=(12,),
    auxiliary_layers=(5, 8, 10, 12),
    follows="paper",
    because=(differences.NO_CONFIGURATION, differences.SAME_DEPTH),
    miou={"paper, Table 1(d), SETR-PUP-S, 40k": 76.71},
)
_MLA = Recipe(
    name="setr_mla_base_cityscapes_768_40k",
    dataset="cityscapes",
    crop_size=(768, 768),
    steps=40_000,
    batch_size=8,
    learning_rate=0.002,
    decoder="mla",
    variant="authors",
    encoder="base",
    pretraining="vit_base_patch16_384",
    feature_layers=(3, 6, 9, 12),
    auxiliary_layers=(3, 6, 9, 12),
    follows="paper",
    because=(
        differences.NO_CONFIGURATION,
        differences.SAME_DEPTH,
        differences.MLA_RATE,
    ),
    miou={"paper, Table 1(d), SETR-MLA-S, 40k": 75.60},
)
_SMALL = (
    _NAIVE,
    replace(
        _NAIVE,
        name="setr_naive_base_cityscapes_768_80k",
        steps=80_000,
        preset="setr_naive_base_cityscapes_768_80k_b8_authors",
        miou={
            AUTHORS_README: 76.25,
            "paper, Table 1(d), SETR-Naive-S, 80k": 76.25,
        },
    ),
    _PUP,
    replace(
        _PUP,
        name="setr_pup_base_cityscapes_768_80k",
        steps=80_000,
        miou={"paper, Table 1(d), SETR-PUP-S, 80k": 78.02},
    ),
    _MLA,
    replace(
        _MLA,
        name="setr_mla_base_cityscapes_768_80k",
        steps=80_000,
        miou={"paper, Table 1(d), SETR-MLA-S, 80k": 76.87},
    ),
)

_NAIVE_DEIT = Recipe(
    name="setr_naive_deit_base_cityscapes_768_40k",
    dataset="cityscapes",
    crop_size=(768, 768),
    steps=40_000,
    batch_size=8,
    learning_rate=0.01,
    decoder="naive",
    variant="authors",
    encoder="deit_base",
    pretraining="deit_base_distilled_patch16_384",
    feature_layers=(12,),
    auxiliary_layers=(3, 6, 9),
    follows="authors",
    because=("The paper has no row with DeiT.",),
    preset="setr_naive_deit_base_cityscapes_768_40k_b8_authors",
    miou={AUTHORS_README: 77.85},
)
_PUP_DEIT = Recipe(
    name="setr_pup_deit_base_cityscapes_768_40k",
    dataset="cityscapes",
    crop_size=(768, 768),
    steps=40_000,
    batch_size=8,
    learning_rate=0.01,
    decoder="pup",
    variant="authors",
    encoder="deit_base",
    pretraining="deit_base_distilled_patch16_384",
    feature_layers=(12,),
    auxiliary_layers=(5, 8, 10, 12),
    follows="authors",
    because=("The paper has no row with DeiT.",),
    preset="setr_pup_deit_base_cityscapes_768_40k_b8_authors",
    miou={AUTHORS_README: 78.79},
)
_MLA_DEIT = Recipe(
    name="setr_mla_deit_base_cityscapes_768_40k",
    dataset="cityscapes",
    crop_size=(768, 768),
    steps=40_000,
    batch_size=8,
    learning_rate=0.002,
    decoder="mla",
    variant="authors",
    encoder="deit_base",
    pretraining="deit_base_distilled_patch16_384",
    feature_layers=(3, 6, 9, 12),
    auxiliary_layers=(3, 6, 9, 12),
    follows="authors",
    because=("The paper has no row with DeiT.",),
    preset="setr_mla_deit_base_cityscapes_768_40k_b8_authors",
    miou={AUTHORS_README: 78.04},
)
_DEIT = (
    _NAIVE_DEIT,
    replace(
        _NAIVE_DEIT,
        name="setr_naive_deit_base_cityscapes_768_80k",
        steps=80_000,
        preset="setr_naive_deit_base_cityscapes_768_80k_b8_authors",
        miou={AUTHORS_README: 78.66},
    ),
    _PUP_DEIT,
    replace(
        _PUP_DEIT,
        name="setr_pup_deit_base_cityscapes_768_80k",
        steps=80_000,
        preset="setr_pup_deit_base_cityscapes_768_80k_b8_authors",
        miou={AUTHORS_README: 79.45},
    ),
    _MLA_DEIT,
    replace(
        _MLA_DEIT,
        name="setr_mla_deit_base_cityscapes_768_80k",
        steps=80_000,
        preset="setr_mla_deit_base_cityscapes_768_80k_b8_authors",
        miou={AUTHORS_README: 78.98},
    ),
)

RECIPES = (*_SMALL, *_DEIT)
