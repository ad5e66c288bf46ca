import unicodedata

import pytest

from keras_setr.data.folder.layouts import find_pairs

pytestmark = pytest.mark.no_backend


def touch(directory, *names):
    """Finding pairs reads names only, so empty files will do."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(directory, **options):
    return [
        (
            pair.image.relative_to(directory).as_posix(),
            pair.mask.relative_to(directory).as_posix(),
            pair.subset,
        )
        for pair in find_pairs(directory, **options)[0]
    ]


@pytest.mark.parametrize(
    "images, masks",
    [
        ("images", "masks"),
        ("images", "labels"),
        ("img", "annotations"),
        ("JPEGImages", "SegmentationClass"),
    ],
)
def test_images_beside_masks(tmp_path, images, masks):
    touch(tmp_path, f"{images}/b.jpg", f"{images}/a.JPG")
    touch(tmp_path, f"{masks}/a.png", f"{masks}/b.png")
    assert found(tmp_path) == [
        (f"{images}/a.JPG", f"{masks}/a.png", None),
        (f"{images}/b.jpg", f"{masks}/b.png", None),
    ]


@pytest.mark.parametrize(
    "train, val", [("train", "val"), ("training", "validation")]
)
@pytest.mark.parametrize("masks", ["annotations", "labels", "masks"])
def test_subsets_inside_images_and_masks(tmp_path, train, val, masks):
    touch(tmp_path, f"images/{train}/a.jpg", f"images/{val}/a.jpg")
    touch(tmp_path, f"{masks}/{train}/a.png", f"{masks}/{val}/a.png")
    assert found(tmp_path) == [
        (f"images/{train}/a.jpg", f"{masks}/{train}/a.png", "train"),
        (f"images/{val}/a.jpg", f"{masks}/{val}/a.png", "val"),
    ]


def test_images_and_masks_inside_subsets(tmp_path):
    touch(tmp_path, "train/images/a.jpg", "train/masks/a.png")
    touch(tmp_path, "valid/images/b.jpg", "valid/masks/b.png")
    assert found(tmp_path) == [
        ("train/images/a.jpg", "train/masks/a.png", "train"),
        ("valid/images/b.jpg", "valid/masks/b.png", "val"),
    ]


def test_annotation_folders_beside_subsets(tmp_path):
    for subset in ("train", "val", "test"):
        touch(tmp_path, f"{subset}/a.png", f"{subset}annot/a.png")
    assert found(tmp_path) == [
        (f"{subset}/a.png", f"{subset}annot/a.png", subset)
        for subset in ("test", "train", "val")
    ]


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


def test_an_unknown_layout_lists_the_known_ones_and_what_is_there(tmp_path):
    with pytest.raises(ValueError, match="which holds nothing"):
        find_pairs(tmp_path)
    touch(tmp_path, "photos/a.jpg", "truth/a.png", "readme.txt")
    with pytest.raises(ValueError) as error:
        find_pairs(tmp_path)
    message = str(error.value)
    assert "images/ + masks/" in message and "trainannot/" in message
    assert "photos/, readme.txt, truth/" in message


@pytest.mark.parametrize(
    "folders, given",
    [
        (("images", "masks"), "images"),
        (("images", "masks"), "masks"),
        (("train", "trainannot"), "train"),
    ],
)
def test_half_of_a_layout_asks_for_the_whole(tmp_path, folders, given):
    for folder in folders:
        touch(tmp_path, f"{folder}/a.png")
    with pytest.raises(ValueError, match=f"Did you mean {tmp_path}\\?"):
        find_pairs(tmp_path / given)


@pytest.mark.parametrize("empty", ["images", "masks"])
def test_an_empty_folder_is_named(tmp_path, empty):
    touch(tmp_path, "images/a.jpg", "masks/a.png")
    next((tmp_path / empty).iterdir()).unlink()
    with pytest.raises(ValueError, match=f"{empty} must hold {empty}"):
        find_pairs(tmp_path)


def test_a_subset_without_masks_is_an_error_unless_it_is_test(tmp_path):
    touch(tmp_path, "train/a.jpg", "trainannot/a.png", "test/c.jpg")
    (pair,), problems = find_pairs(tmp_path)
    assert pair.subset == "train" and not problems
    touch(tmp_path, "val/b.jpg")
    _, (message,) = find_pairs(tmp_path)
    assert "1 image (" in message and "b.jpg) but has no" in message


def test_ambiguous_folders_are_errors(tmp_path):
    touch(tmp_path, "images/a.jpg", "masks/a.png", "labels/a.png")
    with pytest.raises(ValueError, match="masks and labels"):
        find_pairs(tmp_path)
    (tmp_path / "labels" / "a.png").unlink()
    touch(tmp_path, "train/b.jpg", "trainannot/b.png")
    with pytest.raises(ValueError, match="both in .*images and in .*train"):
        find_pairs(tmp_path)


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
