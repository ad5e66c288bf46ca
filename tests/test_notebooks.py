"""The notebooks of the examples, each on the backend where it runs fastest.

Without data of the user they run on generated images; here on fewer, for fewer
steps and with smaller models than as they are.
"""

import os
import pathlib
import re

import jupyter_client
import keras
import nbclient
import nbformat
import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
DOCS = EXAMPLES.parent / "docs"
NOTEBOOKS = {
    "quickstart": "torch",
    "finetune_folder": "torch",
    "cityscapes_kaggle_tpu": "jax",  # which it sets itself
    "evaluate_and_visualise": "torch",
    "export": "torch",
}
SMALLER = {"hidden_dim=128": "hidden_dim=16", "filters=48": "filters=8"}
# Part of a notebook -> what stands in its place.
SHORTER = {
    "quickstart": {
        "Scenes(160": "Scenes(16",
        "epochs=8": "epochs=1",
        **SMALLER,
    },
    "finetune_folder": {
        "Scenes(160": "Scenes(16",
        "EPOCHS = 6": "EPOCHS = 1",
        **SMALLER,
    },
    "cityscapes_kaggle_tpu": {"steps=500": "steps=10"},
    "evaluate_and_visualise": {
        "Scenes(160": "Scenes(16",
        "Scenes(6": "Scenes(3",
        "epochs=6": "epochs=1",
        **SMALLER,
    },
    "export": {
        "Scenes(120": "Scenes(16",
        "epochs=6": "epochs=1",
        **SMALLER,
    },
}


def read(name):
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return notebook, cells


def shorten(cells, replacements):
    for long, short in replacements.items():
        (cell,) = [cell for cell in cells if long in cell.source]
        cell.source = cell.source.replace(long, short)


def kinds(cell):
    """What a cell shows: text, pictures."""
    found = set()
    for output in cell.outputs:
        if output.get("name") != "stderr":
            found.update(output.get("data", {"text/plain": ""}))
    return found


@pytest.mark.no_backend
def test_every_notebook_runs_on_one_backend():
    files = {path.stem for path in EXAMPLES.glob("*.ipynb")}
    assert set(NOTEBOOKS) == files


@pytest.mark.no_backend
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_was_run_from_top_to_bottom(name):
    _, cells = read(name)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))


@pytest.mark.no_backend
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opens_on_colab_and_kaggle(name):
    (address,) = re.findall(
        r'^REPOSITORY = "https://github.com/(.+)"$',
        (DOCS / "conf.py").read_text(),
        re.M,
    )
    file = f"{address}/blob/main/examples/{name}.ipynb"
    notebook, _ = read(name)
    for text in (notebook.cells[0].source, (DOCS / "notebooks.md").read_text()):
        assert f"https://colab.research.google.com/github/{file})" in text
        assert f"welcome?src=https://github.com/{file})" in text


@pytest.fixture(scope="module")
def kernel():
    """A process beside the tests, for all notebooks: its imports take long."""
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel(
        env={
            **os.environ,
            "KERAS_BACKEND": keras.config.backend(),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(EXAMPLES.parent),
        }
    )
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.backends(backend))
        for name, backend in NOTEBOOKS.items()
    ],
)
def test_a_notebook_runs_and_shows_what_it_showed(name, kernel, tmp_path):
    notebook, cells = read(name)
    expected = [kinds(cell) for cell in cells]
    shorten(cells, SHORTER[name])
    # Without the names of the notebook before.
    begin = nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}")
    notebook.cells.insert(0, begin)
    nbclient.NotebookClient(notebook, km=kernel, timeout=600).execute()
    assert [kinds(cell) for cell in cells] == expected
