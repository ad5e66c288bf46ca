import codecs

import pytest

from keras_setr.files.text import read_text

pytestmark = pytest.mark.no_backend

TEXT = "Straße\nHimmel\n天空\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode("utf-8"),
        codecs.BOM_UTF8 + TEXT.encode("utf-8"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode("utf-8"),
        TEXT.replace("\n", "\r").encode("utf-16"),
    ],
)
def test_what_windows_and_others_write_is_read_alike(tmp_path, content):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    assert read_text(path) == TEXT


@pytest.mark.parametrize("content", [b"sky\0\nroad\ncar", b"a\0b\nc"])
def test_bytes_of_0_are_no_text(tmp_path, content):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="classes.txt must be a text"):
        read_text(path)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_older_encodings_are_read_and_said(tmp_path, encoding):
    path = tmp_path / "classes.txt"
    path.write_bytes("Straße\nHimmel\n".encode(encoding))
    with pytest.warns(UserWarning, match="Windows-1252.*'Straße'") as warned:
        assert read_text(path) == "Straße\nHimmel\n"
    assert str(path) in str(warned[0].message)


def test_what_is_no_text_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "classes.txt"
    # UTF-32 without its mark.
    path.write_bytes(TEXT.encode("utf-32-le"))
    with pytest.raises(ValueError, match="save it as UTF-8") as error:
        read_text(path)
    assert str(path) in str(error.value)
