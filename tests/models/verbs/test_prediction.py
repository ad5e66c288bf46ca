"""predict and segment on real models."""

import functools

import cv2
import keras
import keras_hub
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_setr as ks
from keras_setr.models.preprocessor import zero_of
from keras_setr.models.verbs.forward import compile_forward
from tests import tiny

# What is compiled is tested by the others, and in tests/inference/.
uncompiled = pytest.mark.usefixtures("uncompiled")


def model_with_weights(name="pup", image_shape=(16, 24, 3), **options):
    model = tiny.build(name, image_shape, **options)
    tiny.set_weights_by_path(model, scale=0.3)
    return model


def forward(model, images):
    x = model.preprocessor(np.asarray(images, "float32"))
    return ops.convert_to_numpy(tiny.outputs(model, x, training=False))


@pytest.fixture(scope="module")
def shared():
    """The models of tests that change none, each built and compiled once."""
    built = functools.cache(model_with_weights)
    return lambda name="pup", image_shape=(16, 24, 3): built(name, image_shape)


def test_an_image_of_the_models_size_is_one_forward_pass(shared):
    model = shared()
    x = tiny.images(3)
    logits = model.predict(x, verbose=0)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, forward(model, x), atol=1e-5)


def test_larger_images_average_their_windows(shared):
    model = shared()
    (x,) = tiny.images(1, (20, 40))
    # Windows of 16 x 24 by 10 and 16: rows 0, 4; columns 0, 16.
    total, count = np.zeros((20, 40, 5)), np.zeros((20, 40, 1))
    for top in (0, 4):
        for left in (0, 16):
            window = x[None, top : top + 16, left : left + 24]
            total[top : top + 16, left : left + 24] += forward(model, window)[0]
            count[top : top + 16, left : left + 24] += 1
    logits = model.predict(x[None], verbose=0)
    np.testing.assert_allclose(logits[0], total / count, atol=1e-5)


def test_windows_of_another_size_need_a_model_of_any_size(shared):
    free = shared("pup", (None, None, 3))
    x = tiny.images(1, (32, 32))
    whole = free.predict(x, verbose=0, window_size=32)
    np.testing.assert_allclose(whole, forward(free, x), atol=1e-5)
    with pytest.raises(ValueError, match=r"\(16, 24\).*\(32, 32\)"):
        shared().predict(x, verbose=0, window_size=32)


def test_lists_of_mixed_sizes_come_back_as_lists(shared):
    model = shared()
    images = [tiny.images(1, size)[0] for size in ((16, 24), (9, 50), (33, 7))]
    results = model.predict(images, verbose=0, batch_size=3)
    for image, logits in zip(images, results, strict=True):
        assert logits.shape == (*image.shape[:2], 5)
        alone = model.predict([image], verbose=0)[0]
        np.testing.assert_allclose(logits, alone, atol=1e-5)


def test_datasets_with_labels_or_without_are_predicted_batch_by_batch(shared):
    tf = pytest.importorskip("tensorflow")
    model = shared()
    x, y = tiny.images(5), tiny.labels(5)
    expected = model.predict(x, verbose=0)
    pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    np.testing.assert_allclose(model.predict(pairs, verbose=0), expected)
    alone = tf.data.Dataset.from_tensor_slices(x).batch(2)
    np.testing.assert_allclose(
        model.predict(alone, verbose=0, steps=2), expected[:4]
    )


def test_predictions_follow_the_weights():
    model = model_with_weights()
    before = model.predict(tiny.images(), verbose=0)
    tiny.set_weights_by_path(model, scale=0.1)
    after = model.predict(tiny.images(), verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, forward(model, tiny.images()), atol=1e-5)


@uncompiled
def test_a_constant_model_gives_its_constant_at_any_size():
    model = model_with_weights()
    kernel, bias = model.get_layer("decode_head").classifier.weights
    kernel.assign(np.zeros(kernel.shape))
    bias.assign([1.0, 2.0, -3.0, 0.5, 4.0])
    for size in ((16, 24), (50, 70), (5, 90)):
        logits = model.predict(tiny.images(1, size), verbose=0)
        assert logits.shape == (1, *size, 5)
        np.testing.assert_allclose(
            logits, np.broadcast_to([1, 2, -3, 0.5, 4], logits.shape), rtol=1e-5
        )


def test_segment_gives_labels_or_probabilities_at_the_images_size(
    tmp_path, shared
):
    model = shared()
    (image,) = tiny.images(1, (21, 37))
    logits = model.predict(image[None], verbose=0)[0]
    path = tmp_path / "street scene ü.png"
    Image.fromarray(image).save(path)
    for source in (image, path, str(path)):
        labels = model.segment(source)
        assert labels.shape == (21, 37) and labels.dtype == np.int32
        np.testing.assert_array_equal(labels, logits.argmax(axis=-1))
    probabilities = model.segment(image, output="probabilities")
    assert probabilities.shape == (21, 37, 5)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    odds = probabilities[0, 0, 1] / probabilities[0, 0, 0]
    expected = np.exp(logits[0, 0, 1] - logits[0, 0, 0])
    np.testing.assert_allclose(odds, expected, rtol=1e-4)


def test_segment_keeps_the_form_of_its_input(shared):
    model = shared("naive")
    batch = tiny.images(2)
    assert model.segment(batch).shape == (2, 16, 24)
    results = model.segment([batch[0], tiny.images(1, (20, 30))[0]])
    assert [r.shape for r in results] == [(16, 24), (20, 30)]


def test_six_images_of_six_sizes_compile_once():
    recorder = tiny.Recorder()
    model = model_with_weights("naive", preprocessor=recorder)
    sizes = [(10 + 5 * index, 40 - 4 * index) for index in range(6)]
    for scales in (None, (0.5, 1.5)):
        for size in sizes:
            image = tiny.images(1, size)[0]
            labels = model.segment(image, batch_size=3, scales=scales)
            assert labels.shape == size
    # torch compiles nothing and comes here with every batch.
    assert set(recorder.shapes) == {(3, 16, 24, 3)}
    assert len(recorder.shapes) == 1 or keras.config.backend() == "torch"


def test_batches_grow_until_their_logits_take_much_memory(shared):
    # 16 * 24 * 5 classes * 4 bytes are next to nothing.
    resolve = shared("naive")._predictor.resolve_batch_size
    assert resolve(None, (16, 24)) == 4
    # 2^28 / (512 * 512 * 5 * 4) = 51; / (4096 * 4096 * 5 * 4) = 0.8.
    assert resolve(None, (512, 512)) == 4
    assert resolve(None, (4096, 4096)) == 1
    # 2^28 / (2048 * 2048 * 5 * 4) = 3.2.
    assert resolve(None, (2048, 2048)) == 3


def test_several_views_average_the_softmax_of_whole_predictions(shared):
    model = shared()
    (image,) = tiny.images(1, (20, 40))
    mirrored = model.predict(image[None, :, ::-1], verbose=0)[0, :, ::-1]
    views = [model.predict(image[None], verbose=0)[0], mirrored]
    expected = sum(np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in views)
    probabilities = model.segment(image, "probabilities", flip=True)
    np.testing.assert_allclose(probabilities, expected / 2, atol=1e-5)
    logits = model.predict(image[None], verbose=0, flip=True)[0]
    np.testing.assert_allclose(np.exp(logits), expected / 2, atol=1e-5)
    labels, confidence = model.segment(image, flip=True, confidence=True)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))
    np.testing.assert_allclose(confidence, probabilities.max(-1), atol=1e-6)


def test_confidence_keeps_the_form_of_its_input(shared):
    model = shared("naive")
    batch = tiny.images(2)
    labels, confidence = model.segment(batch, confidence=True)
    assert labels.shape == confidence.shape == (2, 16, 24)
    pairs = model.segment(list(batch), confidence=True)
    np.testing.assert_array_equal(pairs[1][0], labels[1])


@uncompiled
@pytest.mark.parametrize("image_shape", ((16, 24, 3), (None, None, 3)))
def test_mmsegmentations_small_images_are_padded_to_whole_patches(
    image_shape, shared
):
    model = shared("pup", image_shape)
    options = {"protocol": "mmsegmentation", "window_size": (16, 24)}
    (image,) = tiny.images(1, (8, 19))
    # 19 columns are 3 patches of 8 once padded by 5; the model is 24 wide,
    # but one row of patches high instead of two.
    normalised = ops.convert_to_numpy(
        model.preprocessor(image[None].astype("float32"))
    )
    padded = np.pad(normalised, ((0, 0), (0, 0), (0, 5), (0, 0)))
    free = shared("pup", (None, None, 3))
    low = keras.Model(free.input, free.get_layer("resize_logits").input[0])
    expected = ops.image.resize(tiny.outputs(low, padded), (8, 19), "bilinear")
    np.testing.assert_allclose(
        model.segment(image, "logits", **options),
        ops.convert_to_numpy(expected)[0],
        atol=1e-4,
    )


@uncompiled
@pytest.mark.parametrize("image_shape", ((16, 24, 3), (None, None, 3)))
def test_small_images_of_a_head_that_ends_at_the_pixels_are_resized_twice(
    image_shape,
):
    # As mmsegmentation's PUP, whose last doubling is left to the resize.
    model = tiny.build("pup", image_shape, upsampling=(2, 2, 2))
    tiny.set_weights_by_path(model)
    (image,) = tiny.images(1, (8, 19))
    normalised = model.preprocessor(image[None].astype("float32"))
    padded = np.pad(
        ops.convert_to_numpy(normalised), ((0, 0), (0, 0), (0, 5), (0, 0))
    )
    free = tiny.build("pup", (None, None, 3), upsampling=(2, 2, 2))
    free.set_weights(model.get_weights())
    logits = tiny.outputs(free, padded)  # (1, 8, 24, K)
    expected = ops.image.resize(logits, (8, 19), "bilinear")
    np.testing.assert_allclose(
        model.segment(
            image, "logits", protocol="mmsegmentation", window_size=(16, 24)
        ),
        ops.convert_to_numpy(expected)[0],
        atol=1e-4,
    )


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "options, zero",
    [
        ({}, 0),
        ({"scale": 1 / 127.5, "offset": -1}, 127.5),
        ({"scale": [0.5, 0.25, 2], "offset": [1, -1, 0]}, [-2, 4, 0]),
        ({"offset": -3}, 3),
    ],
)
def test_what_a_converter_of_keras_hub_makes_zero_is_known(options, zero):
    converter = keras_hub.layers.ImageConverter(**options)
    preprocessor = ks.SETRImageSegmenterPreprocessor(converter)
    np.testing.assert_allclose(zero_of(preprocessor), zero)
    ours = ks.SETRImageSegmenterPreprocessor()
    assert zero_of(ours)[0] == np.float32(123.675)
    assert zero_of(None) == 0


def test_the_base_scale_enlarges_images_before_they_are_cut():
    model = model_with_weights()
    (image,) = tiny.images(1, (16, 24))
    # 32 x 48: rows 0, 10, 16 and columns 0, 16, 24 instead of one window.
    sizes = []
    forward = compile_forward(model)
    model._predictor._forward = lambda x: sizes.append(len(x)) or forward(x)
    model.segment(image, base_scale=(32, 48), batch_size=9)
    assert sizes == [9]


def test_evaluate_runs_a_model_over_labelled_images_of_mixed_sizes(shared):
    model = shared("naive")
    pairs = [
        (tiny.images(1, size)[0], tiny.labels(1, size)[0])
        for size in ((16, 24), (20, 31))
    ]
    result = ks.evaluate(model, pairs, verbose=0)
    correct = counted = 0
    for image, label in pairs:
        prediction = model.segment(image)
        correct += (prediction == label)[label != 255].sum()
        counted += (label != 255).sum()
    assert result.pixel_accuracy == pytest.approx(correct / counted)


@pytest.mark.parametrize(
    "call, message",
    (
        (lambda m: m.predict(tiny.images()[0]), r"pass image\[None\]"),
        (
            lambda m: m.predict([tiny.images()[0][..., :1]]),
            r"\(height, width, 3\).*image 0.*\(16, 24, 1\)",
        ),
        (
            lambda m: m.predict([np.full((16, 24, 3), np.nan)]),
            "image 0 holds 1152 values of NaN",
        ),
        (
            lambda m: m.predict(tiny.images(), window_size=20),
            r"patch_size=8.*\(20, 20\).*\(24, 24\)",
        ),
        (
            lambda m: m.predict(tiny.images(), stride=(17, 4)),
            r"stride=\(17, 4\)",
        ),
        (lambda m: m.segment(tiny.images(), output="mask"), "'mask'"),
        (lambda m: m.predict(tiny.images(), window_size=0), "window_size.*0"),
        (lambda m: m.predict(tiny.images(), stride=0), "stride.*: 0"),
        (lambda m: m.predict(tiny.images(), base_scale=(-5, 5)), "base_scale"),
        (lambda m: m.predict(tiny.images(), batch_size=0), "batch_size.*0"),
        (lambda m: m.predict(tiny.images(), scales=(-1,)), "scales.*-1"),
        (lambda m: m.predict(tiny.images(), protocol="M"), "protocol.*'M'"),
        (lambda m: m.predict([np.zeros((0, 5, 3))]), "empty"),
    ),
)
def test_wrong_input_is_named(call, message, shared):
    with pytest.raises(ValueError, match=message):
        call(shared("naive"))


def test_unknown_options_are_named_with_the_nearest(shared):
    model = shared("naive")
    for call in (model.predict, model.segment):
        with pytest.raises(TypeError, match="'strid'. Did you mean 'stride'"):
            call(tiny.images(), strid=4)


@uncompiled
def test_numpys_integers_are_integers(shared):
    model = shared("naive", (None, None, 3))
    (image,) = tiny.images(1, (20, 40))
    size = np.int64(16)
    labels = model.segment(
        image, window_size=size, stride=np.int32(8), batch_size=np.int64(2)
    )
    expected = model.segment(image, window_size=16, stride=8)
    np.testing.assert_array_equal(labels, expected)


@uncompiled
@pytest.mark.parametrize(
    "channels, dtype", ((3, "uint16"), (5, "uint16"), (5, "uint8"))
)
def test_files_are_read_with_the_channels_and_depth_of_the_training(
    channels, dtype, tmp_path
):
    largest = np.iinfo(dtype).max
    statistics = [[largest / 2] * channels, [largest / 4] * channels]
    model = model_with_weights(
        "naive",
        image_shape=(16, 24, channels),
        preprocessor=ks.SETRImageSegmenterPreprocessor(
            ks.SETRImageConverter(*statistics)
        ),
    )
    rng = np.random.default_rng(0)
    samples = rng.integers(0, largest, (20, 31, channels)).astype(dtype)
    path = tmp_path / "field.npy"
    np.save(path, samples)
    if channels == 3:
        path = path.with_suffix(".png")
        cv2.imwrite(str(path), samples[..., ::-1])
    loaded = model.load_image(path)
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, samples)
    labels = model.segment(samples)
    np.testing.assert_array_equal(model.segment(path), labels)
    written = {}
    run = ks.segment_files(
        model,
        [path],
        lambda path, image, labels: written.update({path: (image, labels)}),
        verbose=0,
    )
    assert (run.written, run.failed) == (1, ())
    np.testing.assert_array_equal(written[path][0], samples)
    np.testing.assert_array_equal(written[path][1], labels)


def test_a_file_of_another_depth_than_the_models_is_named(tmp_path, shared):
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), np.full((16, 24, 3), 40_000, "uint16"))
    with pytest.raises(ValueError, match="street.png has mode .*16 bit"):
        shared("naive").segment(path)
    converter = ks.SETRImageConverter([30_000] * 3, [9_000] * 3)
    model = tiny.build(
        "naive", preprocessor=ks.SETRImageSegmenterPreprocessor(converter)
    )
    Image.fromarray(tiny.images(1)[0]).save(path)
    with pytest.raises(ValueError, match="3 channels of uint16.*3 of uint8"):
        model.segment(path)


def test_floats_up_to_one_are_suspicious_where_the_model_normalises(shared):
    model = shared("naive")
    with pytest.warns(UserWarning, match="expects 0..255"):
        model.predict(np.full((1, 16, 24, 3), 0.5), verbose=0)


@uncompiled
@pytest.mark.parametrize("image_shape", ((16, 24, 3), (None, None, 3)))
def test_blending_on_the_device_gives_what_the_host_gives(image_shape, shared):
    model = shared("naive", image_shape)
    images = [tiny.images(1, size)[0] for size in ((20, 40), (33, 7), (16, 24))]
    small = {"protocol": "mmsegmentation", "scales": (0.5, 1.0)}
    options = [{"scales": (0.75, 1.5), "flip": True}]
    # Its windows below the model's size are compiled one by one.
    options += [small] * (image_shape[0] is None)
    for one in options:
        one = {**one, "window_size": (16, 24), "batch_size": 3}
        hosts, devices = (
            model.segment(images, "logits", blend=blend, **one)
            for blend in ("host", "device")
        )
        for host, there in zip(hosts, devices, strict=True):
            np.testing.assert_allclose(there, host, atol=1e-5)
    labels, confidence, entropy = model.segment(
        images[0], blend="device", confidence=True, entropy=True
    )
    np.testing.assert_array_equal(labels, model.segment(images[0]))
    assert (0 <= entropy).all() and (entropy <= np.log(tiny.CLASSES)).all()
    assert confidence.shape == entropy.shape == (20, 40)


@pytest.mark.parametrize("options", ({}, {"scales": (0.75, 1.5)}))
def test_pixels_are_counted_on_the_device_as_on_the_host(options, shared):
    model = shared("naive")
    samples = [
        (tiny.images(1, size)[0], tiny.labels(1, size)[0])
        for size in ((20, 40), (33, 7))
    ]
    for ignore_class in ("auto", 2):
        hosts, devices = (
            list(
                model.count_pixels(
                    [(x, np.minimum(y, 4)) for x, y in samples]
                    if ignore_class == 2
                    else samples,
                    ignore_class=ignore_class,
                    blend=blend,
                    **options,
                )
            )
            for blend in ("host", "device")
        )
        np.testing.assert_array_equal(devices, hosts)
        assert hosts[0].shape == (5, 5) and hosts[0].dtype == np.int64
        # The first of 20 rows is ignored.
        if ignore_class == "auto":
            assert hosts[0].sum() == 19 * 40


@pytest.mark.parametrize("blend", ["host", "device"])
def test_a_model_that_gives_nan_segments_nothing(blend):
    model = tiny.smallest()
    (image,) = tiny.images(1, (16, 24))
    model.segment(image, blend=blend)
    # TensorFlow's ReLU makes zeros of NaN that comes from before it.
    weight = model.get_layer("decode_head").classifier.bias
    weight.assign(np.full(weight.shape, np.nan, "float32"))
    match = f"1 of its .* weights hold NaN, {weight.path} first"
    with pytest.raises(ValueError, match=match):
        model.segment(image, blend=blend)
    with pytest.raises(ValueError, match=match):
        ks.evaluate(model, [(image, image[..., 0] % 2)])
    weight.assign(np.zeros(weight.shape, "float32"))
    weight = model.get_layer("decode_head").classifier.kernel
    weight.assign(np.full(weight.shape, np.inf, "float32"))
    match = f"{weight.path} first, or are infinite"
    with pytest.raises(ValueError, match=match):
        model.segment(image, blend=blend)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (np.zeros((8, 24), int), "samples .* labels .*(16, 24, 3) .*(8, 24)"),
        (np.full((16, 24), 9), "label 9 .* 384 of 384 .*num_classes=5"),
        (np.full((16, 24), 300), "label 300 .* 384 of 384"),
    ],
)
def test_labels_that_cannot_be_counted_are_named(label, words, shared):
    sample = np.zeros((16, 24, 3), "uint8"), label
    words = words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=words):
        list(shared("naive").count_pixels([sample]))
