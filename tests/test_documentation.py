"""The Python blocks of docstrings and of the read-me files are run.

A block opens with ```python. One that needs a download or the archives of a
published data set opens with ```python no_run: it is only compiled, and
`NOT_RUN` counts them, so that no other is left out unseen.

They run as they stand, in a folder with a few generated images, but smaller:
`SMALLER` is all that is changed, and the encoders of the paper are tiny ones.
"""

import ast
import pathlib
import re
import textwrap

import keras
import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
import keras_setr.arguments

PACKAGE = pathlib.Path(ks.__file__).parent
ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(r"^( *)```python( no_run)?\n(.*?)^\1```$", re.S | re.M)
NOT_RUN = 6
SMALLER = (
    (r"\((480, 480|512, 512), 3\)", "(32, 48, 3)"),
    (r"\(3, 6, 9, 12\)", "(1, 2)"),
    (r"\.batches\(8\b", ".batches(2"),
    (r"epochs=\d+", "epochs=1"),
)


def _texts():
    """`(place, text)` of each docstring and each Markdown file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(ROOT)
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(
                node, (ast.Module, ast.ClassDef, ast.FunctionDef)
            ) and (text := ast.get_docstring(node)):
                yield f"{place}:{getattr(node, 'name', 'module')}", text
    for name in ("README.md", "CONTRIBUTING.md"):
        if (ROOT / name).exists():
            yield name, (ROOT / name).read_text()


BLOCKS = [
    pytest.param(textwrap.dedent(body), not_run, id=f"{place}-{number}")
    for place, text in _texts()
    for number, (_, not_run, body) in enumerate(BLOCK.findall(text))
]


@pytest.mark.no_backend
def test_all_blocks_are_found_and_those_not_run_are_counted():
    fences = sum(text.count("```python") for _, text in _texts())
    assert len(BLOCKS) == fences >= 14
    assert sum(bool(block.values[1]) for block in BLOCKS) == NOT_RUN


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What a block may take for granted, in a folder with its images."""
    monkeypatch.chdir(tmp_path)
    _write_images(tmp_path)
    tiny = {"num_layers": 2, "hidden_dim": 8, "num_heads": 2}
    monkeypatch.setattr(ks, "T_SMALL", tiny)
    monkeypatch.setattr(ks, "T_LARGE", tiny)
    folder = ks.data.SegmentationFolder("my_data")
    train, val = folder.split(0.34, seed=0)
    model = ks.SETRNaive(
        ks.SETRBackbone(**tiny, image_shape=(32, 48, 3)), folder.num_classes
    )
    return {
        **{n: getattr(ks.arguments, n) for n in ("checked", "integer")},
        **{n: getattr(ks.arguments, n) for n in ("optional", "pair")},
        "SegmentationFolder": ks.data.SegmentationFolder,
        "batches": train.batches(2),
        "folder": folder,
        "images": np.zeros((2, 32, 48, 3), "uint8"),
        "keras": keras,
        "keras_setr": ks,
        "ks": ks,
        "labels": np.zeros((2, 32, 48), "int32"),
        "model": model,
        "train": train,
        "val": val,
    }


def _write_images(folder):
    """`my_data`, 6 images with masks of 3 classes, and `street.jpg`."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / "my_data" / part).mkdir(parents=True)
    for name in (f"{index}.png" for index in range(6)):
        pixels = rng.integers(0, 256, (32, 48, 3), "uint8")
        image = Image.fromarray(pixels)
        image.save(folder / "my_data" / "images" / name)
        mask = Image.fromarray(pixels[..., 0] % 3)
        mask.save(folder / "my_data" / "masks" / name)
    image.save(folder / "street.jpg")


@pytest.mark.backends("torch")  # which has nothing to compile
@pytest.mark.parametrize(("code", "not_run"), BLOCKS)
def test_a_block_runs(code, not_run, names, request):
    for pattern, smaller in SMALLER:
        code = re.sub(pattern, smaller, code)
    compiled = compile(code, request.node.callspec.id, "exec")
    if not not_run:
        exec(compiled, names)
