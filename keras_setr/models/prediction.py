"""`predict` and `segment`: images of any size through one window size."""

import keras
import numpy as np

from keras_setr import inference
from keras_setr.models import inputs
from keras_setr.models.devices import batch_divisor
from keras_setr.models.forward import compile_forward

# Windows in one forward pass where the caller does not say: as many as their
# float32 logits fit into the memory, between one and four.
_BATCH_SIZE = 4
_BATCH_BYTES = 2**28


class SlidingWindowPrediction:
    """Prediction for a segmenter with a `backbone` and a `preprocessor`."""

    def predict(
        self,
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
        """Logits of images of any size, by overlapping windows.

        An image of the window's size is one forward pass. A larger one is cut
        into windows whose logits are averaged where they overlap; one that
        does not hold a window is enlarged first (paper, section 4.1), and its
        logits are brought back to its own size. With several views of an
        image, scaled or mirrored, the softmax of their logits is averaged;
        its logarithm is returned.

        Args:
            x: array `(B, H, W, C)`, a list of `(H, W, C)` arrays or image
                files of any sizes, or a `tf.data.Dataset` of batches, with
                labels or without.
            batch_size: int. Windows in one forward pass; under a distribution
                rounded up to divide among its devices. Defaults to 4, or to
                fewer where their logits would take more than 256 MB.
            verbose: `"auto"`, 0, 1 or 2, as in Keras.
            steps: int. Batches to take from a dataset.
            window_size: int or `(h, w)`, multiples of the patch size.
                Defaults to the model's image size, or, where that is not
                fixed, to that of its learned positions.
            stride: int or `(int, int)`. Defaults to two thirds of the window.
            scales: sequence of float, one view each, or `"paper"`: 0.5, 0.75,
                1, 1.25, 1.5 and 1.75 with flip. Defaults to a single view.
            flip: bool. Look at each view mirrored, too. Defaults to False,
                except with `scales="paper"`.
            protocol: `"authors"`, `"mmsegmentation"` or an
                `inference.Protocol`: what `scales` multiply, and what happens
                to views smaller than a window. The authors' enlarges them,
                mmsegmentation's runs them as they are, which compiles the
                model once more for each size in patches below the window's.
            base_scale: `(int, int)`. The sides into which images are fitted
                before they are cut. Defaults to the size of each image.
                `**ks.data.DATASETS[name].test_options` is the one of the
                published results, with their window and stride.

        Returns:
            `(B, H, W, K)` float32 if all images have one size, or else a list
            of `(H, W, K)`.
        """
        logits = list(
            self._slide(
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
        self,
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
        """Label maps of images at their own size.

        Labels of large images take little memory: what no further window
        covers is reduced to labels while the others still run.

        Args:
            x: an image file or array `(H, W, C)`, a batch `(B, H, W, C)`, or
                a list of files and arrays of any sizes.
            output: `"labels"`, `"probabilities"` or `"logits"`.
            confidence: bool. Give `(labels, confidence)` instead of labels,
                the second with the `(H, W)` float32 probability of each.
            batch_size, verbose, window_size, stride, scales, flip, protocol,
                base_scale: as for `predict`.

        Returns:
            `(H, W)` int32, or `(H, W, K)` float32, for a single image; for a
            batch the same with a leading axis; for a list a list.
        """
        single = inputs.is_path(x) or getattr(x, "ndim", None) == 3
        results = list(
            self._slide(
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
        self, x, batch_size, verbose, steps, window_size, stride, **options
    ):
        """Yield the result of each image of `x` in turn."""
        if getattr(x, "ndim", 4) != 4:
            raise ValueError(
                "A batch of images must have shape (batch, height, width, "
                f"channels). Received: {tuple(x.shape)}; for one image, "
                "pass image[None] or a list."
            )
        window_size, stride = self._resolve_window(window_size, stride)
        batch_size = self._resolve_batch(batch_size, window_size)
        if options["base_scale"] is not None:
            options["base_scale"] = _pair("base_scale", options["base_scale"])
        if steps is not None:
            x = x.take(steps) if hasattr(x, "take") else x[:steps]
        count = inputs.count_images(x)
        images = inputs.iterate_images(
            x, self.backbone.image_shape[-1], self.preprocessor is not None
        )
        if verbose == "auto":
            verbose = 0 if count == 1 else 1
        progress = inference.ImageProgress(count, verbose)
        done = 0
        for done, result in enumerate(
            inference.sliding_window(
                self._window_forward(window_size),
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

    def _window_forward(self, window_size):
        """`forward` for windows, and for the smaller ones of small views."""
        if self._forward is None:
            self._forward = compile_forward(self)

        def forward(windows):
            if windows.shape[1:3] == tuple(window_size):
                return self._forward(windows)
            return self._run_smaller(windows)

        return forward

    def _run_smaller(self, windows):
        """Logits of windows of any size, as mmsegmentation computes them.

        Windows are padded at the bottom and the right to whole patches, with
        zeros after the normalisation, and the head's logits are resized to
        the window in one step.
        """
        if self._forward_small is None:
            self._forward_small = compile_forward(self, self._free_logits())
        size = windows.shape[1:3]
        patch_size = self.backbone.patch_size
        pad = [(0, -s % patch_size) for s in size]
        zero = 0.0
        if self.preprocessor is not None:
            zero = np.array(self.preprocessor.image_converter.mean, "float32")
        padded = np.pad(windows, [(0, 0), *pad, (0, 0)])
        padded[:, size[0] :] = zero
        padded[:, :, size[1] :] = zero
        logits = self._forward_small(padded)
        return np.stack([inference.resize_to(one, size) for one in logits])

    def _free_logits(self):
        """The head's logits at its own resolution, for any image size."""
        logits = self.get_layer("resize_logits").input[0]
        model = keras.Model(self.backbone.input, logits)
        if None not in self.backbone.image_shape:
            # The same layers, called on an input without fixed size.
            channels = self.backbone.image_shape[-1]
            model = keras.models.clone_model(
                model,
                input_tensors=keras.Input((None, None, channels)),
                clone_function=lambda layer: layer,
            )
        return lambda images: keras.ops.cast(
            model(images, training=False), "float32"
        )

    def _resolve_batch(self, batch_size, window_size):
        if batch_size is None:
            h, w = window_size
            fits = _BATCH_BYTES // (h * w * self.num_classes * 4)
            batch_size = min(max(fits, 1), _BATCH_SIZE)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(
                "batch_size must be an integer of at least 1. Received: "
                f"{batch_size!r}."
            )
        divisor = batch_divisor(self)
        return -(-batch_size // divisor) * divisor

    def _resolve_window(self, window_size, stride):
        """Both as checked `(int, int)`."""
        backbone = self.backbone
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
