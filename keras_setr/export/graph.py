"""A model with its normalisation and what becomes of its logits, as one."""

import keras
from keras import ops


class Served(keras.Model):
    """Images `(B, H, W, C)` as they are in files, to what is asked for.

    Args:
        model: a segmenter.
        outputs: tuple of `formats.OUTPUTS`.

    Returns of a call:
        dict of `"labels"`, `(B, H, W)` uint8, or int32 of more than 256
        classes; `"confidence"`, `(B, H, W)`; `"probabilities"` and
        `"logits"`, `(B, H, W, K)`; these three float32.
    """

    def __init__(self, model, outputs):
        super().__init__(name="served")
        self.model = model
        self.outputs_wanted = outputs
        # All of its variables are the model's.
        self.built = True

    def call(self, images):
        images = _normalized(images, self.model.preprocessor)
        logits = ops.cast(self.model(images, training=False), "float32")

        def probabilities():
            return ops.softmax(logits, axis=-1)

        make = {
            "labels": lambda: self._labels(logits),
            "probabilities": probabilities,
            "confidence": lambda: ops.max(probabilities(), axis=-1),
            "logits": lambda: logits,
        }
        return {name: make[name]() for name in self.outputs_wanted}

    def _labels(self, logits):
        dtype = "uint8" if self.model.num_classes <= 2**8 else "int32"
        return ops.cast(_argmax(logits), dtype)


def _normalized(images, preprocessor):
    if preprocessor is None:
        return images
    converter = getattr(preprocessor, "image_converter", None)
    if getattr(converter, "image_dtype", None) is None:
        return preprocessor(images)
    images = ops.cast(images, "float32")
    if converter.folded:
        return images
    # KerasHub's layer asks for the value of each length, which an open axis
    # does not have.
    scale, offset = (
        ops.convert_to_tensor(values, "float32")
        for values in (converter.scale, converter.offset)
    )
    return images * scale + offset


def _argmax(logits):
    """The first of the largest, by the backend's own operation.

    Keras' tells 0 from -0 by their bits, which converters do not take.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    if backend == "jax":
        import jax.numpy as jnp

        return jnp.argmax(logits, axis=-1)
    return logits.argmax(-1)
