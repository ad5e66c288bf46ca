"""The recipes' facts, and the parts that they build."""

import dataclasses
import gc

import cv2
import keras
import numpy as np
import pytest

import keras_setr as ks
from keras_setr import checkpoints
from keras_setr.layers.initialization import values_follow
from keras_setr.optimizers import schedule_of
from tests import tiny
from tests.checkpoints import reference as ref
from tests.checkpoints.test_encoders import save
from tests.training.recipes.published_figures import AUTHORS
from tests.training.recipes.published_figures import PAPER

pytestmark = pytest.mark.no_backend

RECIPES = list(ks.recipes.values())


def figures(recipe):
    """`(source, percent)` of all that was published of one."""
    for group in (
        recipe.miou,
        recipe.miou_multi_scale,
        recipe.miou_test_server,
    ):
        yield from group.items()


def test_every_figure_of_the_paper_is_in_a_record_and_no_other():
    quoted = {}
    for recipe in RECIPES:
        for source, percent in figures(recipe):
            if source.startswith("paper, "):
                where = source.removeprefix("paper, ")
                assert quoted.setdefault(where, percent) == percent
    assert quoted == PAPER


def test_every_figure_of_the_authors_list_is_in_a_record_and_no_other():
    quoted = {}
    for recipe in RECIPES:
        if "authors' README" not in recipe.miou:
            continue
        key = (
            recipe.dataset,
            recipe.encoder,
            recipe.decoder,
            recipe.steps // 1000,
            recipe.batch_size,
        )
        assert key not in quoted
        single = recipe.miou["authors' README"]
        multi = recipe.miou_multi_scale.get("authors' README")
        quoted[key] = single, multi
    assert quoted == AUTHORS


def test_every_released_model_belongs_to_one_recipe():
    models = {
        n for n, p in checkpoints.PRESETS.items() if p.model_class is not None
    }
    named = [recipe.preset for recipe in RECIPES if recipe.preset]
    assert sorted(named) == sorted(models)
    for recipe in RECIPES:
        if recipe.preset is None:
            continue
        preset = checkpoints.PRESETS[recipe.preset]
        assert (preset.dataset, preset.decoder) == (
            recipe.dataset,
            recipe.decoder,
        )
        size = preset.image_size
        if isinstance(size, int):
            size = (size, size)
        assert size == recipe.crop_size


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_a_name_says_what_is_in_the_record(recipe):
    height, width = recipe.crop_size
    size = height if height == width else f"{height}x{width}"
    baseline = recipe.decoder in ("fcn", "semantic_fpn")
    parts = (
        f"{'' if baseline else 'setr_'}{recipe.decoder}"
        f"{'_d6' if recipe.is_d6 else ''}_{recipe.encoder}_"
        f"{recipe.dataset}_{size}_{recipe.steps // 1000}k"
    )
    assert recipe.name.startswith(parts)
    suffixes = recipe.name.removeprefix(parts)
    assert ("trainval" in suffixes) == (recipe.split == "train+validation")
    assert ("coarse" in suffixes) == (recipe.coarse_split is not None)
    assert ("random" in suffixes) == (recipe.pretraining is None)
    assert recipe.because and recipe.measured is None
    if recipe.encoder == "hybrid":
        stem, transformer = recipe.pretrained_on.split("-")
        assert suffixes == f"_{stem}_{transformer.removesuffix('+1k')}"
    if baseline:
        assert recipe.variant == recipe.protocol == "mmsegmentation"
        assert recipe.weight_decay and recipe.head_multiplier == 1
        assert ("21k" in suffixes) == (recipe.pretrained_on == "21k")
        assert recipe.align_corners == (size == 769)
        return
    by_mmsegmentation = "mmsegmentation" in suffixes
    for kind in (recipe.follows, recipe.variant, recipe.protocol):
        assert (kind == "mmsegmentation") == by_mmsegmentation
    if "_b" in suffixes:
        assert f"_b{recipe.batch_size}" in suffixes
    if recipe.pretraining is not None:
        encoder = checkpoints.PRESETS[recipe.pretraining]
        assert encoder.model_class is None
        assert ("large" in encoder.name) == (recipe.encoder == "large")
    assert recipe.crop_size == recipe.facts.crop_size
    assert recipe.stride == recipe.facts.stride


def test_figures_by_hand():
    recipe = ks.recipes["setr_pup_large_ade20k_512_160k"]
    # 160_000 * 16 / 20_210 = 126.67
    assert round(recipe.epochs) == 127
    assert round(ks.recipes["setr_naive_large_cityscapes_768_40k"].epochs) == (
        108  # 40_000 * 8 / 2_975 = 107.56
    )
    coarse = ks.recipes["setr_pup_large_cityscapes_768_100k_coarse"]
    assert coarse.num_images == 2_975 + 19_998
    both = ks.recipes["setr_pup_large_ade20k_512_160k_trainval"]
    assert both.num_images == 22_210
    assert recipe.pretrained_on == "21k+1k"
    assert coarse.miou_test_server == {
        "paper, Table 6, SETR-PUP, fine and coarse": 81.64
    }
    assert recipe.test_options(multi_scale=True) == {
        "window_size": (512, 512),
        "stride": (341, 341),
        "base_scale": (512, 2048),
        "protocol": "authors",
        "scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        "flip": True,
    }
    transform = recipe.transform()
    assert transform == ks.data.TrainingTransform(
        (512, 512), base_scale=(512, 2048)
    )


def test_a_record_checks_its_fields():
    recipe = ks.recipes["setr_pup_large_ade20k_512_160k"]
    for field, value, message in (
        ("steps", 0, "steps must be an integer of at least 1. Received: 0"),
        ("learning_rate", float("nan"), "learning_rate must be .*nan"),
        ("decoder", "pub", "'naive', 'pup'.*Did you mean 'pup'"),
        ("feature_layers", 24, "feature_layers must be a sequence"),
        ("crop_size", (512.0, 512), "crop_size must be"),
        ("miou", 48.62, "miou must be a dict"),
        ("is_d6", "yes", "is_d6 must be True or False"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(recipe, **{field: value})
    with pytest.raises(TypeError, match="no argument 'step'.*'steps'"):
        dataclasses.replace(recipe, step=10)
    assert dataclasses.replace(recipe, crop_size=512) == recipe


def test_fit_options_divide_the_steps_and_the_batches():
    recipe, _ = ks.training.miniature(
        ks.recipes["setr_naive_base_cityscapes_768_40k"]
    )
    recipe = dataclasses.replace(recipe, steps=36, batch_size=6)
    train = ks.training.GeneratedImages(recipe, 3, training=True)
    # A tenth of 36 is 3.6; 4 is the first divisor from there on.
    options = recipe.fit_options(train)
    assert options["epochs"] == 9 and len(options["x"]) == 4
    options = recipe.fit_options(train, 12, accumulate=3, seed=1)
    # 12 updates of 3 parts of 2 images.
    assert options["epochs"] == 3 and len(options["x"]) == 36
    images, _ = next(iter(options["x"]))
    assert keras.ops.shape(images) == (2, 48, 48, 3)
    with pytest.raises(ValueError, match="interval must divide the 36 .*: 10"):
        recipe.fit_options(train, 10)
    with pytest.raises(ValueError, match="accumulate .*batch of 6, .*: 4"):
        recipe.fit_options(train, accumulate=4)
    with pytest.raises(ValueError, match="interval must be .*Received: 0"):
        recipe.fit_options(train, interval=0)


def test_rates_are_those_of_the_configurations():
    rates = {
        (recipe.dataset, recipe.decoder): recipe.learning_rate
        for recipe in RECIPES
        if recipe.decoder not in ("fcn", "semantic_fpn")
    }
    assert rates == {
        ("cityscapes", "naive"): 0.01,
        ("cityscapes", "pup"): 0.01,
        ("cityscapes", "mla"): 0.002,
        ("ade20k", "naive"): 0.01,
        ("ade20k", "pup"): 0.001,
        ("ade20k", "mla"): 0.001,
        ("pascal_context", "naive"): 0.01,
        ("pascal_context", "pup"): 0.001,
        ("pascal_context", "mla"): 0.001,
    }


def test_heads_learn_ten_times_as_fast_as_encoder_and_neck():
    recipe = ks.recipes["setr_mla_base_cityscapes_768_40k"]
    small, options = ks.training.miniature(recipe)
    model = small.build_model(**options)
    small.compile(model)
    # 0.002 and 0.02 before the first step, 1e-4 after the last.
    rates = {}
    for variable in model.trainable_variables:
        part = variable.path.split("/")[0].rstrip("0123456789").rstrip("_")
        factor = model.optimizer.multiplier(variable.path)
        schedule = schedule_of(model.optimizer)
        rates.setdefault(part, set()).add(
            tuple(
                round(float(schedule.multiplied(factor, step)), 6)
                for step in (0, small.steps)
            )
        )
    slow, fast = {(0.002, 0.0001)}, {(0.02, 0.0001)}
    assert rates == {
        "patch_embedding": slow,
        "token_embedding": slow,
        "block": slow,
        "neck": slow,
        "decode_head": fast,
        "auxiliary_head": fast,
    }


# One of each decoder, of both depths and of each variant.
@pytest.mark.parametrize(
    "name",
    [
        "setr_mla_deit_base_pascal_context_480_80k",
        "setr_pup_large_ade20k_512_160k_mmsegmentation",
        "setr_naive_base_cityscapes_768_40k",
        "fcn_resnet50_cityscapes_769_40k",
        "fcn_d6_resnet101_cityscapes_769_80k",
        "semantic_fpn_resnet50_ade20k_512_160k",
    ],
)
def test_a_recipe_builds_the_model_whose_weights_were_released(name):
    def described(build):
        with values_follow():  # random values of 300 million take long
            model = build()
        config = model.get_config()
        del config["name"], config["preprocessor"]
        del config["backbone"]["config"]["name"]
        return type(model), config

    recipe = ks.recipes[name]
    ours = described(lambda: recipe.build_model(weights=False))
    gc.collect()  # one of them is 1.2 GB
    theirs = described(
        lambda: ks.SETRSegmenter.from_preset(recipe.preset, load_weights=False)
    )
    assert ours == theirs


def test_the_encoder_is_loaded_and_the_decoder_new(tmp_path, capsys):
    weights = ref.random_weights()
    save(tmp_path / "vit.safetensors", ref.as_timm(weights))
    small, options = ks.training.miniature(
        ks.recipes["setr_naive_large_cityscapes_768_40k"]
    )
    small = dataclasses.replace(
        small,
        small_shape=None,
        pretraining=str(tmp_path / "vit.safetensors"),
        feature_layers=(ref.DEPTH,),
        auxiliary_layers=(1,),
    )
    options = {"filters": 8, "num_heads": ref.HEADS}
    model = small.build_model(**options)
    assert "decoder left at its initial values" in capsys.readouterr().out
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.backbone.patch_embedding.weights[0]),
        weights["patches"],
        rtol=1e-6,
    )
    # Other patches and low-rank updates of the same weights.
    variant = dataclasses.replace(small, patch_size=8, lora_rank=2)
    adapted = variant.build_model(**options)
    assert "patches 4x4 -> 8x8" in capsys.readouterr().out
    assert adapted.backbone.lora["rank"] == 2
    assert model.backbone.lora is None and model.backbone.patch_size == 4
    random = small.build_model(
        weights=False, hidden_dim=24, num_layers=2, **options
    )
    assert "Loaded" not in capsys.readouterr().out
    assert random.backbone.num_layers == 2 and model.num_classes == 19


def test_the_baselines_are_trained_and_tested_as_in_mmsegmentation():
    recipe = ks.recipes["fcn_resnet101_pascal_context_480_80k"]
    small, options = ks.training.miniature(recipe)
    model = small.build_model(**options)
    small.compile(model)
    optimizer = model.optimizer
    assert optimizer.l2 == 0.0001 and optimizer.weight_decay is None
    assert optimizer.multiplier("decode_head/classifier/kernel") == 1
    assert model.backbone.output_stride == 8
    assert recipe.test_options()["window_size"] == (480, 480)
    wide = ks.recipes["fcn_resnet50_cityscapes_512x1024_40k"]
    # 4096 is more than 1.75 * 2048: images are never cut.
    assert wide.test_options() == {
        "window_size": (4096, 4096),
        "stride": (4096, 4096),
        "base_scale": (1024, 2048),
        "protocol": "mmsegmentation",
    }
    assert ks.recipes["fcn_resnet50_cityscapes_769_40k"].stride == (513, 513)


def test_weights_that_were_never_released_are_told():
    for name, lacking in (
        ("setr_naive_hybrid_cityscapes_768_40k_21k_random", "resnet50_in21k"),
        ("fcn_resnet101_ade20k_512_160k_21k", "resnet101_in21k"),
    ):
        recipe = ks.recipes[name]
        with pytest.raises(ValueError, match=f"not released.*{lacking}"):
            recipe.build_model()
    assert recipe.pretrained_on == "21k"
    small, options = ks.training.miniature(recipe)
    assert small.build_model(**options).num_classes == 150


def test_the_hybrids_two_parts_are_loaded_each_from_its_own(tmp_path, capsys):
    stem = tiny.resnet((None, None, 3))
    stem.save_to_preset(tmp_path / "stem")
    weights = ref.random_weights()
    save(tmp_path / "vit.safetensors", ref.as_timm(weights))
    small, _ = ks.training.miniature(
        ks.recipes["setr_naive_hybrid_cityscapes_768_40k_1k_21k"]
    )
    small = dataclasses.replace(
        small,
        small_shape=None,
        stem_pretraining=str(tmp_path / "stem"),
        pretraining=str(tmp_path / "vit.safetensors"),
        feature_layers=(ref.DEPTH,),
        auxiliary_layers=(1,),
    )
    model = small.build_model(filters=8, num_heads=ref.HEADS, patch_size=16)
    assert "the stem is as it was given" in capsys.readouterr().out
    assert model.backbone.stem.output_stride == 16
    for ours, theirs in zip(model.backbone.stem.weights, stem.weights):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs)
        )


def test_crops_and_images_shrink_together():
    recipe = ks.recipes["setr_pup_large_pascal_context_480_80k"]
    half = recipe.scaled(0.5)
    # 480 / 2 = 240 = 15 patches; 320 / 2 = 160; 520 / 2 = 260.
    assert half.crop_size == (240, 240) and half.stride == (160, 160)
    assert half.test_options()["base_scale"] == (260, 260)
    assert half.transform().base_scale == (260, 260)
    assert "0.5 of the published size" in str(half)
    larger = dataclasses.replace(recipe, patch_size=32).scaled(0.5)
    assert larger.crop_size == (256, 256)
    # 480 / 16 = 30 is no multiple of 16.
    assert recipe.scaled(1 / 16).crop_size == (32, 32)
    wide = dataclasses.replace(recipe, crop_size=(480, 720))
    assert wide.stride == (320, 480)


def test_the_table_fits_a_terminal_and_shows_every_recipe():
    lines = str(ks.recipes).splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) == len(ks.recipes) + 3
    (line,) = [
        x for x in lines if x.startswith("setr_pup_large_cityscapes_768_80k ")
    ]
    assert line.split()[1:] == [
        *("80,000", "8", "0.01", "21k+1k", "79.34", "82.15", "-"),
        *("not", "run"),
    ]
    html = ks.recipes._repr_html_()
    assert html.count("<tr>") == len(ks.recipes) + 1
    assert "<td>82.15</td>" in html


def test_a_record_prints_as_a_lab_record():
    name = "setr_pup_large_cityscapes_768_100k_coarse"
    printed = " ".join(str(ks.recipes[name]).split())
    for part in (
        "22,973 images; tested on test",
        "100,000 steps of 8 crops of 768 x 768 = 35 epochs",
        "learning rate 0.01, heads 0.1",
        "24 layers of width 1024, from vit_large_patch16_384 (21k+1k)",
        "on Z^24; auxiliary heads on Z^10, 15, 20, 24",
        "stride 512 x 512, base scale 1025 x 2049",
        "81.64 test server: paper, Table 6",
        "measured not run",
        "hardware not published",
        f"--recipe {name} --data-dir DIR",
    ):
        assert part in printed
    assert max(map(len, str(ks.recipes[name]).splitlines())) <= 100


def test_select_filters_and_names_what_there_is():
    chosen = ks.recipes.select(
        dataset="cityscapes", decoder="pup", encoder="base"
    )
    assert list(chosen) == [
        "setr_pup_base_cityscapes_768_40k",
        "setr_pup_base_cityscapes_768_80k",
    ]
    # Seven of SETR, 24 of FCN and four of Semantic FPN.
    assert len(ks.recipes.select(follows="mmsegmentation")) == 35
    assert str(ks.recipes.select(dataset="ade20k", steps=40_000)).startswith(
        "0 recipes"
    )
    with pytest.raises(ValueError, match="decoder .* fcn, mla, naive.*'fpn'"):
        ks.recipes.select(decoder="fpn")
    with pytest.raises(ValueError, match="attributes of a recipe.*crop=512"):
        ks.recipes.select(crop=512)


def test_an_unknown_name_is_answered_with_near_ones():
    near = "setr_pup_large_cityscapes_768_80k"
    with pytest.raises(KeyError, match=f"no recipe 'setr_pup_80k'.*{near}"):
        ks.recipes["setr_pup_80k"]
    assert "setr_pup_80k" not in ks.recipes and near in ks.recipes


class Numbers(ks.data.SegmentationFolder):
    """Pairs whose image is filled with their number."""

    def __init__(self, first, count, classes):
        self.first, self.count, self.names = first, count, classes

    classes = property(lambda self: self.names)

    def __len__(self):
        return self.count

    def __repr__(self):
        return f"Numbers({len(self.names)} classes)"

    def __getitem__(self, index):
        image = np.full((16, 16, 3), self.first + index, "uint8")
        return image, np.zeros((16, 16), "uint8")

    def file_name(self, index):
        return f"{self.first + index}.png"


def test_fine_and_coarse_splits_are_loaded_and_joined(monkeypatch):
    asked = []

    def load_dataset(name, split, data_dir, manual_dir):
        asked.append((name, split, data_dir, manual_dir))
        return Numbers(0, 2, ks.data.DATASETS[name].classes)

    monkeypatch.setattr(
        "keras_setr.training.recipes.reading.load_dataset", load_dataset
    )
    recipe = ks.recipes["setr_pup_large_cityscapes_768_100k_coarse"]
    train, _ = recipe.load_data("data", manual_dir="zips")
    assert len(train) == 4
    assert asked == [
        ("cityscapes", "train", "data", "zips"),
        ("cityscapes_coarse", "train_extra", "data", "zips"),
        ("cityscapes", "validation", "data", "zips"),
    ]
    with pytest.raises(ValueError, match="fine and coarse.*image_dir='d'"):
        recipe.load_data(image_dir="d")


def test_cityscapes_as_unpacked_is_read_without_tfds(tmp_path):
    for split, city in (("train", "aachen"), ("val", "ulm")):
        name = f"{split}/{city}/{city}_000000_000019"
        for kind, folder, value in (
            ("leftImg8bit", "leftImg8bit", 90),
            ("gtFine_labelIds", "gtFine", 7),
        ):
            path = tmp_path / folder / f"{name}_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((20, 30), value, "uint8")
            pixels[:, :3] = 0
            pixels[:, 3:5] = 33
            colored = folder == "leftImg8bit"
            cv2.imwrite(
                str(path), cv2.merge([pixels] * 3) if colored else pixels
            )
    recipe = ks.recipes["setr_pup_large_cityscapes_768_100k_trainval"]
    train, val = recipe.load_data(image_dir=tmp_path)
    assert len(train) == 2 and len(val) == 1
    # Unlabelled 0, bicycle 33 and road 7.
    assert train[0][1][0].tolist() == [255] * 3 + [18] * 2 + [0] * 25
    assert train.classes.names[18] == "bicycle"
    images, labels = next(
        iter(
            recipe.scaled(1 / 48).batches(
                train, steps_per_epoch=1, drop_remainder=False
            )
        )
    )
    assert keras.ops.shape(images)[1:] == (16, 16, 3)
    (image, label), *_ = [
        (np.array(x), np.array(y)) for x, y in recipe.batches(val)
    ]
    assert image.shape == (1, 768, 768, 3) and label.shape == (1, 768, 768)
