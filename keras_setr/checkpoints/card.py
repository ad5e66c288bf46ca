"""The model card of a preset, and its way to a hub."""

import os

import keras_hub

from keras_setr.checkpoints.presets import PRESETS
from keras_setr.tables import percent
from keras_setr.version import __version__

_HUGGING_FACE = "hf://"
_CARD = "README.md"

# Who sets the terms of the images that the published models have seen.
_DATA_TERMS = {
    "ade20k": "ADE20K: see https://ade20k.csail.mit.edu/terms/",
    "cityscapes": "Cityscapes, non-commercial: see "
    "https://www.cityscapes-dataset.com/license/",
    "pascal_context": "Pascal VOC 2010: Flickr's terms, see "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
}


def model_card(model, source, sha256=None, license=None, data_license=None):
    """The text of a model card, in the form that Hugging Face reads.

    Args:
        model: a segmenter or a backbone of ours.
        source: str. A built-in name, whose facts are then filled in, or
            where else the weights come from.
        sha256: str. Of the file that was converted.
        license: str. Of the weights, as an SPDX name; known for built-in
            names.
        data_license: str. Terms of the data that the model was trained on.

    Returns:
        str, Markdown with a YAML head.
    """
    preset = PRESETS.get(source)
    backbone = getattr(model, "backbone", model)
    name = type(model).__name__
    license = license or (preset.license if preset else None)
    if data_license is None and preset is not None:
        data_license = _DATA_TERMS.get(preset.dataset, preset.dataset)
    digest = sha256 or (preset.sha256 if preset else None)
    head = ["---", "library_name: keras-hub"]
    if license:
        head.append(f"license: {license.lower()}")
    if backbone is not model:
        head.append("pipeline_tag: image-segmentation")
    head += ["tags:", "- keras", "- setr", "- semantic-segmentation", "---"]
    height, width = backbone.native_size
    rows = [
        ("Model", f"`keras_setr.{name}`, keras_setr {__version__}"),
        ("Paper", "https://arxiv.org/abs/2012.15840"),
        (
            "Encoder",
            f"{backbone.num_layers} layers, width {backbone.hidden_dim}, "
            f"{backbone.num_heads} heads, patches of {backbone.patch_size}",
        ),
        ("Images", f"{height} x {width}, RGB in 0..255"),
        ("Parameters", f"{model.count_params():,}"),
    ]
    if backbone is not model:
        rows.append(("Classes", str(model.num_classes)))
    rows += [
        ("Weights from", preset.url if preset else source),
        ("SHA-256 of that file", digest or "not known"),
        ("Licence of the weights", license or "not known"),
        ("Terms of the data", data_license or "not known"),
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
        "",
        f'model = ks.{name}.from_preset("hf://USER/MODEL")',
    ]
    if backbone is not model:
        use.append('labels = model.segment("street.jpg")  # (H, W) integers')
    use.append("```")
    classes = getattr(model, "classes", None)
    lines = [*head, "", f"# {source if preset else name}", ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in rows]
    lines += ["", "## Use", "", *use]
    if classes is not None:
        lines += ["", "## Classes", "", ", ".join(classes.names)]
    return "\n".join(lines) + "\n"


def write_model_card(folder, text):
    """Put a card into a preset folder, whole or not at all."""
    path = os.path.join(folder, _CARD)
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def upload_preset(uri, folder):
    """`keras_hub.upload_preset`, with the folder's own model card.

    To a repository on Hugging Face without a card, KerasHub uploads one that
    it writes over the folder's. So the card goes first.

    Args:
        uri: str. `hf://user/model` or `kaggle://user/model/keras/variant`.
        folder: str. A preset folder.
    """
    card = os.path.join(folder, _CARD)
    if uri.startswith(_HUGGING_FACE) and os.path.exists(card):
        import huggingface_hub

        repository = huggingface_hub.create_repo(
            uri.removeprefix(_HUGGING_FACE), exist_ok=True
        )
        huggingface_hub.upload_file(
            path_or_fileobj=card,
            path_in_repo=_CARD,
            repo_id=repository.repo_id,
        )
    keras_hub.upload_preset(uri, folder)
