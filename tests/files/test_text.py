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


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-32"])
def test_another_encoding_is_an_error_that_names_the_file(tmp_path, encoding):
    path = tmp_path / "classes.txt"
    path.write_bytes("Straße\nHimmel\n".encode(encoding))
    with pytest.raises(ValueError, match="save it as UTF-8") as error:
        read_text(path)
    assert str(path) in str(error.value)
    if encoding != "utf-32":
        # ß is 0xdf in both.
        assert "'utf-8' codec can't decode byte 0xdf" in str(error.value)
