"""Blending where the logits are gives what the host gives."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_setr import inference
from keras_setr.inference import on_device
from keras_setr.inference import views as views_module
from keras_setr.inference.devices import Device
from keras_setr.inference.devices import build_device

WINDOW, STRIDE, CLASSES = (4, 6), (3, 4), 3


def positional(batch):
    """Logits that depend on the pixel and on its place in the window."""
    rows, columns = (ops.arange(n, dtype="float32") for n in batch.shape[1:3])
    place = 0.5 * rows[:, None] + 0.05 * columns
    first, second = batch[..., 0] * 0.1, batch[..., 1] * 0.2
    return ops.stack([first + place, second, first - place], axis=-1)


def on_the_host(batch):
    return ops.convert_to_numpy(positional(ops.convert_to_tensor(batch)))


@pytest.fixture(scope="module")
def blending():
    variable = None
    if keras.config.backend() != "numpy":
        variable = keras.Variable([0.0])
    device = build_device(variable)
    return on_device.Blending(device, device.compile(positional), CLASSES)


def images(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*s, 2)).astype("uint8") for s in sizes]


# One window; both axes shifted back; one axis; several; enlarged.
SIZES = ((4, 6), (5, 13), (11, 6), (9, 20), (3, 5))


def slide(blending, images, blend, output="logits", batch_size=3, **options):
    extras = {
        name: options.pop(name)
        for name in ("confidence", "entropy")
        if name in options
    }
    options = {"window_size": WINDOW, "stride": STRIDE, **options}
    return list(
        inference.sliding_window(
            on_the_host,
            images,
            inference.Views(blend=blend, **options),
            batch_size,
            output,
            device=blending,
            **extras,
        )
    )


@pytest.mark.parametrize(
    "options",
    (
        {"base_scale": (13, 25)},
        {"scales": (0.5, 1.0, 1.5), "flip": True},
        {"stride": (2, 2)},
    ),
    ids=lambda options: "-".join(options),
)
def test_device_and_host_agree_on_mixed_sizes(options, blending):
    x = images(*SIZES)
    hosts = slide(blending, x, "host", **options)
    devices = slide(blending, x, "device", **options)
    for host, there, image in zip(hosts, devices, x, strict=True):
        assert there.shape == (*image.shape[:2], CLASSES)
        assert there.dtype == np.float32
        largest = np.abs(host).max()
        np.testing.assert_allclose(there, host, atol=1e-5 * largest)


def test_windows_of_small_images_are_those_of_their_protocol(blending):
    options = {"protocol": "mmsegmentation", "scales": (1.0, 1.5)}
    x = images((3, 9))
    (host,), (there,) = (
        slide(blending, x, blend, **options) for blend in ("host", "device")
    )
    np.testing.assert_allclose(there, host, atol=1e-5 * np.abs(host).max())


@pytest.mark.parametrize("options", ({}, {"scales": (1.0, 1.5), "flip": True}))
def test_every_output_is_that_of_the_host(options, blending):
    x = images((9, 20), (5, 13))
    # The third is of floats, which stay floats.
    x.append(x[0].astype("float32") / 3)
    for output, extras in (
        ("probabilities", {}),
        ("labels", {"confidence": True, "entropy": True}),
    ):
        hosts, devices = (
            slide(blending, x, blend, output, **options, **extras)
            for blend in ("host", "device")
        )
        for host, there in zip(hosts, devices, strict=True):
            for one, other in zip(
                keras.tree.flatten(host), keras.tree.flatten(there), strict=True
            ):
                assert one.dtype == other.dtype
                np.testing.assert_allclose(other, one, atol=2e-5)


def test_the_entropy_is_that_of_the_mean_probability(blending):
    x = images((5, 13))
    options = {"scales": (1.0, 1.5)}
    (p,) = slide(blending, x, "host", "probabilities", **options)
    (result,) = slide(blending, x, "host", "labels", entropy=True, **options)
    assert len(result) == 2
    expected = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1)
    np.testing.assert_allclose(result[1], expected, atol=1e-5)


class Accelerator(Device):
    is_cpu = False


class Stub:
    """A job that has no windows, and tells that it was made."""

    pending = 0

    def __init__(self, *arguments):
        pass

    def windows(self):
        return ()

    def result(self):
        return "device"


def chosen(size, monkeypatch, **options):
    """Which of both blends an image of this size."""
    monkeypatch.setattr(on_device, "Job", Stub)
    blending = on_device.Blending(Accelerator(), None, CLASSES)
    (result,) = inference.sliding_window(
        lambda batch: np.repeat(batch[..., :1], CLASSES, axis=-1),
        [np.zeros((*size, 2), "uint8")],
        inference.Views(WINDOW, STRIDE, **options),
        2,
        "labels",
        device=blending,
    )
    return result if isinstance(result, str) else "host"


@pytest.mark.no_backend
def test_an_accelerator_blends_what_its_budget_holds(monkeypatch):
    assert chosen((9, 20), monkeypatch) == "device"
    assert chosen((9, 20), monkeypatch, blend="host") == "host"
    # Windows of 3 x 6 would compile all functions once more.
    small = {"protocol": "mmsegmentation"}
    assert chosen((3, 20), monkeypatch, **small) == "host"
    assert chosen((3, 20), monkeypatch, **small, blend="device") == "device"
    # 2 sums * 65,536 pixels * 3 classes * 4 bytes, and one byte less.
    monkeypatch.setattr(on_device, "BUDGET", 2**16 * 24)
    assert chosen((256, 256), monkeypatch) == "device"
    assert chosen((256, 257), monkeypatch) == "host"
    assert chosen((256, 257), monkeypatch, blend="device") == "device"
    # 1.5 * 256 = 384.
    assert chosen((256, 256), monkeypatch, scales=(1.0, 1.5)) == "host"


@pytest.mark.no_backend
def test_a_cpu_is_given_nothing_that_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(Accelerator, "is_cpu", True)
    assert chosen((9, 20), monkeypatch) == "host"
    assert chosen((9, 20), monkeypatch, blend="device") == "device"


@pytest.mark.no_backend
def test_maps_have_two_sizes_whatever_the_images(monkeypatch):
    monkeypatch.setattr(on_device, "BUDGET", 2**20 * 8 * CLASSES)
    blending = on_device.Blending(Accelerator(), None, CLASSES)
    rng = np.random.default_rng(0)
    sizes = rng.integers(100, 1000, (20, 2))
    rooms = {blending.room(int(h * w)) for h, w in sizes}
    assert len(rooms) <= 2 and max(rooms) == 2**20


def test_images_on_host_and_device_keep_their_order(blending, monkeypatch):
    monkeypatch.setattr(blending.device, "is_cpu", False)
    monkeypatch.setattr(on_device, "BUDGET", 2**16 * 24)
    sizes = ((4, 6), (260, 261), (5, 9), (7, 8), (262, 260))
    results = slide(blending, images(*sizes), "auto", "labels", stride=WINDOW)
    expected = slide(blending, images(*sizes), "host", "labels", stride=WINDOW)
    for labels, one in zip(results, expected, strict=True):
        np.testing.assert_array_equal(labels, one)


@pytest.mark.no_backend
def test_windows_without_a_device_are_not_blended_there():
    with pytest.raises(ValueError, match="blend='device' needs a device"):
        slide(None, [], "device")
    with pytest.raises(ValueError, match="entropy goes with output='labels'"):
        slide(None, [], "host", entropy=True)
    with pytest.raises(ValueError, match="'auto', 'device' or 'host'.*'gpu'"):
        views_module.Views(blend="gpu")
