"""Links of the pages as they stand in the repository, and their addresses.

Whether others' addresses answer is not asked: only that they can be.
`test_site.py` looks at the links of the built pages.
"""

import pathlib
import re
import urllib.parse

import pytest

pytestmark = pytest.mark.no_backend

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += [p for p in (ROOT / "docs").glob("*.md") if p.is_file()]
# Whatever names an address: sources, settings and notebooks, too.
TEXTS = [
    path
    for folder in ("", "docs", "docs/_extensions", "examples")
    for path in (ROOT / folder).glob("*.*")
    if path.suffix in (".cff", ".ipynb", ".md", ".py", ".toml")
]
for package in ("keras_setr", "keras_setr_commands"):
    TEXTS += sorted((ROOT / package).rglob("*.py"))
FENCE = re.compile(r"^(`{3,}).*?^\1`*$", re.S | re.M)
LINK = re.compile(r"\]\(([^()\s]+)\)")
ADDRESS = re.compile(r"\bhttps?:[^\s<>()\"'`\\\[\]]*[^\s<>()\"'`\\\[\].,;:]")
# Their owners give them so.
WITHOUT_TLS = {"host.robots.ox.ac.uk", "sceneparsing.csail.mit.edu"}
# Year, month, and five digits since 2015.
ARXIV = re.compile(r"(\d\d)(0[1-9]|1[0-2])\.(\d{4,5})")


def prose(path):
    """A page without its fenced blocks."""
    return FENCE.sub("", path.read_text())


def anchors(path):
    """Of a page's headings, as GitHub and MyST make them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.M):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(kept.replace(" ", "-"))
    return found


def test_links_between_pages_lead_to_files_and_headings():
    checked, broken = 0, []
    for page in PAGES:
        for link in LINK.findall(prose(page)):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme:
                continue
            checked += 1
            target = page.parent / parts.path if parts.path else page
            made = target.parent.name in ("commands", "models", "reference")
            if not (target.exists() or made):
                broken.append(f"{page.name}: {link}")
            elif parts.fragment and parts.fragment not in anchors(target):
                broken.append(f"{page.name}: {link}")
    assert not broken and checked > 60


def test_addresses_of_others_have_their_form():
    found = {
        (address, path.relative_to(ROOT))
        for path in TEXTS
        for address in ADDRESS.findall(path.read_text())
    }
    wrong = []
    for address, path in sorted(found):
        url = urllib.parse.urlsplit(address)
        host = url.hostname or ""
        # Some are put together where they are used.
        if not host or "{" in address or host == "127.0.0.1":
            continue
        secure = url.scheme == "https" or host in WITHOUT_TLS
        form = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host)
        if not (secure and form) or "//" in url.path:
            wrong.append(f"{path}: {address}")
    assert not wrong and len(found) > 30


def test_papers_are_named_by_numbers_that_can_be():
    wrong, count = [], 0
    for path in TEXTS:
        if path.suffix == ".ipynb":  # with pictures as text
            continue
        text = path.read_text()
        numbers = re.findall(r"arXiv:?\s+([\w./]+?)[.,;:]?(?=[\s)])", text)
        numbers += re.findall(r"arxiv\.org/(?:abs|pdf)/([\w.]+)", text)
        for number in numbers:
            count += 1
            match = ARXIV.fullmatch(number)
            digits = 5 if match and int(match[1]) >= 15 else 4
            if not match or len(match[3]) != digits:
                wrong.append(f"{path.relative_to(ROOT)}: arXiv {number}")
        for number in re.findall(r"\bdoi:?\s+([^\s,)]+)", text):
            if not re.fullmatch(r"10\.\d{4,9}/[^\s]+", number):
                wrong.append(f"{path.relative_to(ROOT)}: doi {number}")
    assert not wrong and count > 30
