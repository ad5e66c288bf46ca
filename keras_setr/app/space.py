"""The page as a folder for Hugging Face Spaces."""

import os
import pathlib
import shutil
from collections.abc import Sequence

from keras_setr.arguments import checked
from keras_setr.arguments import folder
from keras_setr.arguments import nearest
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.files.whole import folder_written_whole
from keras_setr.version import __version__

# A release of Gradio that the page was tried with.
SDK_VERSION = "6.31.0"

_APP = '''\
"""Serves the page of a segmentation model, by keras_setr."""

import sys

from keras_setr_commands.main import main

if __name__ == "__main__":
    sys.exit(main({arguments}))
'''
_README = """\
---
title: "{title}"
sdk: gradio
sdk_version: {sdk_version}
python_version: "3.11"
app_file: app.py
---

Drop an image to see its classes and their shares. The model is `{source}`,
served by keras_setr {version}. On another machine:
`pip install -r requirements.txt && python app.py`.
"""


@checked(
    directory=folder(),
    source=string(),
    extras=sequence(string()),
    options=sequence(string()),
)
def write_space(
    directory: str | os.PathLike[str],
    source: str,
    extras: Sequence[str] = (),
    options: Sequence[str] = (),
) -> None:
    """Write app.py, requirements.txt and README.md, whole or not at all.

    Args:
        directory: of the Space; a folder that holds something is refused.
        source: str. A preset folder, a file of weights or an exported model,
            which is copied; or a name or handle, which the Space fetches.
        extras: sequence of str. Of this package besides `app`, such as
            `"torch"`.
        options: sequence of str. Of `keras-setr app`.

    Raises:
        ValueError: there is no such source.
        FileExistsError: the folder holds something.
    """
    model = pathlib.Path(source)
    if "://" not in source and not model.exists():
        # With it Keras is imported.
        from keras_setr.checkpoints.presets import PRESETS

        if source not in PRESETS:
            raise ValueError(
                "source must be a folder, a file, a built-in name or a handle "
                f"such as hf://USER/NAME. Received: {source!r}. "
                f"{nearest(source, PRESETS)}"
            )
    name = pathlib.PurePosixPath(source).name
    with folder_written_whole(directory, replace=False) as partial:
        if model.exists():
            name = model.resolve().name
            source = f"model/{name}"
            _copy(model, partial / source)
        arguments = ["app", source, "--host", "0.0.0.0", *options]
        extra = ",".join(sorted({"app", *extras}))
        for file, text in {
            "app.py": _APP.format(arguments=arguments),
            "requirements.txt": f"keras-setr[{extra}]=={__version__}\n",
            "README.md": _README.format(
                title=name,
                source=source,
                sdk_version=SDK_VERSION,
                version=__version__,
            ),
        }.items():
            (partial / file).write_text(text, encoding="utf-8")


def _copy(model, target):
    if model.is_dir():
        shutil.copytree(model, target)
        return
    target.parent.mkdir()
    shutil.copyfile(model, target)
    # OpenVINO's weights lie beside its graph.
    weights = model.with_suffix(".bin")
    if model.suffix.lower() == ".xml" and weights.is_file():
        shutil.copyfile(weights, target.with_suffix(".bin"))
