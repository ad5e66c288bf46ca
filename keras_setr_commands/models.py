"""Compare the published models: size, speed and score.

    keras-setr models [--dataset NAME] [--markdown]

One row for each built-in name, with the recipes that trained them.
"""

import argparse

from keras_setr_commands import names
from keras_setr_commands import values

AFTER_INTERRUPT = "The same command starts anew"
DEFAULTS = {"dataset": None, "markdown": False}


def add_options(parser):
    add = parser.add_argument
    add(
        "--dataset",
        type=values.one_of(names.DATASETS, "dataset"),
        metavar="NAME",
        help="only the models that were trained on it",
    )
    add("--markdown", action="store_true", help="as a table in Markdown")


def check(parser, given):
    """Nothing joins these options."""


def run(args: argparse.Namespace, given: dict) -> None:
    import keras_setr as ks

    table = ks.models_table(args.dataset)
    print(table.markdown() if args.markdown else table)
