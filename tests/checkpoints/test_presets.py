"""The built-in names, and presets as folders."""

import dataclasses
import hashlib

import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr import checkpoints
from keras_setr.checkpoints import hub
from keras_setr.facts.datasets import DATASETS
from keras_setr.layers.initialization import values_follow
from tests import tiny
from tests.checkpoints import reference as ref
from tests.checkpoints.test_decoders import authors_file
from tests.checkpoints.test_download import Server
from tests.checkpoints.test_encoders import as_hugging_face_vit
from tests.checkpoints.test_encoders import save
from tests.goldens import encoders as golden

# Names, files and configurations; what each backend reads into its variables
# is tested in test_encoders.py, and below.
pytestmark = pytest.mark.backends("torch")
MODELS = {
    "SETRNaive": ks.SETRNaive,
    "SETRPUP": ks.SETRPUP,
    "SETRMLA": ks.SETRMLA,
}


def test_each_class_lists_its_models_and_the_encoders():
    presets = ks.SETRPUP.presets
    pup = presets["setr_pup_large_ade20k_512"]
    assert pup["miou"] == 48.24 and pup["miou_multi_scale"] == 49.99
    assert pup["file"].endswith(pup["sha256"] + ".pth")
    assert pup["url"].endswith(f"_ade20k/{pup['file']}")
    assert "vit_large_patch16_384" in presets
    assert "setr_mla_large_ade20k_512" not in presets
    assert "setr_mla_large_ade20k_512" in ks.SETRSegmenter.presets
    assert set(presets) < set(ks.SETRBackbone.presets)
    by_mmsegmentation = [
        name
        for name, preset in ks.SETRSegmenter.presets.items()
        if preset["source"] == "mmsegmentation"
    ]
    # Seven of SETR, 24 of FCN and four of Semantic FPN.
    assert len(by_mmsegmentation) == 35
    for preset in checkpoints.PRESETS.values():
        if preset.model_class is not None:
            assert preset.dataset in DATASETS
        # Of some no hash is published.
        assert preset.downloads or preset.sha256 is None
        assert not (preset.gated and preset.downloads)


# All parameters of the originals but their classifiers: of timm 1.0.31's models
# and, of DINOv2 and DINOv3, transformers 5.24's.
ORIGINALS = {
    "vit_tiny_patch16_224_augreg_in21k": 5_524_416,
    "vit_tiny_patch16_384_augreg": 5_597_376,
    "vit_small_patch16_384_augreg": 21_811_584,
    "vit_base_patch16_384": 86_090_496,
    "vit_large_patch16_384": 303_690_752,
    "deit_tiny_patch16_224": 5_524_416,
    "deit_small_patch16_224": 21_665_664,
    "deit_base_patch16_224": 85_798_656,
    "deit_base_patch16_384": 86_090_496,
    "deit_tiny_distilled_patch16_224": 5_524_800,
    "deit_small_distilled_patch16_224": 21_666_432,
    "deit_base_distilled_patch16_224": 85_800_192,
    "deit_base_distilled_patch16_384": 86_092_032,
    "dinov2_vit_small_patch14": 22_056_576,
    "dinov2_vit_small_patch14_reg4": 22_058_112,
    "dinov2_vit_base_patch14": 86_580_480,
    "dinov2_vit_base_patch14_reg4": 86_583_552,
    "dinov2_vit_large_patch14": 304_368_640,
    "dinov2_vit_large_patch14_reg4": 304_372_736,
    "vit_base_r50_s16_384": 98_181_952,
    "dinov3_vit_small_patch16": 21_596_544,
    "dinov3_vit_small_plus_patch16": 28_692_864,
    "dinov3_vit_base_patch16": 85_660_416,
    "dinov3_vit_large_patch16": 303_129_600,
}


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, preset in checkpoints.PRESETS.items()
        if preset.decoder is None and preset.backbone_class == "SETRBackbone"
    ],
)
def test_an_encoder_has_the_parameters_of_the_original(name):
    preset = checkpoints.PRESETS[name]
    shape, _ = checkpoints.architecture(preset)
    with values_follow():
        # One layer is built; the others are like it.
        one = ks.SETRBackbone(**{**shape, "num_layers": 1})
    layer = one.blocks[0].count_params()
    ours = one.count_params() + (shape["num_layers"] - 1) * layer
    assert ours == preset.parameters
    if name in ORIGINALS:
        dim = shape["hidden_dim"]
        left_out = 2 * dim  # scale and shift of the norm behind the last layer
        if preset.family.startswith("dino"):
            left_out += dim  # the token of masked patches
        if "distilled" in name:
            left_out += 2 * dim  # the distillation token and its position
        assert ours + left_out == ORIGINALS[name]


def test_encoders_are_listed_with_their_licences_and_gates():
    presets = ks.SETRPUP.presets
    gated = {name for name, preset in presets.items() if preset["gated"]}
    assert gated == {name for name in presets if name.startswith("dinov3")}
    for name in gated:
        assert presets[name]["license"] == "dinov3-license"
        assert presets[name]["url"].startswith("https://huggingface.co/facebo")
    assert presets["dinov2_vit_base_patch14_reg4"]["license"] == "Apache-2.0"


def test_a_gated_name_says_where_its_licence_is_and_how_to_load_a_copy():
    with pytest.raises(ValueError) as error:
        ks.SETRPUP.from_preset("dinov3_vit_base_patch16", num_classes=3)
    message = str(error.value)
    address = "facebook/dinov3-vitb16-pretrain-lvd1689m"
    assert f"dinov3-license, on https://huggingface.co/{address}." in message
    assert f'from_preset("hf://{address}")' in message
    assert 'from_preset("folder")' in message and "file=" in message


def test_a_local_file_of_a_gated_name_is_compared_and_loaded(
    tmp_path, monkeypatch
):
    state, _, _ = golden.read("Meta DINOv3 gated")
    path = save(tmp_path / "dinov3.safetensors", state)
    with pytest.raises(ValueError) as error:
        ks.SETRBackbone.from_preset("dinov3_vit_small_patch16", file=path)
    for wrong in (
        "num_layers 2 instead of 12",
        "num_register_tokens 2 instead of 4",
        "use_gated_mlp True instead of False",
    ):
        assert wrong in str(error.value)
    monkeypatch.setattr(
        "keras_setr.checkpoints.sources.architecture",
        lambda preset: (
            {
                "num_layers": golden.DEPTH,
                "hidden_dim": golden.DIM,
                "patch_size": golden.PATCH,
                "num_register_tokens": 2,
                "use_gated_mlp": True,
            },
            {},
        ),
    )
    model = ks.SETRMLA.from_preset(
        "dinov3_vit_small_plus_patch16",
        file=path,
        num_heads=golden.HEADS,
        num_classes=3,
    )
    assert model.backbone.use_gated_mlp
    assert model.backbone.image_shape == (224, 224, 3)


def count_inference_parameters(model):
    auxiliary = sum(
        layer.count_params()
        for layer in model.layers
        if layer.name.startswith("auxiliary_head")
    )
    return model.count_params() - auxiliary


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "name",
    [
        "setr_naive_base_cityscapes_768_40k_b8_authors",
        "setr_pup_deit_base_ade20k_512_160k_b16_authors",
        "setr_mla_deit_base_pascal_context_480_80k_b16_authors",
        "fcn_resnet50_cityscapes_769_40k",
        "fcn_d6_resnet101_cityscapes_769_80k",
        "semantic_fpn_resnet50_ade20k_512_160k",
    ],
)
def test_a_model_without_weights_needs_no_file(name):
    preset = checkpoints.PRESETS[name]
    with values_follow():  # random values of 86 million parameters take long
        model = ks.SETRSegmenter.from_preset(name, load_weights=False)
    assert type(model).__name__ == preset.model_class
    assert count_inference_parameters(model) == preset.parameters
    assert model.classes == DATASETS[preset.dataset].classes
    size = preset.image_size
    if preset.backbone_class == "ResNetBackbone":
        size = None  # of any
        aligned = preset.arguments.get("align_corners", False)
        assert getattr(model, "align_corners", False) == aligned
    assert model.backbone.image_shape == (size, size, 3)


def test_names_without_an_address_say_where_to_get_the_file(tmp_path):
    name = "setr_naive_base_cityscapes_768_40k_b8_authors"
    with pytest.raises(ValueError, match="fudan-zvg/SETR.*file="):
        ks.SETRNaive.from_preset(name)
    path, _, _ = authors_file(tmp_path, "naive")
    with pytest.raises(ValueError, match="file belongs to a built-in name"):
        ks.SETRNaive.from_preset(path, file=path)


def test_the_file_of_a_built_in_name_is_compared_with_its_facts(
    tmp_path, monkeypatch
):
    name = "setr_naive_base_cityscapes_768_40k_b8_authors"
    path, _, _ = authors_file(tmp_path, "naive")
    with pytest.raises(ValueError) as error:
        ks.SETRNaive.from_preset(name, file=path)
    message = str(error.value)
    assert f"{path} is not the file of {name}" in message
    for wrong in (
        "num_layers 2 instead of 12",
        f"hidden_dim {ref.DIM} instead of 768",
        "position_grid (3, 3) instead of (48, 48)",
        "num_classes 5 instead of 19",
    ):
        assert wrong in message
    # Another decoder is told before the file is opened.
    with pytest.raises(ValueError, match="holds a SETRNaive. Call SETRNaive"):
        ks.SETRPUP.from_preset(name, file="missing.pth")
    path, _, _ = authors_file(tmp_path, "pup")
    with pytest.raises(ValueError, match="model_class SETRPUP instead of"):
        ks.SETRNaive.from_preset(name, file=path)
    # A file whose facts are the published ones is loaded.
    path, _, _ = authors_file(tmp_path, "naive")
    grid = {"patch_size": ref.PATCH, "position_grid": (3, 3)}
    plain = {"num_register_tokens": 0, "use_gated_mlp": False}
    monkeypatch.setattr(
        "keras_setr.checkpoints.sources.architecture",
        lambda preset: (
            {"num_layers": ref.DEPTH, "hidden_dim": ref.DIM, **grid, **plain},
            {"num_classes": 5},
        ),
    )
    model = ks.SETRNaive.from_preset(
        name, file=path, num_heads=3, auxiliary_layers=(1,)
    )
    assert model.num_classes == 5 and model.classes is None


def test_arguments_of_nothing_are_refused_before_anything_is_opened():
    for cls in (ks.SETRPUP, ks.SETRSegmenter):
        with pytest.raises(
            TypeError, match=rf"{cls.__name__}.from_preset has no.*'windows'"
        ):
            cls.from_preset("setr_pup_large_ade20k_512", windows=3)
    with pytest.raises(TypeError, match="'filtres'. Did you mean 'filters'"):
        ks.SETRPUP.from_preset("missing.pth", filtres=3)
    with pytest.raises(TypeError, match="Did you mean 'load_weights'"):
        ks.SETRPUP.from_preset("missing.pth", load_weigths=False)
    with pytest.raises(TypeError, match="SETRBackbone.from_preset has no"):
        ks.SETRBackbone.from_preset("missing.pth", num_classes=3)
    # An argument of one class is none of the others.
    with pytest.raises(TypeError, match="SETRNaive.*'feature_layers'"):
        ks.SETRNaive.from_preset("missing.pth", feature_layers=(1, 2))
    with pytest.raises(ValueError, match="num_classes must be an integer"):
        ks.SETRPUP.from_preset("missing.pth", num_classes="three")
    with pytest.raises(
        ValueError, match="image_shape must be .height, width, chan"
    ):
        ks.SETRPUP.from_preset("missing.pth", image_shape=(480, 480))
    with pytest.raises(ValueError, match="load_weights must be True or False"):
        ks.SETRPUP.from_preset("missing.pth", load_weights="no")


def test_a_misspelt_name_is_offered_the_near_ones():
    with pytest.raises(ValueError, match="'setr_pup_large_ade20k_512'") as e:
        ks.SETRPUP.from_preset("setr_pup_large_ade2k_512")
    assert "there is no such file or folder" in str(e.value)
    assert "bert" not in str(e.value)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A built-in name whose tiny file is on a server, and an empty cache."""
    weights = ref.random_weights()
    # Twelve heads of 64 cannot be tiny: the width tells the heads.
    monkeypatch.setattr(
        "keras_setr.checkpoints.layouts.encoders._UNUSUAL_HEADS",
        {ref.DIM: ref.HEADS},
    )
    save(tmp_path / "vit.safetensors", ref.as_timm(weights))
    content = (tmp_path / "vit.safetensors").read_bytes()
    state = ref.with_decoder_of_the_authors(weights, "naive", 5)
    state = {k: v for k, v in state.items() if "auxiliary_head" not in k}
    save(tmp_path / "setr.safetensors", state)
    files = {
        "vit.safetensors": content,
        "setr.safetensors": (tmp_path / "setr.safetensors").read_bytes(),
    }
    server = Server(files)
    for name, decoder in (("vit", None), ("setr", "naive")):
        file = f"{name}.safetensors"
        preset = dataclasses.replace(
            checkpoints.PRESETS["vit_base_patch16_384"],
            name=f"tiny_{name}",
            decoder=decoder,
            url=server.url + file,
            file=file,
            sha256=hashlib.sha256(files[file]).hexdigest()[:8],
        )
        monkeypatch.setitem(checkpoints.PRESETS, preset.name, preset)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_a_built_in_name_is_fetched_converted_and_kept(
    published, tmp_path, capsys
):
    first = ks.SETRNaive.from_preset("tiny_setr", verbose=False)
    assert capsys.readouterr().out == ""
    assert published.ranges == [None]
    images = tiny.images(size=(12, 12))
    expected = first.predict(images, verbose=0)
    # From here on the copy answers; the download is not needed any more.
    cache = tmp_path / "cache" / "models" / "keras_setr"
    (cache / "setr.safetensors").unlink()
    again = ks.SETRNaive.from_preset("tiny_setr")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), expected, atol=1e-6
    )
    other = ks.SETRNaive.from_preset(
        "tiny_setr", num_classes=4, image_shape=(16, 8, 3)
    )
    printed = capsys.readouterr().out
    assert "classifiers re-initialised: 5 -> 4 classes" in printed
    assert "positions 3x3 -> 4x2" in printed
    assert other.predict(tiny.images(size=(16, 8)), verbose=0).shape == (
        2,
        16,
        8,
        4,
    )
    np.testing.assert_array_equal(
        array(other.get_layer("decode_head").norm.gamma),
        array(first.get_layer("decode_head").norm.gamma),
    )
    backbone = ks.SETRBackbone.from_preset("tiny_setr")
    np.testing.assert_array_equal(
        array(backbone.blocks[1].mlp.expansion.kernel),
        array(first.backbone.blocks[1].mlp.expansion.kernel),
    )
    assert published.ranges == [None]


def test_a_built_in_encoder_goes_under_any_decoder(published, tmp_path, capsys):
    model = ks.SETRMLA.from_preset(
        "tiny_vit", num_classes=3, use_class_token=False
    )
    printed = capsys.readouterr().out
    assert "the model has no class token" in printed
    assert "decoder left at its initial values" in printed
    assert model.backbone.hidden_dim == ref.DIM
    # The copy answers from here on.
    (tmp_path / "cache/models/keras_setr/vit.safetensors").unlink()
    again = ks.SETRPUP.from_preset("tiny_vit", num_classes=3, filters=4)
    backbone = ks.SETRBackbone.from_preset("tiny_vit")
    for copy in (again.backbone, backbone):
        np.testing.assert_array_equal(
            array(copy.blocks[1].mlp.expansion.kernel),
            array(model.backbone.blocks[1].mlp.expansion.kernel),
        )
    assert published.ranges == [None]
    normed = ks.SETRBackbone.from_preset("tiny_vit", use_final_norm=True)
    assert "final_norm" in [layer.name for layer in normed.layers]
    assert "final_norm" not in [layer.name for layer in backbone.layers]
    np.testing.assert_array_equal(
        array(normed.get_layer("final_norm").gamma),
        ref.random_weights()["final"][0],
    )


def test_a_whole_built_in_name_lends_its_encoder_when_first_used(
    published, capsys
):
    backbone = ks.SETRBackbone.from_preset("tiny_setr")
    np.testing.assert_array_equal(
        array(backbone.blocks[1].mlp.expansion.kernel),
        ref.random_weights()["layers"][1]["fc1"][0],
    )
    # All of it was kept, for whoever comes next.
    assert "decoder" in capsys.readouterr().out
    assert ks.SETRNaive.from_preset("tiny_setr").num_classes == 5
    assert published.ranges == [None]


@pytest.mark.backends("tensorflow", "jax", "torch")
def test_a_preset_takes_another_number_of_classes_and_size(tmp_path, capsys):
    model = tiny.build("pup", classes=ks.Classes(list("abcde")))
    tiny.set_weights_by_path(model)
    model.save_to_preset(str(tmp_path / "preset"))
    same = ks.SETRSegmenter.from_preset(str(tmp_path / "preset"))
    assert same.classes == model.classes
    # Nothing was converted, so there is nothing to tell.
    assert capsys.readouterr().out == ""
    other = ks.SETRPUP.from_preset(
        str(tmp_path / "preset"),
        num_classes=3,
        image_shape=(24, 32, 3),
        dtype="bfloat16",
    )
    assert "5 -> 3 classes" in capsys.readouterr().out
    assert other.classes is None and other.backbone.position_grid == (3, 4)
    assert other.backbone.dtype_policy.name == "bfloat16"
    assert other.filters == 8
    for ours, theirs in zip(
        other.get_layer("auxiliary_head_0").convolutions,
        model.get_layer("auxiliary_head_0").convolutions,
    ):
        np.testing.assert_allclose(
            array(ours.norm.moving_mean),
            array(theirs.norm.moving_mean),
            rtol=1e-2,
        )
    with pytest.raises(ValueError, match="in the model: auxiliary_head_1"):
        ks.SETRPUP.from_preset(str(tmp_path / "preset"), auxiliary_layers=(2,))


def test_a_preset_of_an_encoder_alone_goes_under_a_decoder(tmp_path):
    backbone = tiny.backbone()
    backbone.save_to_preset(str(tmp_path / "preset"))
    model = ks.SETRNaive.from_preset(str(tmp_path / "preset"), num_classes=3)
    np.testing.assert_array_equal(
        array(model.backbone.blocks[0].attention.qkv.kernel),
        array(backbone.blocks[0].attention.qkv.kernel),
    )


def test_handles_of_a_hub_are_fetched_file_by_file(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub.utils import EntryNotFoundError

    weights = ref.random_weights()
    as_hugging_face_vit(tmp_path, weights)
    asked = []

    def hf_hub_download(repo_id, filename):
        asked.append((repo_id, filename))
        if not (tmp_path / filename).exists():
            # Whatever the installed version wants to be told.
            raise EntryNotFoundError.__new__(EntryNotFoundError)
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda *_, **k: 0
    )
    backbone = ks.SETRBackbone.from_preset("hf://someone/vit", verbose=False)
    assert set(asked) == {
        ("someone/vit", "config.json"),
        ("someone/vit", "model.safetensors"),
    }
    images = np.zeros((1, 12, 12, 3), "float32")
    np.testing.assert_allclose(
        array(tiny.outputs(backbone, images)),
        ref.forward(weights, images, epsilon=1e-12),
        atol=1e-5,
    )


@pytest.mark.no_backend
def test_a_hub_that_is_away_is_named_at_once(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def away(url, timeout):
        assert url.endswith("someone/vit/resolve/main/config.json")
        assert timeout <= 5
        raise RuntimeError("no route")  # a class of its HTTP library

    def fetch(*_, **__):
        raise AssertionError("asked, and asked again")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", away)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    with pytest.raises(ConnectionError, match="huggingface.*no route"):
        ks.SETRBackbone.from_preset("hf://someone/vit")


@pytest.mark.no_backend
def test_a_client_that_fails_in_its_own_way_is_named(monkeypatch):
    def fetch(source, name):
        raise RuntimeError("libcurl code 6")

    monkeypatch.setattr(hub, "fetch", fetch)
    with pytest.raises(ConnectionError, match="gs://a/b.*libcurl code 6"):
        ks.SETRBackbone.from_preset("gs://a/b")
