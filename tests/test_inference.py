"""Sliding windows against arithmetic written out here."""

import numpy as np
import pytest

from keras_setr import inference


def image(height, width, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(height, width, channels)).astype("float32")


def positional(batch):
    """Logits that depend on the pixel and on its place in the window."""
    h, w = batch.shape[1:3]
    place = np.arange(h)[:, None] * 10.0 + np.arange(w)
    return np.stack(
        [batch[..., 0] + place, batch[..., 1] * 2, batch[..., 0] - place], -1
    ).astype("float32")


def reference(image, window, stride):
    """The published loop: last window shifted back, logits averaged."""
    height, width = image.shape[:2]
    (ch, cw), (sh, sw) = window, stride
    total, count = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for i in range(max(height - ch + sh - 1, 0) // sh + 1):
        for j in range(max(width - cw + sw - 1, 0) // sw + 1):
            bottom, right = min(i * sh + ch, height), min(j * sw + cw, width)
            top, left = max(bottom - ch, 0), max(right - cw, 0)
            crop = image[top:bottom, left:right]
            total[top:bottom, left:right] += positional(crop[None])[0]
            count[top:bottom, left:right] += 1
    return total / count


def slide(forward, images, window=(4, 6), stride=(3, 4), batch_size=3):
    return list(
        inference.sliding_window(forward, images, window, stride, batch_size)
    )


def test_cityscapes_has_two_rows_of_four_windows():
    # 1025 - 768 = 257; 2049 - 768 = 1281.
    grid = inference.window_grid((1025, 2049), (768, 768), (512, 512))
    assert grid == [
        (top, left) for top in (0, 257) for left in (0, 512, 1024, 1281)
    ]


def test_ade20k_has_two_windows_side_by_side():
    # 683 - 512 = 171 is less than the stride of 341.
    grid = inference.window_grid((512, 683), (512, 512), (341, 341))
    assert grid == [(0, 0), (0, 171)]


@pytest.mark.parametrize("size", ((4, 6), (5, 13), (11, 6), (9, 20)))
@pytest.mark.parametrize("batch_size", (1, 3, 50))
def test_windows_average_as_published(size, batch_size):
    x = image(*size)
    (logits,) = slide(positional, [x], batch_size=batch_size)
    expected = reference(x, (4, 6), (3, 4))
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_images_of_mixed_sizes_share_batches_and_keep_their_order():
    images = [image(9, 20), image(4, 6, seed=1), image(5, 7, seed=2)]
    for x, logits in zip(images, slide(positional, images), strict=True):
        expected = reference(x, (4, 6), (3, 4))
        np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_a_constant_model_gives_the_constant_everywhere():
    def constant(batch):
        return np.full((*batch.shape[:3], 3), [1.0, -2.0, 0.5], "float32")

    for size in ((4, 6), (9, 20), (3, 5), (2, 40)):
        (logits,) = slide(constant, [image(*size)])
        assert logits.shape == (*size, 3)
        np.testing.assert_allclose(
            logits, np.broadcast_to([1, -2, 0.5], logits.shape), rtol=1e-6
        )


def test_every_forward_pass_gets_the_same_number_of_windows():
    shapes = []

    def record(batch):
        shapes.append(batch.shape)
        return positional(batch)

    # 3 x 5 windows of the first, 1 of the second: 16 = 3 * 5 + 1.
    slide(record, [image(9, 20), image(4, 6)])
    assert shapes == [(3, 4, 6, 2)] * 6


def test_an_image_smaller_than_the_window_is_enlarged_to_hold_it():
    # Shorter side 2 -> 4, so the width 9 -> 18, which exceeds 6.
    assert inference.covering_size((2, 9), (4, 6)) == (4, 18)
    # Height 8 would do, but width 3 -> 6 doubles it.
    assert inference.covering_size((8, 3), (4, 6)) == (16, 6)
    assert inference.covering_size((360, 480), (384, 384)) == (384, 512)
    assert inference.covering_size((9, 20), (4, 6)) == (9, 20)


def test_resizing_is_bilinear_with_half_pixel_centres():
    # Doubling (0, 4): outputs lie at -0.25, 0.25, 0.75, 1.25 of the source,
    # clamped to 0 and 1.
    x = np.array([[[0.0], [4.0]]], "float32")
    doubled = inference.resize_to(x, (1, 4))
    np.testing.assert_allclose(doubled[0, :, 0], [0, 1, 3, 4])


def test_resizing_keeps_many_channels():
    x = image(3, 5, channels=150)
    wide = inference.resize_to(x, (7, 11))
    assert wide.shape == (7, 11, 150)
    alone = inference.resize_to(x[..., 149:], (7, 11))
    np.testing.assert_allclose(wide[..., 149:], alone, atol=1e-6)
