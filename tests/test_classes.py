import numpy as np
import pytest

from keras_setr import Classes

pytestmark = pytest.mark.no_backend


def test_names_and_colours_come_from_any_sequence():
    classes = Classes(np.array(["road", "sky"]), np.eye(2, 3, dtype="uint8"))
    assert classes.names == ("road", "sky")
    assert classes.palette == ((1, 0, 0), (0, 1, 0))
    assert Classes(**classes.get_config()) == classes
    assert len(set(Classes(["road", "sky"]).palette)) == 2


@pytest.mark.parametrize(
    "names, palette, message",
    [
        ("road", None, "names must be a sequence .*Received: 'road'"),
        ([], None, "names must be a sequence of at least 1"),
        (["road", 1], None, "names .*each a string"),
        (["road", ""], None, "names .*each a string"),
        (["road", " "], None, "' ' for label 1"),
        (["a", "b", "a"], None, "'a' for label 0 and for label 2"),
        (["a", "b"], [(1, 2, 3)], "1 colours for 2 names"),
        (["a"], [(1, 2)], "palette .*each a sequence of 3"),
        (["a"], [(0.5, 0.0, 1.0)], "palette .*integer in 0..255"),
        (["a"], [(0, 0, 256)], "palette .*integer in 0..255"),
        (["a"], ["red"], "palette .*Received: \\['red'\\]"),
    ],
)
def test_what_names_no_classes_is_an_error(names, palette, message):
    with pytest.raises(ValueError, match=message):
        Classes(names, palette)
