"""`predict` and `segment`: images of any size through one window size."""

import keras
import numpy as np

from keras_setr import inference
from keras_setr.models import inputs
from keras_setr.models.division import batch_divisor
from keras_setr.models.forward import compile_forward

# Windows in one forward pass where the caller does not say: as many as their
# float32 logits fit into the memory, between one and four.
_BATCH_SIZE = 4
_BATCH_BYTES = 2**28


def predict(
    model,
    x,
    batch_size=None,
    verbose="auto",
    steps=None,
    *,
    window_size=None,
    stride=None,
    scales=None,
    flip=None,
    protocol="authors",
    base_scale=None,
):
    """`SETRSegmenter.predict`; see there."""
    logits = list(
        _slide(
            model,
            x,
            batch_size,
            verbose,
            steps,
            window_size,
            stride,
            output="logits",
            scales=scales,
            flip=flip,
            protocol=protocol,
            base_scale=base_scale,
        )
    )
    return _stack(logits, x)


def segment(
    model,
    x,
    output="labels",
    batch_size=None,
    verbose=0,
    *,
    confidence=False,
    window_size=None,
    stride=None,
    scales=None,
    flip=None,
    protocol="authors",
    base_scale=None,
):
    """`SETRSegmenter.segment`; see there."""
    single = inputs.is_path(x) or getattr(x, "ndim", None) == 3
    results = list(
        _slide(
            model,
            [x] if single else x,
            batch_size,
            verbose,
            None,
            window_size,
            stride,
            output=output,
            confidence=confidence,
            scales=scales,
            flip=flip,
            protocol=protocol,
            base_scale=base_scale,
        )
    )
    if single:
        return results[0]
    if not confidence or isinstance(x, (list, tuple)):
        return _stack(results, x)
    return tuple(_stack(list(maps), x) for maps in zip(*results))


def _slide(
    model, x, batch_size, verbose, steps, window_size, stride, **options
):
    """Yield the result of each image of `x` in turn."""
    if getattr(x, "ndim", 4) != 4:
        raise ValueError(
            "A batch of images must have shape (batch, height, width, "
            f"channels). Received: {tuple(x.shape)}; for one image, "
            "pass image[None] or a list."
        )
    window_size, stride = _resolve_window(model, window_size, stride)
    batch_size = _resolve_batch(model, batch_size, window_size)
    if options["base_scale"] is not None:
        options["base_scale"] = _pair("base_scale", options["base_scale"])
    if steps is not None:
        x = x.take(steps) if hasattr(x, "take") else x[:steps]
    count = inputs.count_images(x)
    images = inputs.iterate_images(
        x, model.backbone.image_shape[-1], model.preprocessor is not None
    )
    if verbose == "auto":
        verbose = 0 if count == 1 else 1
    progress = inference.ImageProgress(count, verbose)
    done = 0
    for done, result in enumerate(
        inference.sliding_window(
            _window_forward(model, window_size),
            images,
            window_size,
            stride,
            batch_size,
            **options,
        ),
        start=1,
    ):
        yield result
        if count is None or done < count:
            progress.update(done)
    if done:
        progress.update(done, last=True)


def _window_forward(model, window_size):
    """`forward` for windows, and for the smaller ones of small views."""
    if model._forward is None:
        model._forward = compile_forward(model)

    def forward(windows):
        if windows.shape[1:3] == tuple(window_size):
            return model._forward(windows)
        return _run_smaller(model, windows)

    return forward


def _run_smaller(model, windows):
    """Logits of windows of any size, as mmsegmentation computes them.

    Windows are padded at the bottom and the right to whole patches, with
    zeros after the normalisation, and the head's logits are resized to
    the window in one step.
    """
    if model._forward_small is None:
        model._forward_small = compile_forward(model, _free_logits(model))
    size = windows.shape[1:3]
    patch_size = model.backbone.patch_size
    pad = [(0, -s % patch_size) for s in size]
    zero = 0.0
    if model.preprocessor is not None:
        zero = np.array(model.preprocessor.image_converter.mean, "float32")
    padded = np.pad(windows, [(0, 0), *pad, (0, 0)])
    padded[:, size[0] :] = zero
    padded[:, :, size[1] :] = zero
    logits = model._forward_small(padded)
    return np.stack([inference.resize_to(one, size) for one in logits])


def _free_logits(model):
    """The head's logits at its own resolution, for any image size."""
    logits = model.get_layer("resize_logits").input[0]
    free = keras.Model(model.backbone.input, logits)
    if None not in model.backbone.image_shape:
        # The same layers, called on an input without fixed size.
        channels = model.backbone.image_shape[-1]
        free = keras.models.clone_model(
            free,
            input_tensors=keras.Input((None, None, channels)),
            clone_function=lambda layer: layer,
        )
    return lambda images: keras.ops.cast(
        free(images, training=False), "float32"
    )


def _resolve_batch(model, batch_size, window_size):
    if batch_size is None:
        h, w = window_size
        fits = _BATCH_BYTES // (h * w * model.num_classes * 4)
        batch_size = min(max(fits, 1), _BATCH_SIZE)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            "batch_size must be an integer of at least 1. Received: "
            f"{batch_size!r}."
        )
    divisor = batch_divisor(model)
    return -(-batch_size // divisor) * divisor


def _resolve_window(model, window_size, stride):
    """Both as checked `(int, int)`."""
    backbone = model.backbone
    window = _pair("window_size", window_size or backbone.native_size)
    inputs.check_multiple_of_patch(*window, backbone.patch_size)
    fixed = backbone.image_shape[:2]
    if any(f not in (None, w) for f, w in zip(fixed, window)):
        raise ValueError(
            "window_size must be the model's image size "
            f"{fixed}. Received: {window}. Build the backbone with "
            "image_shape=(None, None, 3) for other windows."
        )
    # 512 -> 341, 768 -> 512 and 480 -> 320: the published strides.
    stride = _pair("stride", stride or tuple(w * 2 // 3 for w in window))
    if any(not 1 <= s <= w for s, w in zip(stride, window)):
        raise ValueError(
            "stride must lie between 1 and the window, or pixels would "
            f"be left out. Received: stride={stride}, "
            f"window_size={window}."
        )
    return window, stride


def _pair(name, value):
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise ValueError(
            f"{name} must be an integer or (height, width). Received: {value}."
        )
    return pair


def _stack(results, x):
    """One array where all sizes agree, unless the caller gave a list."""
    if isinstance(x, (list, tuple)):
        return results
    same = len({result.shape for result in results}) == 1
    return np.stack(results) if same else results
