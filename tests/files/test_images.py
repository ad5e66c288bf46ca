import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_setr.classes import Classes
from keras_setr.files.images import image_size
from keras_setr.files.images import load_image
from keras_setr.files.images import load_mask
from keras_setr.files.images import mask_to_labels
from keras_setr.files.images import save_labels

pytestmark = pytest.mark.no_backend

# 2 x 3 pixels, no two alike.
GREY = np.array([[0, 40, 80], [120, 160, 255]], "uint8")


def write(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def sixteen_bit_rgb_png():
    """Pillow cannot write one: 2 x 1 pixels, 3 samples of 2 bytes each."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 + 12)))
        + chunk(b"IEND", b"")
    )


def test_a_grey_image_gets_three_equal_channels(tmp_path):
    image = load_image(write(tmp_path / "a.png", GREY))
    assert image.shape == (2, 3, 3) and image.dtype == np.uint8
    assert (image == GREY[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr"])
def test_white_is_white_in_every_convertible_mode(tmp_path, mode):
    white = Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    white.save(path)
    assert (load_image(path) == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_turns_image_and_size_alike(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # Stored lying; to be turned clockwise by a quarter.
    stored = np.zeros((20, 30, 3), "uint8")
    stored[:, 15:] = 255  # The right half becomes the lower half.
    path = write(tmp_path / f"a.{suffix}", stored, exif=exif)
    image = load_image(path)
    assert image.shape == (30, 20, 3)
    assert image[:13].mean() < 10 and image[17:].mean() > 245
    assert image_size(path) == (30, 20)


def test_image_size_is_height_then_width(tmp_path):
    assert image_size(write(tmp_path / "a.png", GREY)) == (2, 3)


@pytest.mark.parametrize(
    "image, mode",
    [
        (Image.new("RGBA", (3, 2)), "RGBA"),
        (Image.new("LA", (3, 2)), "LA"),
        (Image.new("I;16", (3, 2)), "I;16"),
        (Image.new("I", (3, 2)), "I"),
        (Image.new("F", (3, 2)), "F"),
    ],
)
def test_modes_without_one_meaning_are_errors(tmp_path, image, mode):
    path = tmp_path / "a.tif"
    image.save(path)
    for load, fix in (
        (load_image, "RGB"),
        (load_mask, "Save the labels as 8-bit grey PNG"),
    ):
        with pytest.raises(ValueError, match=fix) as error:
            load(path)
        assert str(path) in str(error.value)
        assert f"mode '{mode}" in str(error.value)


def test_sixteen_bit_rgb_is_an_error_although_pillow_opens_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(sixteen_bit_rgb_png())
    assert Image.open(io.BytesIO(sixteen_bit_rgb_png())).mode == "RGB"
    for load in (load_image, load_mask):
        with pytest.raises(ValueError, match="'RGB, 16 bit'"):
            load(path)


def test_a_transparent_palette_is_an_error_for_an_image(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GREY).convert("P").save(path, transparency=0)
    with pytest.raises(ValueError, match="'P' with transparency"):
        load_image(path)


@pytest.mark.parametrize("load", [load_image, load_mask, image_size])
def test_a_missing_file_is_file_not_found(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="gone.png"):
        load(tmp_path / "gone.png")


@pytest.mark.parametrize("load", [load_image, load_mask, image_size])
@pytest.mark.parametrize(
    "content, message", [(b"", "is empty"), (b"hello", "is not an image")]
)
def test_a_file_without_an_image_is_named(tmp_path, load, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(path) in str(error.value) and "remove it" in str(error.value)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8")
    path = write(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated or damaged") as error:
        load_image(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("position", [0.3, 0.8])
def test_a_mask_whose_checksum_does_not_fit_is_named(tmp_path, position):
    noise = np.random.default_rng(0).integers(0, 9, (40, 50), "uint8")
    path = write(tmp_path / "a.png", noise)
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged") as error:
        load_mask(path)
    assert str(path) in str(error.value)


def test_a_palette_mask_gives_indices_not_colours(tmp_path):
    indices = np.array([[0, 1, 2], [3, 20, 255]], "uint8")
    mask = Image.fromarray(indices)
    mask.putpalette([7, 8, 9] * 256)
    mask.save(tmp_path / "a.png")
    assert (load_mask(tmp_path / "a.png") == indices).all()


def test_a_one_bit_mask_gives_zero_and_one(tmp_path):
    mask = load_mask(write(tmp_path / "a.png", GREY > 100))
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_a_jpeg_mask_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="a.jpg is a JPEG.*as PNG"):
        load_mask(write(tmp_path / "a.jpg", GREY))


def test_colours_become_their_index_in_the_table_not_their_order(tmp_path):
    colors = [(0, 0, 255), (255, 0, 0), (0, 255, 0)]
    labels = np.array([[2, 0, 1], [1, 1, 0]])
    path = write(tmp_path / "a.png", np.array(colors, "uint8")[labels])
    mask = load_mask(path)
    assert mask.shape == (2, 3, 3)
    assert (mask_to_labels(mask, colors, path) == labels).all()


@pytest.mark.parametrize("color", [(0, 0, 0), (1, 2, 3), (255, 255, 255)])
def test_an_unknown_colour_is_named(color):
    mask = np.full((2, 3, 3), color, "uint8")
    mask[0] = (9, 9, 9)
    with pytest.raises(ValueError) as error:
        mask_to_labels(mask, [(9, 9, 9), (200, 0, 0)], "masks/4.png")
    message = str(error.value)
    assert f"masks/4.png holds colour {color} in 3 of 6 pixels" in message
    assert "2 known colours" in message


@pytest.mark.parametrize("classes", [None, Classes(["road", "sky"])])
def test_saved_labels_come_back_with_255(tmp_path, classes):
    labels = np.array([[0, 1, 255], [1, 0, 7]])
    path = tmp_path / "a.png"
    save_labels(path, labels, classes)
    assert (load_mask(path) == labels).all()
    if classes is not None:
        shown = np.array(Image.open(path).convert("RGB"))
        assert tuple(shown[0, 1]) == classes.palette[1]


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_labels(path, GREY)

    def fail_halfway(self, target, format):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail_halfway)
    with pytest.raises(OSError, match="disk full"):
        save_labels(path, GREY[:1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert (load_mask(path) == GREY).all()


@pytest.mark.parametrize(
    "name, labels, message",
    [
        ("a.jpg", GREY, "must end in .png"),
        ("a.png", GREY[None], r"\(H, W\) integers.*\(1, 2, 3\)"),
        ("a.png", GREY / 2, "float64"),
        ("a.png", GREY.astype(int) + 1, "1..256"),
    ],
)
def test_labels_that_do_not_fit_a_png_are_errors(
    tmp_path, name, labels, message
):
    with pytest.raises(ValueError, match=message):
        save_labels(tmp_path / name, labels)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_four_channels_and_16_bits_are_read_as_stored(tmp_path, suffix):
    samples = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype("uint16") * 1000
    path = tmp_path / f"a.{suffix}"
    # OpenCV stores blue, green, red, opacity.
    assert cv2.imwrite(str(path), samples[..., [2, 1, 0, 3]])
    image = load_image(path, channels=4, dtype="uint16")
    assert image.dtype == np.uint16 and (image == samples).all()
    assert (load_image(path, 4, None) == samples).all()
    with pytest.raises(ValueError, match="3 channels of uint16.*4 of uint16"):
        load_image(path, channels=3, dtype="uint16")
    with pytest.raises(ValueError, match="4 channels of uint8.*4 of uint16"):
        load_image(path, channels=4)


def test_any_number_of_channels_from_npy_or_pages(tmp_path):
    samples = np.arange(2 * 3 * 7).reshape(2, 3, 7).astype("uint8")
    np.save(tmp_path / "a.npy", samples)
    assert (load_image(tmp_path / "a.npy", 7) == samples).all()
    pages = list(np.moveaxis(samples, -1, 0))
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    assert (load_image(tmp_path / "a.tif", 7) == samples).all()
    np.save(tmp_path / "b.npy", samples[..., 0])
    assert load_image(tmp_path / "b.npy", 1).shape == (2, 3, 1)


@pytest.mark.parametrize(
    "name, content",
    [("a.png", None), ("a.tif", b"II*\0rest"), ("a.npy", b"\x93NUMPY")],
)
def test_damaged_files_of_many_channels_are_named(tmp_path, name, content):
    path = tmp_path / name
    if content is None:
        cv2.imwrite(str(path), np.zeros((40, 50, 4), "uint8"))
        content = path.read_bytes()[:-20]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be decoded") as error:
        load_image(path, channels=4)
    assert str(path) in str(error.value)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_image(path, channels=4)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_opencv_and_pillow_decode_alike(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 52, 3), "uint8")
    path = write(tmp_path / f"a.{suffix}", noise)
    with Image.open(path) as image:
        pillow = np.array(image)
    assert np.abs(load_image(path).astype(int) - pillow).max() <= 1
    if suffix == "png":
        assert (load_image(path) == noise).all()


def test_damage_within_a_png_is_met(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8")
    Image.fromarray(pixels).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.png cannot be decoded"):
        load_image(path)
