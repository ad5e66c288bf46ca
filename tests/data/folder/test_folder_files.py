"""Folders as they come: bad files, odd names, lists, and a look at them."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from keras_setr.data.folder import scan
from keras_setr.data.folder.folder import SegmentationFolder
from tests.pairs import write_pair

pytestmark = pytest.mark.no_backend


@pytest.mark.filterwarnings("ignore:.*has 3 problems")
def test_the_report_lists_all_that_is_wrong_at_once(tmp_path):
    for name in ("a", "b", "c", "d", "e", "f", "g h", "ü", "twice"):
        write_pair(tmp_path, name, [[0, 1, 1]] * 40)
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
        (masks / "alone.png", "1 of 10 masks without an image"),
        (images / "loop", "Remove the link"),
    ]
    for path, what in expected:
        told = [line for line in problems if str(path) in line]
        assert any(what in line for line in told), (path, told)
    # What is wrong with a file alone is said where nobody knows of pairs.
    end = "Otherwise remove it together with its pair."
    assert sum(line.endswith(end) for line in problems) == 5
    assert len(problems) == len(expected)
    assert f"{len(expected)} problems:" in str(folder.report())
    with pytest.raises(ValueError, match=f"has {len(expected)} problems"):
        folder.batches(2)


def test_a_folder_with_files_left_over_says_so_at_once(tmp_path):
    write_pair(tmp_path, "a", [[0, 1]])
    write_pair(tmp_path, "b", [[0, 1]])
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.warns(UserWarning, match="1 problem, .*1 of 2 images without"):
        folder = SegmentationFolder(tmp_path)
    assert len(folder) == 1
    with pytest.raises(ValueError, match="1 of 2 images without a mask"):
        folder.check()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux allows any bytes in a name"
)
def test_a_name_that_is_no_text_can_be_reported(tmp_path):
    write_pair(tmp_path, "a", [[0, 5]])
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
    write_pair(tmp_path / "store", "a", [[0, 1]])
    data = tmp_path / "data"
    data.mkdir()
    for name in ("images", "masks"):
        (data / name).symlink_to(tmp_path / "store" / name)
    assert len(SegmentationFolder(data)) == 1


def test_reduce_zero_label_is_a_choice(tmp_path):
    write_pair(tmp_path, "a", [[0, 1, 2], [255, 2, 0]])
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
    write_pair(tmp_path, "b", [[3, 1]])
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
    write_pair(tmp_path, "a", [[black, red, blue]])
    folder = SegmentationFolder(
        tmp_path, colors=[black, red, blue], reduce_zero_label=True
    )
    assert folder[0][1].tolist() == [[255, 0, 1]]
    assert folder.classes.palette == (red, blue)


def test_lists_choose_and_split_the_pairs(tmp_path):
    for name in ("ulm/1", "bonn/1", "two words", "b.c", "unused"):
        write_pair(tmp_path, name, [[0, 1]])
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
    (note,) = folder.report().notes
    assert "1 of 5 pairs left out, as no list" in note and "unused.png" in note
    assert f"note: {note}" in str(folder.report())
    assert (train.training, val.training) == (True, False)


def test_lists_that_do_not_fit_are_named(tmp_path):
    for name in ("ulm/1", "bonn/1", "2"):
        write_pair(tmp_path, name, [[0, 1]])
    path = tmp_path / "train.txt"
    path.write_text("2\n3\n1\n")
    with pytest.warns(UserWarning, match="2 problems"):
        folder = SegmentationFolder(tmp_path, lists={"train": path.name})
    unknown, doubtful = folder.report().problems
    assert f"{path} has 1 line, as '3', of no image" in unknown
    assert f"{path} has 1 line, as '1', of several images" in doubtful
    (tmp_path / "val.txt").write_text("2.png")
    with pytest.raises(ValueError, match="2.png in those of 'train' and 'val"):
        SegmentationFolder(
            tmp_path, lists={"train": path.name, "val": "val.txt"}
        )
    path.write_text("\n")
    lists = {"train": path.name, "val": "val.txt"}
    with pytest.warns(UserWarning, match="train.txt is empty"):
        SegmentationFolder(tmp_path, lists=lists)
    path.write_text("7\n8\n")
    with pytest.raises(ValueError, match="none of the lines of train.txt"):
        SegmentationFolder(tmp_path, lists={"train": path.name})
    with pytest.raises(FileNotFoundError, match="gone.txt"):
        SegmentationFolder(tmp_path, lists={"train": "gone.txt"})


def test_class_weights_balance_by_the_median(tmp_path):
    write_pair(tmp_path, "a", [[0, 0, 0, 1, 1, 1, 255]])
    write_pair(tmp_path, "b", [[0, 0, 0, 1, 2, 2, 255]])
    folder = SegmentationFolder(tmp_path, num_classes=4)
    weights = folder.class_weights()
    # Shares in the images that show a class: 0 has 6 of 12 labelled pixels,
    # 1 has 4 of 12 and 2 has 2 of 6. Their median is 1/3. Nothing shows 3.
    assert weights == pytest.approx((2 / 3, 1.0, 1.0, 0.0))


def test_show_draws_overlays_and_names_their_classes(tmp_path):
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name, np.full((6, 8), 1))
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
        write_pair(tmp_path, name, mask)
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
            assert images.shape == (2, 16, 16, 5)
            assert np.asarray(images).dtype == np.uint16
    with pytest.raises(ValueError, match="a.npy.*3 channels of uint16"):
        SegmentationFolder(tmp_path, channels=3, image_dtype="uint16").check()


def test_a_missing_file_of_names_is_looked_for_beside_the_masks(tmp_path):
    write_pair(tmp_path, "a", [[0, 1]])
    (tmp_path / "names.txt").write_text("road\nsky\n")
    for name, hint in (
        ("names.txt", f"did you mean {tmp_path / 'names.txt'}"),
        ("no.txt", "begins in the current folder"),
        (tmp_path / "images", "cannot be read"),
    ):
        with pytest.raises(OSError, match="class_names must be") as error:
            SegmentationFolder(tmp_path, class_names=name)
        assert hint in str(error.value)


def grey_as_rgb(directory, name, values):
    write_pair(directory, name, np.repeat(np.array(values)[..., None], 3, -1))


def test_grey_values_in_three_channels_are_values(tmp_path):
    # Not their ranks: nothing shows class 1.
    grey_as_rgb(tmp_path, "a", [[0, 2], [3, 255]])
    write_pair(tmp_path, "b", [[0, 2, 3]])
    folder = SegmentationFolder(tmp_path, class_names=[*"pqrs"])
    assert folder[0][1].tolist() == [[0, 2], [3, 255]]
    assert folder.colors == () and folder.report().problems == ()
    assert folder.report().pixels == (2, 0, 2, 2)


def test_one_colour_makes_colours_of_all(tmp_path):
    grey_as_rgb(tmp_path, "a", [[0, 0], [0, 0]])
    red = np.zeros((2, 2, 3))
    red[0] = (200, 0, 0)
    write_pair(tmp_path, "b", red)
    folder = SegmentationFolder(tmp_path)
    assert folder.colors == ((0, 0, 0), (200, 0, 0))
    assert folder[0][1].tolist() == [[0, 0], [0, 0]]
    assert folder[1][1].tolist() == [[1, 1], [0, 0]]
    colors = [(0, 0, 0), (90, 90, 90)]
    grey_as_rgb(tmp_path / "grey", "a", [[0, 90]])
    grey = SegmentationFolder(tmp_path / "grey", colors=colors)
    assert grey[0][1].tolist() == [[0, 1]]


def test_colours_of_masks_that_hold_values_are_a_problem(tmp_path):
    for name in "ab":
        write_pair(tmp_path, name, [[0, 0, 1], [0, 0, 1]])
    folder = SegmentationFolder(tmp_path, colors=[(0, 0, 0), (9, 0, 0)])
    with pytest.raises(ValueError, match="hold values.*no RGB.*colors="):
        folder.check()


def test_a_stray_value_is_a_problem_and_no_class(tmp_path):
    labels = np.arange(6)[None].repeat(4, 0)
    write_pair(tmp_path, "a", labels)
    labels = labels.copy()
    labels[0, 0] = 200
    write_pair(tmp_path, "b", labels)
    folder = SegmentationFolder(tmp_path)
    assert folder.num_classes == 6
    (problem,) = folder.report().problems
    path = tmp_path / "masks" / "b.png"
    assert problem.startswith(f"{path} holds value 200 in 1 of 24 pixels, far")
    assert "pass num_classes=201" in problem and "ignore_values=" in problem
    assert len(str(folder.report()).splitlines()) < 20
    meant = SegmentationFolder(tmp_path, num_classes=201)
    assert meant.report().problems == ()


def test_some_of_many_classes_are_no_stray_values(tmp_path):
    labels = [0, 1, 3, 6, 7, 12, 20, 46, 81, 103]  # of ADE20K
    write_pair(tmp_path, "a", np.repeat([labels], 2, axis=0))
    assert SegmentationFolder(tmp_path).num_classes == 104


@pytest.mark.parametrize("values", [(0, 127, 254), (0, 85, 170, 255), (0, 80)])
def test_values_that_are_spread_to_be_seen_are_explained(tmp_path, values):
    write_pair(tmp_path, "a", np.repeat([values], 2, axis=0))
    folder = SegmentationFolder(tmp_path)
    label_map = {v: n for n, v in enumerate(values) if v != 255}
    fix = f"pass label_map={label_map}"
    with pytest.raises(ValueError) as error:
        folder.num_classes
    assert fix in str(error.value)
    with pytest.raises(ValueError) as error:
        folder.check()
    assert f"label_map={label_map}" in str(error.value)
    mapped = SegmentationFolder(tmp_path, label_map=label_map)
    assert mapped.num_classes == len(label_map)


@pytest.mark.parametrize("colours", [False, True])
def test_smoothed_edges_are_a_problem(tmp_path, colours):
    mask = np.zeros((40, 60), "uint8")
    mask[10:30, 20:40] = 90
    mask = Image.fromarray(mask).resize((30, 20), Image.Resampling.LANCZOS)
    mask = np.array(mask)
    if colours:
        mask = np.dstack([mask, 2 * mask, mask // 2])
    write_pair(tmp_path, "a", mask)
    (problem, *_) = SegmentationFolder(tmp_path).report().problems
    assert "along edges only" in problem and "export them again" in problem


def test_bad_pairs_can_be_left_out_by_choice(tmp_path):
    for name in ("a", "b", "c", "d"):
        write_pair(tmp_path, name, [[0, 1]])
    (tmp_path / "masks" / "b.png").write_bytes(b"")
    write_pair(tmp_path, "c", [[0, 200]])
    (tmp_path / "masks" / "d.png").unlink()
    with pytest.warns(UserWarning) as warned:
        folder = SegmentationFolder(tmp_path, leave_out="problems")
    told = "\n".join(str(warning.message) for warning in warned)
    assert "1 of 4 images without a mask" in told and "d.png" in told
    assert "2 of 3 pairs left out: " in told and "b.png is empty" in told
    assert "c.png holds value 200" in told
    assert [pair.image.name for pair in folder.pairs] == ["a.png"]
    folder.check()
    assert folder.num_classes == 2
    report = folder.report()
    assert report.problems == () and len(report.notes) == 3
    assert "note: left out: Every image" in str(report)
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="No pair of .*without a problem"):
        SegmentationFolder(tmp_path, leave_out="problems", num_classes=2)
    with pytest.raises(ValueError, match="leave_out must be 'problems'"):
        SegmentationFolder(tmp_path, leave_out="problem")


def test_masks_none_of_which_can_be_read_are_reported(tmp_path):
    write_pair(tmp_path, "a", [[0, 1]])
    (tmp_path / "masks" / "a.png").write_bytes(b"no image")
    (problem,) = SegmentationFolder(tmp_path).report().problems
    assert "is not an image" in problem


def test_a_large_mask_is_counted_in_bands(tmp_path, monkeypatch):
    labels = np.arange(6).repeat(50).reshape(15, 20)
    write_pair(tmp_path, "a", labels)
    monkeypatch.setattr(scan, "_BAND_PIXELS", 60)
    (found,) = SegmentationFolder(tmp_path).scan()
    assert found.values == dict.fromkeys(range(6), 50)
    assert found.areas == frozenset(range(6))
    colors = np.dstack([labels * 40, labels, labels])
    write_pair(tmp_path / "rgb", "a", colors)
    (found,) = SegmentationFolder(tmp_path / "rgb").scan()
    assert found.colors == {(n * 40, n, n): 50 for n in range(6)}
    assert len(found.areas) == 6
