"""FCN and Semantic FPN: the paper's Tables 1, 3, 4, 5, and mmsegmentation's.

The paper takes its figures from mmsegmentation, whose settings these are.
"""

from keras_setr.facts.baselines import BASELINES
from keras_setr.training.recipes.building import ENCODERS
from keras_setr.training.recipes.recipe import Recipe
from keras_setr.training.recipes.table.row import figures

_SETTINGS = (
    "The paper says that the baselines were trained in its own settings, and "
    "that their results are taken from mmsegmentation; the settings are that "
    "code's, with weight decay and without a faster head."
)
_D6 = (
    "The paper's FCN has output stride 8. This kind of mmsegmentation's has "
    "16, and heads dilated by 6."
)
_OTHER_RUN = (
    "The paper's figures are those of another run than the one whose weights "
    "mmsegmentation has now."
)
_UNRELEASED = (
    "The authors trained ResNet-101 on ImageNet-21k for this row and did not "
    "release it; all but the start is that of the row with ImageNet-1k."
)
_CONFIGURATION_OF_50 = (
    "mmsegmentation 1.2.2's configuration of this name builds ResNet-50, by "
    "a second assignment of its model; its figure and file are ResNet-101's."
)
# Of (dataset, decoder): rate, weight decay.
_RATES = {
    ("pascal_context", "fcn"): (0.004, 0.0001),
    ("pascal_context_59", "fcn"): (0.004, 0.0001),
}
_USUAL_RATE = (0.01, 0.0005)
_BATCH_SIZES = {"cityscapes": 8}

_SINGLE = {
    "fcn_resnet50_ade20k_512_160k": {
        "Table 1(e), FCN, ImageNet-1k, ResNet-50, ADE20K": 36.10,
    },
    "fcn_resnet50_cityscapes_769_40k": {
        "Table 1(e), FCN, ImageNet-1k, ResNet-50, Cityscapes": 71.47,
    },
    "fcn_resnet101_ade20k_512_160k": {
        "Table 1(e), FCN, ImageNet-1k, ResNet-101, ADE20K": 39.91,
        "Table 3, FCN (16, 160k, SS)": 39.91,
    },
    "fcn_resnet101_cityscapes_769_40k": {
        "Table 1(e), FCN, ImageNet-1k, ResNet-101, Cityscapes": 73.93,
        "Table 5, FCN (40k, SS)": 73.93,
    },
    "fcn_resnet101_cityscapes_769_80k": {"Table 5, FCN (80k, SS)": 75.52},
    "fcn_resnet101_pascal_context_480_80k": {
        "Table 4, FCN (16, 80k, SS)": 44.47,
    },
    "semantic_fpn_resnet50_cityscapes_512x1024_80k": {
        "Table 1(b), Semantic FPN (res-50)": 74.52,
    },
    "semantic_fpn_resnet101_cityscapes_512x1024_80k": {
        "Table 1(b), Semantic FPN (res-101)": 75.80,
    },
}
_MULTI = {
    "fcn_resnet101_ade20k_512_160k": {"Table 3, FCN (16, 160k, MS)": 41.40},
    "fcn_resnet101_cityscapes_769_40k": {"Table 5, FCN (40k, MS)": 75.14},
    "fcn_resnet101_cityscapes_769_80k": {"Table 5, FCN (80k, MS)": 76.61},
    "fcn_resnet101_pascal_context_480_80k": {
        "Table 4, FCN (16, 80k, MS)": 45.74,
    },
}
_FURTHER = {
    "fcn_resnet101_pascal_context_480_80k": (_OTHER_RUN,),
    "semantic_fpn_resnet101_ade20k_512_160k": (_CONFIGURATION_OF_50,),
}

_CODE = "mmsegmentation"


def _recipe(row, **others):
    """The recipe of a row of `facts/baselines.py`."""
    name, encoder = row.name, f"resnet{row.depth}"
    rate, decay = _RATES.get((row.dataset, row.decoder), _USUAL_RATE)
    pascal = row.dataset.startswith("pascal")
    is_fcn = row.decoder == "fcn"
    return Recipe(
        **{
            "name": name,
            "dataset": row.dataset,
            "crop_size": row.crop_size,
            "steps": 1000 * row.thousand_steps,
            "batch_size": _BATCH_SIZES.get(row.dataset, 16),
            "learning_rate": rate,
            "weight_decay": decay,
            "head_multiplier": 1.0,
            "decoder": row.decoder,
            "variant": _CODE,
            "encoder": encoder,
            "pretraining": ENCODERS[encoder],
            "feature_layers": (4,) if is_fcn else (1, 2, 3, 4),
            "auxiliary_layers": (3,) if is_fcn else (),
            "align_corners": row.aligns_corners,
            "is_d6": row.is_d6,
            "whole": not (pascal or row.aligns_corners),
            "fitted_into": (1024, 2048) if row.crop == (512, 1024) else None,
            "protocol": _CODE,
            "miou": figures(_CODE, row.miou, _SINGLE.get(name)),
            "miou_multi_scale": figures(
                _CODE, row.miou_multi_scale, _MULTI.get(name)
            ),
            "follows": _CODE,
            "because": (
                _SETTINGS,
                *((_D6,) if row.is_d6 else ()),
                *_FURTHER.get(name, ()),
            ),
            "preset": name,
            "hardware": "4 V100 GPUs",
            **others,
        }
    )


def _on_21k(name, miou):
    """A row of Table 1(e) whose ResNet-101 was never released."""
    row = next(row for row in BASELINES if row.name == name)
    where = {"ade20k": "ADE20K", "cityscapes": "Cityscapes"}[row.dataset]
    place = f"Table 1(e), FCN, ImageNet-21k, ResNet-101, {where}"
    return _recipe(
        row,
        name=f"{name}_21k",
        pretraining="resnet101_in21k",
        miou=figures("paper", None, {place: miou}),
        miou_multi_scale={},
        follows="paper",
        because=(_SETTINGS, _UNRELEASED),
        preset=None,
        hardware=None,
    )


RECIPES = (
    *map(_recipe, BASELINES),
    _on_21k("fcn_resnet101_ade20k_512_160k", 42.17),
    _on_21k("fcn_resnet101_cityscapes_769_40k", 76.38),
)
