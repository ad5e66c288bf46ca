"""The published decoders: their classes, and the layers that they read."""

# The word in the names of presets and recipes, and the class in `keras_setr`.
CLASSES = {
    "naive": "SETRNaive",
    "pup": "SETRPUP",
    "mla": "SETRMLA",
    "fcn": "FCN",
    "semantic_fpn": "SemanticFPN",
}

# Z^l behind the auxiliary heads, and those that MLA reads, by decoder and
# layers of the encoder: of 24 the paper's (section 4.1), of 12 those of the
# authors' configurations.
LAYERS = {
    ("naive", 24): (10, 15, 20),
    ("naive", 12): (3, 6, 9),
    ("pup", 24): (10, 15, 20, 24),
    ("pup", 12): (5, 8, 10, 12),
    ("mla", 24): (6, 12, 18, 24),
    ("mla", 12): (3, 6, 9, 12),
}


def published_layers(decoder, num_layers, variant):
    """`LAYERS`, as one of the codes has them.

    Args:
        decoder: `"naive"`, `"pup"` or `"mla"`.
        num_layers: int. 24 or 12.
        variant: `"authors"` or `"mmsegmentation"`, which has no auxiliary
            head on PUP's last layer.
    """
    layers = LAYERS[decoder, num_layers]
    fewer = (decoder, variant) == ("pup", "mmsegmentation")
    return layers[:-1] if fewer else layers


def scaled_layers(layers, num_layers, of=24):
    """Layers at the same relative depth of another encoder, rounded up.

    Args:
        layers: sequence of int, which count the layers of the encoder that
            has `of`, 1-based.
        num_layers: int. Layers of the other encoder.
        of: int. T-Large's by default.

    Returns:
        tuple of int, shallow first; where two fall into one, it is there
        once.
    """
    return tuple(sorted({-(-layer * num_layers // of) for layer in layers}))
