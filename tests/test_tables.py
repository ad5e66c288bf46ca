import math

import pytest

from keras_setr.tables import counted
from keras_setr.tables import html_table
from keras_setr.tables import listed
from keras_setr.tables import percent
from keras_setr.tables import printable
from keras_setr.tables import record_text
from keras_setr.tables import text_table

pytestmark = pytest.mark.no_backend


def test_names_stand_to_the_left_and_figures_to_the_right():
    rows = [("id", "name", "share"), ("7", "sky", "1.00"), ("12", "a car", "")]
    assert text_table(rows, left=(1,)) == [
        "id  name   share",
        " 7  sky     1.00",
        "12  a car",
    ]


def test_rows_of_different_lengths_are_an_error():
    with pytest.raises(ValueError):
        text_table([("a", "b"), ("a",)])


def test_html_shows_names_as_they_are():
    assert html_table(("name",), [("a<b",), ("c",)], "2 & more") == (
        "<table><caption>2 &amp; more</caption><thead><tr><th>name</th></tr>"
        "</thead><tbody><tr><td>a&lt;b</td></tr><tr><td>c</td></tr></tbody>"
        "</table>"
    )


def test_a_record_has_its_titles_to_the_left():
    rows = [("data", "x" * 85 + " again"), ("hours", "7")]
    assert record_text("one", rows).splitlines() == [
        "one",
        "  data        " + "x" * 85,
        "              again",
        "  hours       7",
    ]


def test_one_of_a_kind_is_no_plural():
    assert counted(1, "image") == "1 image"
    assert counted(0, "epoch") == "0 epochs"
    assert counted(2, "class") == "2 classes"
    assert counted(3, "batch") == "3 batches"


def test_figures_have_two_places_and_none_where_there_is_none():
    assert percent(100 * 0.12345) == "12.35"
    assert percent(7, " %") == "7.00 %"
    assert percent(None) == percent(math.nan) == "-"
    assert percent(None, " %", "not run") == "not run"


def test_of_many_the_first_are_listed():
    assert listed([1, 2, 3], 3) == "1, 2, 3"
    assert listed([1, 2, 3, 4, 5], 3) == "1, 2, 3 and 2 more"
    assert listed(()) == ""


def test_names_neither_forge_lines_nor_reach_the_terminal():
    name = "road\n  1  sky\x1b[31m\u202eab\udcff"
    shown = "road\\n  1  sky\\x1b[31m\\u202eab\\udcff"
    assert printable(name, "") == shown
    assert printable(name).count("\n") == 1
    assert printable("Straße 天空") == "Straße 天空"
    assert text_table([(name, "7")]) == [f"{shown}  7"]
