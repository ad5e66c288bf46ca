"""Whole SETR files: the authors' code and mmsegmentation's."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from tests import tiny
from tests.checkpoints import reference as ref
from tests.checkpoints.test_encoders import save

# Weights are read into NumPy; that each backend takes them as they are shows
# in test_encoders.py and test_exchange.py.
pytestmark = pytest.mark.backends("torch")
MODELS = {"naive": ks.SETRNaive, "pup": ks.SETRPUP, "mla": ks.SETRMLA}
IMAGES = np.random.default_rng(3).normal(size=(2, 12, 12, 3)).astype("float32")
CLASSES = 5


def authors_file(folder, name):
    """A file of theirs with an encoder of two layers, and its tensors."""
    weights = ref.random_weights()
    state = ref.with_decoder_of_the_authors(weights, name, CLASSES)
    meta = {
        "CLASSES": [f"thing {i}" for i in range(CLASSES)],
        "PALETTE": [[i, 2 * i, 3 * i] for i in range(CLASSES)],
    }
    path = save(
        folder / "iter_80000.pth",
        state,
        lambda tensors: {"meta": meta, "state_dict": tensors, "optimizer": {}},
    )
    return path, weights, state


def load(name, path, **kwargs):
    layers = (
        {"feature_layers": (1, 1, 2, 2)}
        if name == "mla"
        else {"auxiliary_layers": (1,)}
    )
    return MODELS[name].from_preset(path, num_heads=3, **layers, **kwargs)


@pytest.mark.parametrize("name", MODELS)
def test_the_authors_files_give_what_their_code_computes(name, tmp_path):
    path, weights, state = authors_file(tmp_path, name)
    model = load(name, path, preprocessor=None)
    if name == "mla":
        # Their MLA drops the class token before the first layer.
        assert not model.backbone.use_class_token
        levels = keras.Model(
            model.backbone.input,
            [model.backbone.features[1], model.backbone.features[2]],
        )
        features = dict(zip((1, 2), map(array, tiny.outputs(levels, IMAGES))))
    else:
        first = {**weights, "layers": weights["layers"][:1]}
        features = {
            1: ref.forward(first, IMAGES),
            2: ref.forward(weights, IMAGES),
        }
    logits, auxiliary = ref.authors_decode(state, name, features, (12, 12))
    outputs = tiny.outputs(keras.Model(model.input, model.output), IMAGES)
    assert len(outputs) == 2 + len(auxiliary)
    for key, expected in [
        ("logits", logits),
        *((f"auxiliary_{i}", a) for i, a in enumerate(auxiliary)),
    ]:
        # Ours leave a last enlargement to the pixels to the resize.
        found = model.resize_logits(outputs[key], expected.shape[1:3])
        np.testing.assert_allclose(
            array(found),
            expected,
            atol=1e-5 * np.abs(expected).max(),
            err_msg=key,
        )
    assert model.classes.names[1:3] == ("thing 1", "thing 2")
    assert model.classes.palette[2] == (2, 4, 6)


def test_another_number_of_classes_keeps_all_but_the_classifiers(
    tmp_path, capsys
):
    path, _, state = authors_file(tmp_path, "pup")
    model = load("pup", path, num_classes=3)
    printed = capsys.readouterr().out
    assert "classifiers re-initialised: 5 -> 3 classes" in printed
    # 4 stages of 6 arrays and the norm's 2 are kept, kernel and bias are not.
    assert "decoder 26/28, auxiliary 8/10" in printed
    assert model.num_classes == 3 and model.classes is None
    head = model.get_layer("decode_head")
    np.testing.assert_array_equal(
        array(head.convolutions[3].convolution.kernel),
        state["decode_head.conv_3.weight"].transpose(2, 3, 1, 0),
    )
    assert head.classifier.kernel.shape == (1, 1, 6, 3)
    assert 0 < np.abs(array(head.classifier.kernel)).max() < 0.1


def test_a_whole_setr_lends_its_encoder(tmp_path, capsys):
    path, weights, _ = authors_file(tmp_path, "mla")
    backbone = ks.SETRBackbone.from_preset(
        path, num_heads=3, use_class_token=True
    )
    expected = ref.forward(weights, IMAGES)
    np.testing.assert_allclose(
        array(tiny.outputs(backbone, IMAGES)),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )
    assert "only the encoder was asked for" in capsys.readouterr().out


def test_an_encoder_leaves_the_decoder_as_it_was_made(tmp_path, capsys):
    weights = ref.random_weights()
    path = save(tmp_path / "vit.safetensors", ref.as_timm(weights))
    with pytest.raises(ValueError, match="num_classes must be given"):
        ks.SETRPUP.from_preset(path, num_heads=3)
    model = ks.SETRPUP.from_preset(path, num_classes=4, num_heads=3, filters=6)
    printed = capsys.readouterr().out
    assert "decoder left at its initial values" in printed
    # 2 stages of 5 arrays (patches of 4), norm 2, classifier 2.
    assert "decoder 0/14" in printed
    np.testing.assert_allclose(
        array(tiny.outputs(model.backbone, IMAGES)),
        ref.forward(weights, IMAGES),
        atol=1e-4,
    )
    with pytest.raises(ValueError, match="SETRNaive.from_preset, SETRPUP"):
        ks.SETRSegmenter.from_preset(path, num_classes=4)


def test_the_wrong_class_is_told_the_right_one(tmp_path):
    path, _, _ = authors_file(tmp_path, "naive")
    with pytest.raises(ValueError, match="holds a SETRNaive. Call SETRNaive"):
        ks.SETRPUP.from_preset(path)
    model = ks.SETRSegmenter.from_preset(
        path, num_heads=3, auxiliary_layers=(1,)
    )
    assert type(model) is ks.SETRNaive


def test_depths_that_nobody_published_ask_for_their_layers(tmp_path):
    path, _, _ = authors_file(tmp_path, "naive")
    with pytest.raises(ValueError, match="1 head .*2 layers.*auxiliary_layers"):
        ks.SETRNaive.from_preset(path, num_heads=3)


def test_half_a_file_is_an_error_unless_it_is_asked_for(tmp_path, capsys):
    _, _, state = authors_file(tmp_path, "pup")
    del state["decode_head.syncbn_fc_2.bias"]
    del state["backbone.blocks.1.norm2.bias"]
    state["decode_head.extra"] = np.zeros(3, "float32")
    path = save(tmp_path / "half.safetensors", state)
    with pytest.raises(ValueError) as error:
        load("pup", path)
    message = str(error.value)
    assert (
        "2 not in the file: block_2/mlp_norm/beta, "
        "decode_head/convolution_2/norm/beta" in message
    )
    assert "1 in the file, but not in the model: decode_head.extra" in message
    assert "skip_mismatch=True" in message
    capsys.readouterr()
    model = load("pup", path, skip_mismatch=True)
    printed = capsys.readouterr().out
    assert "skipped: 1 in the file, but not in the model" in printed
    assert "encoder 28/29, decoder 27/28" in printed
    head = model.get_layer("decode_head")
    assert not array(head.convolutions[2].norm.beta).any()
    np.testing.assert_array_equal(
        array(head.convolutions[1].norm.beta),
        state["decode_head.syncbn_fc_1.bias"],
    )


def test_another_shape_names_both(tmp_path):
    path, _, _ = authors_file(tmp_path, "pup")
    with pytest.raises(
        ValueError,
        match=r"decode_head/convolution_0/convolution/kernel "
        r"\(3, 3, 12, 6\) -> \(3, 3, 12, 7\)",
    ):
        load("pup", path, filters=7)
