import importlib.util
import sys
import types

import pytest

from keras_setr import opencv

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    "installed, received",
    [(None, "cv2"), (types.ModuleType("cv2"), "IMREAD_COLOR_RGB")],
    ids=["none", "old"],
)
def test_without_opencv_its_packages_are_named(
    monkeypatch, installed, received
):
    monkeypatch.setitem(sys.modules, "cv2", installed)
    spec = importlib.util.spec_from_file_location("again", opencv.__file__)
    with pytest.raises(ImportError, match="opencv-python-headless") as error:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert f"Received: {error.value.__cause__}" in str(error.value)
    assert received in str(error.value)
