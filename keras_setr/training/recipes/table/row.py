"""A recipe from what sets it apart from the others of its table."""

from keras_setr.checkpoints import PRESETS
from keras_setr.checkpoints import architecture
from keras_setr.facts.datasets import DATASETS
from keras_setr.facts.decoders import published_layers
from keras_setr.training.recipes.building import ENCODERS
from keras_setr.training.recipes.recipe import Recipe

# Of the encoder, in the authors' configurations.
_RATES = {
    ("cityscapes", "naive"): 0.01,
    ("cityscapes", "pup"): 0.01,
    ("cityscapes", "mla"): 0.002,
    ("ade20k", "naive"): 0.01,
    ("ade20k", "pup"): 0.001,
    ("ade20k", "mla"): 0.001,
    ("pascal_context", "naive"): 0.01,
    ("pascal_context", "pup"): 0.001,
    ("pascal_context", "mla"): 0.001,
}
_BATCH_SIZES = {"cityscapes": 8, "ade20k": 16, "pascal_context": 16}
# Whose list has the figures of the presets.
_LISTS = {
    "authors": "authors' README",
    "mmsegmentation": "mmsegmentation, metafile.yaml",
}


def figures(follows, of_preset, of_paper):
    """Source -> mIoU in percent: of a code's own list, then of the paper.

    Args:
        follows: as in `Recipe`.
        of_preset: float, or None where no list has it.
        of_paper: dict of place in the paper -> mIoU, or None.
    """
    listed = {} if of_preset is None else {_LISTS[follows]: of_preset}
    return listed | {
        f"paper, {place}": miou for place, miou in (of_paper or {}).items()
    }


def row(
    decoder,
    encoder,
    dataset,
    thousand_steps,
    because,
    *,
    follows="authors",
    suffix="",
    preset=None,
    single=None,
    multi=None,
    server=None,
    **others,
):
    """One `Recipe`.

    Args:
        decoder, encoder, dataset: as in `Recipe`. The crops, the rate, the
            batch size, the layers and the pretraining follow from these.
        thousand_steps: int.
        because: tuple of str.
        follows: `"authors"`, `"mmsegmentation"` or `"paper"`, whose decoder
            is the authors' and whose weights were not released.
        suffix: str. Of the name, before mmsegmentation's own.
        preset: str. The weights' built-in name, where it is not made of the
            fields as in the two lists, whose figures come first.
        single, multi, server: dict of place in the paper -> mIoU in percent.
        **others: further arguments of `Recipe`, or other values.
    """
    facts = DATASETS[dataset]
    size = facts.crop_size[0]
    stem = f"setr_{decoder}_{encoder}_{dataset}_{size}"
    name = f"{stem}_{thousand_steps}k"
    batch_size = others.get("batch_size", _BATCH_SIZES[dataset])
    variant = "authors" if follows == "paper" else follows
    if follows == "authors":
        preset = f"{name}_b{batch_size}_authors"
    elif follows == "mmsegmentation":
        preset = preset or stem
        suffix += "_mmsegmentation"

    published = PRESETS.get(preset)
    shape, _ = architecture(PRESETS[ENCODERS[encoder]])
    depth = shape["num_layers"]
    layers = published_layers(decoder, depth, variant)
    return Recipe(
        **{
            "name": name + suffix,
            "dataset": dataset,
            "crop_size": facts.crop_size,
            "steps": 1000 * thousand_steps,
            "batch_size": batch_size,
            "learning_rate": _RATES[dataset, decoder],
            "decoder": decoder,
            "variant": variant,
            "encoder": encoder,
            "pretraining": ENCODERS[encoder],
            "feature_layers": layers if decoder == "mla" else (depth,),
            "auxiliary_layers": layers,
            "protocol": variant,
            "miou": figures(follows, published and published.miou, single),
            "miou_multi_scale": figures(
                follows, published and published.miou_multi_scale, multi
            ),
            "miou_test_server": figures(follows, None, server),
            "follows": follows,
            "because": because,
            "preset": preset,
            **others,
        }
    )
