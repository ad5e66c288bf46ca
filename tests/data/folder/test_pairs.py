import unicodedata

import pytest

from keras_setr.data.folder.pairs import find_pairs
from tests.pairs import found
from tests.pairs import touch

pytestmark = pytest.mark.no_backend


def test_folders_below_are_part_of_the_name(tmp_path):
    touch(tmp_path, "images/ulm/1.png", "images/bonn/1.png")
    touch(tmp_path, "masks/bonn/1.png", "masks/ulm/1.png")
    assert found(tmp_path) == [
        ("images/bonn/1.png", "masks/bonn/1.png", None),
        ("images/ulm/1.png", "masks/ulm/1.png", None),
    ]


def test_templates_with_split_and_folders_in_the_name(tmp_path):
    touch(
        tmp_path,
        "left/train/ulm/ulm_1_leftImg8bit.png",
        "left/val/bonn/bonn_2_leftImg8bit.png",
        "left/test/rome/rome_3_leftImg8bit.png",
        "fine/train/ulm/ulm_1_labelIds.png",
        "fine/train/ulm/ulm_1_color.png",
        "fine/val/bonn/bonn_2_labelIds.png",
    )
    # The test image has no mask, as no test image has.
    assert found(
        tmp_path,
        images="left/{split}/{name}_leftImg8bit.png",
        masks="fine/{split}/{name}_labelIds.png",
    ) == [
        (
            "left/train/ulm/ulm_1_leftImg8bit.png",
            "fine/train/ulm/ulm_1_labelIds.png",
            "train",
        ),
        (
            "left/val/bonn/bonn_2_leftImg8bit.png",
            "fine/val/bonn/bonn_2_labelIds.png",
            "val",
        ),
    ]


def test_templates_within_one_folder(tmp_path):
    touch(tmp_path, "1.png", "1_mask.png", "2.png", "2_mask.png")
    assert found(tmp_path, images="{name}.png", masks="{name}_mask.png") == [
        ("1.png", "1_mask.png", None),
        ("2.png", "2_mask.png", None),
    ]


def test_folders_of_other_names_can_be_passed(tmp_path):
    touch(tmp_path, "rgb/a.jpg", "truth/a.png")
    assert found(tmp_path, images="rgb", masks="truth") == [
        ("rgb/a.jpg", "truth/a.png", None)
    ]


@pytest.mark.parametrize("ending", ["_mask", "_label", "_L", "_P", "_gt"])
def test_masks_may_carry_a_common_ending(tmp_path, ending):
    touch(tmp_path, "images/a.jpg", f"masks/a{ending}.png")
    assert found(tmp_path) == [("images/a.jpg", f"masks/a{ending}.png", None)]


def test_names_with_spaces_dots_and_umlauts(tmp_path):
    # macOS stores "ü" as two characters, other systems as one.
    two = unicodedata.normalize("NFD", "Brücke 1.v2")
    touch(tmp_path, f"images/{two}.jpg", "masks/Brücke 1.v2.png")
    assert found(tmp_path) == [
        (f"images/{two}.jpg", "masks/Brücke 1.v2.png", None)
    ]


def test_hidden_and_other_files_are_ignored(tmp_path):
    touch(tmp_path, "images/a.jpg", "masks/a.png")
    touch(tmp_path, "images/.DS_Store", "images/._a.jpg", "images/Thumbs.db")
    touch(tmp_path, "masks/notes.txt", "masks/.cache/b.png")
    touch(tmp_path, "labels/a.txt", "__MACOSX/images/a.jpg")
    assert found(tmp_path) == [("images/a.jpg", "masks/a.png", None)]


def test_unpaired_files_are_counted_and_named(tmp_path):
    touch(tmp_path, *(f"images/{n}.jpg" for n in range(8)))
    touch(tmp_path, "masks/0.png", "masks/x.png")
    pairs, (message,) = find_pairs(tmp_path)
    assert [pair.image.name for pair in pairs] == ["0.jpg"]
    assert "7 of 8 images without a mask" in message
    assert f"{tmp_path / 'images' / '5.jpg'} and 2 more" in message
    assert "1 of 2 masks without an image" in message
    assert str(tmp_path / "masks" / "x.png") in message


@pytest.mark.parametrize(
    "names",
    [
        ("images/a.jpg", "images/a.png", "masks/a.png"),
        ("images/a.jpg", "masks/a.png", "masks/a_mask.png"),
    ],
)
def test_two_files_for_one_name_are_both_named(tmp_path, names):
    touch(tmp_path, *names)
    doubled = names[:2] if "images" in names[1] else names[1:]
    _, (message,) = find_pairs(tmp_path)
    assert "Remove or rename one" in message
    for name in doubled:
        assert str(tmp_path / name) in message


def test_a_missing_directory_and_a_file_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_pairs(tmp_path / "nowhere")
    touch(tmp_path, "a.zip")
    with pytest.raises(NotADirectoryError, match="a.zip, a file"):
        find_pairs(tmp_path / "a.zip")


@pytest.mark.parametrize(
    "images, masks, message",
    [
        ("a/{name}.jpg", None, "given together"),
        ("a/{nam}.jpg", "b/{name}.png", "images must contain {name} once"),
        ("a/{split}/{name}.jpg", "b/{name}.png", "both contain {split}"),
        ("a/{name}.jpg", "c", "masks must be a folder .* holds a/, b/"),
        ("a/{name}.png", "b/{name}.png", "a/{name}.png must hold images"),
    ],
)
def test_templates_that_do_not_fit_are_errors(tmp_path, images, masks, message):
    touch(tmp_path, "a/1.jpg", "b/1.png")
    with pytest.raises(ValueError, match=message):
        find_pairs(tmp_path, images, masks)
