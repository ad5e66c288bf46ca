import importlib.util
import io
import sys

import numpy as np
import pytest
from PIL import Image
from PIL import PngImagePlugin

from keras_setr.files import decoding

pytestmark = pytest.mark.no_backend

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (37, 23), "uint8")
# What masks look like.
AREAS = np.repeat(RNG.integers(0, 19, (5, 23), "uint8"), 7, axis=0)


@pytest.fixture
def without_kornia(monkeypatch):
    """The module as it is where kornia-rs is not installed."""
    pytest.importorskip("kornia_rs")
    monkeypatch.setitem(sys.modules, "kornia_rs", None)
    spec = importlib.util.spec_from_file_location("plain", decoding.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.kornia_rs is None and decoding.kornia_rs is not None
    return module


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def read(module, content):
    path = module.ImageBytes(content, "a.png")
    with module.open_pillow(path) as image:
        return module.decode(image, path)


def gamma():
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (45_455).to_bytes(4, "big"))
    return info


@pytest.mark.parametrize("pixels", [NOISE, AREAS, NOISE[:1], NOISE[:, :1]])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimize": True}, {"transparency": 7}, {"pnginfo": gamma()}],
    ids=["plain", "optimized", "transparent", "gamma"],
)
def test_masks_are_the_same_without_kornia(without_kornia, pixels, options):
    content = png(pixels, **options)
    for module in (decoding, without_kornia):
        np.testing.assert_array_equal(read(module, content), pixels)


def test_a_wrong_byte_is_met_without_kornia_too(without_kornia):
    content = png(NOISE)
    # Pixels lie between the names of two chunks and a checksum of 4 bytes.
    first, last = content.index(b"IDAT") + 4, content.index(b"IEND") - 8
    for place in range(first, last, 7):
        damaged = bytearray(content)
        damaged[place] ^= 255
        for module in (decoding, without_kornia):
            with pytest.raises(ValueError, match="a.png .* damaged; copy or"):
                read(module, bytes(damaged))


def test_what_kornia_refuses_is_for_the_others_to_judge(monkeypatch):
    class Refuses:
        @staticmethod
        def decode_image_png_u8(*arguments):
            raise RuntimeError

    kornia = pytest.importorskip("kornia_rs")
    monkeypatch.setattr(kornia, "io", Refuses)
    np.testing.assert_array_equal(read(decoding, png(NOISE)), NOISE)
