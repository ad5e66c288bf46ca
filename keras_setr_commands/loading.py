"""What `presets.model` takes, as a model."""

from keras_setr_commands import presets


def load_model(source):
    """A preset by Keras, or an exported file without.

    Args:
        source: str, checked by `presets.model`.
    """
    import keras_setr as ks

    if presets.is_exported(source):
        return ks.load_exported(source)
    return ks.SETRSegmenter.from_preset(source)
