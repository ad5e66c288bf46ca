import functools
import io
import itertools
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL import ImageOps

from keras_setr.classes import Classes
from keras_setr.files import png as png_chunks
from keras_setr.files.images import image_of
from keras_setr.files.images import image_size
from keras_setr.files.images import load_image
from keras_setr.files.images import load_mask
from keras_setr.files.images import mask_to_labels
from keras_setr.files.images import save_labels
from keras_setr.files.text import read_text

pytestmark = pytest.mark.no_backend

# 2 x 3 pixels, no two alike.
GREY = np.array([[0, 40, 80], [120, 160, 255]], "uint8")


def write(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def png(height, width, bits, kind, rows):
    """A PNG file of rows that Pillow would not write so."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def sixteen_bit_rgb_png():
    """2 x 1 pixels, 3 samples of 2 bytes each."""
    return png(1, 2, 16, 2, bytes(1 + 12))


def test_a_grey_image_gets_three_equal_channels(tmp_path):
    image = load_image(write(tmp_path / "a.png", GREY))
    assert image.shape == (2, 3, 3) and image.dtype == np.uint8
    assert (image == GREY[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr"])
def test_white_is_white_in_every_convertible_mode(tmp_path, mode):
    white = Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    # Before 13 Pillow reads no YCbCr that is not compressed.
    options = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}
    white.save(path, **options)
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


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [0, *range(1, 9), 9])
def test_image_size_is_that_of_the_image(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((3, 5, 3), "uint8")
    path = write(tmp_path / f"a.{suffix}", stored, exif=exif)
    assert image_size(path) == load_image(path).shape[:2]


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
    loads = [(load_image, "RGB")]
    if mode not in ("I", "I;16"):  # whose values may be labels
        loads.append((load_mask, "Save the labels as 8-bit grey PNG"))
    for load, fix in loads:
        with pytest.raises(ValueError, match=fix) as error:
            load(path)
        assert str(path) in str(error.value)
        assert f"mode '{mode}" in str(error.value)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA"])
def test_a_pillow_image_is_read_as_its_file_is(tmp_path, mode):
    path = tmp_path / "a.tif"
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(GREY).convert("RGBA").convert(mode)
    image.save(path, exif=exif)
    with Image.open(path) as opened:
        found = image_of(opened, 3, "uint8")
    assert (found == load_image(path)).all() and found.shape == (3, 2, 3)
    assert (image_of(path, 3, "uint8") == found).all()
    image.getexif()[0x0112] = 6
    assert (image_of(image, 3, "uint8") == found).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F"])
def test_pillow_images_without_one_meaning_are_errors(mode):
    with pytest.raises(ValueError, match=f"<PIL.*has mode '{mode}'.*an image"):
        image_of(Image.new(mode, (3, 2)), 3, "uint8")


def test_samples_of_a_pillow_image_are_not_converted():
    image = Image.new("I;16", (3, 2), 300)
    assert (image_of(image, 1, "uint16") == np.full((2, 3, 1), 300)).all()


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
    # The header of the PNG file is whole.
    for load in (load_image, image_size)[: 1 + (name != "a.png")]:
        match = "cannot be decoded.*It must be a complete.* again"
        with pytest.raises(ValueError, match=match) as error:
            load(path, channels=4)
        assert str(error.value).count(str(path)) == 1
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


# 2 x 4 pixels that fit 2 bits.
FEW = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], "uint8")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_masks_of_all_depths_give_what_they_store(tmp_path, bits):
    values = FEW % min(2**bits, 4)
    rows = b""
    for row in values:
        text = "".join(format(value, f"0{bits}b") for value in row.tolist())
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 4, bits, 0, rows))
    mask = load_mask(path)
    assert mask.dtype == np.uint8 and (mask == values).all()


@pytest.mark.parametrize("kind", [b"P2", b"P5"])
@pytest.mark.parametrize("white", [3, 200, 255, 1000, 65_535])
def test_pgm_masks_give_what_they_store_whatever_is_white(
    tmp_path, kind, white
):
    values = FEW.astype("u1" if white < 256 else ">u2")
    text = b" ".join(b"%d" % value for value in FEW.ravel())
    content = text if kind == b"P2" else values.tobytes()
    path = tmp_path / "a.pgm"
    path.write_bytes(b"%s 4 2 %d\n%s" % (kind, white, content))
    assert (load_mask(path) == FEW).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_masks_of_all_depths_give_their_indices(tmp_path, bits):
    values = FEW % min(2**bits, 4)
    mask = Image.fromarray(values)
    mask.putpalette([7, 8, 9] * 2**bits)
    mask.save(tmp_path / "a.png", bits=bits)
    assert (load_mask(tmp_path / "a.png") == values).all()


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_values_beyond_8_bits_are_named(tmp_path, dtype):
    path = tmp_path / "a.tif"
    write(path, FEW.astype(dtype) * 100)
    with pytest.raises(ValueError, match="value 300 in 2 of 8 pixels") as error:
        load_mask(path)
    assert str(path) in str(error.value)
    write(path, FEW.astype(dtype))
    assert (load_mask(path) == FEW).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opacity_counts_where_it_is_not_full(tmp_path, mode):
    path = tmp_path / "a.png"
    Image.fromarray(FEW).convert(mode).save(path)
    assert (load_image(path) == FEW[..., None]).all()
    mask = load_mask(path)
    assert (mask == (FEW if mode == "LA" else FEW[..., None])).all()
    Image.new(mode, (4, 2), (9,) * (len(mode) - 1) + (128,)).save(path)
    with pytest.raises(ValueError, match="transparent pixels.*save as RGB"):
        load_image(path)
    with pytest.raises(ValueError, match="transparent pixels.*grey PNG"):
        load_mask(path)


def test_a_webp_mask_counts_where_it_is_lossless(tmp_path):
    path = tmp_path / "a.webp"
    write(path, np.repeat(FEW * 60, 12, axis=0), lossless=True)
    assert (load_mask(path)[::12, :, 0] == FEW * 60).all()
    for options in ({"quality": 90}, {"quality": 100, "exif": Image.Exif()}):
        write(path, np.repeat(FEW * 60, 12, axis=0), **options)
        with pytest.raises(ValueError, match="lossy WEBP.*as PNG"):
            load_mask(path)
    transparent = np.random.default_rng(0).integers(0, 256, (8, 8, 4), "uint8")
    write(path, transparent, quality=80)  # opacity and pixels in two chunks
    with pytest.raises(ValueError, match="lossy WEBP"):
        load_mask(path)
    Image.fromarray(FEW).save(path, "TIFF", compression="jpeg")
    with pytest.raises(ValueError, match="lossy TIFF"):
        load_mask(path)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_npy_files_are_images_and_masks(tmp_path, dtype):
    path = tmp_path / "a.npy"
    np.save(path, FEW.astype(dtype))
    assert (load_mask(path) == FEW.astype(dtype)).all()
    assert load_mask(path).dtype == np.uint8
    colors = np.repeat(FEW[..., None], 3, axis=-1)
    np.save(path, colors)
    assert (load_mask(path) == colors).all()
    assert (load_image(path) == colors).all()
    assert image_size(path) == (2, 4)


@pytest.mark.parametrize(
    "array, message",
    [
        (FEW / 2, "float64 of shape \\(2, 4\\)"),
        (FEW[None], "uint8 of shape \\(1, 2, 4\\)"),
        (FEW.astype(int) - 1, "value -1 in 2 of 8 pixels"),
        (np.array([[None]]), "cannot be decoded: .*objects"),
    ],
)
def test_npy_files_that_are_no_masks_are_named(tmp_path, array, message):
    path = tmp_path / "a.npy"
    np.save(path, array)
    with pytest.raises(ValueError, match=message) as error:
        load_mask(path)
    assert str(path) in str(error.value)


def test_an_archive_of_arrays_is_no_npy_file(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, FEW)
    for load in (load_image, load_mask, image_size):
        with pytest.raises(ValueError, match="a.npy .*archive of arrays"):
            load(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
@pytest.mark.parametrize("load", [load_image, load_mask])
def test_a_file_is_one_page_with_its_overviews(tmp_path, load, suffix):
    path = tmp_path / f"a.{suffix}"
    first, second = Image.fromarray(FEW), Image.fromarray(FEW[::-1])
    first.save(path, save_all=True, append_images=[second], lossless=True)
    with pytest.raises(ValueError, match="holds 2 pages or frames") as error:
        load(path)
    assert str(path) in str(error.value)
    if suffix == "tif":
        overview = first.resize((2, 1))
        first.save(path, save_all=True, append_images=[overview])
        whole = load(path)
        np.testing.assert_array_equal(whole.reshape(2, 4, -1)[..., 0], FEW)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_frames_are_no_channels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    first, second = Image.fromarray(FEW), Image.fromarray(FEW[::-1])
    first.save(path, save_all=True, append_images=[second], lossless=True)
    for channels in (1, 2):
        with pytest.raises(ValueError, match="holds 2 pages or frames"):
            load_image(path, channels)


def test_what_a_tiff_file_says_is_valid_is_no_second_image(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(FEW).save(
        path,
        save_all=True,
        append_images=[Image.new("1", (4, 2), 1)],
        tiffinfo={254: 0},
    )
    # What a page is: one 32-bit number, that of a mask for the second one.
    entry = struct.pack("<HHI", 254, 4, 1)
    first, second, third = path.read_bytes().split(entry)
    third = struct.pack("<I", 4) + third[4:]
    path.write_bytes(entry.join((first, second, third)))
    assert load_image(path).shape == (2, 4, 3)


def test_overviews_are_no_channels(tmp_path):
    path = str(tmp_path / "a.tif")
    pages = [np.full((4, 6), n, "uint16") for n in (1, 2)]
    assert cv2.imwritemulti(path, [*pages, np.zeros((2, 3), "uint16")])
    samples = load_image(path, 2, "uint16")
    np.testing.assert_array_equal(samples, np.stack(pages, axis=-1))


@pytest.mark.parametrize("load", [load_image, load_mask, image_size])
def test_a_header_that_promises_terabytes_takes_no_memory(tmp_path, load):
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**22)},
        )
    with pytest.raises(ValueError, match="a.npy cannot be decoded"):
        load(path)
    path = tmp_path / "a.png"
    path.write_bytes(png(2**20, 2**20, 8, 0, b"\0" * 9))
    with pytest.raises(ValueError, match="a.png has too many pixels"):
        load(path)


@pytest.mark.parametrize("kind, channels", [(2, 3), (6, 4)])
@pytest.mark.parametrize("bits", [8, 16])
def test_rows_that_a_png_lacks_are_not_made_up(tmp_path, kind, channels, bits):
    path = tmp_path / "a.png"
    row = bytes(1 + 8 * channels * bits // 8)
    dtype = f"uint{bits}"
    path.write_bytes(png(32, 8, bits, kind, row * 32))
    assert load_image(path, channels, dtype).shape == (32, 8, channels)
    path.write_bytes(png(32, 8, bits, kind, row * 5))
    with pytest.raises(ValueError, match="a.png cannot be decoded.*truncated"):
        load_image(path, channels, dtype)
    if bits == 8:
        with pytest.raises(ValueError, match="a.png cannot be decoded"):
            load_mask(path)


@pytest.mark.parametrize(
    "load, mode",
    [
        *itertools.product([load_image], ["RGB", "P", "1", "RGBA", "LA"]),
        *itertools.product([load_mask], ["P", "1", "RGBA", "LA", "I;16"]),
        (functools.partial(load_image, channels=4), "RGBA"),
        (functools.partial(load_image, channels=1, dtype="uint16"), "I;16"),
    ],
)
def test_rows_of_a_file_that_was_read_before_are_not_counted_again(
    tmp_path, monkeypatch, load, mode
):
    path = tmp_path / "a.png"
    if mode.endswith("A"):
        Image.new("RGBA", (3, 2), (9, 9, 9, 255)).convert(mode).save(path)
    else:
        Image.new(mode, (3, 2)).save(path)
    counted = []
    monkeypatch.setattr(
        png_chunks, "lacking_rows", lambda content: counted.append(content)
    )
    load(path, complete=True)
    assert not counted
    load(path)
    assert counted


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such")
@pytest.mark.parametrize("load", [load_image, load_mask, image_size, read_text])
@pytest.mark.parametrize("name", ["a.png", "a.npy"])
def test_a_pipe_blocks_nobody(tmp_path, load, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe"):
        load(tmp_path / name)
    if load is load_image:
        with pytest.raises(ValueError, match="is a pipe"):
            load(tmp_path / name, channels=4)


@pytest.mark.parametrize(
    "suffix, channels",
    [*itertools.product(["png", "tif"], [1, 3, 4]), ("webp", 3), ("webp", 4)],
)
@pytest.mark.parametrize("orientation", range(1, 10))
def test_samples_are_turned_as_rgb_is(tmp_path, channels, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rng = np.random.default_rng(0)
    stored = rng.integers(1, 255, (4, 6, channels), "uint8")
    stored = stored[..., 0] if channels == 1 else stored
    options = {"lossless": True} if suffix == "webp" else {}
    path = write(tmp_path / f"a.{suffix}", stored, exif=exif, **options)
    image = load_image(path, channels, None)
    known = Image.open(write(tmp_path / "known.png", stored, exif=exif))
    turned = np.array(ImageOps.exif_transpose(known))
    assert (image == turned.reshape(image.shape)).all()
    assert image_size(path, channels, None) == image.shape[:2]


def test_sixteen_bits_are_turned_too(tmp_path):
    path = tmp_path / "a.png"
    stored = np.arange(24, dtype="uint16").reshape(4, 6) * 1000
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(path, exif=exif)
    image = load_image(path, 1, "uint16")[..., 0]
    assert (image == stored.T[:, ::-1]).all()
    assert image_size(path, 1, "uint16") == (6, 4)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "webp"])
def test_every_format_is_read_for_models_of_other_channels(tmp_path, suffix):
    grey = np.full((8, 16), 77, "uint8")
    path = write(tmp_path / f"a.{suffix}", grey)
    channels = 3 if suffix in ("gif", "webp") else 1
    image = load_image(path, channels, None)
    assert image.shape == (8, 16, channels)
    assert np.abs(image.astype(int) - 77).max() <= 1
