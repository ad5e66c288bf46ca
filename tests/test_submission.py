"""Folders of test images to what the test servers take."""

import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from keras_setr import submission

pytestmark = pytest.mark.no_backend


class Painter:
    """A model that reads its labels out of the images' red channel."""

    def __init__(self, num_classes):
        self.num_classes = num_classes
        self.seen = []
        self.fail_after = None

    def segment(self, images, batch_size=None, verbose=0, **options):
        self.options = options
        if self.fail_after is not None and len(self.seen) >= self.fail_after:
            raise KeyboardInterrupt
        self.seen += images
        return [image[..., 0].astype("int32") for image in images]


def write_image(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    red = np.array(labels, "uint8")
    Image.fromarray(np.stack([red, red * 0, red * 0], -1)).save(path)


def read(path):
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.array(image)


@pytest.fixture
def ade20k(tmp_path):
    """Six images of 2 x 3; the first pixel of number n is of class n."""
    for number in range(1, 7):
        labels = [[number, 0, 149], [1, 2, 3]]
        name = f"ADE_test_{number:08d}"
        write_image(tmp_path / "images" / f"{name}.png", labels)
        # Lossless, whatever the name says.
        (tmp_path / "images" / f"{name}.png").rename(
            tmp_path / "images" / f"{name}.jpg"
        )
    return tmp_path


def test_ade20k_is_a_zip_of_1_to_150(ade20k):
    model, out = Painter(150), ade20k / "out"
    run = ks.write_submission(
        model, ade20k / "images", out, "ade20k", verbose=0, flip=True
    )
    assert (run.written, run.kept, run.failed) == (6, 0, ())
    assert model.options == {"base_scale": (512, 2048), "flip": True}
    np.testing.assert_array_equal(
        read(out / "ADE_test_00000005.png"), [[6, 1, 150], [2, 3, 4]]
    )
    with zipfile.ZipFile(run.archive) as archive:
        names = [f"ADE_test_{number:08d}.png" for number in range(1, 7)]
        assert archive.namelist() == names
        content = archive.read(names[2])
    assert content == (out / names[2]).read_bytes()


def test_an_interrupted_run_goes_on_and_leaves_no_broken_file(ade20k):
    model, out = Painter(150), ade20k / "out"
    model.fail_after = 4
    arguments = (model, ade20k / "images", out, "ade20k")
    with pytest.raises(KeyboardInterrupt):
        ks.write_submission(*arguments, verbose=0)
    assert len(list(out.iterdir())) == 4
    model.fail_after, model.seen = None, []
    run = ks.write_submission(*arguments, verbose=0)
    assert (run.written, run.kept, len(model.seen)) == (2, 4, 2)
    assert len(zipfile.ZipFile(run.archive).namelist()) == 6
    assert len(list(out.iterdir())) == 7
    run = ks.write_submission(*arguments, verbose=0, overwrite=True)
    assert (run.written, run.kept) == (6, 0)


def test_cityscapes_gets_label_ids_under_the_images_name(tmp_path):
    labels = np.zeros((1024, 2048), "uint8")
    labels[0, :19] = range(19)
    name = "berlin_000000_000019_leftImg8bit.png"
    write_image(tmp_path / "test" / "berlin" / name, labels)
    (tmp_path / "test" / "berlin" / "notes.txt").write_text("no image")
    run = ks.write_submission(
        Painter(19), tmp_path / "test", tmp_path / "out", "cityscapes"
    )
    assert run.written == 1 and run.archive is None
    written = read(tmp_path / "out" / name)
    assert written.shape == (1024, 2048)
    assert written[0, :19].tolist() == (
        [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]
        + [31, 32, 33]
    )
    assert (written[1:] == 7).all()


def test_a_wrong_size_or_a_broken_image_is_reported(tmp_path, capsys):
    images = tmp_path / "test"
    name = "bonn_000000_000019_leftImg8bit.png"
    write_image(images / name, [[0, 1, 2]])
    (images / "bonn_000001_000019_leftImg8bit.png").write_bytes(b"cut off")
    run = ks.write_submission(
        Painter(19), images, tmp_path / "out", "cityscapes", verbose=0
    )
    messages = " ".join(message for _, message in run.failed)
    assert "must be (1024, 2048). Received: (1, 3)" in messages
    assert "not an image" in messages
    assert "skipped" in capsys.readouterr().err
    assert (run.written, len(run.failed)) == (0, 2)


def test_the_bar_shows_images_per_second(ade20k, capsys):
    ks.write_submission(
        Painter(150), ade20k / "images", ade20k / "out", "ade20k"
    )
    shown = capsys.readouterr().out
    assert shown.startswith("\r0/6 [....")
    assert "6/6" in shown and "images_per_second" in shown


def test_models_and_folders_that_do_not_fit_are_named(ade20k):
    images, out = ade20k / "images", ade20k / "out"
    for model, folder, dataset, message in (
        (Painter(150), images, "camvid", r"\['ade20k', 'cityscapes'\]"),
        (Painter(19), images, "ade20k", "150 classes.*num_classes=19"),
        (Painter(19), images, "cityscapes", "leftImg8bit.png. Found none"),
    ):
        with pytest.raises(ValueError, match=message):
            ks.write_submission(model, folder, out, dataset, verbose=0)
    (images / "again").mkdir()
    twice = "ADE_test_00000003.jpg"
    (images / "again" / twice).write_bytes((images / twice).read_bytes())
    with pytest.raises(ValueError, match=f"several images named {twice}"):
        ks.write_submission(Painter(150), images, out, "ade20k", verbose=0)


def test_every_server_maps_every_class_to_a_byte():
    for name, server in submission.TEST_SERVERS.items():
        assert len(server.values) == ks.data.DATASETS[name].num_classes
        assert len(set(server.values)) == len(server.values)


def test_an_image_that_the_model_refuses_is_reported(ade20k, capsys):
    class Picky(Painter):
        def segment(self, images, **options):
            if any(image[0, 0, 0] == 3 for image in images):
                raise ValueError("3 is \x1b[31mtoo much")
            return super().segment(images, **options)

    files = sorted((ade20k / "images").iterdir())
    saved = []
    run = submission.segment_files(
        Picky(150), files, lambda path, *_: saved.append(path), verbose=0
    )
    assert saved == files[:2] + files[3:]
    assert run.written == 5
    assert run.failed == ((files[2], "3 is \x1b[31mtoo much"),)
    assert f"skipped {files[2]}: 3 is \\x1b[31m" in capsys.readouterr().err


def test_what_is_no_model_or_list_of_files_is_an_error_at_once(tmp_path):
    def save(*arguments):
        raise AssertionError

    for files in ("a.png", 7, None):
        with pytest.raises(ValueError, match="files must be a sequence"):
            submission.segment_files(Painter(3), files, save)
    with pytest.raises(ValueError, match="model must be a segmenter"):
        submission.segment_files("preset", [], save)
    with pytest.raises(ValueError, match="model must be a segmenter"):
        ks.write_submission(None, tmp_path, tmp_path / "out", "ade20k")


def test_options_that_suit_no_image_are_told_once(ade20k, capsys):
    class Windows(Painter):
        windowed = None

        def segment(self, images, **options):
            raise ValueError("window_size must be another")

    files = sorted((ade20k / "images").iterdir())
    with pytest.raises(ValueError, match="window_size must be another"):
        submission.segment_files(Windows(150), files, print)
    run = submission.segment_files(Painter(150), [], print)
    assert (run.written, capsys.readouterr().out) == (0, "")


def test_workers_share_files_without_an_overlap(ade20k):
    files = sorted((ade20k / "images").iterdir())
    saved = []
    for worker in range(4):
        run = submission.segment_files(
            Painter(150),
            files,
            lambda path, *_: saved.append(path),
            shard=(worker, 4),
            verbose=0,
        )
        # 6 files: two each for the first two workers.
        assert run.written == (2, 2, 1, 1)[worker]
    assert saved == [files[i] for i in (0, 4, 1, 5, 2, 3)]
    with pytest.raises(ValueError, match=r"worker in 0..num_.*\(4, 4\)"):
        submission.segment_files(Painter(3), files, print, shard=(4, 4))


def test_maps_that_are_asked_for_are_the_models(ade20k):
    class Doubting(Painter):
        def segment(self, images, confidence=False, entropy=False, **options):
            labels = super().segment(images, **options)
            maps = ["c"] * confidence + ["e"] * entropy
            return [(one, *maps) for one in labels] if maps else labels

    files = sorted((ade20k / "images").iterdir())
    for asked, expected in (
        ({}, None),
        ({"entropy": True}, ["e"]),
        ({"confidence": True, "entropy": True}, ["c", "e"]),
    ):
        saved = []
        submission.segment_files(
            Doubting(150),
            files[:1],
            lambda path, image, result: saved.append(result),
            verbose=0,
            **asked,
        )
        (result,) = saved
        if expected is None:
            assert result.shape == (2, 3)
        else:
            assert list(result[1:]) == expected


def test_files_are_written_while_others_are_segmented(ade20k):
    second_group = threading.Event()

    class Waiting(Painter):
        def segment(self, images, **options):
            if images[0][0, 0, 0] == 5:
                second_group.set()
            return super().segment(images, **options)

    def save(path, *_):
        # Would wait for ever if the next group did not go on meanwhile.
        assert second_group.wait(30)

    files = sorted((ade20k / "images").iterdir())
    run = submission.segment_files(Waiting(150), files, save, verbose=0)
    assert run.written == 6


def test_what_a_writer_raises_ends_the_run(ade20k):
    def save(path, *_):
        raise KeyError(path.name)

    files = sorted((ade20k / "images").iterdir())
    with pytest.raises(KeyError, match="ADE_test_00000001"):
        submission.segment_files(Painter(150), files, save, verbose=0)
