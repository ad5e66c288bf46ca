"""The Python blocks of docstrings and of the documentation are run.

A block opens with ```python. One that needs a download, the archives of a
published data set or another backend opens with ```python no_run: it is only
compiled, and `NOT_RUN` counts them, so that no other is left out unseen.

Those of docstrings and of the read-me files run one by one, those of a page of
`docs/` one after another. What stands in a ```text block right behind one is
what it prints, or the error that it ends with; `...` in it is anything.

They run as they stand, in a folder with a few generated images, but smaller:
`SMALLER` is all that is changed, and the encoders of the paper are tiny ones.
"""

import ast
import contextlib
import doctest
import io
import pathlib
import re
import textwrap
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
import keras_setr.arguments

PACKAGE = pathlib.Path(ks.__file__).parent
ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(
    r"^( *)```python( no_run)?\n(.*?)^\1```$(?:\n+^\1```text\n(.*?)^\1```$)?",
    re.S | re.M,
)
NOT_RUN = 23
SMALLER = (
    (r"\((480, 480|512, 512), 3\)", "(32, 48, 3)"),
    (r"\(3, 6, 9, 12\)", "(1, 2)"),
    (r"\.batches\(8\b", ".batches(2"),
    (r"epochs=\d+", "epochs=1"),
)


def _texts():
    """`(place, text)` of each docstring and each read-me file."""
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


def _pages():
    """`(place, text)` of each page, but for those that are made of code."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        place = path.relative_to(ROOT)
        made = ("commands", "models", "reference", "_build")
        if place.parts[1] not in made:
            yield str(place), path.read_text()


def _blocks(text):
    """`(code, not_run, output)` of each; None where none is shown."""
    found = (match.groups() for match in BLOCK.finditer(text))
    return [
        (textwrap.dedent(code), bool(not_run), output)
        for _, not_run, code, output in found
    ]


BLOCKS = [
    pytest.param(*block, id=f"{place}-{number}")
    for place, text in _texts()
    for number, block in enumerate(_blocks(text))
]
PAGES = {place: blocks for place, text in _pages() if (blocks := _blocks(text))}


@pytest.mark.no_backend
def test_all_blocks_are_found_and_those_not_run_are_counted():
    texts = [text for _, text in (*_texts(), *_pages())]
    fences = sum(text.count("```python") for text in texts)
    found = [block.values for block in BLOCKS]
    for blocks in PAGES.values():
        found += blocks
    assert len(found) == fences >= 60
    assert sum(not_run for _, not_run, _ in found) == NOT_RUN


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


def _smaller(code):
    for pattern, smaller in SMALLER:
        code = re.sub(pattern, smaller, code)
    return code


@pytest.mark.backends("torch")  # which has nothing to compile
@pytest.mark.parametrize(("code", "not_run", "output"), BLOCKS)
def test_a_block_runs(code, not_run, output, names, request):
    compiled = compile(_smaller(code), request.node.callspec.id, "exec")
    if not not_run:
        exec(compiled, names)


def _printed(code, place, names):
    """What a block prints; an error that it ends with is its last line."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, place, "exec"), names)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    return printed.getvalue()


@pytest.mark.backends("torch")
@pytest.mark.parametrize("place", PAGES)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(place, names):
    same = doctest.OutputChecker().check_output
    loosely = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for number, (code, not_run, output) in enumerate(PAGES[place]):
        block = f"{place}, block {number}"
        if not_run:
            compile(code, block, "exec")
        elif output is not None:
            assert _smaller(code) == code, f"{block} is not shown as it runs"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                printed = _printed(code, block, names)
            wanted = textwrap.dedent(output)
            assert same(wanted, printed, loosely), f"{block}:\n{printed}"
        else:
            exec(compile(_smaller(code), block, "exec"), names)
