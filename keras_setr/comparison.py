"""All published models side by side: how large, how fast, how good."""

import collections.abc
import dataclasses
from collections.abc import Iterable
from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import optional
from keras_setr.checkpoints import PRESETS
from keras_setr.checkpoints import architecture
from keras_setr.facts.datasets import DATASETS
from keras_setr.models import MODELS
from keras_setr.models.costs import cost_of
from keras_setr.tables import html_table
from keras_setr.tables import percent
from keras_setr.tables import text_table
from keras_setr.tables import wrapped
from keras_setr.training.recipes.catalogue import RECIPES

_SIDE = 512
_NOTE = (
    "Parameters without auxiliary heads; GFLOPs are billions of multiply-adds, "
    f"and tokens the special ones included, for an image of {_SIDE} x {_SIDE}, "
    "rounded up to whole patches. mIoU in percent as published for the "
    "validation set, at a single scale and at several with flips."
)


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """One built-in name.

    Attributes:
        name: str. What `from_preset` takes.
        model: str. Its class, or `None` for an encoder alone.
        dataset: str. What it was trained on.
        parameters: int. Without auxiliary heads.
        gflops: float. Billions of multiply-adds for an image of 512 x 512.
        tokens: int. Of that image; `None` of a ResNet.
        miou, miou_multi_scale: float or `None`. Published, percent.
        recipe: str or `None`. The key of `ks.recipes` that trained it.
        license: str. Of the weights.
    """

    name: str
    model: str | None
    dataset: str
    parameters: int
    gflops: float
    tokens: int | None
    miou: float | None
    miou_multi_scale: float | None
    recipe: str | None
    license: str


class ModelTable(collections.abc.Sequence):
    """Rows of `models_table`; printed, a table.

    Args:
        rows: iterable of `ModelRow`.
    """

    def __init__(self, rows: Iterable[ModelRow]) -> None:
        self._rows = tuple(rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self):
        return f"<ModelTable: {len(self)}; print() shows it>"

    def __str__(self) -> str:
        """Lines of at most 100 characters, by data set, and the recipes."""
        lines = []
        cells = [_cells(row) for row in self]
        head, *texts = text_table([_TITLES, *cells])
        for dataset, members in self._by_dataset():
            lines += ["", dataset, "-" * len(head)]
            lines += [texts[index] for index in members]
            recipes = [self[i].recipe for i in members if self[i].recipe]
            if recipes:
                text = f"recipes: {', '.join(recipes)}"
                lines += wrapped(text, "  ", "  ")
        return "\n".join([head, *lines, "", *wrapped(_NOTE)])

    def markdown(self) -> str:
        """The same as a table in Markdown, with a column of recipes."""
        titles = ("Preset", "Data", *_HEADINGS, "Recipe")
        rules = ("---", "---", *["---:"] * len(_HEADINGS), "---")
        lines = [titles, rules]
        lines += [
            (f"`{row.name}`", row.dataset, *_figures(row), _code(row.recipe))
            for row in self
        ]
        return "\n".join(
            [f"| {' | '.join(line)} |" for line in lines] + ["", _NOTE]
        )

    def _repr_html_(self):
        rows = [(*_cells(row), row.recipe or "") for row in self]
        return html_table((*_TITLES, "recipe"), rows, _NOTE)

    def _by_dataset(self):
        """Heading -> numbers of its rows, encoders last."""
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(self):
            heading = row.dataset if row.model else "encoders"
            groups.setdefault(heading, []).append(index)
        encoders = groups.pop("encoders", None)
        return [
            *groups.items(),
            *([("encoders", encoders)] if encoders else []),
        ]


# Titles of the columns of figures, as text and in Markdown.
_HEADINGS = (
    "Parameters, M",
    "GFLOPs",
    "Tokens",
    "mIoU",
    "Multi-scale",
)
_TITLES = ("preset", "M", "GFLOPs", "tokens", "mIoU", "multi")


def _figures(row):
    return (
        f"{row.parameters / 1e6:.1f}",
        f"{row.gflops:.1f}",
        "-" if row.tokens is None else str(row.tokens),
        percent(row.miou),
        percent(row.miou_multi_scale),
    )


def _cells(row):
    return (row.name, *_figures(row))


def _code(text):
    return f"`{text}`" if text else ""


@checked(dataset=optional(choice(*DATASETS)))
def models_table(dataset: str | None = None) -> ModelTable:
    """Every built-in name, with what it takes and what was published of it.

    Parameters, multiply-adds and tokens are worked out in closed form;
    nothing is downloaded or built.

    ```python
    print(keras_setr.models_table("cityscapes"))
    best = max(
        keras_setr.models_table("cityscapes"), key=lambda row: row.miou
    )
    ```

    Args:
        dataset: a key of `keras_setr.data.DATASETS`. Only the models that
            were trained on it; by default all models and encoders.

    Returns:
        `ModelTable`, a sequence of `ModelRow`; print it.
    """
    recipes = {r.preset: r.name for r in RECIPES.values() if r.preset}
    return ModelTable(
        _row(preset, recipes.get(preset.name))
        for preset in PRESETS.values()
        if dataset in (None, preset.dataset)
    )


def _row(preset, recipe):
    backbone, arguments = architecture(preset)
    patch = backbone.get("patch_size", 1)
    side = -(-_SIDE // patch) * patch
    cost, tokens = cost_of(
        MODELS.get(preset.decoder), backbone, arguments, (side, side)
    )
    return ModelRow(
        name=preset.name,
        model=preset.model_class,
        dataset=preset.dataset,
        parameters=cost.parameters,
        gflops=cost.multiply_adds / 1e9,
        tokens=tokens,
        miou=preset.miou,
        miou_multi_scale=preset.miou_multi_scale,
        recipe=recipe,
        license=preset.license,
    )
