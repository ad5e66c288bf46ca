"""What `--help` of each command prints, as a page that the search finds."""

import importlib
import os
import pathlib
from unittest import mock

from reference_pages import write

from keras_setr_commands.main import COMMANDS
from keras_setr_commands.main import parser_of


def write_pages(app):
    folder = pathlib.Path(app.srcdir, "commands")
    folder.mkdir(exist_ok=True)
    for name, what in COMMANDS.items():
        module = importlib.import_module(f"keras_setr_commands.{name}")
        # argparse asks the terminal how wide it is.
        with mock.patch.dict(os.environ, {"COLUMNS": "80"}):
            text = parser_of(module, f"keras-setr {name}").format_help()
        lines = [f"# Options of keras-setr {name}", "", f"{what}.".capitalize()]
        lines += ["", "```text", text.rstrip(), "```", ""]
        write(folder / f"{name}.md", "\n".join(lines))
    for path in folder.glob("*.md"):
        if path.stem not in COMMANDS:
            path.unlink()


def setup(app):
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
