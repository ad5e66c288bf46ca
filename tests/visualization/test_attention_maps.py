import weakref

import numpy as np
import pytest
from keras import ops

from keras_setr import visualization
from keras_setr.visualization import attention_maps
from tests import tiny


@pytest.mark.no_backend
def test_rollout_multiplies_what_each_layer_adds_to_its_residual():
    first = np.array([[0.5, 0.5], [0.0, 1.0]])
    second = np.array([[1.0, 0.0], [0.2, 0.8]])
    # (A + I) / 2: [[.75, .25], [0, 1]], then [[1, 0], [.1, .9]].
    one, two = attention_maps.rollout([first, second])
    np.testing.assert_allclose(one, [[0.75, 0.25], [0, 1]])
    # [[.75, .25], [.1 * .75, .1 * .25 + .9 * 1]]
    np.testing.assert_allclose(two, [[0.75, 0.25], [0.075, 0.925]])


@pytest.mark.no_backend
def test_cosine_similarity_is_that_of_each_with_each():
    positions = np.array([[(1.0, 0.0), (3.0, 4.0)], [(0.0, 2.0), (0.0, 0.0)]])
    similar = attention_maps.cosine_similarity(positions)
    np.testing.assert_allclose(similar[0, 0], [[1, 0.6], [0, 0]])
    np.testing.assert_allclose(similar[1, 0], [[0, 0.8], [1, 0]])


@pytest.fixture
def drawn(monkeypatch):
    """The maps that are drawn, as arrays, by their titles."""
    found = {}

    def record(look, point, title, maps, *args):
        found.update(maps)
        return draw(look, point, title, maps, *args)

    draw = attention_maps._drawn
    monkeypatch.setattr(attention_maps, "_drawn", record)
    return found


def build(**options):
    model = tiny.build("naive", **options)
    tiny.set_weights_by_path(model, scale=0.5)
    return model


def test_attention_is_the_row_or_the_column_of_the_points_patch(drawn):
    model = build()
    image = tiny.images(1, (32, 48))[0]
    # Grid 2 x 3 over 32 x 48 pixels: (20, 17) lies in row 1, column 1, which
    # is the fifth patch, behind the class token.
    picture = visualization.attention(
        model, image, (20, 17), layer=2, heads=(1, 3), width=48
    )
    assert list(drawn) == ["head 1", "head 3"]
    assert picture.width >= 3 * 48
    look = attention_maps.Look(model, image)
    assert look.note == "seen at 16x24"
    maps = ops.convert_to_numpy(model.backbone.attention_maps(look.batch, 2))[0]
    np.testing.assert_allclose(
        drawn["head 3"], maps[2, 5, 1:].reshape(2, 3), atol=1e-6
    )
    visualization.attention(model, image, [20, 17], layer=2, direction="to")
    assert list(drawn) == ["head 1", "head 3", "head 2", "head 4"]
    np.testing.assert_allclose(
        drawn["head 3"], maps[2, 1:, 5].reshape(2, 3), atol=1e-6
    )


def test_rollout_follows_the_models_own_attention(drawn):
    model = build()
    image = tiny.images(1, (16, 24))[0]
    x = attention_maps.Look(model, image).batch
    expected = np.eye(7)
    for layer in (1, 2, 3):
        maps = ops.convert_to_numpy(model.backbone.attention_maps(x, layer))[0]
        expected = (maps.mean(axis=0) + np.eye(7)) / 2 @ expected
    visualization.attention_rollout(model, image, (15, 0), layers=(1, 3))
    assert list(drawn) == ["through layer 1", "through layer 3"]
    # Row 1, column 0: the fourth patch, behind the class token.
    np.testing.assert_allclose(
        drawn["through layer 3"], expected[4, 1:].reshape(2, 3), atol=1e-5
    )
    visualization.attention_rollout(model, image, (15, 0), direction="to")
    np.testing.assert_allclose(
        drawn["through layer 3"], expected[1:, 4].reshape(2, 3), atol=1e-5
    )


@pytest.mark.backends("torch", "jax")
def test_rollout_holds_one_matrix_at_a_time(monkeypatch):
    model = build()
    alive = []

    def watched(block):
        maps = type(block).attention_maps

        def attention(*inputs):
            assert [ref() for ref in alive] == [None] * len(alive)
            result = maps(block, *inputs)
            alive.append(weakref.ref(result))
            return result

        return attention

    for block in model.backbone.blocks:
        monkeypatch.setattr(block, "attention_maps", watched(block))
    visualization.attention_rollout(model, tiny.images(1)[0], (0, 0))
    assert len(alive) == 3


def test_attention_shows_registers_and_rotary_positions_nowhere(drawn):
    model = tiny.build("pup_dinov3")
    image = tiny.images(1, (16, 24))[0]
    visualization.attention(model, image, (0, 23), heads=(1,))
    visualization.attention_rollout(model, image, (0, 23))
    assert {maps.shape for maps in drawn.values()} == {(2, 3)}
    with pytest.raises(ValueError, match="rotary_base=100.0"):
        visualization.position_similarity(model)


def test_position_similarity_has_a_tile_for_each_patch():
    assert attention_maps._spaced(3) == [0, 1, 2]
    assert attention_maps._spaced(37)[::11] == [0, 36]
    picture = visualization.position_similarity(build())
    # Tiles of 64 x 43 for a grid of 2 x 3, with gaps of 4.
    assert picture.width > 3 * 68 and picture.height > 2 * 47


def test_attention_names_what_does_not_fit():
    model, image = build(), tiny.images(1, (30, 40))[0]
    both = (visualization.attention, visualization.attention_rollout)
    for draw in both:
        for point in ((30, 0), (0, 40)):
            with pytest.raises(ValueError, match=r"point .*0\.\.29.*0\.\.39"):
                draw(model, image, point)
        for point in ((0, -1), (0,), (0.5, 1), "ab", None):
            with pytest.raises(ValueError, match="point must be"):
                draw(model, image, point)
        with pytest.raises(ValueError, match="from.*to.*'of'"):
            draw(model, image, (0, 0), direction="of")
        with pytest.raises(ValueError, match="Attention is .*FCN.*ResNet"):
            draw(tiny.build("fcn"), image, (0, 0))
    for layer in (0, 4, -1):
        with pytest.raises(ValueError, match=f"layer.*{layer}"):
            visualization.attention(model, image, (0, 0), layer=layer)
        with pytest.raises(ValueError, match=rf"layers .*1\.\.3.*{layer}"):
            visualization.attention_rollout(
                model, image, (0, 0), layers=(layer,)
            )
    with pytest.raises(ValueError, match=r"heads .*1\.\.4.*\[0, 5\]"):
        visualization.attention(model, image, (0, 0), heads=(0, 5))
    with pytest.raises(ValueError, match="position embedding .*FCN"):
        visualization.position_similarity(tiny.build("fcn"))


def test_models_stand_side_by_side():
    models = {"one": build(), "two": tiny.build("fcn")}
    images, truths = list(tiny.images(2)), list(tiny.labels(2))
    three = visualization.model_comparison(models, images)
    four = visualization.model_comparison(
        models, images, truths, scales=(0.5, 1)
    )
    assert four.width == three.width + 320 + 10
    with pytest.raises(ValueError, match="truths .*1 for 2 images"):
        visualization.model_comparison(models, images, truths[:1])
    with pytest.raises(ValueError, match="same number of classes.*{}"):
        visualization.model_comparison({}, images)
