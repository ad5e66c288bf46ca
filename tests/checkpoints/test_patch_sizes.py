"""Other patch sizes from the same weights (FlexiViT, arXiv 2212.08013)."""

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.layers.embedding import PatchEmbedding
from keras_setr.layers.resampling import resample_patches
from keras_setr.layers.resampling import resize_bilinear
from tests import tiny
from tests.checkpoints import reference as ref
from tests.checkpoints.test_decoders import authors_file
from tests.checkpoints.test_decoders import load
from tests.checkpoints.test_encoders import KERAS_HUB
from tests.checkpoints.test_encoders import as_dinov2
from tests.checkpoints.test_encoders import as_google
from tests.checkpoints.test_encoders import as_hugging_face_vit
from tests.checkpoints.test_encoders import as_timm
from tests.checkpoints.test_presets import published  # noqa: F401

WRITERS = (as_timm, as_google, as_hugging_face_vit, as_dinov2)


def tokens(images, kernel):
    """Those of the layer, `(B, h, w, D)`."""
    layer = PatchEmbedding(kernel.shape[-1], kernel.shape[0], use_bias=False)
    layer.build(images.shape)
    layer.kernel.assign(kernel)
    return array(layer(images))


def enlarged_patches(images, side, target):
    """Each patch resized by itself, bilinear with repeated edges."""
    positions = (np.arange(target) + 0.5) * side / target - 0.5

    def line(values):
        patches = values.reshape(-1, side)
        enlarged = [np.interp(positions, np.arange(side), p) for p in patches]
        return np.concatenate(enlarged)

    rows = np.apply_along_axis(line, 1, images)
    return np.apply_along_axis(line, 2, rows).astype("float32")


@pytest.mark.parametrize("target", [4, 5, 7, 8, 12])
def test_a_larger_kernel_gives_an_enlarged_image_its_tokens(target):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 4, 3, 6)).astype("float32")
    images = rng.normal(size=(2, 3 * 4, 5 * 4, 3)).astype("float32")
    expected = tokens(images, kernel)
    assert expected.shape == (2, 3, 5, 6)
    larger = resample_patches(kernel, target)
    np.testing.assert_allclose(
        tokens(enlarged_patches(images, 4, target), larger),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )
    # Of an image that is resized as a whole, neighbours mix at the edges of
    # its patches; not where they are equal.
    images = images.reshape(2, 3, 4, 5, 4, 3)
    images[:, :, [0, -1]] = images[:, :, :, :, [0, -1]] = 0
    images = images.reshape(2, 12, 20, 3)
    expected = tokens(images, kernel)
    resized = array(resize_bilinear(images, (3 * target, 5 * target)))
    np.testing.assert_allclose(
        tokens(resized, larger), expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.no_backend
def test_a_smaller_kernel_is_the_nearest_in_the_mean_square():
    # Four pixels to two: the first lies at 1/2, and averages distances 1/2,
    # 1/2 and 3/2 with weights 1 - d / 2 = 3/4, 3/4, 1/4, over their sum.
    resize = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    kernel = np.random.default_rng(0).normal(size=(4, 4, 3, 5))
    smaller = resample_patches(kernel, 2)
    assert smaller.shape == (2, 2, 3, 5) and smaller.dtype == "float32"
    # Over patches x of independent pixels, (x . w - B x . v)^2 is on average
    # |w - B' v|^2, which is least where B (w - B' v) = 0.
    back = np.einsum("Hh,Ww,HWcd->hwcd", resize, resize, smaller)
    gradient = np.einsum("Hh,Ww,hwcd->HWcd", resize, resize, kernel - back)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("write", WRITERS)
def test_a_foreign_encoder_takes_other_patches(write, tmp_path, capsys):
    weights = ref.random_weights(layer_scale=write is as_dinov2)
    source = write(tmp_path, weights)
    encoder = ks.SETRBackbone.from_preset(
        source, num_heads=ref.HEADS, patch_size=8, image_shape=(16, 24, 3)
    )
    printed = capsys.readouterr().out
    assert "patches 4x4 -> 8x8" in printed
    assert "positions 3x3 -> 2x3" in printed
    assert encoder.patch_size == 8 and encoder.position_grid == (2, 3)
    np.testing.assert_allclose(
        array(encoder.patch_embedding.kernel),
        resample_patches(weights["patches"], 8),
        atol=1e-6,
    )
    images = np.zeros((1, 16, 24, 3), "float32")
    assert tiny.outputs(encoder, images).shape == (1, 2, 3, ref.DIM)


@pytest.mark.backends("torch")
def test_images_get_the_next_size_that_the_patches_divide(tmp_path, capsys):
    source = as_timm(tmp_path, ref.random_weights())
    smaller = ks.SETRBackbone.from_preset(source, num_heads=3, patch_size=5)
    assert "images 12x12 -> 15x15, whole patches" in capsys.readouterr().out
    assert smaller.image_shape == (15, 15, 3)
    assert smaller.position_grid == (3, 3)
    halved = ks.SETRBackbone.from_preset(source, num_heads=3, patch_size=2)
    printed = capsys.readouterr().out
    assert "\n  images" not in printed and "positions 3x3 -> 6x6" in printed
    # The size of images that may have any is that of their positions.
    free = ks.SETRBackbone.from_preset(
        source, num_heads=3, patch_size=2, image_shape=(None, None, 3)
    )
    assert free.position_grid == halved.position_grid == (6, 6)
    with pytest.raises(ValueError, match=r"patch_size=8.*\(16, 16\)"):
        ks.SETRBackbone.from_preset(
            source, num_heads=3, patch_size=8, image_shape=(12, 12, 3)
        )


@pytest.mark.backends("torch")
def test_presets_take_other_patches(tmp_path, capsys):
    theirs = KERAS_HUB["ViT"]()
    theirs.save_to_preset(str(tmp_path / "hub"))
    model = ks.SETRPUP.from_preset(
        str(tmp_path / "hub"), num_classes=5, patch_size=32, filters=4
    )
    assert "patches 8x8 -> 32x32" in capsys.readouterr().out
    # 16 pixels hold no patch of 32; five doublings bring one to pixels.
    assert model.backbone.image_shape == (32, 32, 3)
    assert model.upsampling == (2, 2, 2, 2, 1)
    # Of a preset of ours, with its decoder.
    own = tiny.build("mla")
    own.save_to_preset(str(tmp_path / "own"))
    model = ks.SETRSegmenter.from_preset(str(tmp_path / "own"), patch_size=4)
    printed = capsys.readouterr().out
    assert "patches 8x8 -> 4x4" in printed
    assert "positions 2x3 -> 4x6" in printed
    np.testing.assert_array_equal(
        array(model.get_layer("decode_head").classifier.kernel),
        array(own.get_layer("decode_head").classifier.kernel),
    )
    logits = model.predict(tiny.images(), verbose=0)
    assert logits.shape == (2, 16, 24, tiny.CLASSES)
    # Rotary positions need no resampling.
    tiny.backbone(rotary_base=100.0, num_heads=3).save_to_preset(
        str(tmp_path / "rotary")
    )
    ks.SETRBackbone.from_preset(str(tmp_path / "rotary"), patch_size=4)
    printed = capsys.readouterr().out
    assert "patches 8x8 -> 4x4" in printed and "positions" not in printed
    # And saved with the new patches.
    model.save_to_preset(str(tmp_path / "again"))
    again = ks.SETRMLA.from_preset(str(tmp_path / "again"))
    np.testing.assert_allclose(
        again.predict(tiny.images(), verbose=0), logits, atol=1e-5
    )


@pytest.mark.backends("torch")
def test_an_encoder_without_patches_has_no_size_of_them(tmp_path):
    tiny.build("fcn").save_to_preset(str(tmp_path / "preset"))
    other = ks.FCN.from_preset(
        str(tmp_path / "preset"), num_classes=3, image_shape=(32, 48, 3)
    )
    assert other.num_classes == 3
    with pytest.raises(TypeError, match="patch_size"):
        ks.FCN.from_preset(str(tmp_path / "preset"), patch_size=8)


@pytest.mark.backends("torch")
def test_a_built_in_name_takes_other_patches(published, capsys):  # noqa: F811
    model = ks.SETRNaive.from_preset("tiny_setr", patch_size=6)
    printed = capsys.readouterr().out
    assert "patches 4x4 -> 6x6" in printed and "decoder" in printed
    assert model.backbone.position_grid == (2, 2)
    np.testing.assert_allclose(
        array(model.backbone.patch_embedding.kernel),
        resample_patches(ref.random_weights()["patches"], 6),
        atol=1e-6,
    )
    name = "setr_pup_large_ade20k_512"
    for cls in (ks.SETRPUP, ks.SETRBackbone):
        with pytest.raises(ValueError, match="patch_size must be an integer"):
            cls.from_preset(name, load_weights=False, patch_size=0)


@pytest.mark.backends("torch")
@pytest.mark.parametrize(
    "patch_size, upsampling, note",
    [
        # The authors' (2, 2, 2, 1) works at up to half the size of patches
        # of 16, and at no more than that of others.
        (2, (1, 1, 1, 1), "decoder kept: auxiliary_upsampling (4,) -> (1,)"),
        (8, (2, 2, 1, 1), "kept: upsampling (2, 2, 2, 1) -> (2, 2, 1, 1)"),
        (32, (2, 2, 2, 1), "4 convolutions, where patches of 32 would get 5"),
    ],
)
def test_a_trained_decoder_keeps_its_weights(
    patch_size, upsampling, note, tmp_path, capsys
):
    path, _, state = authors_file(tmp_path, "pup")
    size = (2 * patch_size, 3 * patch_size)
    model = load("pup", path, patch_size=patch_size, image_shape=(*size, 3))
    printed = capsys.readouterr().out
    assert "decoder 28/28, auxiliary 10/10" in printed
    assert note in printed
    assert model.upsampling == upsampling
    np.testing.assert_array_equal(
        array(model.get_layer("decode_head").convolutions[3].convolution.bias),
        state["decode_head.conv_3.bias"],
    )
    assert model.predict(tiny.images(size=size), verbose=0).shape == (
        2,
        *size,
        5,
    )
    with pytest.raises(ValueError, match="not in the file: decode_head/con"):
        load("pup", path, patch_size=32, upsampling=(2, 2, 2, 2, 1))
