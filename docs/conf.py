"""The site: MyST pages, and those that are made of the code.

pip install -e ".[docs]" && sphinx-build -W -n docs docs/_build
"""

import os
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
# Nothing is computed, and what the pages tell is the same on all backends.
os.environ.setdefault("KERAS_BACKEND", "numpy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(FOLDER.parent), str(FOLDER / "_extensions")]

from keras_setr.version import __version__  # noqa: E402

# The one address that the pages and the badges of the notebooks name.
REPOSITORY = "https://github.com/keras-setr/keras-setr"

project = "keras_setr"
author = "The keras_setr authors"
copyright = "The keras_setr authors; Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "command_pages",
    "model_pages",
    "reference_pages",
    "links",
]
# The two tables are parts of other pages.
exclude_patterns = ["_build", "models/table.md", "models/recipes.md"]
myst_heading_anchors = 3
highlight_language = "none"
add_module_names = False
python_maximum_signature_line_length = 72
# What a block prints is not to be copied.
copybutton_selector = "div.highlight-python pre, div.highlight-bash pre"

html_theme = "furo"
html_title = "keras_setr"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"source_repository": REPOSITORY}
