"""`predict` and `segment`: images of any size through one window size."""

import dataclasses
import functools
import zlib

import keras
import numpy as np
from keras import ops

from keras_setr import inference
from keras_setr.checkpoints.transfer import not_finite
from keras_setr.files.images import image_of
from keras_setr.inference.on_device import Blending
from keras_setr.layers.resampling import upsample_bilinear
from keras_setr.models.preprocessor import value_range_of
from keras_setr.models.preprocessor import zero_of
from keras_setr.models.verbs.division import batch_divisor
from keras_setr.models.verbs.forward import compile_forward
from keras_setr.models.verbs.forward import device_of
from keras_setr.models.verbs.forward import to_numpy

# Windows in one forward pass where the caller does not say: as many as their
# float32 logits fit into the memory, between one and four.
_BATCH_SIZE = 4
_BATCH_BYTES = 2**28


class Predictor:
    """What a segmenter gives for images of any size, with its weights of now.

    It keeps the model's compiled forward passes.

    Args:
        model: with `backbone`, `preprocessor` and `num_classes`.
        logits: symbolic `(B, h, w, K)`, those of the model's head at its own
            resolution.
        resize: `ResizeLogits`, which brings them to the images' size.
        left_to_resize: int. Factor by which the published head enlarges them
            further.
    """

    def __init__(self, model, logits, resize, left_to_resize=1):
        self._model = model
        self._logits = logits
        self._resize = resize
        self._left_to_resize = left_to_resize
        self._form = model.backbone.form
        self._forward = self._forward_small = self._blending = None
        self._is_checked = False

    def windowed(self, views, batch_size):
        """As `SETRSegmenter.windowed`."""
        self._begin()
        model = self._model
        views = self._resolve_views(views)
        window = views.window_size
        return inference.Windowed(
            forward=functools.partial(self._on_host, window),
            views=views,
            batch_size=self.resolve_batch_size(batch_size, window),
            channels=model.backbone.image_shape[-1],
            num_classes=model.num_classes,
            classes=model.classes,
            value_range=value_range_of(model.preprocessor),
            fingerprint=lambda: _checksum(model),
            load=self.load_image,
            device=self._blending_of(window),
        )

    def load_image(self, path):
        """`(H, W, C)` of a file or a Pillow image, as in the training.

        An image converter tells the depth. Without one, three channels are of
        8 bits, and others are taken as the file has them.
        """
        channels = self._model.backbone.image_shape[-1]
        converter = getattr(self._model.preprocessor, "image_converter", None)
        usual = "uint8" if channels == 3 else None
        dtype = getattr(converter, "image_dtype", usual)
        return image_of(path, channels, dtype)

    def _begin(self):
        """Compile anew where the encoder got other variables since.

        And look at the first logits again, as weights may have changed.
        """
        self._is_checked = False
        form = self._model.backbone.form
        if self._form != form:
            self._form = form
            self._forward = self._forward_small = self._blending = None

    def _resolve_views(self, views):
        """The views with a window that the model takes."""
        backbone = self._model.backbone
        window = views.window_size or tuple(backbone.native_size)
        backbone.check_size(window, "window_size")
        return dataclasses.replace(views, window_size=window)

    def resolve_batch_size(self, batch_size, window_size):
        """Windows in a forward pass; they divide among the devices."""
        if batch_size is None:
            h, w = window_size
            fits = _BATCH_BYTES // (h * w * self._model.num_classes * 4)
            batch_size = min(max(fits, 1), _BATCH_SIZE)
        divisor = batch_divisor(self._model)
        return -(-batch_size // divisor) * divisor

    def _on_host(self, window_size, windows):
        """Logits of windows, and of the smaller ones of small views."""
        if windows.shape[1:3] == tuple(window_size):
            return to_numpy(self._whole(windows))
        return self._run_smaller(windows)

    def _on_device(self, window_size, windows):
        """The same, where the model runs."""
        if tuple(windows.shape[1:3]) == tuple(window_size):
            return self._whole(windows)
        return ops.convert_to_tensor(self._run_smaller(to_numpy(windows)))

    def _blending_of(self, window_size):
        """What becomes of logits, where the model runs."""
        if self._blending is None or self._blending[0] != window_size:
            blending = Blending(
                device_of(self._model),
                functools.partial(self._on_device, window_size),
                self._model.num_classes,
            )
            self._blending = window_size, blending
        return self._blending[1]

    def _whole(self, windows):
        if self._forward is None:
            self._forward = compile_forward(self._model)
        logits = self._forward(windows)
        if not self._is_checked:
            self._is_checked = True
            _check_logits(self._model, logits)
        return logits

    def _run_smaller(self, windows):
        """Logits of windows of any size, as mmsegmentation computes them.

        Windows are padded at the bottom and the right to whole patches, with
        zeros after the normalisation, and the head's logits are resized to
        the window in one step.
        """
        model = self._model
        if self._forward_small is None:
            self._forward_small = compile_forward(model, self._free_logits())
        size = windows.shape[1:3]
        pad = [(0, -s % model.backbone.size_multiple) for s in size]
        zero = zero_of(model.preprocessor)
        padded = np.pad(windows, [(0, 0), *pad, (0, 0)])
        padded[:, size[0] :] = zero
        padded[:, :, size[1] :] = zero
        logits = to_numpy(self._forward_small(padded))
        return np.stack([inference.resize_to(one, size) for one in logits])

    def _free_logits(self):
        """The published head's logits, for any image size."""
        backbone = self._model.backbone
        model = keras.Model(backbone.input, self._logits)
        if None not in backbone.image_shape:
            # The same layers, called on an input without fixed size.
            channels = backbone.image_shape[-1]
            model = keras.models.clone_model(
                model,
                input_tensors=keras.Input((None, None, channels)),
                clone_function=lambda layer: layer,
            )

        def free_logits(images):
            logits = model(images, training=False)
            if self._resize.align_corners:  # which `resize_to` cannot
                return self._resize(logits, images)
            logits = ops.cast(logits, "float32")
            return upsample_bilinear(logits, self._left_to_resize)

        return free_logits


def _check_logits(model, logits):
    """Raise at NaN, of which a label would be the first class."""
    if not to_numpy(ops.any(ops.isnan(logits))):
        return
    if wrong := not_finite(model):
        reason = (
            f"{len(wrong)} of its {len(model.weights)} weights hold NaN, "
            f"{wrong[0]} first, or are infinite: its training failed, or its "
            "file did. Load weights of before."
        )
    else:
        dtype = model.dtype_policy.compute_dtype
        reason = (
            f"its weights are finite, so that {dtype} overflows: load it with "
            'another dtype, as from_preset(.., dtype="float32").'
        )
    raise ValueError(f"The model's logits are NaN; {reason}")


def _checksum(model):
    """Of all weights, in their order."""
    found = zlib.crc32(type(model).__name__.encode())
    for variable in model.weights:
        values = ops.stop_gradient(ops.cast(variable.value, "float32"))
        found = zlib.crc32(to_numpy(values).tobytes(), found)
    return found
