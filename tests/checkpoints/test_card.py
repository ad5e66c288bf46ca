"""Model cards, and their way to a hub."""

import types

import keras_hub
import pytest

import keras_setr as ks
from tests import tiny

pytestmark = pytest.mark.backends("torch")


def test_the_card_of_a_built_in_name_has_its_published_facts():
    model = tiny.build("pup", classes=ks.Classes(list("abcde")))
    card = ks.checkpoints.model_card(
        model, "setr_pup_large_cityscapes_768", address="hf://someone/model"
    )
    for fact in (
        "license: apache-2.0",
        "pipeline_tag: image-segmentation",
        "# setr_pup_large_cityscapes_768",
        "_20211122_155115-f6f37b8f.pth |",
        "| SHA-256 of that file | f6f37b8f |",
        "| Validation mIoU, published | 79.21 % |",
        "non-commercial: see https://www.cityscapes-dataset.com/license/",
        'ks.SETRPUP.from_preset("hf://someone/model")',
        "| Images | 16 x 24, RGB in 0..255 |",
        "a, b, c, d, e",
    ):
        assert fact in card
    encoder = ks.checkpoints.model_card(tiny.backbone(), "my own")
    assert "pipeline_tag" not in encoder and "mIoU" not in encoder
    assert "| Licence of the weights | not known |" in encoder


def test_names_of_others_are_text_in_a_card():
    names = ["a|b", "*bold*", "[x](http://y)", "<img src=z>", "# h\n## i"]
    card = ks.checkpoints.model_card(
        tiny.build("pup", classes=ks.Classes(names)),
        "here | there\n---\n# title",
        license="MIT\ntags: [x]",
        data_license="`code` _own_ a_b",
        sha256="12|34",
    )
    head, _, body = card.removeprefix("---\n").partition("---\n")
    assert 'license: "mit\\ntags: [x]"' in head
    assert "tags: [x]\n" not in head and head.count("tags:") == 2
    assert r"| here \| there\\n---\\n\# title |" in body
    assert r"| \`code\` \_own\_ a_b |" in body and r"12\|34" in body
    assert (
        r"a\|b, \*bold\*, \[x\](http://y), \<img src=z\>, \# h\\n\#\# i"
    ) in body
    # No line begins with what somebody named.
    starts = [line.split(" ")[0] for line in body.splitlines() if line]
    assert starts.count("#") == 1 and starts.count("##") == 2


def run_block(card):
    """What the Python block of a card leaves behind."""
    block = card.split("```python\n")[1].split("```")[0]
    names = {}
    exec(block, names)
    return names


@pytest.mark.parametrize("channels", [3, 4])
def test_the_block_of_a_card_runs_as_it_stands(tmp_path, monkeypatch, channels):
    shape = (16, 24, channels)
    model = tiny.build("pup", shape, preprocessor=None)
    model.save_to_preset(tmp_path / "preset")
    card = ks.checkpoints.model_card(
        model, "my own", address=str(tmp_path / "preset")
    )
    assert run_block(card)["labels"].shape == (16, 24)
    # Without an address it runs in the folder that the card lies in.
    encoder = tiny.backbone(shape)
    encoder.save_to_preset(tmp_path / "encoder")
    monkeypatch.chdir(tmp_path / "encoder")
    card = ks.checkpoints.model_card(encoder, "my own")
    assert run_block(card)["features"].shape == (1, 2, 3, 24)


def test_the_card_is_uploaded_before_keras_hub_would_write_its_own(
    tmp_path, monkeypatch
):
    calls = []
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(
        hub,
        "create_repo",
        lambda repo, exist_ok: types.SimpleNamespace(repo_id=repo),
    )
    monkeypatch.setattr(
        hub, "upload_file", lambda **options: calls.append(options)
    )
    monkeypatch.setattr(
        keras_hub, "upload_preset", lambda *args: calls.append(args)
    )
    ks.checkpoints.write_model_card(
        str(tmp_path), '# card\nmodel = ks.SETRPUP.from_preset("a/b")\n'
    )
    ks.checkpoints.upload_preset("hf://someone/model", str(tmp_path))
    first, second = calls
    assert first["repo_id"] == "someone/model"
    assert first["path_in_repo"] == "README.md"
    # From then on the card loads what was uploaded.
    assert (tmp_path / "README.md").read_text() == (
        '# card\nmodel = ks.SETRPUP.from_preset("hf://someone/model")\n'
    )
    assert second == ("hf://someone/model", str(tmp_path))
