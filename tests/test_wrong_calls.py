"""Wrong calls that no rule of a single argument tells: whole calls.

Each is refused at once, with an error of ours that holds the words beside it:
what it is about, the rule, what came.
"""

import os
import pathlib

import keras
import keras_hub
import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from keras_setr import losses
from keras_setr import metrics
from keras_setr.app.space import write_space
from tests import tiny

pytestmark = pytest.mark.no_backend

MODEL, FCN, RESNET = tiny.build("naive"), tiny.build("fcn"), tiny.resnet()
IMAGE = np.zeros((16, 24, 3), "uint8")
LABELS = np.zeros((16, 24), "uint8")
LOGITS = np.zeros((1, 2, 3, 3), "float32")
CLASSES = ks.Classes.numbered(5)
STEM = {"num_blocks": (1, 1), "output_stride": 8, "filters": 4}
draw = ks.visualization


def preprocessor(**options):
    converter = keras_hub.layers.ImageConverter(**options)
    return ks.SETRImageSegmenterPreprocessor(converter)


def encoder(**options):
    shape = {"num_layers": 1, "hidden_dim": 4, "num_heads": 1, "patch_size": 8}
    return ks.SETRBackbone(**{**shape, **options})


def compile(*args, **options):
    # On `MODEL` itself: what is refused changes nothing.
    return MODEL.compile(*args, **options)


def evaluate(dataset, **options):
    return ks.evaluate(MODEL, dataset, verbose=0, **options)


def written(name, content):
    pathlib.Path(name).write_bytes(content)
    return name


# === Encoders and decoders ===
CALLS = {
    "a stem by name": (
        lambda: encoder(stem="resnet50"),
        "stem must ResNetBackbone 'resnet50'",
    ),
    "a stem that is a transformer": (
        lambda: encoder(stem=MODEL.backbone),
        "stem must ResNetBackbone <SETRBackbone",
    ),
    "a stem's class": (
        lambda: encoder(stem=ks.ResNetBackbone),
        "stem must ResNetBackbone <class",
    ),
    "a stem's unknown argument": (
        lambda: encoder(stem={"depth": 50}),
        "ResNetBackbone 'depth' num_blocks",
    ),
    "a stem's wrong stride": (
        lambda: encoder(stem={**STEM, "output_stride": 7}),
        "output_stride must 8, 16 or 32 7",
    ),
    "patches that a stem does not divide": (
        lambda: encoder(stem=STEM, patch_size=12),
        "patch_size multiple output_stride=8 12",
    ),
    "patches below a stem's pixels": (
        lambda: encoder(stem=STEM, patch_size=4),
        "patch_size multiple output_stride=8 4",
    ),
    "heads that do not divide": (
        lambda: encoder(hidden_dim=5, num_heads=2),
        "num_heads must divide hidden_dim num_heads=2 hidden_dim=5",
    ),
    "rotary positions of three values": (
        lambda: encoder(hidden_dim=6, num_heads=2, rotary_base=100.0),
        "multiple of 4 rotary 3",
    ),
    "a shape without channels": (
        lambda: encoder(image_shape=(16, 24)),
        "image_shape (height, width, channels) (16, 24)",
    ),
    "a shape with unknown channels": (
        lambda: encoder(image_shape=(16, 24, None)),
        "image_shape (16, 24, None)",
    ),
    "a shape between patches": (
        lambda: encoder(image_shape=(17, 24, 3)),
        "multiples patch_size=8 (17, 24) (24, 24)",
    ),
    "an unknown interpolation": (
        lambda: encoder(position_interpolation="linear"),
        "position_interpolation 'bilinear' 'linear'",
    ),
    "a stage without blocks": (
        lambda: tiny.resnet(num_blocks=(1, 0, 1, 1)),
        "num_blocks in 1..1000 (1, 0, 1, 1)",
    ),
    "a thousand stages": (
        lambda: tiny.resnet(num_blocks=(1,) * 1000),
        "num_blocks of 1..7 (1, 1,",
    ),
    "images of a planet": (
        lambda: encoder(image_shape=(10**9, 10**9, 3)),
        "image_shape up to 65536 (1000000000, 1000000000, 3)",
    ),
    "steps without an end": (
        lambda: ks.SETRPUP(encoder(), 3, upsampling=(2,) * 1000),
        "upsampling of 0..16 (2, 2,",
    ),
    "no stage": (
        lambda: tiny.resnet(num_blocks=()),
        "num_blocks of 1..7 ()",
    ),
    "a stride beyond the stages": (
        lambda: tiny.resnet(num_blocks=(1,)),
        "output_stride at most 4 32",
    ),
    "a stride of 4": (
        lambda: tiny.resnet(output_stride=4),
        "output_stride must 8, 16 or 32 4",
    ),
    "late stages misspelt": (
        lambda: tiny.resnet(late_stages="dilate"),
        "late_stages 'dilate' mean 'dilated'?",
    ),
    "another norm": (
        lambda: tiny.resnet(norm="layer"),
        "norm 'batch' 'group' 'layer'",
    ),
    "a depth for the blocks": (
        lambda: ks.ResNetBackbone(50),
        "num_blocks sequence 50",
    ),
    "FCN on a transformer": (
        lambda: ks.FCN(MODEL.backbone, 5),
        "backbone ResNetBackbone <SETRBackbone",
    ),
    "Semantic FPN on nothing": (
        lambda: ks.SemanticFPN(None, 5),
        "backbone ResNetBackbone None",
    ),
    "PUP on a ResNet": (
        lambda: ks.SETRPUP(RESNET, 5),
        "backbone SETRBackbone <ResNetBackbone",
    ),
    "an auxiliary stage that is none": (
        lambda: ks.FCN(RESNET, 5, auxiliary_stage=5),
        "auxiliary_stage 1 4 5",
    ),
    "all features dropped": (
        lambda: ks.FCN(RESNET, 5, dropout_rate=1.0),
        "dropout_rate below 1 1.0",
    ),
    "classes as a list": (
        lambda: ks.FCN(RESNET, 2, classes=["a", "b"]),
        "classes keras_setr.Classes ['a', 'b']",
    ),
    "classes of another number": (
        lambda: ks.SemanticFPN(RESNET, 4, classes=CLASSES),
        "classes every class 5 num_classes=4",
    ),
    "a preprocessor by name": (
        lambda: ks.FCN(RESNET, 5, preprocessor="none"),
        "preprocessor 'auto' 'none'",
    ),
    "a preprocessor that resizes": (
        lambda: ks.FCN(
            RESNET, 5, preprocessor=preprocessor(image_size=(224, 224))
        ),
        "preprocessor size image_size=(224, 224) ImageConverter",
    ),
    "a short name of an argument": (
        lambda: ks.SemanticFPN(RESNET, 5, aux_weight=0.4),
        "'aux_weight' mean 'auxiliary_weight'?",
    ),
    # === Losses and compile ===
    "weights for other classes": (
        lambda: losses.PixelCrossEntropy(class_weights=[1, 1])(
            np.zeros((1, 2, 3), int), LOGITS
        ),
        "class_weights one weight per class 2 3",
    ),
    "a loss on labels of another size": (
        lambda: losses.Dice()(np.zeros((1, 4, 5), int), LOGITS),
        "Dice y_true (B, H, W) (1, 4, 5) (1, 2, 3, 3)",
    ),
    "Tversky that counts no mistake": (
        lambda: losses.Tversky(alpha=0, beta=0),
        "alpha beta both 0",
    ),
    "a sum of nothing": (
        lambda: losses.SumOfLosses([]),
        "losses must sequence []",
    ),
    "a sum of names": (
        lambda: losses.SumOfLosses(["ce", "dice"]),
        "losses must ['ce', 'dice']",
    ),
    "a sum of Keras' losses": (
        lambda: losses.SumOfLosses([keras.losses.MeanSquaredError()]),
        "losses must keras_setr.losses",
    ),
    "more weights than losses": (
        lambda: losses.SumOfLosses([losses.Dice()], [1, 2]),
        "weights one number per loss 2 1",
    ),
    "a sum in which nothing counts": (
        lambda: losses.SumOfLosses([losses.Dice()], [0]),
        "weights must not all be 0",
    ),
    "weights of the loss for other classes": (
        lambda: compile(loss=losses.Dice(class_weights=[1, 1])),
        "class_weights of the loss 2 num_classes=5",
    ),
    "weights within a sum for other classes": (
        lambda: compile(
            loss=losses.SumOfLosses([losses.Focal(class_weights=[1] * 6)])
        ),
        "class_weights of the loss 6 num_classes=5",
    ),
    "a metric by a wrong name": (
        lambda: compile(metrics=["mean_ioU"]),
        "metrics name 'mean_ioU' mean 'mean_iou'?",
    ),
    "a metric of other classes": (
        lambda: compile(metrics=[metrics.MeanIoU(3)]),
        "metrics classes of the model mean_iou num_classes=3 5",
    ),
    "metrics that are none": (
        lambda: compile(metrics=3),
        "metrics must be 'auto' or a list 3",
    ),
    "XLA in words": (
        lambda: compile(jit_compile="yes"),
        "jit_compile 'auto' True or False 'yes'",
    ),
    "an optimizer misspelt": (
        lambda: compile("adamww"),
        "optimizer name 'adamww' mean 'adamw'",
    ),
    "an optimizer's class": (
        lambda: compile(keras.optimizers.Adam),
        "optimizer the class Adam pass Adam().",
    ),
    "a rate beside an optimizer": (
        lambda: compile(keras.optimizers.Adam(), learning_rate=0.1),
        "learning_rate automatic learning_rate=0.1",
    ),
    # === LoRA, presets, exports ===
    "LoRA of more ranks than values": (
        lambda: tiny.backbone().enable_lora(25),
        "rank must be an integer in 1..24 25",
    ),
    "LoRA of layers that are none": (
        lambda: tiny.backbone().enable_lora(2, ["query"]),
        "target_layer_names 'qkv' 'query'",
    ),
    "LoRA of letters": (
        lambda: tiny.backbone().enable_lora(2, "qkv"),
        "target_layer_names sequence 'qkv'",
    ),
    "LoRA of a ResNet": (
        lambda: tiny.resnet().enable_lora(2),
        "enable_lora transformer ResNetBackbone",
    ),
    "more frozen layers than there are": (
        lambda: MODEL.backbone.freeze(99),
        "num_layers 1 3 99",
    ),
    "patches as a pair": (
        lambda: ks.SETRNaive.from_preset("vit", patch_size=(8, 8)),
        "patch_size integer in 1..512 (8, 8)",
    ),
    "patches that no image has": (
        lambda: ks.SETRNaive.from_preset("vit", patch_size=4096),
        "patch_size integer in 1..512 4096",
    ),
    "an export in capitals": (
        lambda: MODEL.export("m.onnx", "ONNX"),
        "format 'onnx' 'ONNX'",
    ),
    "an export of probabilities alone": (
        lambda: MODEL.export("m.onnx", outputs=["probabilities"]),
        "outputs labels among ['probabilities'] ['labels', 'probabilities']",
    ),
    "an export of labels twice": (
        lambda: MODEL.export("m.onnx", outputs=["labels", "labels"]),
        "outputs all different ['labels', 'labels']",
    ),
    "an export without a name": (
        lambda: MODEL.export(""),
        "filepath a path ''",
    ),
    "an export to a Keras file": (
        lambda: MODEL.export("m.keras"),
        "end in .onnx, SavedModel m.keras format=",
    ),
    "an export that is not there": (
        lambda: ks.load_exported("m.onnx"),
        "m.onnx does not exist .tflite",
    ),
    "an export from bytes": (lambda: ks.load_exported(b"m"), "path b'm'"),
    # === Evaluating and segmenting ===
    "a dataset by name": (
        lambda: evaluate("data"),
        "dataset (image, label) 'data'",
    ),
    "a dataset of images": (
        lambda: evaluate([IMAGE]),
        "dataset (image, label) item 0 ndarray (16, 24, 3)",
    ),
    "a dataset of triples": (
        lambda: evaluate([(IMAGE, LABELS, LABELS)]),
        "dataset (image, label) item 0 tuple",
    ),
    "a dataset of dicts": (
        lambda: evaluate([{"image": IMAGE, "label": LABELS}]),
        "dataset (image, label) item 0 dict",
    ),
    "a dataset that is empty": (
        lambda: evaluate([]),
        "dataset (image, label) [] one at least",
    ),
    "labels that are no classes": (
        lambda: evaluate([(IMAGE, LABELS + 7)]),
        "label 0 holds label 7 num_classes=5 0..4",
    ),
    "labels of another size": (
        lambda: evaluate([(IMAGE, LABELS[:3])]),
        "label 0 height and width (16, 24) (3, 24)",
    ),
    "labels as fractions": (
        lambda: evaluate([(IMAGE, LABELS.astype("float32"))]),
        "label 0 integers float32 astype",
    ),
    "scales that are none": (
        lambda: evaluate([(IMAGE, LABELS)], scales=[]),
        "scales []",
    ),
    "a scale of 0": (
        lambda: evaluate([(IMAGE, LABELS)], scales=(1, 0)),
        "scales (1, 0)",
    ),
    "blending on a gpu": (
        lambda: evaluate([(IMAGE, LABELS)], blend="gpu"),
        "blend 'auto' 'device' 'host' 'gpu'",
    ),
    "no blending": (
        lambda: evaluate([(IMAGE, LABELS)], blend=None),
        "blend 'auto' None",
    ),
    "a protocol cut short": (
        lambda: evaluate([(IMAGE, LABELS)], protocol="mmseg"),
        "protocol 'mmsegmentation' 'mmseg'",
    ),
    "a stride beyond the window": (
        lambda: evaluate([(IMAGE, LABELS)], stride=(17, 25)),
        "stride (17, 25)",
    ),
    "evaluate the wrong way round": (
        lambda: ks.evaluate([(IMAGE, LABELS)], MODEL),
        "model must be a segmenter",
    ),
    "nothing to segment": (
        lambda: MODEL.segment(None),
        "x images a list None",
    ),
    "a number to segment": (lambda: MODEL.segment(3), "x images a list 3"),
    "bytes to segment": (
        lambda: MODEL.segment(b"image.png"),
        "x images a list b'image.png'",
    ),
    "a dict to segment": (
        lambda: MODEL.segment({"image": IMAGE}),
        "x images a list {'image'",
    ),
    "a set to segment": (lambda: MODEL.segment({"a.png"}), "x images 'a.png'"),
    "a list of nothing": (
        lambda: MODEL.segment([None]),
        "x images paths after 0 images None",
    ),
    "channels first": (
        lambda: MODEL.segment(np.zeros((3, 16, 24), "uint8")),
        "image 0 (height, width, 3) (3, 16, 24)",
    ),
    "an image of bits": (
        lambda: MODEL.segment(IMAGE.astype(bool)),
        "image 0 integers bool",
    ),
    "an image of 64 bits of nothing": (
        lambda: MODEL.segment(IMAGE + np.inf),
        "image 0 1152 infinity",
    ),
    "labels and probabilities at once": (
        lambda: MODEL.segment(IMAGE, output="logits", confidence=True),
        "confidence output='labels' 'logits'",
    ),
    # === Pictures ===
    "an image in 0..1": (
        lambda: draw.overlay(IMAGE + 0.5, LABELS),
        "image 0..255 0.5..0.5 multiply",
    ),
    "an image around 0": (
        lambda: draw.overlay(IMAGE - 1.5, LABELS),
        "image 0..255 -1.5..-1.5 scaling",
    ),
    "an image that is no number": (
        lambda: draw.overlay(IMAGE + np.nan, LABELS),
        "image 0..255 numbers nan..nan",
    ),
    "an image of bits to draw on": (
        lambda: draw.overlay(IMAGE > 0, LABELS),
        "image 0..255 bool",
    ),
    "an image of 17 bits": (
        lambda: draw.overlay(IMAGE + np.int32(99999), LABELS),
        "image 0..255 99999..99999",
    ),
    "images for an image": (
        lambda: draw.overlay(IMAGE[None], LABELS),
        "image (H, W, C) (1, 16, 24, 3)",
    ),
    "labels beside another image": (
        lambda: draw.overlay(IMAGE, LABELS[:3]),
        "labels height and width (16, 24) (3, 24)",
    ),
    "logits for labels": (
        lambda: draw.overlay(IMAGE, np.zeros((16, 24, 5), "float32")),
        "labels integers float32 (16, 24, 5) argmax",
    ),
    "labels by name": (
        lambda: draw.overlay(IMAGE, "labels.png"),
        "labels integers",
    ),
    "colours of no classes": (
        lambda: draw.color_map(LABELS, None),
        "classes must be Classes None",
    ),
    "a legend of a number": (lambda: draw.legend(5), "classes Classes 5"),
    "a sheet of nothing": (
        lambda: draw.sheet([], CLASSES),
        "pairs at least one none",
    ),
    "a sheet of images": (
        lambda: draw.sheet([IMAGE], CLASSES),
        "pairs (image, labels) pair 0: ndarray of shape (16, 24, 3)",
    ),
    "a comparison of nothing": (
        lambda: draw.comparison([], CLASSES),
        "rows at least one none",
    ),
    "a row too short": (
        lambda: draw.comparison([(IMAGE, LABELS)], CLASSES),
        "row one item per title 3 2 row 0",
    ),
    "models without names": (
        lambda: draw.model_comparison([MODEL], [IMAGE]),
        "models a dict segmenter",
    ),
    "no models": (
        lambda: draw.model_comparison({}, [IMAGE]),
        "models segmenters {}",
    ),
    "truths of other images": (
        lambda: draw.model_comparison({"a": MODEL}, [IMAGE], [LABELS] * 2),
        "truths each image 2 1",
    ),
    "entropy of no image": (
        lambda: draw.entropy_map(np.zeros((0, 3))),
        "entropy (H, W) (0, 3)",
    ),
    "entropy below 0": (
        lambda: draw.entropy_map(np.full((2, 3), -1.0)),
        "entropy at least 0 -1.0..-1.0",
    ),
    "a layer that is none": (
        lambda: draw.features(MODEL, IMAGE, layers=[9]),
        "layers 1..3 [9]",
    ),
    "a stage that is none": (
        lambda: draw.features(MODEL, IMAGE, stages=[9]),
        "stages 1..2 [9]",
    ),
    "a size that the model has not": (
        lambda: draw.features(MODEL, IMAGE, size=(17, 24)),
        "size multiples patch_size=8 (17, 24) (24, 24)",
    ),
    "a point outside": (
        lambda: draw.attention(MODEL, IMAGE, (99, 0)),
        "point 0..15 0..23 (99, 0)",
    ),
    "a head that is none": (
        lambda: draw.attention(MODEL, IMAGE, (0, 0), heads=[9]),
        "heads 1..4 [9]",
    ),
    "a direction that is none": (
        lambda: draw.attention(MODEL, IMAGE, (0, 0), direction="into"),
        "direction 'from' 'to' 'into'",
    ),
    "attention of a ResNet": (
        lambda: draw.attention(FCN, IMAGE, (0, 0)),
        "transformer FCN",
    ),
    "curves of an empty file": (
        lambda: draw.training_curves(written("log.csv", b"")),
        "log.csv epoch 0 rows",
    ),
    "curves of a text": (
        lambda: draw.training_curves(written("log.csv", b"hello\nworld\n")),
        "log.csv epoch ['hello']",
    ),
    "curves of words": (
        lambda: draw.training_curves(written("log.csv", b"epoch,loss\n0,x\n")),
        "log.csv numbers 'x'",
    ),
    "curves of bytes": (
        lambda: draw.training_curves(written("log.csv", b"\x00\xff\xfe\x01")),
        "log.csv epoch 0 rows",
    ),
}
LOSSES = ("", "CE", "ce dice", "ce-dice", "+ce", "2*", "*ce", "-1*ce", "ce*2")
LOSSES += ("nan*ce", "1e400*ce", "ce++dice", "cross entropy")
CALLS |= {
    f"the loss {name!r}": (
        lambda name=name: compile(loss=name),
        f"loss must ce, dice, {name!r}",
    )
    for name in LOSSES
}
CALLS |= {
    f"the loss {value!r:.20}": (
        lambda value=value: compile(loss=value),
        "loss must be 'auto', keras.Loss, or None. Received:",
    )
    for value in (3, True, ["ce"], {"logits": "ce"}, losses.Dice, MODEL)
}


# === Keras' own scores, of which most take one probability per label ===
LABELS_BESIDE = "must take labels (B, H, W) beside logits Received: "
REFUSED_LOSSES = ("mse", "binary_crossentropy", "hinge", "poisson", "huber")
CALLS |= {
    f"the loss {name}": (lambda name=name: compile(loss=name), LABELS_BESIDE)
    for name in REFUSED_LOSSES
}
CALLS |= {
    f"a loss of Keras, {make.__name__}": (
        lambda make=make: compile(loss=make()),
        f"loss {LABELS_BESIDE} {make.__name__}, 'ce+dice'",
    )
    for make in (
        keras.losses.BinaryCrossentropy,
        keras.losses.BinaryFocalCrossentropy,
        keras.losses.CTC,
        keras.losses.CategoricalHinge,
        keras.losses.CosineSimilarity,
        keras.losses.Huber,
        keras.losses.LogCosh,
        keras.losses.MeanSquaredError,
    )
}
REFUSED_METRICS = (
    keras.metrics.AUC(),
    keras.metrics.Precision(),
    keras.metrics.Recall(class_id=1),
    keras.metrics.F1Score(),
    keras.metrics.MeanIoU(5),
    keras.metrics.OneHotMeanIoU(5),
    keras.metrics.IoU(5, [1]),
    keras.metrics.BinaryAccuracy(),
    keras.metrics.CategoricalAccuracy(),
    keras.metrics.CategoricalCrossentropy(from_logits=True),
    keras.metrics.TopKCategoricalAccuracy(),
    keras.metrics.MeanSquaredError(),
    keras.metrics.RecallAtPrecision(0.5),
    keras.metrics.Mean(),
    keras.metrics.MeanMetricWrapper(keras.losses.mean_squared_error),
)
CALLS |= {
    f"a metric of Keras, {metric.name}": (
        lambda metric=metric: compile(metrics=["accuracy", metric]),
        f"metrics {LABELS_BESIDE} {type(metric).__name__}, 'mean_iou'",
    )
    for metric in REFUSED_METRICS
}
CALLS |= {
    f"the metric {name}": (
        lambda name=name: compile(metrics=[name]),
        f"metrics {LABELS_BESIDE}",
    )
    for name in ("AUC", "mse", "precision", "binary_accuracy")
}
CALLS |= {
    f"the metric {name!r}, which is none": (
        lambda name=name: compile(metrics=[name]),
        f"metrics must be a name mean_iou Received: {name!r}",
    )
    for name in ("ce", "MeanIoU", "auto", "", "f1")
}
CALLS |= {
    f"the metric {value!r:.20}": (
        lambda value=value: compile(metrics=[value]),
        f"metrics must hold names, functions Received: {value!r:.20}",
    )
    for value in (3, None, 1.5, b"accuracy", {4})
}
CALLS |= {
    "metrics by outputs": (
        lambda: compile(metrics={"logits": ["accuracy", "mse"]}),
        f"metrics {LABELS_BESIDE} MeanSquaredError",
    ),
    "metrics in lists": (
        lambda: compile(metrics=[["accuracy"], [keras.metrics.AUC()]]),
        f"metrics {LABELS_BESIDE} AUC",
    ),
    "metrics by outputs of other classes": (
        lambda: compile(metrics={"logits": metrics.MeanIoU(3)}),
        "metrics classes mean_iou num_classes=3 5",
    ),
    "a metric's class": (
        lambda: compile(metrics=[keras.metrics.AUC]),
        "metrics objects class AUC pass AUC(..)",
    ),
    "a metric's function": (
        lambda: compile(metrics=[keras.losses.mean_squared_error]),
        f"{LABELS_BESIDE} mean_squared_error",
    ),
    "a loss's function": (
        lambda: compile(loss=keras.losses.mean_squared_error),
        f"{LABELS_BESIDE} mean_squared_error",
    ),
    "a loss of probabilities": (
        lambda: compile(loss=keras.losses.CategoricalGeneralizedCrossEntropy()),
        "loss must take logits CategoricalGeneralizedCrossEntropy",
    ),
    "a metric of probabilities": (
        lambda: compile(
            metrics=[keras.metrics.SparseCategoricalCrossentropy()]
        ),
        "metrics must take logits from_logits=True",
    ),
    "a metric of probabilities by name": (
        lambda: compile(metrics="sparse_categorical_crossentropy"),
        "metrics must take logits from_logits=True",
    ),
    "a function of probabilities": (
        lambda: compile(metrics=[keras.losses.sparse_categorical_crossentropy]),
        "metrics must take logits from_logits=True",
    ),
    "pixels weighed in counts": (
        lambda: compile(weighted_metrics=["accuracy"]),
        "accuracy counts pixels weighs none metrics=",
    ),
    "weighted metrics that do not fit": (
        lambda: compile(weighted_metrics=[keras.metrics.AUC()]),
        f"weighted_metrics {LABELS_BESIDE} AUC",
    ),
    "weighted metrics that are none": (
        lambda: compile(weighted_metrics=4),
        "weighted_metrics must be 4",
    ),
}


# === Other things for a segmenter, a recipe, a source ===
T = ks.training
TAKE_A_SEGMENTER = {
    "describe_run": lambda model: T.describe_run(model, 2),
    "estimate_memory": lambda model: T.estimate_memory(model, 2),
    "plan_memory": lambda model: T.plan_memory(model, 2),
    "features": lambda model: draw.features(model, IMAGE),
    "attention": lambda model: draw.attention(model, IMAGE, (0, 0)),
    "rollout": lambda model: draw.attention_rollout(model, IMAGE, (0, 0)),
    "positions": draw.position_similarity,
    "Recipe.compile": next(iter(ks.recipes.values())).compile,
    "evaluate": lambda model: ks.evaluate(model, [(IMAGE, LABELS)]),
    "submission": lambda model: ks.write_submission(model, ".", "o", "ade20k"),
}
CALLS |= {
    f"{name} of {value!r:.24}": (
        lambda call=call, value=value: call(value),
        f"model must be a segmenter Received: {value!r:.24}",
    )
    for name, call in TAKE_A_SEGMENTER.items()
    for value in ("m", None, keras.Sequential(), ks.SETRPUP, MODEL.backbone)
}
CALLS |= {
    f"{name} of no recipe": (
        lambda call=call: call("setr"),
        "must a Recipe 'setr'",
    )
    for name, call in {
        "miniature": T.miniature,
        "GeneratedImages": lambda recipe: T.GeneratedImages(recipe, 2, True),
        "Recipes": lambda recipe: T.Recipes([recipe]),
    }.items()
}
RECIPE = next(iter(ks.recipes.values()))
PIXELS, FRACTIONS = np.zeros((1, 2, 3), int), np.full((1, 2, 3), 0.5)
CALLS |= {
    "batches of a name": (
        lambda: RECIPE.batches("camvid"),
        "source must be a SegmentationSource 'camvid'",
    ),
    "no generated images": (
        lambda: T.GeneratedImages(RECIPE, 0, True),
        "num_images at least 1 0",
    ),
    "scenes into nothing": (
        lambda: ks.data.StreetScenes(2, 64).write(""),
        "directory must be a path ''",
    ),
    "a momentum in words": (
        lambda: ks.optimizers.SGD(nesterov="yes"),
        "nesterov must be True or False 'yes'",
    ),
    "depths by name": (
        lambda: ks.optimizers.layer_decay_multipliers("vit", 3, 0.5),
        "depths must be a dict 'vit'",
    ),
    "a sheet of a planet": (
        lambda: draw.sheet([(IMAGE, LABELS)], CLASSES, width=10**7),
        "width 1..16384 10000000",
    ),
    "a transform of a pair that does not fit": (
        lambda: ks.data.TrainingTransform(16)(IMAGE, LABELS[:3], None),
        "image and label one height and width (16, 24, 3) (3, 24)",
    ),
    "an evaluation of a pair that does not fit": (
        lambda: ks.data.EvaluationTransform(16)(IMAGE, None, None),
        "image and label one height and width (16, 24, 3) ()",
    ),
    "a pair by name": (lambda: _folder()["a"], "index an integer 'a'"),
    "pairs by slice": (lambda: _folder()[:1], "index an integer slice(None, 1"),
    "a pair beyond the last": (lambda: _folder()[2], "index of 2 pairs 2"),
    "a name beyond the last": (
        lambda: _folder().file_name(9),
        "index of 2 pairs 9",
    ),
    "a submission of nowhere": (
        lambda: ks.write_submission(
            ks.SETRNaive(MODEL.backbone, 150), "no", "o", "ade20k"
        ),
        "images must be a folder no, which does not exist",
    ),
    "a step on nothing": (
        lambda: MODEL.train_on_batch(None),
        "x must be a batch of images None",
    ),
    "a card of a name": (
        lambda: ks.checkpoints.model_card("m", "x"),
        "model must be a segmenter or a backbone 'm'",
    ),
    "a fit that begins behind its end": (
        lambda: MODEL.fit(
            IMAGE[None], LABELS[None], epochs=1, initial_epoch=3, verbose=0
        ),
        "initial_epoch at most epochs initial_epoch=3 epochs=1",
    ),
    "weights of a text": (
        lambda: MODEL.load_weights(written("a.weights.h5", b"hello")),
        "a.weights.h5 must hold weights no HDF5",
    ),
    "a preset in shards of nothing": (
        lambda: MODEL.save_to_preset("p", max_shard_size=0),
        "max_shard_size must be a number above 0 0",
    ),
    "an encoder in shards of NaN": (
        lambda: MODEL.backbone.save_to_preset("p", float("nan")),
        "max_shard_size must be a number above 0 nan",
    ),
    "a preprocessor without a call": (
        lambda: ks.SETRNaive(
            MODEL.backbone, 5, preprocessor=keras_hub.models.Preprocessor()
        ),
        "preprocessor with a call <Preprocessor",
    ),
    "weights of other images": (
        lambda: losses.PixelCrossEntropy()(PIXELS, LOGITS, np.ones(5)),
        "sample_weight (B,) (5,) (1, 2, 3)",
    ),
    "weights of other pixels": (
        lambda: losses.Dice()(PIXELS, LOGITS, np.ones((1, 3, 2))),
        "sample_weight (B, H, W) (1, 3, 2) (1, 2, 3)",
    ),
    "a single logit": (
        lambda: losses.Focal()(PIXELS, LOGITS[..., :1]),
        "Focal K > 1 (1, 2, 3, 1)",
    ),
    "labels between classes": (
        lambda: losses.OHEM()(FRACTIONS, LOGITS),
        "y_true classes in 0..2 label 0.5",
    ),
    "labels that are NaN": (
        lambda: losses.Jaccard()(FRACTIONS * np.nan, LOGITS),
        "y_true classes in 0..2 label nan",
    ),
}


# === Sizes and places that nobody means ===
CALLS |= {
    "a million times as large": (
        lambda: MODEL.segment(IMAGE, scales=(1e6,)),
        "scales at most 100 (1000000.0,)",
    ),
    "a base of a planet": (
        lambda: MODEL.segment(IMAGE, base_scale=10**8),
        "base_scale 1..65536 100000000",
    ),
    "windows between patches": (
        lambda: MODEL.segment(IMAGE, window_size=(17, 24)),
        "window_size multiples patch_size=8 (17, 24) (24, 24)",
    ),
    "crops of a planet": (
        lambda: _pairs(crop_size=10**6),
        "crop_size 1..16384 1000000",
    ),
    "crops of another model": (
        lambda: _pairs(crop_size=(32, 24), model=MODEL),
        "crop_size the model's (16, 24). (32, 24) image_shape=(32, 24, 3)",
    ),
    "an augmentation's class": (
        lambda: _pairs(augment=ks.data.TrainingTransform),
        "augment must Pass an object of it: TrainingTransform(..)",
    ),
    "an augmentation that gives nothing": (
        lambda: next(iter(_pairs(augment=lambda image, label, rng: None))),
        "augment must return (image, label) NoneType",
    ),
    "an overlay of nothing": (
        lambda: draw.overlay(IMAGE[:0], LABELS[:0], CLASSES),
        "labels are empty (0, 24)",
    ),
    "a folder for an image": (
        lambda: MODEL.segment("."),
        "folder, where a file '.'",
    ),
    "trainable in words": (
        lambda: encoder(trainable="no"),
        "trainable must be True or False 'no'",
    ),
    "trainable set in words": (
        lambda: setattr(tiny.build("naive"), "trainable", "no"),
        "trainable must be True or False 'no'",
    ),
}


# === Nothing, no numbers, or the wrong end ===
CALLS |= {
    f"{loss.__name__} of {what}": (
        lambda loss=loss, given=given: loss()(*given),
        words,
    )
    for loss in (losses.PixelCrossEntropy, losses.OHEM, losses.Dice)
    for what, given, words in (
        ("no labels", (None, LOGITS), "y_true numbers None"),
        ("labels in words", (["road"], LOGITS), "y_true numbers ['road']"),
        ("no logits", (PIXELS, None), "y_pred numbers None"),
        ("logits in words", (PIXELS, "x"), "y_pred numbers 'x'"),
        ("weights in words", (PIXELS, LOGITS, "x"), "sample_weight 'x'"),
        ("no images", (PIXELS[:0], LOGITS[:0]), "of them 0 (0, 2, 3)"),
        ("no pixels", (PIXELS[:, :0], LOGITS[:, :0]), "of them 0 (1, 0, 3)"),
    )
}
CALLS |= {
    f"{score.__name__} of {what}": (
        lambda score=score, value=value: score(value),
        "confusion must pixel counts (K, K) " + words,
    )
    for score in (metrics.mean_iou, metrics.pixel_accuracy)
    for what, value, words in (
        ("a row", np.ones(3), "shape (3,)"),
        ("counts that are not square", np.ones((2, 5)), "shape (2, 5)"),
        ("counts below 0", -np.eye(2), "shape (2, 2)"),
        ("words", "ab", "'ab'"),
        ("nothing", None, "None"),
    )
}
CALLS |= {
    "scores of other classes": (
        lambda: ks.Evaluation(np.eye(3, dtype=int), CLASSES, 1, 1.0),
        "classes name each row confusion_matrix 5 3",
    ),
    "a metric of nothing": (
        lambda: metrics.MeanIoU(3).update_state(PIXELS, None),
        "y_pred numbers None",
    ),
    "a run in a file": (
        lambda: ks.callbacks(written("t.txt", b"")),
        "directory must a folder 't.txt' is a file",
    ),
    "checkpoints in a file": (
        lambda: ks.training.Checkpoints(written("t.txt", b"")),
        "directory must a folder 't.txt' is a file",
    ),
    "results in a file": (
        lambda: ks.write_submission(MODEL, ".", written("o", b""), "ade20k"),
        "out must a folder 'o' is a file",
    ),
    "a log without an end": (
        lambda: ks.training.CSVLog("e"),
        "path must .csv 'e'",
    ),
    "the best weights in a folder": (
        lambda: ks.training.BestWeights(folder("x.weights.h5")),
        "path must .weights.h5 'x.weights.h5' is a folder",
    ),
    "a validation of nothing": (
        lambda: ks.callbacks("run", validation=[]),
        "validation (image, label) [] one at least",
    ),
    "presets of another model": (
        lambda: ks.checkpoints.presets_of("SETRPub"),
        "model_class 'SETRPUP' 'SETRPub' mean",
    ),
    "a raster of 24 bits": (
        lambda: ks.rasters.plan_raster((64, 64), 3, 16, itemsize=3),
        "itemsize must 1, 2, 4 or 8 3",
    ),
    "a Space of no preset": (
        lambda: write_space("space", "setr_pub"),
        "source folder built-in hf:// 'setr_pub'",
    ),
    "a decoder of another code": (
        lambda: ks.checkpoints.decoder_arguments("pup", "paddle", "ade20k"),
        "variant 'paper' 'authors' 'paddle'",
    ),
    "a recipe at no size": (
        lambda: next(iter(ks.recipes.values())).scaled(0),
        "factor must above 0 0",
    ),
    "a test at several scales, in words": (
        lambda: next(iter(ks.recipes.values())).test_options("yes"),
        "multi_scale True or False 'yes'",
    ),
    "batch -1": (
        lambda: _pairs(drop_remainder=False).position.plan.batch(-1),
        "step must at least 0 -1",
    ),
    "classes that all weigh nothing": (
        lambda: MODEL.fit(IMAGE[None], LABELS[None], class_weight=[0] * 5),
        "class_weight above 0 (0, 0, 0, 0, 0)",
    ),
    "an optimizer that is none": (
        lambda: compile(optimizer=object()),
        "optimizer 'adamw' keras.Optimizer <object",
    ),
    "arrays for files": (
        lambda: ks.segment_files(MODEL, [IMAGE], print),
        "files a path [array(",
    ),
    "a stride in words": (
        lambda: tiny.resnet(output_stride="8"),
        "output_stride must 8, 16 or 32 '8'.",
    ),
    "everything left out": (
        lambda: encoder(drop_path_rate=1.0),
        "drop_path_rate below 1 1.0",
    ),
    "a score of words": (
        lambda: metrics.mean_iou([["a", "b"], ["c", "d"]]),
        "confusion must pixel counts [['a', 'b']",
    ),
    "masks that none can be read": (
        lambda: _folder((LABELS / 2).astype("float32"), None).num_classes,
        "num_classes none can read masks/a.tif mode 'F'",
    ),
    "colours of masks of values": (
        lambda: _folder(colors=[(0, 0, 0), (1, 1, 1)])[0],
        "masks/a.png must hold colours colors= values",
    ),
    "images that are their masks": (
        lambda: _folder(images="images", masks="images"),
        "images masks two folders 'images'",
    ),
    "tensors in a pipe": (
        lambda: ks.checkpoints.read_file(pipe("a.safetensors")),
        "a.safetensors is a pipe must be a file",
    ),
    "tensors in a folder": (
        lambda: ks.checkpoints.read_file(folder("a.pth")),
        "a folder, where a file is wanted: 'a.pth'",
    ),
    "the hash of a pipe": (
        lambda: ks.checkpoints.hash_file(pipe("a.pth")),
        "a.pth is a pipe must be a file",
    ),
    "fitting on NumPy": (
        lambda: tiny.build("naive").fit(IMAGE[None], LABELS[None], verbose=0),
        "tensorflow, jax, torch numpy KERAS_BACKEND",
    ),
    "a step on NumPy": (
        lambda: tiny.build("naive").train_on_batch(IMAGE[None], LABELS[None]),
        "tensorflow, jax, torch numpy KERAS_BACKEND",
    ),
}


def pipe(name):
    os.mkfifo(name)
    return name


def folder(name):
    pathlib.Path(name).mkdir()
    return name


def _folder(mask=LABELS + 1, number=5, **options):
    """A folder of two pairs, in the current folder."""
    for name in ("a", "b"):
        for folder, image in (("images", IMAGE), ("masks", mask)):
            kind = "tif" if image.dtype.kind == "f" else "png"
            path = pathlib.Path(folder, f"{name}.{kind}")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path)
    return ks.data.SegmentationFolder(".", num_classes=number, **options)


def _pairs(**options):
    """Batches of it."""
    options = {"crop_size": (16, 24), **options}
    return _folder().batches(1, reader="threads", **options)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_says_what_would_do(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = CALLS[name]
    wrong = (ValueError, TypeError, OSError, IndexError)
    with pytest.raises(wrong) as error:
        call()
    message = str(error.value)
    for word in words.split():
        assert word in message


def test_there_are_many():
    assert len(CALLS) >= 110
