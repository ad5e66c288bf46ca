"""Every image has outputs of its own, and nothing else is overwritten."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from keras_setr_commands import outputs
from keras_setr_commands.messages import CommandError
from keras_setr_commands.segment import RECORD
from keras_setr_commands.segment import choose_names
from keras_setr_commands.segment import find_images

pytestmark = pytest.mark.no_backend


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 3), "uint8")).save(folder / name)


def chosen(folder, *paths, out="out", kept=None, **options):
    """Name of the output -> image relative to the folder."""
    found = find_images([folder / path for path in paths])
    names = choose_names(found, folder / out, kept or {}, **options)
    assert len(set(names.values())) == len(names)
    return {
        name: pathlib.Path(file).relative_to(folder).as_posix()
        for file, name in names.items()
    }


def test_folders_are_mirrored_and_endings_kept_where_they_tell(tmp_path):
    write(tmp_path, "in/a.jpg", "in/a.png", "in/x/1.png", "in/y/1.PNG")
    (tmp_path / "in" / "notes.txt").write_text("")
    assert chosen(tmp_path, "in") == {
        "a": "in/a.jpg",
        "a.png": "in/a.png",
        "x/1": "in/x/1.png",
        "y/1": "in/y/1.PNG",
    }
    # Of several paths what they have in common is left out; none is twice.
    assert chosen(tmp_path, "in/x", "in/y", "in/x/1.png") == {
        "x/1": "in/x/1.png",
        "y/1": "in/y/1.PNG",
    }
    assert chosen(tmp_path, "in/y/1.PNG") == {"1": "in/y/1.PNG"}


def test_results_of_any_run_are_no_images(tmp_path):
    write(tmp_path, "in/a.png", "in/x/b.png", "in/one/a_overlay.png")
    write(tmp_path, "in/a_labels.png", "in/x/b_overlay.png", "in/c_labels.png")
    for folder, names in (("in", ["a", "x/b"]), ("in/one", ["a"])):
        record = outputs.OutputFolder(tmp_path / folder, RECORD, {})
        record.names = {f"/was/{name}": name for name in names}
        record.start()
    images = {"a": "in/a.png", "x/b": "in/x/b.png"}
    # No run has written c's labels.
    assert chosen(tmp_path, "in") == {**images, "c_labels": "in/c_labels.png"}
    assert chosen(tmp_path, "in/x") == {"b": "in/x/b.png"}
    named = chosen(tmp_path, "in/a_labels.png")
    assert named == {"a_labels": "in/a_labels.png"}
    for damaged in ("[]", '{"names": 3}', "{"):
        (tmp_path / "in" / RECORD).write_text(damaged)
        assert len(chosen(tmp_path, "in")) == 5


def test_names_stay_when_images_come_and_go(tmp_path):
    write(tmp_path, "in/a.png")
    kept = {str(tmp_path / "in" / "a.png"): "a"}
    write(tmp_path, "in/a.jpg")
    assert chosen(tmp_path, "in", kept=kept) == {
        "a": "in/a.png",
        "a.jpg": "in/a.jpg",
    }


def test_outputs_are_no_images(tmp_path):
    write(tmp_path, "1.png", "1_labels.png", "1_overlay.png")
    kept = {str(tmp_path / "1.png"): "1"}
    assert chosen(tmp_path, ".", out=".", kept=kept) == {"1": "1.png"}


def test_nothing_that_is_not_an_output_is_overwritten(tmp_path):
    write(tmp_path, "in/1.png", "in/1_labels.png", "out/1_overlay.png")
    with pytest.raises(CommandError, match="1_labels.png, which is an image"):
        chosen(tmp_path, "in", out="in")
    # Not even on demand.
    with pytest.raises(CommandError, match="1_labels.png, which is an image"):
        chosen(tmp_path, "in", out="in", settle_for_any=True)
    with pytest.raises(CommandError, match="1_overlay.png is there already"):
        chosen(tmp_path, "in")
    assert "1" in chosen(tmp_path, "in", settle_for_any=True)


def test_results_of_other_settings_are_not_current(tmp_path):
    source, result = tmp_path / "a.png", tmp_path / "a_labels.png"
    write(tmp_path, "a.png")

    def folder(settings):
        return outputs.OutputFolder(tmp_path, "record.json", settings)

    first = folder({"preset": 1, "scales": (1.0, 2.0)})
    assert not first.changed
    first.names["a"] = "b"
    first.start()
    write(tmp_path, "a_labels.png")
    assert first.is_current(result, source)
    again = folder({"preset": 1, "scales": (1.0, 2.0)})
    assert not again.changed and again.names == {"a": "b"}
    again.start()
    assert again.is_current(result, source)
    os.utime(result, ns=(1, 1))
    assert not again.is_current(result, source)
    write(tmp_path, "a_labels.png")

    # Interrupted right after its start, it is still of the one before.
    later = os.stat(result).st_mtime_ns + 10**9
    other = folder({"preset": 2})
    assert other.changed and other.names == {"a": "b"}
    other.start()
    os.utime(result, ns=(other._since - 1, other._since - 1))
    assert not folder({"preset": 2}).changed
    assert not folder({"preset": 2}).is_current(result, source)
    os.utime(result, ns=(later, later))
    assert folder({"preset": 2}).is_current(result, source)
    # An image that was replaced since.
    os.utime(source, ns=(later + 1, later + 1))
    assert not folder({"preset": 2}).is_current(result, source)


def test_presets_are_told_apart_by_their_files(tmp_path):
    preset = tmp_path / "preset"
    preset.mkdir()
    (preset / "task.weights.h5").write_text("abc")
    before = outputs.fingerprint(str(preset))
    (preset / "README.md").write_text("a card")
    assert outputs.fingerprint(str(preset)) == before
    (preset / "task.weights.h5").write_text("abcd")
    assert outputs.fingerprint(str(preset)) != before
    assert outputs.fingerprint("setr_pup_large") == ["setr_pup_large"]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(CommandError, match="record.json must tell"):
        outputs.OutputFolder(tmp_path, "record.json", {})
