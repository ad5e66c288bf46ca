import numpy as np
import pytest
from PIL import Image

from keras_setr.classes import Classes
from keras_setr.files.masks import load_mask
from keras_setr.files.masks import mask_to_labels
from keras_setr.files.masks import save_labels
from tests.files.written import FEW
from tests.files.written import GREY
from tests.files.written import png
from tests.files.written import write

pytestmark = pytest.mark.no_backend


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
