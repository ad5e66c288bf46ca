"""Text files as they come from any editor."""

import codecs
import io
import pathlib
import warnings

from keras_setr.files.decoding import check_regular

# Of UTF-32 first: its mark begins as that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path):
    """The text of a file in whatever encoding an editor has saved it.

    UTF-8 and UTF-16, with or without a mark, and UTF-32 with one are told
    apart by what the file holds. What is none of them is read as
    Windows-1252, of which Latin-1 is a part.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text.

    Warns:
        UserWarning: it was read as Windows-1252, which may be wrong.
    """
    check_regular(path)
    content = pathlib.Path(path).read_bytes()
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        text = _of_windows(content, path, error)
    if "\0" in text:
        raise ValueError(
            f"{path} must be a text. Received: one that holds characters of "
            "number 0; open it in an editor and save it as UTF-8."
        )
    # As text files are read: every end of a line becomes "\n".
    return io.StringIO(text, newline=None).read()


def _encoding(content):
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    # In UTF-16 the upper byte of Latin letters and of line ends is 0.
    low, high = content[::2].count(0), content[1::2].count(0)
    if low or high:
        return "utf-16-le" if high > low else "utf-16-be"
    return "utf-8-sig"


def _of_windows(content, path, error):
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if text.isascii() or "\0" in text:
        # Bytes of 0, by which it was taken for UTF-16; or no text at all.
        return text
    foreign = next(line for line in text.splitlines() if not line.isascii())
    warnings.warn(
        f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}) "
        f"and was read as Windows-1252, where one of its lines is "
        f"{foreign[:60]!r}. If that is wrong, open it in an editor and save it "
        "as UTF-8.",
        stacklevel=3,
    )
    return text
