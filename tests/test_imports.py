"""The floors of the package: an import runs down, never up."""

import ast
import pathlib
import pydoc
import subprocess
import sys

import pytest

import keras_setr

pytestmark = pytest.mark.no_backend

PACKAGE = pathlib.Path(keras_setr.__file__).parent

# Each part with what it may import besides itself, as parts or modules: the
# facts of decoders and encoders name no dataset, and models may know them.
GROUND = ("arguments", "arrays", "backends", "opencv", "tables")
BOTTOM = (
    *GROUND,
    "classes",
    "layers",
    "losses",
    "confusion",
    "metrics",
    "optimizers",
    "inference",
    "files",
    "workers",
)
FLOORS = {
    "arguments": ("tables",),
    "arrays": ("tables",),
    "backends": (),
    "opencv": (),
    "tables": (),
    "tensorflow_logs": (),
    "version": (),
    "classes": GROUND,
    "workers": GROUND,
    "files": (*GROUND, "classes"),
    "facts": (*GROUND, "classes"),
    "layers": GROUND,
    "losses": (*GROUND, "layers"),
    "confusion": (*GROUND, "classes"),
    "metrics": (*GROUND, "confusion", "losses.base"),
    "optimizers": GROUND,
    "inference": (*GROUND, "classes", "confusion"),
    "visualization": (*GROUND, "classes", "files", "inference.resizing"),
    "app": (
        *GROUND,
        "checkpoints.presets",
        "classes",
        "files",
        "version",
        "visualization",
    ),
    "data": (
        *GROUND,
        "classes",
        "facts",
        "files",
        "visualization",
        "workers",
    ),
    "checkpoints": (*GROUND, "classes", "facts", "files", "layers", "version"),
    "export": (*BOTTOM, "version"),
    "models": (
        *BOTTOM,
        "checkpoints",
        "data",
        "export",
        "facts.decoders",
        "facts.encoders",
    ),
    "evaluation": (*GROUND, "classes", "confusion", "inference", "workers"),
    "submission": (*BOTTOM, "facts"),
    "rasters": BOTTOM,
    "comparison": (*GROUND, "checkpoints", "facts", "models", "training"),
    "training": (
        *BOTTOM,
        "checkpoints",
        "data",
        "evaluation",
        "facts",
        "models",
        "visualization",
    ),
}
# What an exported model is read, run, scored and drawn with, where Keras is
# not installed: these import it where they use it.
WITHOUT_KERAS = (
    "app",
    "arguments",
    "arrays",
    "backends",
    "classes",
    "confusion",
    "data",
    "evaluation",
    "export",
    "facts",
    "files",
    "inference",
    "opencv",
    "rasters",
    "submission",
    "tables",
    "version",
    "visualization",
    "workers",
)
WITH_KERAS = (
    "app/space.py",
    "data/batches/readers.py",
    "export/exporting.py",
    "export/graph.py",
    "export/writers.py",
    "inference/compiled.py",
    "inference/devices.py",
    "inference/on_device.py",
)
# Imported where they are used, never on import of the package.
LAZY = (
    "tensorflow",
    "torch",
    "jax",
    "matplotlib",
    "tensorflow_datasets",
    "gradio",
)
# Subclasses of TFDS's builder; importing them registers them.
BUILDERS = PACKAGE / "data" / "published" / "builders"
BUILDERS_PACKAGE = "keras_setr.data.published.builders"
# What gathers the parts is none of them.
GATHERING = ("__init__.py", "public.py")
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE) + [
    p for p in sorted(PACKAGE.glob("*.py")) if p.name not in GATHERING
]


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(node):
    if isinstance(node, ast.ImportFrom):
        if node.module == "keras_setr":
            return [f"keras_setr.{alias.name}" for alias in node.names]
        return [node.module]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return []


@pytest.mark.parametrize(
    "path", FILES, ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_run_down(path):
    part = part_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node):
            if name.startswith("keras_setr"):
                _, target, *rest = name.split(".")
                allowed = {target, f"{target}.{rest[0]}" if rest else target}
                assert target == part or allowed & set(FLOORS[part]), name


@pytest.mark.parametrize(
    "path", FILES, ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    allowed = "tensorflow_datasets" if path.parent == BUILDERS else None
    for node in ast.parse(path.read_text()).body:
        for name in imported(node):
            assert name.split(".")[0] not in LAZY or name == allowed
            # Nobody else may import TFDS by way of a builder.
            if path.parent != BUILDERS:
                assert not name.startswith(BUILDERS_PACKAGE)


@pytest.mark.parametrize(
    "path", FILES, ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_what_a_deployment_needs_imports_no_keras(path):
    place = path.relative_to(PACKAGE).as_posix()
    if part_of(path) not in WITHOUT_KERAS or place in WITH_KERAS:
        return
    for node in ast.parse(path.read_text()).body:
        for name in imported(node):
            assert name.split(".")[0] not in ("keras", "keras_hub")


def test_every_public_name_exists_and_is_listed_in_order():
    for name in keras_setr.__all__:
        assert hasattr(keras_setr, name)
    assert list(keras_setr.__all__) == sorted(keras_setr.__all__)


def test_dir_shows_public_names_only():
    parts = [m for m in vars(keras_setr).values() if hasattr(m, "__path__")]
    parts = [m for m in parts if hasattr(m, "__all__")]
    assert len(parts) >= 6
    for module in (keras_setr, *parts):
        assert dir(module) == sorted(module.__all__)


def test_help_shows_ours_before_what_keras_has():
    text = pydoc.plain(pydoc.render_doc(keras_setr.SETRPUP))
    ours = text[: text.index("inherited from keras_hub.")]
    for name in ("compile", "fit", "predict", "segment", "from_preset"):
        assert f" {name}(" in ours


def test_the_package_itself_imports_no_drawing_or_other_backend():
    code = (
        "import sys, keras, keras_hub; before = set(sys.modules);"
        "import keras_setr;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        f"print(sorted(new & set({LAZY})), {BUILDERS_PACKAGE!r} in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.stdout.strip().splitlines()[-1] == "[] False", result.stderr
