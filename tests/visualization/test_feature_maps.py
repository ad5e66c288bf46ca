import numpy as np
import pytest
from keras import ops

from keras_setr import visualization
from keras_setr.visualization import feature_maps
from keras_setr.visualization.drawing import draw_panels
from tests import tiny

# JAX compiles each operation, for the same maps.
COMPUTED_AT_ONCE = pytest.mark.backends("tensorflow", "torch")


def test_principal_components_are_the_axes_of_largest_variance():
    # (+-3, +-1) along the axes (1, 1) / sqrt 2 and (1, -1) / sqrt 2, about
    # (5, 7): variances 9 and 1. The third component is none.
    along = np.array([(3, 1), (3, -1), (-3, 1), (-3, -1)])
    axes = np.array([(1, 1), (1, -1)]) / np.sqrt(2)
    x = along @ axes + (5, 7)
    components = feature_maps.principal_components(x, 3)
    np.testing.assert_allclose(components[:, 0], along[:, 0], atol=1e-9)
    np.testing.assert_allclose(np.abs(components[:, 1]), 1, atol=1e-9)
    np.testing.assert_array_equal(components[:, 2], 0)


def test_one_range_holds_for_all_three_components():
    # Components 1: 3, 3, -3, -3; 2: 1, -1, 1, -1; 3: 0. From -3 to 3.
    x = np.array([[(3, 1), (3, -1)], [(-3, 1), (-3, -1)]], "float32")
    colors = feature_maps.in_colors(x)
    assert colors.shape == (2, 2, 3)
    assert colors[..., 0].tolist() == [[255, 255], [0, 0]]
    assert colors[..., 1].tolist() == [[170, 85], [170, 85]]
    assert {*colors[..., 2].ravel().tolist()} == {128}
    assert (feature_maps.in_colors(np.ones((2, 3, 4))) == 0).all()


def titles(monkeypatch):
    """The titles of the pictures that are drawn from now on."""
    found = []

    def recorded(cells, *args):
        found.append([title for title, _ in cells])
        return draw_panels(cells, *args)

    monkeypatch.setattr(feature_maps, "draw_panels", recorded)
    return found


@pytest.mark.parametrize(
    "name, layers, stages",
    [
        ("pup", 3, 4),  # patches of 8: three convolutions, the logits
        pytest.param("naive", 3, 2, marks=COMPUTED_AT_ONCE),
        # A stream of each layer, the logits.
        pytest.param("mla", 3, 4, marks=COMPUTED_AT_ONCE),
        # Two convolutions, a joint one, the logits.
        pytest.param("fcn", 4, 4, marks=COMPUTED_AT_ONCE),
        # A stream of each stage, the logits.
        pytest.param("semantic_fpn", 2, 3, marks=COMPUTED_AT_ONCE),
    ],
)
def test_features_show_every_layer_and_stage(name, layers, stages, monkeypatch):
    found = titles(monkeypatch)
    model = tiny.build(name)
    image = tiny.images(1, (16, 24))[0]
    picture = visualization.features(model, image, width=48)
    assert found[-1] == [
        "image",
        *(f"Z{n + 1}" for n in range(layers)),
        *(f"U{n + 1}" for n in range(stages)),
    ]
    assert picture.width <= 6 * 58 + 32
    # An image of another size is resized, and the picture says so.
    image = tiny.images(1, (30, 20))[0]
    visualization.features(model, image, layers=(2,), stages=())
    assert found[-1] == ["seen at 16x24", "Z2"]
    visualization.features(model, image, layers=(), stages=(stages,))
    assert found[-1] == ["seen at 16x24", f"U{stages}"]


def test_stages_of_a_decoder_are_what_its_classifier_reads():
    model = tiny.build("pup")
    tiny.set_weights_by_path(model)
    head = model.get_layer("decode_head")
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 24)).astype("float32")
    stages = [ops.convert_to_numpy(s) for s in head.stages(x)]
    # Doublings behind the first two of three convolutions.
    assert [s.shape[1:3] for s in stages] == [(4, 6), (8, 12), (8, 12)]
    logits = ops.convert_to_numpy(head.classifier(stages[-1]))
    np.testing.assert_allclose(logits, ops.convert_to_numpy(head(x)), atol=1e-5)


@COMPUTED_AT_ONCE
def test_features_of_models_for_any_size_are_taken_at_any():
    model = tiny.build("naive", image_shape=(None, None, 3))
    image = tiny.images(1, (16, 24))[0]
    for size in (None, (24, 32)):
        visualization.features(model, image, size=size, layers=(1,))
    with pytest.raises(ValueError, match="multiples of patch_size=8.*(20, 24)"):
        visualization.features(model, image, size=(20, 24))


def test_features_name_what_there_is_not():
    model, image = tiny.build("naive"), tiny.images(1, (16, 24))[0]
    for options, message in (
        ({"layers": (0, 1)}, r"layers .* 1\.\.3.*\[0, 1\]"),
        ({"layers": (4,)}, r"layers .* 1\.\.3.*\[4\]"),
        ({"stages": (3,)}, r"stages .* 1\.\.2.*\[3\]"),
        ({"size": (24, 24)}, r"image size, \(16, 24\).*\(24, 24\)"),
    ):
        with pytest.raises(ValueError, match=message):
            visualization.features(model, image, **options)
    with pytest.raises(ValueError, match="3 input channels.*(16, 24, 2)"):
        visualization.features(model, image[..., :2])
