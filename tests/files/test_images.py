import functools
import io
import itertools
import os
import struct

import numpy as np
import pytest
from PIL import Image

from keras_setr.files import png as png_chunks
from keras_setr.files.images import image_of
from keras_setr.files.images import image_size
from keras_setr.files.images import load_image
from keras_setr.files.masks import load_mask
from keras_setr.files.text import read_text
from tests.files.written import FEW
from tests.files.written import GREY
from tests.files.written import png
from tests.files.written import sixteen_bit_rgb_png
from tests.files.written import write

pytestmark = pytest.mark.no_backend


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


@pytest.mark.parametrize(
    "mode, suffix",
    [
        *((m, "png") for m in ("RGB", "L", "P", "1", "RGBA", "LA")),
        *((m, "tif") for m in ("RGB", "L", "P", "CMYK", "RGBA")),
    ],
)
def test_a_pillow_image_is_read_as_its_file_is(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    # Of RGBA, a palette would have transparent entries.
    image = Image.fromarray(GREY).convert("RGB").convert(mode)
    image.save(path, exif=exif)
    with Image.open(path) as opened:
        found = image_of(opened, 3, "uint8")
    assert (found == load_image(path)).all() and found.shape == (3, 2, 3)
    assert (image_of(path, 3, "uint8") == found).all()
    image.getexif()[0x0112] = 6
    assert (image_of(image, 3, "uint8") == found).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F"])
def test_pillow_images_without_one_meaning_are_errors(mode):
    with pytest.raises(ValueError, match=f"<PIL.*has mode '{mode}.*an image"):
        image_of(Image.new(mode, (3, 2)), 3, "uint8")


def test_sixteen_bits_of_a_pillow_image_are_an_error():
    with Image.open(io.BytesIO(sixteen_bit_rgb_png())) as image:
        with pytest.raises(ValueError, match="has mode 'RGB, 16 bit'"):
            image_of(image, 3, "uint8")


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
    assert str(path) in str(error.value) and "xport it again" in str(
        error.value
    )


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8")
    path = write(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated or damaged") as error:
        load_image(path)
    assert str(path) in str(error.value)


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
