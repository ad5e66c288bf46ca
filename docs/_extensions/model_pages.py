"""A page for each built-in name, and the table of all, from the presets."""

import pathlib

from links import linked
from reference_pages import write

import keras_setr as ks
from keras_setr.checkpoints import PRESETS
from keras_setr.checkpoints.card import DATA_TERMS
from keras_setr.facts.datasets import DATASETS
from keras_setr.tables import percent

# What a decoder is put on top of an encoder in the six lines.
_ON_TOP = {"SETRBackbone": "SETRPUP", "ResNetBackbone": "FCN"}


def write_pages(app):
    folder = pathlib.Path(app.srcdir, "models")
    folder.mkdir(exist_ok=True)
    rows = {row.name: row for row in ks.models_table()}
    for name, preset in PRESETS.items():
        write(folder / f"{name}.md", _page(preset, rows[name]))
    write(folder / "table.md", linked(ks.models_table().markdown()))
    write(folder / "recipes.md", linked(_recipes()))
    for path in folder.glob("*.md"):
        if path.stem not in (*PRESETS, "table", "recipes"):
            path.unlink()


def _recipes():
    lines = [
        "| Recipe | Steps | Batch | Single | Multi | Server | Measured |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for recipe in ks.recipes.values():
        figures = (
            recipe.miou,
            recipe.miou_multi_scale,
            recipe.miou_test_server,
        )
        published = (percent(next(iter(f.values()), None)) for f in figures)
        cells = (
            f"`{recipe.name}`",
            f"{recipe.steps:,}",
            str(recipe.batch_size),
            *published,
            percent(recipe.measured, missing="not run"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _page(preset, row):
    lines = [
        f"# {preset.name}",
        "",
        f"{preset.description}.",
        "",
        "## Six lines",
        "",
        "```python no_run",
        *six_lines(preset),
        "```",
        "",
        *_about_the_file(preset),
        "",
        "## Facts",
        "",
        "| | |",
        "|---|---|",
        *(f"| {title} | {text} |" for title, text in _facts(preset, row)),
        "",
        *_figures(preset, row),
    ]
    return "\n".join(lines) + "\n"


def six_lines(preset):
    """What a user writes: to segment, or to train a decoder on an encoder."""
    if preset.decoder is None:
        model = _ON_TOP[preset.backbone_class]
        size = preset.image_size if preset.image_size > 224 else 512
        file = ', file="weights.pth"' if preset.gated else ""
        return [
            "import keras_setr as ks",
            "",
            'train, val = ks.data.SegmentationFolder("my_data").split()',
            f"model = ks.{model}.from_preset(",
            f'    "{preset.name}"{file},',
            "    num_classes=train.num_classes,",
            f"    image_shape=({size}, {size}, 3),",
            ")",
            'model.compile("adamw", layer_decay=0.75)'
            if model == "SETRPUP"
            else "model.compile(learning_rate=0.01)",
            "model.fit(train.batches(8, model=model), epochs=20)",
        ]
    file = "" if preset.downloads else ', file="iter.pth"'
    lines = [f'model = ks.{preset.model_class}.from_preset("{preset.name}")']
    if file:
        lines = [
            f"model = ks.{preset.model_class}.from_preset(",
            f'    "{preset.name}"{file}',
            ")",
        ]
    return [
        "import keras_setr as ks",
        "",
        *lines,
        'image = "street.jpg"',
        "labels = model.segment(image)",
        "picture = ks.visualization.overlay(image, labels, model.classes)",
        'picture.save("segmented.png")',
    ]


def _about_the_file(preset):
    if preset.downloads:
        return [
            "The file is downloaded at the first call, verified by its hash "
            "where one is published, converted and kept."
        ]
    where = f"[the publisher's page]({preset.url})"
    if preset.gated:
        return [
            f"Accept the licence on {where}, download the file and pass it as "
            "`file=`."
        ]
    return [f"Download the file from {where} and pass it as `file=`."]


def _facts(preset, row):
    size = preset.image_size
    sides = size if isinstance(size, tuple) else (size, size)
    yield "Class", f"`ks.{preset.model_class or preset.backbone_class}`"
    yield "Published by", preset.source
    yield "Licence of the weights", preset.license
    yield (
        "Trained on",
        f"{preset.dataset}, {'crops' if preset.decoder else 'images'} of "
        f"{sides[0]} x {sides[1]}",
    )
    terms = DATA_TERMS.get(preset.dataset)
    if terms:
        yield "Terms of the data", terms
    if preset.dataset in DATASETS:
        yield "Classes", f"{DATASETS[preset.dataset].num_classes}"
    yield "Parameters", f"{preset.parameters:,}"
    yield (
        "Multiply-adds of a 512 x 512 image",
        f"{row.gflops:.1f} billion",
    )
    if row.tokens is not None:
        yield "Tokens of that image", f"{row.tokens:,}"
    if preset.file is not None:
        yield "File", f"[{preset.file}]({preset.url})"
    if preset.sha256:
        yield "SHA-256 starts with", f"`{preset.sha256}`"


def _figures(preset, row):
    if preset.decoder is None:
        users = [
            name
            for name, other in ks.recipes.items()
            if other.pretraining == preset.name
        ]
        if not users:
            return []
        return [
            "## Recipes that start from it",
            "",
            *(f"- `{name}`" for name in users),
        ]
    recipe = ks.recipes[row.recipe] if row.recipe else None
    measured = recipe and recipe.measured
    lines = [
        "## Figures",
        "",
        "Mean IoU in percent on the validation set.",
        "",
        "| Test | Published | Measured |",
        "|---|---|---|",
        f"| single scale | {percent(preset.miou)} | "
        f"{percent(measured, missing='not run')} |",
        "| multi-scale, with flips | "
        f"{percent(preset.miou_multi_scale)} | not run |",
    ]
    if recipe is not None:
        lines += [
            "",
            "## The recipe that trained it",
            "",
            "```text",
            str(recipe),
            "```",
        ]
    return lines


def setup(app):
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
