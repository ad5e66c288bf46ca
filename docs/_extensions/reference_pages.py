"""A page for each part of the package, from its docstrings."""

import collections
import inspect
import pathlib
import re
import textwrap

from links import linked
from names import PACKAGE
from names import TOP
from names import parts
from names import public_names

_SECTION = re.compile(r"^([A-Z][A-Za-z ]+):$")
_ENTRY = re.compile(r"^([*\w][\w*, \"'\[\].`]*?): (.*)$", re.S)
# Longest fence first: what is inside of another has a shorter one.
_OUTER, _INNER = "`" * 6, "`" * 5


def write_pages(app):
    folder = pathlib.Path(app.srcdir, "reference")
    folder.mkdir(exist_ok=True)
    pages = collections.defaultdict(list)
    for name in public_names():
        pages[name.page].append(name)
    modules = parts()
    titles = {page: f"`{PACKAGE}.{page}`" for page in modules}
    titles[TOP] = f"`{PACKAGE}`"
    for page, names in pages.items():
        module = modules.get(page)
        lines = [f"# {titles[page]}", ""]
        if module is not None:
            lines += [linked(inspect.getdoc(module) or ""), ""]
        documented = {n.value for n in names if inspect.isclass(n.value)}
        for name in sorted(names, key=lambda name: name.name.lower()):
            lines += [f"## {name.name}", "", *_of_name(name, documented), ""]
        write(folder / f"{page}.md", "\n".join(lines))
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()


def write(path, text):
    """Only where it differs, so that Sphinx reads again what has changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _of_name(name, documented):
    value = name.value
    if inspect.isclass(value):
        body = _body(value.__doc__)
        for method in _methods(value, documented):
            body += ["", *method]
        return _directive("class", name, _signature(value), body)
    if inspect.isroutine(value):
        body = _body(value.__doc__)
        return _directive("function", name, _signature(value), body)
    return _directive("data", name, "", _of_constant(value))


def _directive(kind, name, signature, body):
    return [
        f"{_OUTER}{{py:{kind}}} {name.name}{signature}",
        f":module: {name.module}",
        "",
        *body,
        _OUTER,
    ]


def _of_constant(value):
    """What a table holds: its items, or no more than its keys."""
    if not hasattr(value, "keys"):
        return [f"`{value!r}`"]
    if all(isinstance(v, (int, float, str, tuple)) for v in value.values()):
        return [f"`{dict(value)!r}`"]
    keys = ", ".join(f"`{key}`" for key in value)
    about = inspect.getdoc(value) if type(value) is not dict else ""
    return [*_body(about or ""), "", f"{len(value)} keys: {keys}"]


def _methods(cls, documented):
    """Lines for each method that says something of its own."""
    seen = set()
    for base in cls.__mro__:
        if not base.__module__.startswith(PACKAGE):
            continue
        if base is not cls and base in documented:
            yield [f"And what {{py:class}}`{base.__name__}` has."]
            break
        for name, value in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            text = getattr(value, "__doc__", None)
            if isinstance(value, property):
                kind, signature = "property", ""
            elif inspect.isroutine(value):
                kind = "method"
                signature = _signature(getattr(value, "__func__", value))
            else:
                continue
            if text:
                options = []
                if isinstance(value, (classmethod, staticmethod)):
                    options = [f":{type(value).__name__}:"]
                yield [
                    f"{_INNER}{{py:{kind}}} {name}{signature}",
                    *options,
                    "",
                    *_body(text),
                    _INNER,
                ]


def _signature(value):
    """Names and defaults; the docstrings tell types, with shapes and units."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    shown = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        parameter = parameter.replace(annotation=inspect.Parameter.empty)
        if repr(parameter.default).startswith("<") and (
            parameter.default is not inspect.Parameter.empty
        ):
            parameter = parameter.replace(default=...)
        shown.append(parameter)
    text = str(inspect.Signature(shown))
    return text.replace("Ellipsis", "...")


def _body(docstring):
    """A docstring's Markdown, its sections as lists."""
    text = inspect.cleandoc(docstring or "")
    lines, title, section = [], None, []

    def close():
        if title is not None:
            lines.extend([f"**{title}**", "", *_section(section), ""])

    for line in text.splitlines():
        found = _SECTION.match(line)
        if found:
            close()
            title, section = found[1], []
        elif title is not None and (line.startswith("    ") or not line):
            section.append(line[4:])
        else:
            close()
            title = None
            lines.append(line)
    close()
    return linked("\n".join(lines)).splitlines()


def _section(lines):
    entries = []
    for line in lines:
        if line.startswith(" ") or not line or not entries:
            entries.append([line]) if not entries else entries[-1].append(line)
        else:
            entries.append([line])
    texts = [
        "\n".join([entry[0], textwrap.dedent("\n".join(entry[1:]))]).rstrip()
        for entry in entries
    ]
    if not all(_ENTRY.match(text) for text in texts if text):
        return textwrap.dedent("\n".join(lines)).splitlines()
    shown = []
    for text in filter(None, texts):
        name, about = _ENTRY.match(text).groups()
        shown += textwrap.indent(f"`{name}`: {about}", "  ").splitlines()
        first = len(shown) - len(about.splitlines())
        shown[first] = f"- {shown[first].strip()}"
    return shown


def setup(app):
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
