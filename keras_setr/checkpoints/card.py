"""The model card of a preset, and its way to a hub."""

import json
import os
import re

import keras
import keras_hub

from keras_setr.arguments import checked
from keras_setr.arguments import having
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.arguments import string
from keras_setr.checkpoints.preset_folder import CARD
from keras_setr.checkpoints.presets import PRESETS
from keras_setr.files.whole import written_whole
from keras_setr.tables import counted
from keras_setr.tables import percent
from keras_setr.tables import printable
from keras_setr.version import __version__

_HUGGING_FACE = "hf://"

# Who sets the terms of the images that the published models have seen.
DATA_TERMS = {
    "ade20k": "ADE20K: see https://ade20k.csail.mit.edu/terms/",
    "cityscapes": "Cityscapes, non-commercial: see "
    "https://www.cityscapes-dataset.com/license/",
    "pascal_context": "Pascal VOC 2010: Flickr's terms, see "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
}


@checked(
    model=having("a segmenter or a backbone", "count_params", "save_to_preset"),
    source=string(),
    sha256=optional(string()),
    license=optional(string()),
    data_license=optional(string()),
    address=string(),
)
def model_card(
    model: keras.Model,
    source: str,
    sha256: str | None = None,
    license: str | None = None,
    data_license: str | None = None,
    address: str = ".",
) -> str:
    """The text of a model card, in the form that Hugging Face reads.

    Args:
        model: a segmenter or a backbone of ours.
        source: str. A built-in name, whose facts are then filled in, or
            where else the weights come from.
        sha256: str. Of the file that was converted.
        license: str. Of the weights, as an SPDX name; known for built-in
            names.
        data_license: str. Terms of the data that the model was trained on.
        address: str. What `from_preset` takes to load the preset: its handle
            or its folder, by default that of the card itself.

    Returns:
        str, Markdown with a YAML head. Its Python block runs as it stands.
    """
    preset = PRESETS.get(source)
    backbone = getattr(model, "backbone", model)
    name = type(model).__name__
    license = license or (preset.license if preset else None)
    data_terms = _markdown(data_license or "not known")
    if data_license is None and preset is not None:
        data_terms = DATA_TERMS.get(preset.dataset, preset.dataset)
    digest = sha256 or (preset.sha256 if preset else None)
    head = ["---", "library_name: keras-hub"]
    if license:
        head.append(f"license: {_yaml(license.lower())}")
    if backbone is not model:
        head.append("pipeline_tag: image-segmentation")
    head += ["tags:", "- keras", "- setr", "- semantic-segmentation", "---"]
    height, width = backbone.native_size
    channels = backbone.image_shape[-1]
    kind = "RGB" if channels == 3 else counted(channels, "channel")
    rows = [
        ("Model", f"`keras_setr.{name}`, keras_setr {__version__}"),
        ("Paper", "https://arxiv.org/abs/2012.15840"),
        (
            "Encoder",
            backbone.summary_line,
        ),
        ("Images", f"{height} x {width}, {kind} in 0..255"),
        ("Parameters", f"{model.count_params():,}"),
    ]
    if backbone is not model:
        rows.append(("Classes", str(model.num_classes)))
    rows += [
        ("Weights from", preset.url if preset else _markdown(source)),
        ("SHA-256 of that file", _markdown(digest or "not known")),
        ("Licence of the weights", _markdown(license or "not known")),
        ("Terms of the data", data_terms),
        ("Licence of the code", "Apache-2.0"),
    ]
    if preset is not None and preset.model_class is not None:
        rows += [
            (title, percent(figure, " %", "not published"))
            for title, figure in (
                ("Validation mIoU, published", preset.miou),
                (
                    "With several scales and flips, published",
                    preset.miou_multi_scale,
                ),
            )
        ]
    use = [
        "```python",
        "import keras_setr as ks",
        "import numpy as np",
        "",
        f"model = ks.{name}.from_preset({json.dumps(address)})",
    ]
    if backbone is model:
        size = (1, height, width, channels)
        use.append(f'features = model(np.zeros({size}, "float32"))')
    else:
        shape = (height, width, channels)
        use += [
            f'image = np.zeros({shape}, "uint8")  # or a path: "street.jpg"',
            "labels = model.segment(image)  # (H, W) integers",
        ]
    use.append("```")
    classes = getattr(model, "classes", None)
    lines = [*head, "", f"# {source if preset else name}", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in rows]
    lines += ["", "## Use", "", *use]
    if classes is not None:
        lines += [
            "",
            "## Classes",
            "",
            ", ".join(map(_markdown, classes.names)),
        ]
    return "\n".join(lines) + "\n"


def _markdown(text):
    """A text of anybody's as plain text within a line or a table's cell."""
    # A backslash before punctuation makes it a character like any other.
    # Within a word, as in addresses, an underscore is one already.
    special = r"[\\`*\[\]<>|#!&~$]|(?<!\w)_|_(?!\w)"
    return re.sub(special, r"\\\g<0>", printable(text, ""))


def _yaml(text):
    """A text as a YAML scalar, quoted where it might be something else."""
    return (
        text if re.fullmatch(r"[a-z][a-z0-9.+-]*", text) else json.dumps(text)
    )


@checked(folder=path(), text=string())
def write_model_card(folder: str | os.PathLike[str], text: str) -> None:
    """Put a card into a preset folder, whole or not at all."""
    with written_whole(os.path.join(folder, CARD)) as card:
        card.write_text(text, encoding="utf-8")


@checked(uri=string(), folder=path())
def upload_preset(uri: str, folder: str | os.PathLike[str]) -> None:
    """`keras_hub.upload_preset`, with the folder's own model card.

    The card's Python block then loads the preset from where it is uploaded
    to. To a repository on Hugging Face without a card, KerasHub uploads one
    that it writes over the folder's. So the card goes first.

    Args:
        uri: str. `hf://user/model` or `kaggle://user/model/keras/variant`.
        folder: str. A preset folder.
    """
    card = os.path.join(folder, CARD)
    if os.path.exists(card):
        with open(card, encoding="utf-8") as file:
            text = file.read()
        address = f"from_preset({json.dumps(uri)})"
        write_model_card(
            folder, re.sub(r"from_preset\(.*?\)$", address, text, flags=re.M)
        )
    if uri.startswith(_HUGGING_FACE) and os.path.exists(card):
        import huggingface_hub

        repository = huggingface_hub.create_repo(
            uri.removeprefix(_HUGGING_FACE), exist_ok=True
        )
        huggingface_hub.upload_file(
            path_or_fileobj=card,
            path_in_repo=CARD,
            repo_id=repository.repo_id,
        )
    keras_hub.upload_preset(uri, folder)
