import itertools

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL import ImageOps

from keras_setr.files.images import image_size
from keras_setr.files.images import load_image
from tests.files.written import FEW
from tests.files.written import write

pytestmark = pytest.mark.no_backend


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


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_frames_are_no_channels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    first, second = Image.fromarray(FEW), Image.fromarray(FEW[::-1])
    first.save(path, save_all=True, append_images=[second], lossless=True)
    for channels in (1, 2):
        with pytest.raises(ValueError, match="holds 2 pages or frames"):
            load_image(path, channels)


def test_overviews_are_no_channels(tmp_path):
    path = str(tmp_path / "a.tif")
    pages = [np.full((4, 6), n, "uint16") for n in (1, 2)]
    assert cv2.imwritemulti(path, [*pages, np.zeros((2, 3), "uint16")])
    samples = load_image(path, 2, "uint16")
    np.testing.assert_array_equal(samples, np.stack(pages, axis=-1))


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
