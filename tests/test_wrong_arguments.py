"""Wrong values of arguments: one error at the call that says all of it.

Each names the argument, what it must be, and what came. What an argument must
be stands here a second time, in words: a rule that a function has lost, or
never had, is found by the values below.
"""

import inspect
import math

import numpy as np
import pytest

import keras_setr as ks
from keras_setr import inference
from keras_setr import layers
from keras_setr import losses
from keras_setr import metrics
from keras_setr import optimizers
from keras_setr.arguments import rules_of
from keras_setr.models import heads
from keras_setr.training import GeneratedImages
from tests import test_annotations
from tests import tiny

pytestmark = pytest.mark.no_backend

NAN, INF = math.nan, math.inf
ARRAY = np.zeros((2, 3))

# What an argument must be -> what its message says, and what does not fit.
INTEGERS = (1.5, "3", NAN, True, [3], ARRAY)
NUMBERS = (NAN, INF, -INF, "0.5", True, [0.5], 1j)
SIZES = (0, -16, (16,), (16, 16, 16), (0, 16), (16, -1), "16", 1.5, {}, ())
KINDS = {
    "count": ("an integer of at least 1", (0, -1, None, *INTEGERS)),
    "count or None": ("an integer of at least 1", (0, -1, *INTEGERS)),
    "patch or None": ("an integer in 1..512", (0, 513, *INTEGERS)),
    "index": ("an integer of at least 0", (-1, None, *INTEGERS)),
    "integer or None": ("an integer", INTEGERS),
    "classes": ("an integer in 2..65536", (0, 1, 65537, None, *INTEGERS)),
    "classes or None": ("an integer in 2..65536", (0, 1, *INTEGERS)),
    "depth": ("an integer in 1..1000", (0, 1001, 10**9, None, *INTEGERS)),
    "width": ("an integer in 1..16384", (0, 16385, None, *INTEGERS)),
    "width or None": ("an integer in 1..16384", (0, 10**7, *INTEGERS)),
    "MLP width": ("an integer in 1..65536", (0, 65537, None, *INTEGERS)),
    "MLP width or None": ("an integer in 1..65536", (0, 10**7, *INTEGERS)),
    "kernel": ("an integer in 1..255", (0, 256, None, *INTEGERS)),
    "kernel or None": ("an integer in 1..255", (0, 10**6, *INTEGERS)),
    "factor": ("an integer in 1..512", (0, 513, None, *INTEGERS)),
    "special tokens": ("an integer in 0..4096", (-1, 4097, None, *INTEGERS)),
    "grid or None": ("integers in 1..4096", (10**6, *SIZES)),
    "labels or None": ("an integer in 2..255", (0, 1, 256, *INTEGERS)),
    "rate": ("a number in 0..1", (-0.1, 1.1, None, *NUMBERS)),
    "dropped": ("a number of at least 0 below 1", (1, 1.1, *NUMBERS)),
    "not negative": ("a number of at least 0", (-1e-6, None, *NUMBERS)),
    "number or None": ("a number", NUMBERS),
    "flag": ("True or False", (0, 1, None, "yes", 0.0, [True], ARRAY)),
    "flag or None": ("True or False", (0, 1, "yes", 0.0, [True])),
    "size": ("(height, width)", (None, *SIZES)),
    "size or None": ("(height, width)", SIZES),
    "path": ("a path", ("", "a\0b", None, 3, 1.5, ["a"], b"a")),
    "path or None": ("a path", ("", "a\0b", 3, 1.5, ["a"])),
    "text": ("a string", ("", None, 3, ["a"])),
    "text or None": ("a string", ("", 3, ["a"])),
    "layers": ("a sequence", ("12", 3, (0.5,), (1.5,), (True,), {1}, {1: 2})),
    "function": ("a callable", (None, 3, "f", [print])),
    "dtype or None": (
        "the name of a floating type",
        ("float17", "int32", "mixed", "", 32, True, ("float32",)),
    ),
}


class Call:
    """A function, arguments that it takes, and kinds of those to be tried."""

    def __init__(self, function, given=(), **kinds):
        self.function = function
        self.given = dict(given)
        self.kinds = {k: kind.replace("_", " ") for k, kind in kinds.items()}


def _backbone(**arguments):
    return ks.SETRBackbone(**{**TINY, **arguments})


TINY = {"num_layers": 1, "hidden_dim": 4, "num_heads": 1, "patch_size": 8}
MODEL = tiny.build("naive")
UNCOMPILED = tiny.build("naive")
EXPORTED = ks.ExportedSegmenter("model.onnx", None, None)
PAIRS = [(np.zeros((16, 24, 3), "uint8"), np.zeros((16, 24), "uint8"))] * 3
RECIPE = ks.recipes["setr_pup_large_cityscapes_768_80k"]
SOURCE = GeneratedImages(RECIPE, 2, training=True)
IMAGE = PAIRS[0][0]
EVALUATION = ks.Evaluation(np.eye(2, dtype=int), ks.Classes.numbered(2), 1, 1.0)
TRANSFORM = ks.data.EvaluationTransform((16, 24))
UPSAMPLING = {
    "num_classes": "classes",
    "feature_layer": "integer or None",
    "kernel_size": "kernel or None",
    "filters": "width",
    "auxiliary_kernel_size": "kernel",
    "auxiliary_filters": "width",
    "use_layer_norm": "flag",
    "use_bias": "flag",
    "auxiliary_layers": "layers",
    "upsampling": "layers",
    "auxiliary_upsampling": "layers",
    "auxiliary_weight": "not negative",
    "ignore_class": "integer or None",
    "folded": "flag",
}
BASELINE = {
    "num_classes": "classes",
    "filters": "width",
    "dropout_rate": "not negative",
    "auxiliary_weight": "not negative",
    "ignore_class": "integer or None",
    "folded": "flag",
}
VIEWS = {
    "window_size": "size or None",
    "stride": "size or None",
    "flip": "flag or None",
    "base_scale": "size or None",
}
BLOCK = {
    "num_heads": "width",
    "use_qkv_bias": "flag",
    "use_key_bias": "flag",
    "use_gated_mlp": "flag",
    "layer_scale_init": "number or None",
    "dropout_rate": "dropped",
    "attention_dropout_rate": "dropped",
    "drop_path_rate": "dropped",
    "layer_norm_epsilon": "not negative",
    "rematerialize": "flag",
}
PANELS = {
    "point": "layers",
    "size": "size or None",
    "columns": "count",
    "width": "width",
    "alpha": "rate",
}
KERAS = {"name": "text or None", "trainable": "flag", "dtype": "dtype_or_None"}
CONFUSION = {"num_classes": "classes", "ignore_class": "integer or None"}
CALLS = {
    "SETRBackbone": Call(
        _backbone,
        **KERAS,
        num_layers="depth",
        hidden_dim="width",
        mlp_dim="MLP width or None",
        patch_size="factor",
        position_grid="grid or None",
        rotary_base="number or None",
        use_class_token="flag",
        num_register_tokens="special tokens",
        use_patch_bias="flag",
        use_final_norm="flag",
        **BLOCK,
    ),
    "SETRBackbone.freeze": Call(
        MODEL.backbone.freeze, num_layers="integer or None"
    ),
    "SETRBackbone.attention_maps": Call(
        MODEL.backbone.attention_maps,
        {"images": np.zeros((1, 16, 24, 3))},
        layer="integer or None",
    ),
    "SETRNaive": Call(
        ks.SETRNaive,
        {"backbone": MODEL.backbone, "num_classes": 3},
        **UPSAMPLING,
    ),
    "SETRPUP": Call(
        ks.SETRPUP, {"backbone": MODEL.backbone, "num_classes": 3}, **UPSAMPLING
    ),
    "ResNetBackbone": Call(
        tiny.resnet,
        num_blocks="layers",
        filters="factor",
        deep_stem="flag",
    ),
    "ResNetBackbone.freeze": Call(
        tiny.resnet().freeze, num_layers="integer or None"
    ),
    "FCN": Call(
        ks.FCN,
        {"backbone": tiny.resnet(), "num_classes": 3},
        **BASELINE,
        auxiliary_stage="integer or None",
        auxiliary_filters="width",
        align_corners="flag",
        dilation_rate="factor",
    ),
    "SemanticFPN": Call(
        ks.SemanticFPN,
        {"backbone": tiny.resnet(), "num_classes": 3},
        **BASELINE,
        neck_filters="width",
    ),
    "SETRMLA": Call(
        ks.SETRMLA,
        {"backbone": MODEL.backbone, "num_classes": 3},
        num_classes="classes",
        feature_layers="layers",
        head_filters="layers",
        neck_filters="width or None",
        align_corners="flag",
        classifier_kernel_size="kernel",
        auxiliary_filters="width",
        use_layer_norm="flag",
        auxiliary_weight="not negative",
        ignore_class="integer or None",
    ),
    "SETRNaive.from_preset": Call(
        ks.SETRNaive.from_preset,
        {"preset": "vit_base_patch16_384"},
        preset="path",
        load_weights="flag",
        num_classes="classes or None",
        patch_size="patch or None",
        file="path or None",
        skip_mismatch="flag",
        verbose="flag",
    ),
    "compile": Call(
        UNCOMPILED.compile,
        total_steps="count or None",
        head_multiplier="number or None",
        layer_decay="number or None",
        gradient_accumulation_steps="count or None",
        warmup_steps="integer or None",
        clipnorm="number or None",
        ema="number or None",
        run_eagerly="flag",
        steps_per_execution="count",
        auto_scale_loss="flag",
    ),
    "predict": Call(
        MODEL.predict,
        {"x": np.zeros((1, 16, 24, 3))},
        batch_size="count or None",
        steps="count or None",
        **VIEWS,
    ),
    "segment": Call(
        MODEL.segment,
        {"x": np.zeros((16, 24, 3))},
        batch_size="count or None",
        confidence="flag",
        entropy="flag",
        **VIEWS,
    ),
    "count_pixels": Call(
        MODEL.count_pixels,
        {"samples": []},
        batch_size="count or None",
        ignore_class="integer or None",
        **VIEWS,
    ),
    "evaluate": Call(
        ks.evaluate,
        {"model": MODEL, "dataset": PAIRS},
        ignore_class="integer or None",
        batch_size="count or None",
        **VIEWS,
    ),
    "callbacks": Call(
        ks.callbacks,
        {"directory": "run"},
        directory="path",
        validate_every="count",
        checkpoint_every="count",
        resume="flag",
        monitor="text",
        patience="count or None",
        previews="index",
        tensorboard="flag",
        preflight="flag",
        batch_size="count or None",
        **VIEWS,
    ),
    "Checkpoints": Call(
        ks.training.Checkpoints,
        {"directory": "run"},
        directory="path",
        every="count",
        resume="flag",
    ),
    "SlidingWindowValidation": Call(
        ks.training.SlidingWindowValidation,
        every="count",
        batch_size="count or None",
        **VIEWS,
    ),
    "Previews": Call(
        ks.training.Previews,
        {"directory": "run"},
        directory="path",
        count="count",
        every="count",
    ),
    "EarlyStopping": Call(
        ks.training.EarlyStopping,
        {"patience": 3},
        patience="count",
        monitor="text",
        min_delta="not negative",
    ),
    "BestWeights": Call(
        ks.training.BestWeights, {"path": "run/best.weights.h5"}, monitor="text"
    ),
    "CSVLog": Call(ks.training.CSVLog, {}, path="path"),
    "distribute": Call(
        ks.distribute,
        workers="count or None",
        tpu="text or None",
        verbose="flag",
    ),
    "estimate_memory": Call(
        ks.training.estimate_memory,
        {"model": MODEL, "batch_size": 2},
        batch_size="count",
        image_size="size or None",
        rematerialize="flag or None",
    ),
    "describe_run": Call(
        ks.training.describe_run,
        {"model": MODEL, "batch_size": 2},
        batch_size="count",
        image_size="size or None",
    ),
    "BatchPlan": Call(
        ks.data.BatchPlan,
        {"source": PAIRS, "batch_size": 2, "transform": TRANSFORM},
        batch_size="count",
        transform="function",
        shuffle="flag",
        seed="index",
        steps_per_epoch="count or None",
        drop_remainder="flag",
        cache="flag",
    ),
    "segmentation_batches": Call(
        ks.data.segmentation_batches,
        {"source": PAIRS, "batch_size": 2, "transform": TRANSFORM},
        batch_size="count",
        transform="function",
        initial_step="index",
        shuffle="flag",
        seed="index",
        steps_per_epoch="count or None",
        drop_remainder="flag",
        cache="flag",
    ),
    "TrainingTransform": Call(
        ks.data.TrainingTransform,
        {"crop_size": 16},
        crop_size="size",
        base_scale="size or None",
        category_limit="not negative",
        flip="rate",
        photometric="flag",
    ),
    "Mixing": Call(
        ks.data.Mixing, mosaic="rate", cutmix="rate", copy_paste="rate"
    ),
    "EvaluationTransform": Call(
        ks.data.EvaluationTransform, {}, crop_size="size"
    ),
    "StreetScenes": Call(
        ks.data.StreetScenes,
        {"num_scenes": 2, "image_size": 64},
        num_scenes="count",
        image_size="size",
        seed="index",
    ),
    "batches": Call(
        SOURCE.batches,
        {"batch_size": 2},
        batch_size="count",
        crop_size="size or None",
        shuffle="flag or None",
        seed="index",
        drop_remainder="flag or None",
        cache="flag",
        initial_step="index",
        steps_per_epoch="count or None",
    ),
    "SegmentationFolder": Call(
        ks.data.SegmentationFolder,
        {"directory": "nowhere"},
        directory="path",
        images="path or None",
        masks="path or None",
        num_classes="labels or None",
        reduce_zero_label="flag",
        channels="count",
    ),
    "load_dataset": Call(
        ks.data.load_dataset,
        {"name": "camvid", "split": "train"},
        split="text",
        data_dir="path or None",
        manual_dir="path or None",
    ),
    "load_image": Call(ks.data.load_image, {"path": "a.png"}, channels="count"),
    "Classes.numbered": Call(ks.Classes.numbered, {}, num_classes="count"),
    "Views": Call(inference.Views, **VIEWS),
    "SelfAttention": Call(
        layers.SelfAttention,
        {"num_heads": 2},
        **KERAS,
        num_heads="width",
        use_bias="flag",
        use_key_bias="flag",
        dropout_rate="dropped",
        output_dropout_rate="dropped",
    ),
    "MLP": Call(
        layers.MLP,
        {"mlp_dim": 2},
        mlp_dim="MLP width",
        use_gate="flag",
        dropout_rate="dropped",
    ),
    "TransformerBlock": Call(
        layers.TransformerBlock,
        {"num_heads": 2, "mlp_dim": 2},
        mlp_dim="MLP width",
        **BLOCK,
    ),
    "LayerScale": Call(layers.LayerScale, initial_value="number_or_None"),
    "PatchEmbedding": Call(
        layers.PatchEmbedding,
        {"hidden_dim": 2, "patch_size": 2},
        hidden_dim="width",
        patch_size="factor",
        use_bias="flag",
    ),
    "TokenEmbedding": Call(
        layers.TokenEmbedding,
        {"grid_size": 2},
        grid_size="grid or None",
        use_class_token="flag",
        num_register_tokens="special tokens",
        dropout_rate="dropped",
    ),
    "RotaryPositions": Call(
        layers.RotaryPositions,
        {"head_dim": 4},
        head_dim="width",
        num_prefix_tokens="special tokens",
        base="number or None",
    ),
    "FeatureMap": Call(layers.FeatureMap, num_prefix_tokens="special tokens"),
    "ConvNormActivation": Call(
        layers.ConvNormActivation,
        {"filters": 2, "kernel_size": 1},
        filters="width",
        kernel_size="kernel",
        use_bias="flag",
        use_norm="flag",
    ),
    "BatchNormalization": Call(
        layers.BatchNormalization, momentum="rate", epsilon="not negative"
    ),
    "UpsamplingHead": Call(
        heads.UpsamplingHead,
        {"num_classes": 2},
        **KERAS,
        num_classes="count",
        kernel_size="kernel",
        filters="width",
        use_layer_norm="flag",
        use_bias="flag",
        classifier_kernel_size="kernel",
        use_batch_norm="flag",
    ),
    "MLAHead": Call(
        heads.MLAHead,
        {"num_classes": 2, "filters": (2, 2)},
        num_classes="count",
        upsampling="factor",
        align_corners="flag",
        classifier_kernel_size="kernel",
    ),
    "MLANeck": Call(
        heads.MLANeck, {"filters": 2}, filters="width", use_layer_norm="flag"
    ),
    "PixelCrossEntropy": Call(
        losses.PixelCrossEntropy,
        ignore_class="integer or None",
        boundary_weight="not negative",
        boundary_width="count",
    ),
    "Focal": Call(
        losses.Focal, gamma="not negative", ignore_class="integer or None"
    ),
    "OHEM": Call(losses.OHEM, ignore_class="integer or None"),
    "Tversky": Call(
        losses.Tversky,
        alpha="not negative",
        beta="not negative",
        smooth="not negative",
        ignore_class="integer or None",
    ),
    "Dice": Call(
        losses.Dice, smooth="not negative", ignore_class="integer or None"
    ),
    "LovaszSoftmax": Call(losses.LovaszSoftmax, ignore_class="integer or None"),
    "ConfusionMatrix": Call(
        metrics.ConfusionMatrix, {"num_classes": 3}, **CONFUSION
    ),
    "MeanIoU": Call(metrics.MeanIoU, {"num_classes": 3}, **CONFUSION),
    "MeanAccuracy": Call(metrics.MeanAccuracy, {"num_classes": 3}, **CONFUSION),
    "PixelAccuracy": Call(
        metrics.PixelAccuracy, {"num_classes": 3}, **CONFUSION
    ),
    "PolynomialDecay": Call(
        optimizers.PolynomialDecay,
        {"initial_learning_rate": 0.1},
        initial_learning_rate="not negative",
        decay_steps="count or None",
        end_learning_rate="not negative",
        power="not negative",
        warmup_steps="index",
    ),
    "CosineDecay": Call(
        optimizers.CosineDecay,
        {"initial_learning_rate": 0.1},
        initial_learning_rate="not negative",
        decay_steps="count or None",
        end_learning_rate="not negative",
        warmup_steps="index",
    ),
    "overlay": Call(
        ks.visualization.overlay,
        {
            "image": np.zeros((2, 3, 3), "uint8"),
            "labels": np.zeros((2, 3), "uint8"),
        },
        alpha="rate",
    ),
    "sheet": Call(
        ks.visualization.sheet,
        {"pairs": PAIRS, "classes": ks.Classes.numbered(2)},
        columns="count",
        width="width",
        alpha="rate",
    ),
    "error_map": Call(
        ks.visualization.error_map,
        {
            "image": np.zeros((2, 3, 3), "uint8"),
            "truth": np.zeros((2, 3), "uint8"),
            "prediction": np.zeros((2, 3), "uint8"),
        },
        ignore_class="integer or None",
        width="width",
        alpha="rate",
    ),
    "entropy_map": Call(
        ks.visualization.entropy_map,
        {"entropy": np.zeros((2, 3), "float32")},
        maximum="number or None",
        width="width",
    ),
    "features": Call(
        ks.visualization.features,
        {"model": MODEL, "image": IMAGE},
        layers="layers",
        stages="layers",
        size="size or None",
        columns="count",
        width="width",
    ),
    "attention": Call(
        ks.visualization.attention,
        {"model": MODEL, "image": IMAGE, "point": (0, 0)},
        layer="integer or None",
        heads="layers",
        **PANELS,
    ),
    "attention_rollout": Call(
        ks.visualization.attention_rollout,
        {"model": MODEL, "image": IMAGE, "point": (0, 0)},
        layers="layers",
        **PANELS,
    ),
    "training_curves": Call(ks.visualization.training_curves, log="path"),
    "confusion_matrix": Call(
        ks.visualization.confusion_matrix,
        {"evaluation": EVALUATION},
        count="classes",
        normalize="flag",
    ),
    "legend": Call(
        ks.visualization.legend,
        {"classes": ks.Classes.numbered(2)},
        width="width or None",
    ),
    "segment_files": Call(
        ks.segment_files,
        {"model": MODEL, "files": [], "save": print},
        save="function",
        batch_size="count or None",
        confidence="flag",
        **VIEWS,
    ),
    "export": Call(
        MODEL.export,
        {"filepath": "model.onnx"},
        filepath="path",
        verbose="flag",
        image_size="size or None",
    ),
    "load_exported": Call(ks.load_exported, path="path"),
    "ExportedSegmenter.segment": Call(
        EXPORTED.segment,
        {"x": PAIRS[0][0]},
        confidence="flag",
        entropy="flag",
        batch_size="count or None",
        **VIEWS,
    ),
    "ExportedSegmenter.predict": Call(
        EXPORTED.predict,
        {"x": PAIRS[0][0][None]},
        batch_size="count or None",
        **VIEWS,
    ),
    "write_submission": Call(
        ks.write_submission,
        {
            "model": MODEL,
            "images": "images",
            "out": "out",
            "dataset": "cityscapes",
        },
        out="path",
        overwrite="flag",
        batch_size="count or None",
        **VIEWS,
    ),
}
CASES = [
    pytest.param(call, argument, value, words, id=f"{name}-{argument}-{value}")
    for name, call in CALLS.items()
    for argument, kind in call.kinds.items()
    for words, values in [KINDS[kind]]
    for value in values
]


def test_there_are_cases_of_every_kind():
    assert len(CASES) >= 1000
    used = {kind for call in CALLS.values() for kind in call.kinds.values()}
    assert used == set(KINDS)


@pytest.mark.parametrize(("call", "argument", "value", "words"), CASES)
def test_a_wrong_value_is_named_with_its_rule(
    call, argument, value, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        call.function(**{**call.given, argument: value})
    message = str(error.value)
    assert argument in message
    assert words in message
    came = "of shape (2, 3)" if value is ARRAY else repr(value)
    assert came in message
    assert not list(tmp_path.iterdir())


# What Keras itself takes beside our arguments, it refuses itself.
OPEN = ("BatchNormalization",)


@pytest.mark.parametrize("name", sorted({*CALLS} - {*OPEN}))
def test_an_unknown_argument_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = CALLS[name]
    misspelt = next(iter(call.kinds)) + "x"
    with pytest.raises(TypeError) as error:
        call.function(**call.given, **{misspelt: 1})
    message = str(error.value)
    assert repr(misspelt) in message
    assert repr(misspelt[:-1]) in message or "It has" in message


# === No argument without a rule ===

# What an argument is, where no rule of its name says it, with the reason.
DATA = {
    # Arrays and tensors: `test_wrong_calls` and the tests of each verb.
    *("x", "y", "y_true", "y_pred", "sample_weight", "validation_data"),
    *("image", "images", "labels", "truth", "prediction", "predictions"),
    *("logits", "entropy", "tokens", "rotations", "pairs", "samples", "array"),
    # Whatever Keras' `compile` takes; `test_compiling` has a table of them.
    *("optimizer", "loss", "metrics", "metric", "jit_compile"),
    # Handed on: a config or a state that was written by us, a text to print.
    *("config", "state", "text"),
}
# Records that a call returns and nobody else makes.
RETURNED = {
    *("Dataset", "Preset", "Distribution", "FolderRun", "RasterRun"),
    *("RasterPlan", "MemoryEstimate", "MemoryPlan", "RunDescription"),
    *("ModelRow", "ModelTable", "Report", "Windowed", "ExportedSegmenter"),
    *("PublishedDataset", "ImageProgress.update"),
}
# What others are made of: they hand over what they have checked.
INNER = {
    # of `from_preset`
    *("open_source", "recognise", "transfer", "read_variables", "LoadPlan"),
    *("Layout", "TensorRule", "Checkpoint", "fit_to_patches"),
    # of `compile` and `fit`
    *("for_logits", "loss_inputs", "takes_one_hot", "by_name"),
    *("schedule_of", "constant_rate_of", "unwrapped", "multiplier"),
    *("Decay.left", "PolynomialDecay.left", "CosineDecay.left", "spread"),
    *(
        "SETRSegmenter.__init__",
        "multiplied",
        "weights_of",
        "of_resized",
        "spread_over",
        "is_due",
        "train_step",
    ),
    *("make_train_function", "rows_of", "computes_row"),
    # of `predict`, `segment_raster`
    *("ahead", "count_windows", "resize_to", "SlideLevel.read"),
    "Encoder.check_size",
}
# Arguments that are handed to others which have the rule, and what to call.
HANDED_ON = {
    "callbacks": (ks.callbacks, {"directory": "run"}),
    "batches": (SOURCE.batches, {"batch_size": 2}),
    "segmentation_batches": (
        ks.data.segmentation_batches,
        {"source": PAIRS, "batch_size": 2, "transform": TRANSFORM},
    ),
    "from_preset": (
        ks.SETRNaive.from_preset,
        {"preset": "vit_base_patch16_384"},
    ),
    "SegmentationFolder": (
        ks.data.SegmentationFolder,
        {"directory": "tests"},
    ),
    "segment_raster": (
        ks.rasters.segment_raster,
        {"model": MODEL, "source": IMAGE, "sink": IMAGE[..., 0].copy()},
    ),
    "load_image": (MODEL.load_image, {}),
    "batch_files": (ks.data.batch_files, {"batches": None, "step": 0}),
    "batches_from": (ks.data.batches_from, {"batches": None, "step": 0}),
    "export": (MODEL.export, {"filepath": "model.onnx"}),
    "build_model": (RECIPE.build_model, {}),
    "Recipe.compile": (RECIPE.compile, {"model": UNCOMPILED}),
    "Recipe.batches": (RECIPE.batches, {"source": SOURCE}),
    "fit_options": (RECIPE.fit_options, {"source": SOURCE}),
    "select": (ks.recipes.select, {}),
    "model_comparison": (
        ks.visualization.model_comparison,
        {"models": {"a": MODEL}, "images": [IMAGE]},
    ),
    "BatchNormalization.__init__": (layers.BatchNormalization, {}),
}


def _arguments():
    """`(name, function, argument)` of every argument of what is public."""
    found = {}
    for part in (*test_annotations.PARTS, inference):
        for name in test_annotations.names_of(part):
            value = getattr(part, name)
            if not test_annotations.is_ours(value):
                continue
            if inspect.isfunction(value):
                found[value.__qualname__] = value
            elif inspect.isclass(value):
                found.update(_methods(value))
    for name, function in sorted(found.items()):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in ("self", "cls"):
                yield name, function, parameter


def _methods(cls):
    foreign = [b for b in cls.__mro__ if not test_annotations.is_ours(b)]
    seen = set()
    for base in filter(test_annotations.is_ours, cls.__mro__):
        for name, value in vars(base).items():
            value = getattr(value, "__func__", value)
            if not inspect.isfunction(value):
                continue
            if name in seen or (name.startswith("_") and name != "__init__"):
                continue
            seen.add(name)
            # What Keras calls itself, or a method of it that only hands on.
            keras_own = any(name in vars(b) for b in foreign)
            if not keras_own or name == "__init__" or rules_of(value)[0]:
                yield f"{base.__qualname__}.{name}", value


ARGUMENTS = list(_arguments())


def test_there_are_arguments_to_check():
    assert len(ARGUMENTS) > 800


def _without_rule():
    """`(names, argument)` of those that no rule and no reason covers."""
    for name, function, parameter in ARGUMENTS:
        rules, rest = rules_of(function)
        own, names = parameter.name, {name, *name.split(".")}
        further = parameter.kind == parameter.VAR_KEYWORD
        reason = own in DATA or names & (RETURNED | INNER)
        if own not in rules and not reason and (not further or rest):
            yield names, "no_such" if further else own


def test_every_public_argument_has_a_rule():
    without = [w for w in _without_rule() if not w[0] & HANDED_ON.keys()]
    assert without == []


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for names, argument in _without_rule()
        for name in sorted(names & HANDED_ON.keys())
    ],
)
def test_what_is_handed_on_is_named(name, argument, tmp_path, monkeypatch):
    function, given = HANDED_ON[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError)) as error:
        function(**{**given, argument: object()})
    assert argument in str(error.value)
    assert not list(tmp_path.iterdir())
