"""The site of `docs/`: built without warnings, its links whole, its search."""

import collections
import html.parser
import json
import os
import pathlib
import posixpath
import re
import subprocess
import sys
import urllib.parse

import pytest

from keras_setr.checkpoints import PRESETS

pytestmark = pytest.mark.no_backend

pytest.importorskip("sphinx", reason='needs pip install -e ".[docs]"')

DOCS = pathlib.Path(__file__).parents[1] / "docs"
# What a stranger types into the search -> the page that answers.
QUESTIONS = {
    "masks are 0 and 255": "data",
    "my images are 4 channels": "data",
    "out of memory on TPU": "devices",
    "how do I get the paper's 50.28": "evaluation",
    "load mmsegmentation checkpoint": "checkpoints",
    "export to ONNX": "deployment",
    "resume after crash": "training",
    "loss is NaN": "troubleshooting",
    "class imbalance": "data",
    "install without TensorFlow": "start",
    "fine-tune on few images": "training",
    "which model to take": "models",
    "binary segmentation": "data",
    "grey images with one channel": "data",
    "images of different sizes": "data",
    "polygon annotations COCO": "data",
    "image size not divisible by 16": "troubleshooting",
    "only background is predicted": "troubleshooting",
    "small objects are missed": "troubleshooting",
    "my mIoU is lower than the paper": "troubleshooting",
    "validation mIoU differs from evaluate": "troubleshooting",
    "inference on CPU is slow": "troubleshooting",
    "run without internet": "troubleshooting",
    "HEIC photos": "troubleshooting",
    "how much GPU memory do I need": "devices",
    "use multiple GPUs": "devices",
    "freeze the encoder": "training",
    "early stopping": "training",
    "train from scratch": "training",
    "mixed precision": "training",
    "custom loss": "training",
    "reproduce results seed": "training",
    "plot confusion matrix": "evaluation",
    "convert pytorch weights": "checkpoints",
    "change the number of classes": "checkpoints",
    "large satellite image": "deployment",
    "run in docker": "deployment",
    "albumentations": "from_segmentation_models",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q"]
    line += ["-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")]
    process = subprocess.run(
        line,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "numpy"},
    )
    assert process.returncode == 0, process.stderr
    return folder / "html"


class Links(html.parser.HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.update(filter(None, [attributes.get("id")]))
        for name in ("href", "src"):
            if name in attributes and tag != "link":
                self.addresses.append(attributes[name])


def test_every_link_within_the_site_leads_somewhere(site):
    pages = {
        path.relative_to(site).as_posix(): Links(path.read_text())
        for path in site.rglob("*.html")
    }
    checked, broken = 0, []
    for page, links in pages.items():
        for address in sorted(set(links.addresses)):
            parts = urllib.parse.urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            file = posixpath.join(posixpath.dirname(page), parts.path)
            target = posixpath.normpath(file) if parts.path else page
            anchor = urllib.parse.unquote(parts.fragment)
            known = pages[target].anchors if target in pages else ()
            exists = target in pages or (site / target).exists()
            if not exists or (anchor and anchor not in known):
                broken.append(f"{page}: {address}")
    assert not broken and checked > 10_000


def test_each_built_in_name_has_a_page_with_its_lines(site):
    for name, preset in PRESETS.items():
        text = (site / "models" / f"{name}.html").read_text()
        assert f"<h1>{name}" in text and preset.license in text
        (lines,) = re.findall(
            r"^```python no_run\n(.*?)^```$",
            (DOCS / "models" / f"{name}.md").read_text(),
            re.S | re.M,
        )
        compile(lines, name, "exec")
        assert f'"{name}"' in lines


def read_index(site):
    """`(pages, words of headings, words of texts)` of the search."""
    text = (site / "searchindex.js").read_text()
    return json.loads(text.removeprefix("Search.setIndex(").rstrip(");\n"))


def found(index, question):
    """Pages that hold all words of a question, best first.

    As the site's own script does it: words that count are stemmed and looked
    up in texts and in headings, where they weigh more.
    """
    from sphinx.search.en import SearchEnglish

    language = SearchEnglish({})
    words = [
        language.stem(word)
        for word in re.findall(r"\w+", question.lower())
        if word not in language.stopwords
        and not word.isdecimal()
        and len(word) > 1
    ]
    scores = collections.Counter()
    pages = set(range(len(index["docnames"])))
    for word in words:
        holders = collections.Counter()
        for place, weight in (("terms", 5), ("titleterms", 15)):
            numbers = index[place].get(word, [])
            for page in [numbers] if isinstance(numbers, int) else numbers:
                holders[page] = max(holders[page], weight)
        pages &= set(holders)
        scores.update(holders)
    ranked = sorted(pages, key=lambda page: -scores[page])
    return [index["docnames"][page] for page in ranked]


@pytest.mark.parametrize(("question", "page"), QUESTIONS.items())
def test_a_strangers_question_finds_its_page(question, page, site):
    assert page in found(read_index(site), question)[:5]
