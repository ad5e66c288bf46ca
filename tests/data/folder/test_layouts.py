import pytest

from keras_setr.data.folder.pairs import find_pairs
from tests.pairs import found
from tests.pairs import touch

pytestmark = pytest.mark.no_backend


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
