"""TFDS builders of the datasets that TFDS lacks.

Importing one of the modules registers its builder with TFDS, as defining any
builder does. They import TFDS, which takes a second, so importing this
package leaves that for later: `register` has them imported as soon as TFDS
itself is, at once if that has happened already. So after
`import keras_setr.data`, `tensorflow_datasets.load("camvid")` finds them,
whichever of the two was imported first.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.resources.abc
import importlib.util
import sys
import warnings

_TFDS = "tensorflow_datasets"
# Each has the builder of its own name.
_MODULES = ("ade20k", "camvid", "pascal_context")


def register():
    """Have the builders registered once TFDS is imported."""
    if _TFDS in sys.modules:
        _import_builders()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _import_builders():
    _mend_tfds()
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")


def _mend_tfds():
    """Lets TFDS 4.9.10 prepare datasets where importlib_resources is missing.

    It uses the package without requiring it; Python's own module has the one
    class that it looks for.
    """
    if importlib.util.find_spec("importlib_resources") is None:
        builder = importlib.import_module(f"{_TFDS}.core.dataset_builder")
        if hasattr(builder, "importlib_resources"):
            builder.importlib_resources = importlib.resources


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TFDS where the other finders do, and has it loaded by `_Loader`."""

    def find_spec(self, name, path=None, target=None):
        if name != _TFDS:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _Finder) or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Loads TFDS as `loader` does, and then the builders; once."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        sys.meta_path[:] = [
            finder
            for finder in sys.meta_path
            if not isinstance(finder, _Finder)
        ]
        try:
            _import_builders()
        except Exception as error:
            # Whoever imports TFDS may have nothing to do with this package.
            warnings.warn(
                f"TFDS does not know the datasets of keras_setr: {error!r}",
                stacklevel=2,
            )
