"""Names of the package and of built-in models lead to their pages."""

import functools
import re

from names import PACKAGE
from names import public_names

from keras_setr.checkpoints import PRESETS

_FENCED = re.compile(r"(^ *(`{3,}).*?^ *\2`* *$)", re.S | re.M)
_CODE = re.compile(
    r"(?<![`}\\\[])`((?:ks\.|keras_setr\.)?)([\w.]+)(\(\))?`(?!`)"
)


@functools.cache
def _targets():
    """`{written name: full name}`, without the package's own."""
    found = {}
    for name in public_names():
        found[name.full.removeprefix(f"{PACKAGE}.")] = name.full
        # In a text about them classes go by their last name.
        if name.name[0].isupper():
            found.setdefault(name.name, name.full)
    return found


def _link(match):
    prefix, name, call = match.groups()
    if name in PRESETS:
        return f"[`{name}`](/models/{name}.md)"
    full = _targets().get(name)
    if full is None or not (prefix or name[0].isupper()):
        return match[0]
    return f"{{py:obj}}`{prefix}{name}{call or ''} <{full}>`"


def linked(text):
    """Markdown, with links where code names what has a page."""
    parts = _FENCED.split(text)
    # Of three: text, a fenced block, its fence.
    return "".join(
        _CODE.sub(_link, part) if index % 3 == 0 else part
        for index, part in enumerate(parts)
        if index % 3 != 2
    )


def _read(app, page, source):
    if not page.startswith("reference/"):
        source[0] = linked(source[0])


def setup(app):
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
