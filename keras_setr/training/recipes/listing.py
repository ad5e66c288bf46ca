"""Recipes as text: one as a lab record, many as a table."""

from keras_setr import tables
from keras_setr.tables import counted
from keras_setr.tables import percent


def record(recipe):
    """All of one recipe, a line or a paragraph per thing.

    Of a small one that is tried out, what runs, and no published figures.
    """
    is_small = recipe.small_shape is not None
    rows = [
        ("data", (_small_data if is_small else _data)(recipe)),
        ("training", _training(recipe)),
        ("encoder", _encoder(recipe)),
        ("decoder", _decoder(recipe)),
        ("test", _test(recipe)),
    ]
    if is_small:
        headline = f"{recipe.name}, made small to try it out"
        return tables.record_text(headline, rows)
    rows += [
        *_published(recipe),
        ("measured", percent(recipe.measured, missing="not run")),
        ("follows", " ".join((f"{recipe.follows}.", *recipe.because))),
        ("hardware", recipe.hardware or "not published"),
        ("hours", _hours(recipe)),
        ("weights", recipe.preset or "not published"),
        ("command", recipe.command),
    ]
    return tables.record_text(recipe.name, rows)


def table(recipes):
    """Recipes as lines of text, at most 120 characters wide."""
    rows = [_cells(recipe) for recipe in recipes]
    if not rows:
        return _count(rows)
    cells = [rows[0].keys(), *(row.values() for row in rows)]
    head, *lines = tables.text_table(cells)
    return "\n".join([head, "-" * len(head), *lines, _count(rows)])


def html_table(recipes):
    """The same table as HTML."""
    rows = [_cells(recipe) for recipe in recipes]
    titles = rows[0] if rows else ()
    cells = [row.values() for row in rows]
    return tables.html_table(titles, cells, _count(rows))


def _count(rows):
    return f"{counted(len(rows), 'recipe')}; published mean IoU in percent"


def _cells(recipe):
    """Title -> text of a row of the table."""
    return {
        "name": recipe.name,
        "steps": f"{recipe.steps:,}",
        "batch": str(recipe.batch_size),
        "rate": f"{recipe.learning_rate:g}",
        "pretrained": recipe.pretrained_on,
        "single": percent(_shown(recipe.miou)),
        "multi": percent(_shown(recipe.miou_multi_scale)),
        "server": percent(_shown(recipe.miou_test_server)),
        "measured": percent(recipe.measured, missing="not run"),
    }


def _data(recipe):
    coarse = recipe.coarse_split
    parts = recipe.split + (f" and, coarse, {coarse}" if coarse else "")
    scale = recipe.image_scale
    size = f", at {scale:g} of the published size" if scale != 1 else ""
    return (
        f"{recipe.dataset}: {parts}, {recipe.num_images:,} images{size}; "
        f"tested on {recipe.tested_on}"
    )


def _small_data(recipe):
    return (
        f"generated images with the {recipe.facts.num_classes} classes and the "
        f"label values of {recipe.dataset}, at {recipe.image_scale:g} of its "
        "size"
    )


def _training(recipe):
    rate = recipe.learning_rate
    epochs = f"{recipe.epochs:.0f}" if recipe.epochs >= 1 else "below 1"
    # Generated images are as many as one likes.
    of_data = f" = {epochs} epochs" if recipe.small_shape is None else ""
    return (
        f"{recipe.steps:,} steps of {recipe.batch_size} crops of "
        f"{_sides(recipe.crop_size)}{of_data}; SGD, "
        f"learning rate {rate:g}, heads {recipe.head_multiplier * rate:g}"
        + (
            f", weight decay {recipe.weight_decay:g}"
            if recipe.weight_decay
            else ""
        )
    )


def _encoder(recipe):
    shape = recipe.encoder_shape
    start = "random weights"
    if recipe.pretraining:
        start = f"{recipe.pretraining} ({recipe.pretrained_on})"
    kind = recipe.encoder if recipe.small_shape is None else "small"
    if "num_blocks" in shape:
        blocks = _listed(shape["num_blocks"])
        return f"{kind}: stages of {blocks} blocks, from {start}"
    patches = recipe.patch_size
    rank = recipe.lora_rank
    behind = ""
    if recipe.encoder == "hybrid":
        stem = recipe.stem_pretraining or "random weights"
        behind = f", behind a ResNet from {stem}"
    return (
        f"{kind}: {shape['num_layers']} layers of width "
        f"{shape['hidden_dim']}, from {start}{behind}"
        + (f", patches of {patches}" if patches else "")
        + (f"; LoRA of rank {rank}, the rest frozen" if rank else "")
    )


def _decoder(recipe):
    auxiliary = _listed(recipe.auxiliary_layers)
    if recipe.decoder in ("fcn", "semantic_fpn"):
        kind = "fcn, D6" if recipe.is_d6 else recipe.decoder
        return (
            f"{kind}, as {recipe.variant} has it, on stages "
            f"{_listed(recipe.feature_layers)}"
            + (f"; an auxiliary head on stage {auxiliary}" if auxiliary else "")
        )
    on_neck = recipe.decoder == "mla" and recipe.variant != "paper"
    return (
        f"{recipe.decoder}, as {recipe.variant} has it, on Z^"
        f"{_listed(recipe.feature_layers)}; auxiliary heads on "
        f"{'the neck, level ' if on_neck else 'Z^'}"
        f"{auxiliary}"
    )


def _test(recipe):
    if recipe.whole:
        return (
            f"whole images, base scale {_sides(recipe.base_scale)}, protocol "
            f"{recipe.protocol}; multi-scale {_listed(recipe.scales)} with flip"
        )
    return (
        f"windows of {_sides(recipe.crop_size)}, stride "
        f"{_sides(recipe.stride)}, base scale {_sides(recipe.base_scale)}, "
        f"protocol {recipe.protocol}; multi-scale {_listed(recipe.scales)} "
        "with flip"
    )


def _published(recipe):
    title = "published"
    for test, figures in (
        ("single scale", recipe.miou),
        ("multi-scale", recipe.miou_multi_scale),
        ("test server", recipe.miou_test_server),
    ):
        for source, figure in figures.items():
            yield title, f"{percent(figure)} {test}: {source}"
            title = ""


def _hours(recipe):
    return "not published" if recipe.hours is None else f"{recipe.hours:g}"


def _shown(figures):
    """The figure of a dict of source -> percent that tables show."""
    return next(iter(figures.values()), None)


def _sides(size):
    return f"{size[0]} x {size[1]}"


def _listed(values):
    return ", ".join(f"{value:g}" for value in values)
