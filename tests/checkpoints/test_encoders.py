"""The same encoder in every naming gives the features of a NumPy ViT."""

import json
import struct

import keras_hub
import numpy as np
import pytest
import safetensors.numpy
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.checkpoints import Checkpoint
from keras_setr.checkpoints import tensors
from keras_setr.checkpoints.layouts import find_naming
from keras_setr.checkpoints.layouts.namings import ENCODERS
from keras_setr.checkpoints.layouts.resnets import RESNETS
from tests import tiny
from tests.checkpoints import reference as ref

# Weights are read into NumPy: one naming shows that each backend takes them.
pytestmark = pytest.mark.backends("torch")
IMAGES = np.random.default_rng(3).normal(size=(2, 12, 12, 3)).astype("float32")


def save(path, state, metadata=None):
    """Write a file of the kind that the suffix says."""
    if path.suffix == ".npz":
        np.savez(path, **state)
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file(state, path)
    else:
        import torch

        tensors = {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
        torch.save(metadata(tensors) if metadata else tensors, path)
    return str(path)


def save_hugging_face(folder, state, model_type, **config):
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    config = {"model_type": model_type, "num_attention_heads": 3, **config}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def as_timm(folder, weights):
    return save(folder / "vit.safetensors", ref.as_timm(weights))


def as_nested_pth(folder, weights):
    state = ref.as_timm(weights)
    return save(folder / "deit.pth", state, lambda t: {"model": t, "epoch": 3})


def as_google(folder, weights):
    return save(folder / "ViT-X_4.npz", ref.as_google(weights))


def as_mmsegmentation(folder, weights):
    state = ref.as_mmsegmentation(weights, prefix="")
    return save(folder / "vit.pth", state)


def as_hugging_face_vit(folder, weights):
    state = ref.as_hugging_face(weights, "vit.")
    return save_hugging_face(folder, state, "vit", layer_norm_eps=1e-12)


def as_hugging_face_deit(folder, weights):
    state = ref.as_hugging_face(weights, "deit.")
    return save_hugging_face(folder, state, "deit", layer_norm_eps=1e-12)


def as_hugging_face_5(folder, weights):
    state = ref.as_hugging_face_5(weights)
    return save_hugging_face(folder, state, "vit", layer_norm_eps=1e-12)


def as_dinov2(folder, weights):
    state = ref.as_hugging_face(weights, "", dinov2=True)
    return save_hugging_face(folder, state, "dinov2", layer_norm_eps=1e-6)


CASES = {
    "timm": (as_timm, {}),
    "timm, DINOv2 with registers": (
        as_timm,
        {"layer_scale": True, "registers": 2},
    ),
    "timm, DeiT distilled": (as_nested_pth, {"special_tokens": 2}),
    "Google": (as_google, {}),
    "mmsegmentation": (as_mmsegmentation, {}),
    "Hugging Face ViT": (as_hugging_face_vit, {}),
    "Hugging Face DeiT": (as_hugging_face_deit, {"special_tokens": 2}),
    "Hugging Face ViT 5": (as_hugging_face_5, {}),
    "Hugging Face DINOv2": (as_dinov2, {"layer_scale": True}),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            "timm", marks=pytest.mark.backends("tensorflow", "jax", "torch")
        ),
        *(case for case in CASES if case != "timm"),
    ],
)
def test_every_naming_gives_the_features_of_the_reference(
    case, tmp_path, capsys
):
    write, options = CASES[case]
    weights = ref.random_weights(**options)
    source = write(tmp_path, weights)
    has_norm = case != "mmsegmentation"
    backbone = ks.SETRBackbone.from_preset(
        source, num_heads=ref.HEADS, use_final_norm=has_norm
    )
    assert backbone.image_shape == (12, 12, 3)
    assert backbone.mlp_dim == ref.MLP_DIM
    epsilon = 1e-12 if "Face ViT" in case or "Face DeiT" in case else 1e-6
    expected = ref.forward(weights, IMAGES, has_norm, epsilon)
    np.testing.assert_allclose(
        array(tiny.outputs(backbone, IMAGES)),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )
    count = len(backbone.weights)
    assert f"encoder {count}/{count}" in capsys.readouterr().out


def randomise(model, seed):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            around = 1.0 if variable.name in ("gamma", "lambda1") else 0.0
            noise = 0.3 * rng.normal(size=variable.shape)
            variable.assign(around + noise)


KERAS_HUB = {
    "ViT": lambda: keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=12,
        use_class_token=True,
    ),
    "DINOv2": lambda: keras_hub.models.DINOV2Backbone(
        image_shape=(42, 42, 3),
        patch_size=14,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=12,
        position_embedding_shape=(42, 42, 3),
        apply_layernorm=True,
    ),
    "DINOv3": lambda: keras_hub.models.DINOV3Backbone(
        image_shape=(8, 12, 3),
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=12,
        num_register_tokens=2,
        hidden_activation="silu",
        use_gated_mlp=True,
        use_key_bias=False,
        rope_theta=50.0,
    ),
}


@pytest.mark.parametrize("name", KERAS_HUB)
def test_a_keras_hub_encoder_keeps_its_features(name, tmp_path):
    theirs = KERAS_HUB[name]()
    randomise(theirs, seed=1)
    if name == "DINOv2":
        # KerasHub keeps a resampled copy of the positions beside them.
        layer = theirs.get_layer("embeddings")
        layer.interpolated_position_embeddings.assign(layer.position_embeddings)
    theirs.save_to_preset(str(tmp_path / "preset"))
    ours = ks.SETRBackbone.from_preset(
        str(tmp_path / "preset"),
        use_final_norm=True,
        image_shape=theirs.image_shape,
    )
    rng = np.random.default_rng(2)
    images = rng.normal(size=(2, *theirs.image_shape)).astype("float32")
    tokens = tiny.outputs(theirs, images)
    expected = array(tokens)[:, ours.num_prefix_tokens :]
    features = array(tiny.outputs(ours, images)).reshape(expected.shape)
    np.testing.assert_allclose(
        features, expected, atol=1e-5 * np.abs(expected).max()
    )


def test_keras_hubs_deit_gives_the_features_of_the_reference(tmp_path, capsys):
    weights = ref.random_weights(special_tokens=2)
    theirs = keras_hub.models.DeiTBackbone(
        image_shape=(12, 12, 3),
        patch_size=ref.PATCH,
        num_layers=ref.DEPTH,
        num_heads=ref.HEADS,
        hidden_dim=ref.DIM,
        intermediate_dim=ref.MLP_DIM,
    )
    ref.fill_keras_hub_deit(theirs, weights)
    theirs.save_to_preset(str(tmp_path / "preset"))
    ours = ks.SETRBackbone.from_preset(
        str(tmp_path / "preset"), use_final_norm=True
    )
    expected = ref.forward(weights, IMAGES, final_norm=True)
    np.testing.assert_allclose(
        array(tiny.outputs(ours, IMAGES)),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )
    assert "SETR drops the distillation token" in capsys.readouterr().out


def test_positions_of_no_square_grid_are_asked_for(tmp_path):
    weights = ref.random_weights()
    weights["positions"] = weights["positions"][:, :7]  # 1 + 2 * 3
    source = as_timm(tmp_path, weights)
    with pytest.raises(ValueError, match=r"6 positions.*position_grid=\(rows"):
        ks.SETRBackbone.from_preset(source, num_heads=3)
    backbone = ks.SETRBackbone.from_preset(
        source, num_heads=3, image_shape=(8, 12, 3)
    )
    np.testing.assert_array_equal(
        array(backbone.token_embedding.positions).reshape(6, ref.DIM),
        weights["positions"][0, 1:],
    )


def test_an_unpublished_width_asks_for_its_heads(tmp_path):
    source = as_timm(tmp_path, ref.random_weights())
    with pytest.raises(ValueError, match="width 12.*num_heads"):
        ks.SETRBackbone.from_preset(source)


def test_another_size_resamples_the_positions_both_ways(tmp_path, capsys):
    source = as_timm(tmp_path, ref.random_weights())
    larger = ks.SETRBackbone.from_preset(
        source, num_heads=3, image_shape=(16, 24, 3)
    )
    assert larger.position_grid == (4, 6)
    assert "positions 3x3 -> 4x6 (bilinear)" in capsys.readouterr().out
    smaller = ks.SETRBackbone.from_preset(
        source, num_heads=3, image_shape=(8, 4, 3)
    )
    assert smaller.position_grid == (2, 1)
    # (3, 3) to (2, 1): rows 0.25 and 1.75, column 1.
    grid = ref.random_weights()["positions"][0, 1:].reshape(3, 3, ref.DIM)
    expected = 0.75 * grid[0, 1] + 0.25 * grid[1, 1]
    np.testing.assert_allclose(
        array(smaller.token_embedding.positions)[0, 0], expected, atol=1e-6
    )
    # Unknown sizes keep the grid and resample in each call instead.
    free = ks.SETRBackbone.from_preset(
        source, num_heads=3, image_shape=(None, None, 3)
    )
    assert free.position_grid == (3, 3)
    images = np.zeros((1, 16, 24, 3), "float32")
    np.testing.assert_allclose(
        array(tiny.outputs(free, images)),
        array(tiny.outputs(larger, images)),
        atol=1e-5,
    )


def test_an_unknown_naming_shows_its_names_and_the_known_ones(tmp_path):
    source = save(
        tmp_path / "resnet.safetensors",
        {"conv1.weight": np.zeros((2, 2), "float32")},
    )
    with pytest.raises(
        ValueError, match="conv1.weight.*Known: .*timm,.*Google"
    ):
        ks.SETRBackbone.from_preset(source)


def test_a_name_that_is_nothing_lists_what_can_be_loaded():
    with pytest.raises(ValueError, match="built-in name.*hf://user/model"):
        ks.SETRPUP.from_preset("setr_pup_huge")
    with pytest.raises(FileNotFoundError, match="missing.pth"):
        ks.SETRPUP.from_preset("missing.pth")


def test_values_that_are_not_finite_name_their_tensors(tmp_path):
    state = ref.as_timm(ref.random_weights())
    name = "blocks.1.mlp.fc1.bias"
    state[name] = state[name].copy()
    state[name][3] = np.nan
    path = save(tmp_path / "vit.npz", state)
    with pytest.raises(ValueError, match=f"NaN or infinite: {name}") as error:
        ks.SETRBackbone.from_preset(path, num_heads=3)
    assert "vit.npz (timm" in str(error.value)
    model = ks.SETRBackbone.from_preset(path, num_heads=3, skip_mismatch=True)
    assert np.isfinite(array(model.blocks[1].mlp.expansion.bias)).all()


def test_shapes_are_compared_before_anything_is_read(tmp_path, monkeypatch):
    path = save(tmp_path / "vit.npz", ref.as_timm(ref.random_weights()))

    def read(array):
        raise AssertionError("nothing needs to be read")

    monkeypatch.setattr(tensors, "_float", read)
    with pytest.raises(ValueError, match="of another shape.* -> "):
        ks.SETRBackbone.from_preset(path, num_heads=3, mlp_dim=7)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"num_attention_heads": "3"}, "num_attention_heads in config.json"),
        ({"num_attention_heads": 0}, "integer of at least 1. Received: 0"),
        ({"layer_norm_eps": [1]}, "layer_norm_eps in config.json of .*number"),
    ],
)
def test_settings_of_a_folder_are_checked(tmp_path, config, message):
    as_hugging_face_vit(tmp_path, ref.random_weights())
    found = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**found, **config}))
    with pytest.raises(ValueError, match=message):
        ks.SETRBackbone.from_preset(str(tmp_path))


@pytest.mark.parametrize("shape", [(), (3,), (24, 48)])
def test_tensors_of_no_known_shape_name_the_file(tmp_path, shape):
    state = ref.as_timm(ref.random_weights())
    state["patch_embed.proj.weight"] = np.zeros(shape, "float32")
    path = save(tmp_path / "vit.npz", state)
    with pytest.raises(ValueError, match="vit.npz must hold the kernel of pat"):
        ks.SETRBackbone.from_preset(path, num_heads=3)
    state = ref.as_timm(ref.random_weights())
    state["blocks.0.mlp.fc1.bias"] = np.zeros((), "float32")
    path = save(tmp_path / "vit.npz", state)
    with pytest.raises(ValueError, match="vit.npz has tensors named as in"):
        ks.SETRBackbone.from_preset(path, num_heads=3)


def test_parts_that_no_table_names_are_an_error(tmp_path):
    as_hugging_face_vit(tmp_path, ref.random_weights())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="model.safetensors is no complete"):
        ks.SETRBackbone.from_preset(str(tmp_path))


@pytest.mark.parametrize(
    "table, message",
    [
        ([1], "no JSON object"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "'a' lacks its"),
        ({"a": 1}, "'a' lacks its"),
        (
            {"a": {"dtype": "Q7", "shape": [2], "data_offsets": [0, 8]}},
            "'a' is of type 'Q7', and not of .*F32",
        ),
        (
            {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
            "'a' has the shape",
        ),
        (
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
            "has -8 bytes",
        ),
    ],
)
def test_a_table_of_safetensors_that_cannot_be_is_named(
    tmp_path, table, message
):
    text = json.dumps(table).encode()
    path = tmp_path / "vit.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ValueError, match=f"vit.safetensors .*{message}"):
        ks.SETRBackbone.from_preset(str(path), num_heads=2)


@pytest.mark.no_backend
@pytest.mark.parametrize("names", (*ENCODERS, *RESNETS), ids=lambda n: n.name)
def test_each_naming_is_found_by_its_signature(names):
    namings = ENCODERS if names in ENCODERS else RESNETS
    for prefix in names.prefixes:
        tensors = dict.fromkeys(prefix + name for name in names.signature)
        file = Checkpoint("file", tensors)
        assert find_naming(file, namings) == (file, names, prefix)
