"""`ks.recipes`: every row of the paper and of the published lists.

The paper's Tables 1, 3, 4, 5 and 6 and section 4.3 with its baselines, FCN
and Semantic FPN; the list of results of the authors' code; mmsegmentation's
seven of SETR, and those of its baselines.
"""

import collections.abc
import difflib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import instance
from keras_setr.arguments import sequence
from keras_setr.training.recipes.listing import html_table
from keras_setr.training.recipes.listing import table
from keras_setr.training.recipes.recipe import Recipe
from keras_setr.training.recipes.table import TABLE


class UnknownRecipe(KeyError):
    """A name that no recipe has."""

    def __str__(self):
        return self.args[0]  # KeyError would put it in quotes


class Recipes(collections.abc.Mapping):
    """Recipes by their names; printed, a table.

    ```python
    print(ks.recipes)
    print(ks.recipes.select(dataset="cityscapes", decoder="pup"))
    print(ks.recipes["setr_pup_large_cityscapes_768_80k"])
    ```

    Args:
        recipes: iterable of `Recipe`.
    """

    @checked(recipes=sequence(instance("a Recipe", Recipe)))
    def __init__(self, recipes: Iterable[Recipe]) -> None:
        self._recipes = {recipe.name: recipe for recipe in recipes}

    def __getitem__(self, name: str) -> Recipe:
        if name in self._recipes:
            return self._recipes[name]
        raise UnknownRecipe(
            f"There is no recipe {name!r}. {self._nearest(name)}"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._recipes)

    def __len__(self) -> int:
        return len(self._recipes)

    def __str__(self) -> str:
        return table(self.values())

    def __repr__(self):
        return f"<Recipes: {len(self)}; print() shows them as a table>"

    def _repr_html_(self):
        return html_table(self.values())

    def select(self, **values: Any) -> "Recipes":
        """The recipes whose attributes have these values.

        Args:
            **values: any attribute of `Recipe`, such as `dataset`, `decoder`,
                `encoder`, `steps`, `batch_size`, `pretrained_on`, `follows`.

        Returns:
            `Recipes`, which may be none.

        Raises:
            ValueError: an attribute or a value that no recipe has.
        """
        chosen = list(self.values())
        for attribute, value in values.items():
            if chosen:
                self._check(attribute, value)
            chosen = [r for r in chosen if getattr(r, attribute) == value]
        return Recipes(chosen)

    def _check(self, attribute, value):
        if not all(hasattr(recipe, attribute) for recipe in self.values()):
            known = vars(next(iter(self.values())))
            raise ValueError(
                "select takes attributes of a recipe: "
                f"{', '.join(known)}. Received: {attribute}={value!r}."
            )
        found = [getattr(recipe, attribute) for recipe in self.values()]
        if value not in found:
            known = sorted({str(held) for held in found})
            raise ValueError(
                f"{attribute} must be one that a recipe has: "
                f"{', '.join(known)}. Received: {value!r}."
            )

    def _nearest(self, name):
        near = difflib.get_close_matches(str(name), self, n=4, cutoff=0.4)
        if not near:
            return "print(ks.recipes) lists them."
        return f"Near it are {', '.join(near)}; print(ks.recipes) lists all."


RECIPES = Recipes(TABLE)
