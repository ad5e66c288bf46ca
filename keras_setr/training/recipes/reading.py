"""The images of a recipe, by TFDS or from a folder."""

import pathlib

from keras_setr.data.batches.source import JoinedSources
from keras_setr.data.folder.folder import SegmentationFolder
from keras_setr.data.published.dataset import load_dataset


def load_data(recipe, data_dir, manual_dir, image_dir):
    """As `Recipe.load_data`.

    Args:
        recipe: `Recipe`.
        data_dir, manual_dir, image_dir: as there.
    """
    if image_dir is not None:
        return _load_folder(recipe, image_dir)

    def load(name, split):
        return load_dataset(name, split, data_dir, manual_dir)

    train = load(recipe.dataset, recipe.split)
    if recipe.coarse_split:
        coarse = load(f"{recipe.dataset}_coarse", recipe.coarse_split)
        train = JoinedSources((train, coarse))
    return train, load(recipe.dataset, "validation")


def _load_folder(recipe, image_dir):
    if recipe.coarse_split:
        raise ValueError(
            f"{recipe.name} trains on fine and coarse labels, and a folder "
            "holds one of them. Received: image_dir="
            f"{str(image_dir)!r}; pass data_dir."
        )
    facts = recipe.facts
    folder = SegmentationFolder(
        image_dir,
        **_layout(image_dir),
        class_names=facts.classes.names,
        palette=facts.classes.palette,
        label_map=facts.label_rule.label_map,
    )
    parts = [folder.subset(part) for part in recipe.split.split("+")]
    train = parts[0] if len(parts) == 1 else JoinedSources(parts)
    return train, folder.subset("validation")


def _layout(image_dir):
    """Templates for Cityscapes as unpacked; others are found."""
    if not (pathlib.Path(image_dir) / "leftImg8bit").is_dir():
        return {}
    return {
        "images": "leftImg8bit/{split}/{name}_leftImg8bit.png",
        "masks": "gtFine/{split}/{name}_gtFine_labelIds.png",
    }
