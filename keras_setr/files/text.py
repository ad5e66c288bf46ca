"""Text files as they come from any editor."""

import codecs
import io
import pathlib


def read_text(path):
    """The text of a file in UTF-8 or UTF-16, with or without a mark.

    Windows' editors write both. Other encodings are not told apart by what a
    file holds, so that they are an error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is in another encoding.
    """
    content = pathlib.Path(path).read_bytes()
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
        if "\0" in text:
            raise ValueError("it holds characters of number 0")
    except ValueError as error:
        raise ValueError(
            f"{path} must be a text in UTF-8. Received: another encoding, "
            f"perhaps Latin-1 or Windows-1252 ({error}); open it in an editor "
            "and save it as UTF-8."
        ) from error
    # As text files are read: every end of a line becomes "\n".
    return io.StringIO(text, newline=None).read()


def _encoding(content):
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # In UTF-16 the upper byte of Latin letters and of line ends is 0.
    low, high = content[::2].count(0), content[1::2].count(0)
    if low or high:
        return "utf-16-le" if high > low else "utf-16-be"
    return "utf-8-sig"
