"""Checks a wheel and an sdist: what is in them, and that they install alone.

python -m build --outdir DIR . && python tests/published_files.py DIR
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("keras_setr", "keras_setr_commands")
# In an sdist beside the packages.
BESIDE = ("README.md", "LICENSE", "pyproject.toml")
# What works without any other package: no Keras, no NumPy.
ALONE = (
    "import keras_setr, sys; print(keras_setr.__version__); "
    "from keras_setr_commands.main import main; sys.exit(main(['--help']))"
)


def sources():
    """Paths of what the packages are made of."""
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(listed.stdout.split())


def check(kind, names, wanted):
    names = set(names)
    missing = sorted(wanted - names)
    strange = sorted(
        name
        for name in names
        if name.split("/")[0] in ("tests", "docs", "examples")
        or name.endswith((".pyc", ".ipynb"))
    )
    if missing or strange:
        sys.exit(f"The {kind} lacks {missing} and should not have {strange}.")
    print(f"{kind}: all of {len(wanted)} files")


def install(wheel):
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(pathlib.Path(folder, "bin", "python"))
        line = [python, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*line, str(wheel)], check=True)
        subprocess.run(
            [python, "-c", ALONE], check=True, cwd=folder, stdout=sys.stderr
        )
    print("wheel: installs and runs without any other package")


def main(folder):
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    (sdist,) = pathlib.Path(folder).glob("*.tar.gz")
    wanted = sources()
    check("wheel", zipfile.ZipFile(wheel).namelist(), wanted)
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    check("sdist", names, wanted | set(BESIDE))
    install(wheel)


if __name__ == "__main__":
    main(sys.argv[1])
