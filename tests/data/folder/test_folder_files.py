"""Folders as they come: bad files, odd names, lists, and a look at them."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from keras_setr.data.folder.folder import SegmentationFolder

pytestmark = pytest.mark.no_backend


def write(directory, name, mask, images="images", masks="masks"):
    mask = np.array(mask, "uint8")
    pixels = np.full((*mask.shape[:2], 3), 99, "uint8")
    for folder, array in ((images, pixels), (masks, mask)):
        path = directory / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.mark.filterwarnings("ignore:.*has 3 problems")
def test_the_report_lists_all_that_is_wrong_at_once(tmp_path):
    for name in ("a", "b", "c", "d", "e", "f", "g h", "ü", "twice"):
        write(tmp_path, name, [[0, 1, 1]] * 40)
    images, masks = tmp_path / "images", tmp_path / "masks"
    noise = np.random.default_rng(0).integers(0, 256, (40, 3, 3), "uint8")
    # A truncated JPEG, a truncated PNG, and text in the place of an image.
    (images / "a.png").unlink()
    Image.fromarray(noise).resize((300, 400)).save(images / "a.jpg")
    content = (images / "a.jpg").read_bytes()
    (images / "a.jpg").write_bytes(content[: len(content) // 2])
    Image.fromarray(noise).save(images / "b.png")
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:200])
    (images / "c.png").write_text("not found")
    # Zero bytes, another size, a label out of range.
    (masks / "d.png").write_bytes(b"")
    Image.fromarray(np.zeros((3, 40), "uint8")).save(masks / "e.png")
    Image.fromarray(np.full((40, 3), 7, "uint8")).save(masks / "f.png")
    # Names with spaces and other letters, of which one mask is a dead link.
    (masks / "ü.png").unlink()
    (masks / "ü.png").symlink_to(tmp_path / "gone.png")
    Image.fromarray(np.full((40, 3), 9, "uint8")).save(masks / "g h.png")
    # Two images for one mask, a mask without image, and a link in a circle.
    Image.fromarray(noise).save(images / "twice.jpg")
    Image.fromarray(np.zeros((40, 3), "uint8")).save(masks / "alone.png")
    (images / "loop").symlink_to(images)
    folder = SegmentationFolder(tmp_path, num_classes=2)
    problems = folder.report().problems
    expected = [
        (images / "a.jpg", "truncated or damaged"),
        (images / "b.png", "truncated or damaged"),
        (images / "c.png", "is not an image"),
        (masks / "d.png", "is empty"),
        (masks / "e.png", "must have the size of its image"),
        (masks / "f.png", "holds label 7"),
        (masks / "ü.png", "cannot be opened"),
        (masks / "g h.png", "holds label 9"),
        (images / "twice.png", "Remove or rename one"),
        (masks / "alone.png", "1 of 10 masks have no image"),
        (images / "loop", "Remove the link"),
    ]
    for path, what in expected:
        told = [line for line in problems if str(path) in line]
        assert any(what in line for line in told), (path, told)
    assert len(problems) == len(expected)
    assert f"{len(expected)} problems:" in str(folder.report())
    with pytest.raises(ValueError, match=f"has {len(expected)} problems"):
        folder.batches(2)


def test_a_folder_with_files_left_over_says_so_at_once(tmp_path):
    write(tmp_path, "a", [[0, 1]])
    write(tmp_path, "b", [[0, 1]])
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.warns(UserWarning, match="1 problems.*1 of 2 images have no"):
        folder = SegmentationFolder(tmp_path)
    assert len(folder) == 1
    with pytest.raises(ValueError, match="1 of 2 images have no mask"):
        folder.check()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux allows any bytes in a name"
)
def test_a_name_that_is_no_text_can_be_reported(tmp_path):
    write(tmp_path, "a", [[0, 5]])
    for folder in ("images", "masks"):
        path = os.fsencode(tmp_path / folder)
        try:
            os.rename(path + b"/a.png", path + b"/\xff.png")
        except OSError:
            pytest.skip("this file system takes only text as names")
    report = SegmentationFolder(tmp_path, num_classes=2).report()
    assert "holds label 5" in str(report)
    str(report).encode("utf-8")


def test_links_to_folders_are_followed_when_they_lead_elsewhere(tmp_path):
    write(tmp_path / "store", "a", [[0, 1]])
    data = tmp_path / "data"
    data.mkdir()
    for name in ("images", "masks"):
        (data / name).symlink_to(tmp_path / "store" / name)
    assert len(SegmentationFolder(data)) == 1


def test_reduce_zero_label_is_a_choice(tmp_path):
    write(tmp_path, "a", [[0, 1, 2], [255, 2, 0]])
    plain = SegmentationFolder(tmp_path)
    assert plain.num_classes == 3
    assert plain[0][1].tolist() == [[0, 1, 2], [255, 2, 0]]
    reduced = SegmentationFolder(tmp_path, reduce_zero_label=True)
    assert reduced.num_classes == 2
    assert reduced[0][1].tolist() == [[255, 0, 1], [255, 1, 255]]
    named = SegmentationFolder(
        tmp_path, reduce_zero_label=True, class_names=["road", "sky"]
    )
    assert named.report().pixels == (1, 2)
    write(tmp_path, "b", [[3, 1]])
    fits = "holds value 3, but num_classes=2 with .* allows 1..2, and 0"
    with pytest.raises(ValueError, match=f"b.png {fits}"):
        SegmentationFolder(
            tmp_path, reduce_zero_label=True, num_classes=2
        ).check()
    with pytest.raises(ValueError, match="reduce_zero_label and label_map"):
        SegmentationFolder(
            tmp_path, reduce_zero_label=True, label_map={0: 0, 1: 1}
        )


def test_reduced_colours_count_from_the_second(tmp_path):
    black, red, blue = (0, 0, 0), (200, 0, 0), (0, 0, 90)
    write(tmp_path, "a", [[black, red, blue]])
    folder = SegmentationFolder(
        tmp_path, colors=[black, red, blue], reduce_zero_label=True
    )
    assert folder[0][1].tolist() == [[255, 0, 1]]
    assert folder.classes.palette == (red, blue)


def test_lists_choose_and_split_the_pairs(tmp_path):
    for name in ("ulm/1", "bonn/1", "two words", "b.c", "unused"):
        write(tmp_path, name, [[0, 1]])
    # A path of another computer, a name, and SegNet's two columns.
    (tmp_path / "train.txt").write_text(
        "/data/images/ulm/1.png /data/masks/ulm/1.png\n\ntwo words\n"
    )
    (tmp_path / "val.txt").write_text("b.c\r\nbonn\\1\n")
    folder = SegmentationFolder(
        tmp_path, lists={"train": "train.txt", "validation": "val.txt"}
    )
    assert len(folder) == 4
    train, val = folder.split()
    names = [pair.image.name for pair in train.pairs]
    assert sorted(names) == ["1.png", "two words.png"]
    assert {pair.image.parent.name for pair in val.pairs} == {"bonn", "images"}
    assert (train.training, val.training) == (True, False)


def test_lists_that_do_not_fit_are_named(tmp_path):
    for name in ("ulm/1", "bonn/1", "2"):
        write(tmp_path, name, [[0, 1]])
    path = tmp_path / "train.txt"
    path.write_text("2\n3\n1\n")
    with pytest.warns(UserWarning, match="2 problems"):
        folder = SegmentationFolder(tmp_path, lists={"train": path.name})
    unknown, doubtful = folder.report().problems
    assert f"{path} has 1 lines, as '3', that name no image" in unknown
    assert f"{path} has 1 lines, as '1', that fit several images" in doubtful
    (tmp_path / "val.txt").write_text("2.png")
    with pytest.raises(ValueError, match="2.png in those of 'train' and 'val"):
        SegmentationFolder(
            tmp_path, lists={"train": path.name, "val": "val.txt"}
        )
    path.write_text("7\n8\n")
    with pytest.raises(ValueError, match="none of the lines of train.txt"):
        SegmentationFolder(tmp_path, lists={"train": path.name})
    with pytest.raises(FileNotFoundError, match="gone.txt"):
        SegmentationFolder(tmp_path, lists={"train": "gone.txt"})


def test_class_weights_balance_by_the_median(tmp_path):
    write(tmp_path, "a", [[0, 0, 0, 1, 1, 1, 255]])
    write(tmp_path, "b", [[0, 0, 0, 1, 2, 2, 255]])
    folder = SegmentationFolder(tmp_path, num_classes=4)
    weights = folder.class_weights()
    # Shares in the images that show a class: 0 has 6 of 12 labelled pixels,
    # 1 has 4 of 12 and 2 has 2 of 6. Their median is 1/3. Nothing shows 3.
    assert weights == pytest.approx((2 / 3, 1.0, 1.0, 0.0))


def test_show_draws_overlays_and_names_their_classes(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path, name, np.full((6, 8), 1))
    palette = [(200, 0, 0), (0, 200, 0)]
    folder = SegmentationFolder(
        tmp_path, class_names=["road", "sky"], palette=palette
    )
    sheet = folder.show(2, columns=2, width=40, alpha=1)
    # Two pictures of 40 x 30 with a gap of 8, a gap and the legend below.
    assert sheet.width >= 2 * 40 + 8 and sheet.height > 30 + 8
    assert sheet.getpixel((5, 5)) == sheet.getpixel((50, 5)) == (0, 200, 0)
    pixels = np.asarray(sheet)[40:]
    assert (pixels == (0, 200, 0)).all(-1).any()
    assert not (pixels == (200, 0, 0)).all(-1).any()
    with pytest.raises(ValueError, match="at least 1.*count=0"):
        folder.show(0)


def test_images_of_five_channels_and_16_bits_reach_the_batches(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        mask = np.kron([[0, 1], [1, 0]], np.ones((10, 12)))
        write(tmp_path, name, mask)
        (tmp_path / "images" / f"{name}.png").unlink()
        image = rng.integers(0, 65536, (20, 24, 5)).astype("uint16")
        np.save(tmp_path / "images" / f"{name}.npy", image)
    folder = SegmentationFolder(tmp_path, channels=5, image_dtype="uint16")
    assert folder[0][0].shape == (20, 24, 5)
    assert folder.show(1).width >= 320
    for reader in ("threads", "tf.data"):
        if reader == "tf.data":
            pytest.importorskip("tensorflow")
        for augment in (True, False):
            images, labels = next(
                iter(folder.batches(2, augment=augment, reader=reader))
            )
            assert images.shape == (2, 32, 32, 5)
            assert np.asarray(images).dtype == np.uint16
    with pytest.raises(ValueError, match="a.npy.*3 channels of uint16"):
        SegmentationFolder(tmp_path, channels=3, image_dtype="uint16").check()
