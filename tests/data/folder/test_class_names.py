import json

import pytest

from keras_setr.data.folder.class_names import read_class_names

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    "content",
    [
        ["road", "sky", "car"],
        {"0": "road", "1": "sky", "2": "car"},
        {"sky": 1, "road": 0, "car": 2},
        {"names": ["road", "sky", "car"]},
    ],
)
def test_names_in_every_json_form(tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    expected = ("road", "sky", "car")
    assert read_class_names(path, tmp_path) == (expected, None)
    # Found by itself, unless there is a text file.
    assert read_class_names(None, tmp_path) == (expected, None)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.warns(UserWarning, match="classes.txt is read; class_names="):
        assert read_class_names(None, tmp_path) == (("a", "b"), None)


def test_labels_of_two_digits_are_ordered_as_numbers(tmp_path):
    path = tmp_path / "names.json"
    table = {str(label): f"class {label}" for label in range(11)}
    path.write_text(json.dumps(table))
    names, _ = read_class_names(path, tmp_path)
    assert names[2] == "class 2" and names[10] == "class 10"


def test_a_palette_may_stand_beside_the_names(tmp_path):
    path = tmp_path / "names.json"
    path.write_text('{"names": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}')
    assert read_class_names(path, tmp_path)[1] == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "text, message",
    [
        ('["road", ', "must be JSON"),
        ("[]", "in one of these forms"),
        ('["road", 3]', "in one of these forms"),
        ('{"road": 0, "sky": 2}', r"labels 0..1 once.*\[0, 2\]"),
        ('{"1": "road", "2": "sky"}', r"label_map="),
        ('"road"', "in one of these forms"),
        ('{"road": 0.5, "sky": NaN}', r"labels 0..1 once.*0.5"),
        ("[" * 100_000, "must be JSON"),
    ],
)
def test_json_that_names_no_classes_is_an_error(tmp_path, text, message):
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_class_names(path, tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["names.txt", "names.json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_are_read_as_any_editor_writes_them(tmp_path, name, encoding):
    path = tmp_path / name
    text = '["Straße", "Bäume"]' if name.endswith("json") else "Straße\nBäume\n"
    path.write_text(text, encoding=encoding)
    assert read_class_names(path, tmp_path)[0] == ("Straße", "Bäume")
    path.write_text(text, encoding="latin-1")
    with pytest.warns(UserWarning, match="read as Windows-1252.*Straße"):
        names, _ = read_class_names(path, tmp_path)
    assert names == ("Straße", "Bäume")


def test_two_classes_of_one_name_are_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("road\nsky\nroad\n")
    with pytest.raises(
        ValueError, match="classes.txt .*'road' for label 0 and for label 2"
    ):
        read_class_names(None, tmp_path)


@pytest.mark.parametrize(
    "lines",
    [
        "1 sky\n0 road",
        "1: road\n2: sky",
        "0,road\n1,sky",
        "name,r,g,b\nroad,128,64,128\nsky,70,130,180",
    ],
)
def test_rows_of_a_table_are_no_names(tmp_path, lines):
    path = tmp_path / "classes.txt"
    path.write_text(lines)
    with pytest.raises(ValueError, match="classes.txt must hold names alone"):
        read_class_names(None, tmp_path)


@pytest.mark.parametrize(
    "lines", ["car\n2 wheeler", "2 lanes\n4 lanes", "a, b"]
)
def test_names_may_hold_numbers_and_commas(tmp_path, lines):
    (tmp_path / "classes.txt").write_text(lines)
    names = tuple(lines.split("\n"))
    assert read_class_names(None, tmp_path) == (names, None)
