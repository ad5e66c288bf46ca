"""Tables and lists as text."""

import html
import math
import textwrap
from typing import Any

# Characters of a line of prose.
_WIDTH = 100
# Of the titles in a record.
_TITLE = 12


def text_table(rows, left=(0,)):
    """Rows as lines, in columns of one width with two spaces between them.

    Args:
        rows: sequence of rows, each a sequence of str; titles are a row too.
        left: numbers of the columns that stand to the left, as names do;
            figures stand to the right.

    Returns:
        list of str, one per row, `printable`.
    """
    rows = [[printable(cell, "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(titles, rows, caption):
    """A table as HTML, its texts escaped.

    Args:
        titles: sequence of str.
        rows: sequence of rows, each a sequence of str.
        caption: str.
    """

    def line(tag, cells):
        return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead>"
        f"<tr>{line('th', titles)}</tr></thead><tbody>{body}</tbody></table>"
    )


def wrapped(text, first="", further=""):
    """Prose as lines of at most 100 characters, no word of it broken.

    Args:
        text: str.
        first, further: str. What the first line begins with, and the others.
    """
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def record_text(headline, rows):
    """A headline and, below it, a paragraph for each `(title, text)`."""
    lines = [headline]
    for title, text in rows:
        lines += wrapped(text, f"  {title:{_TITLE}}", " " * (_TITLE + 2))
    return "\n".join(lines)


def printable(text, kept="\n"):
    """A text as it can be shown: no name in it moves the cursor.

    Names come from files. Line breaks in them would forge lines of a table,
    and escape codes reach the terminal.

    Args:
        text: str.
        kept: str. Characters that stay all the same.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text
    )


def counted(number, noun):
    """ "1 image", "2 images": a number with what it counts.

    Args:
        number: int.
        noun: str. A regular one, in the singular.
    """
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "tch")) else "s"
    return f"{number} {noun}{ending}"


def percent(value, unit="", missing="-"):
    """A figure in percent as it is printed, to two places.

    Args:
        value: float. `missing` stands for `None` and NaN.
        unit: str, written behind it.
    """
    if value is None or math.isnan(value):
        return missing
    return f"{value:.2f}{unit}"


def listed(items, count=5):
    """ "a, b and 7 more": at most `count` of a sequence of items."""
    shown = ", ".join(str(item) for item in items[:count])
    more = len(items) - count
    return f"{shown} and {more} more" if more > 0 else shown


def brief(error: Any) -> str:
    """What an error of another library says, in a line of 300 characters."""
    return " ".join(str(error).split())[:300]
