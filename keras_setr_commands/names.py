"""Names that the package knows, so that a wrong one is told at once.

What takes an import of Keras, or of another package, to ask is written out;
tests/commands/test_names.py compares it.
"""

from keras_setr.facts.baselines import BASELINES
from keras_setr.facts.decoders import CLASSES

# Both a recipe and a preset.
_BASELINES = tuple(row.name for row in BASELINES)
RECIPES = (
    "setr_naive_large_cityscapes_768_40k",
    "setr_naive_large_cityscapes_768_80k",
    "setr_pup_large_cityscapes_768_40k",
    "setr_pup_large_cityscapes_768_80k",
    "setr_mla_large_cityscapes_768_40k",
    "setr_mla_large_cityscapes_768_80k",
    "setr_pup_large_cityscapes_768_40k_random",
    "setr_pup_large_cityscapes_768_40k_21k",
    "setr_pup_large_cityscapes_768_40k_21k_1k",
    "setr_pup_large_cityscapes_768_100k",
    "setr_pup_large_cityscapes_768_100k_trainval",
    "setr_pup_large_cityscapes_768_100k_coarse",
    "setr_naive_large_cityscapes_768_80k_mmsegmentation",
    "setr_pup_large_cityscapes_768_80k_mmsegmentation",
    "setr_mla_large_cityscapes_768_80k_mmsegmentation",
    "setr_naive_base_cityscapes_768_40k",
    "setr_naive_base_cityscapes_768_80k",
    "setr_pup_base_cityscapes_768_40k",
    "setr_pup_base_cityscapes_768_80k",
    "setr_mla_base_cityscapes_768_40k",
    "setr_mla_base_cityscapes_768_80k",
    "setr_naive_hybrid_cityscapes_768_40k_1k_random",
    "setr_naive_hybrid_cityscapes_768_40k_21k_random",
    "setr_naive_hybrid_cityscapes_768_40k_1k_21k",
    "setr_naive_hybrid_cityscapes_768_40k_21k_21k",
    "setr_naive_hybrid_cityscapes_768_80k_1k_random",
    "setr_naive_hybrid_cityscapes_768_80k_21k_random",
    "setr_naive_hybrid_cityscapes_768_80k_1k_21k",
    "setr_naive_hybrid_cityscapes_768_80k_21k_21k",
    "setr_naive_deit_base_cityscapes_768_40k",
    "setr_naive_deit_base_cityscapes_768_80k",
    "setr_pup_deit_base_cityscapes_768_40k",
    "setr_pup_deit_base_cityscapes_768_80k",
    "setr_mla_deit_base_cityscapes_768_40k",
    "setr_mla_deit_base_cityscapes_768_80k",
    "setr_naive_large_ade20k_512_160k",
    "setr_pup_large_ade20k_512_160k",
    "setr_mla_large_ade20k_512_160k_b8",
    "setr_mla_large_ade20k_512_160k_b16",
    "setr_pup_deit_base_ade20k_512_160k",
    "setr_mla_deit_base_ade20k_512_160k",
    "setr_pup_large_ade20k_512_160k_trainval",
    "setr_mla_large_ade20k_512_160k_trainval",
    "setr_naive_large_ade20k_512_160k_mmsegmentation",
    "setr_pup_large_ade20k_512_160k_mmsegmentation",
    "setr_mla_large_ade20k_512_160k_b8_mmsegmentation",
    "setr_mla_large_ade20k_512_160k_b16_mmsegmentation",
    "setr_naive_large_pascal_context_480_80k",
    "setr_pup_large_pascal_context_480_80k",
    "setr_mla_large_pascal_context_480_80k_b8",
    "setr_mla_large_pascal_context_480_80k_b16",
    "setr_pup_deit_base_pascal_context_480_80k",
    "setr_mla_deit_base_pascal_context_480_80k",
    *_BASELINES,
    "fcn_resnet101_ade20k_512_160k_21k",
    "fcn_resnet101_cityscapes_769_40k_21k",
)
_SEGMENTERS = (
    "setr_naive_large_ade20k_512",
    "setr_pup_large_ade20k_512",
    "setr_mla_large_ade20k_512",
    "setr_mla_large_ade20k_512_b8",
    "setr_naive_large_cityscapes_768",
    "setr_pup_large_cityscapes_768",
    "setr_mla_large_cityscapes_768",
    "setr_naive_large_cityscapes_768_40k_b8_authors",
    "setr_naive_large_cityscapes_768_80k_b8_authors",
    "setr_pup_large_cityscapes_768_40k_b8_authors",
    "setr_pup_large_cityscapes_768_80k_b8_authors",
    "setr_mla_large_cityscapes_768_40k_b8_authors",
    "setr_mla_large_cityscapes_768_80k_b8_authors",
    "setr_naive_base_cityscapes_768_40k_b8_authors",
    "setr_naive_base_cityscapes_768_80k_b8_authors",
    "setr_naive_deit_base_cityscapes_768_40k_b8_authors",
    "setr_naive_deit_base_cityscapes_768_80k_b8_authors",
    "setr_mla_deit_base_cityscapes_768_40k_b8_authors",
    "setr_mla_deit_base_cityscapes_768_80k_b8_authors",
    "setr_pup_deit_base_cityscapes_768_40k_b8_authors",
    "setr_pup_deit_base_cityscapes_768_80k_b8_authors",
    "setr_naive_large_ade20k_512_160k_b16_authors",
    "setr_pup_large_ade20k_512_160k_b16_authors",
    "setr_mla_large_ade20k_512_160k_b8_authors",
    "setr_mla_large_ade20k_512_160k_b16_authors",
    "setr_mla_deit_base_ade20k_512_160k_b16_authors",
    "setr_pup_deit_base_ade20k_512_160k_b16_authors",
    "setr_naive_large_pascal_context_480_80k_b16_authors",
    "setr_pup_large_pascal_context_480_80k_b16_authors",
    "setr_mla_large_pascal_context_480_80k_b8_authors",
    "setr_mla_large_pascal_context_480_80k_b16_authors",
    "setr_mla_deit_base_pascal_context_480_80k_b16_authors",
    "setr_pup_deit_base_pascal_context_480_80k_b16_authors",
    *_BASELINES,
)
# Transformers without a decoder, and ResNets.
ENCODERS = (
    "vit_large_patch16_384",
    "vit_base_patch16_384",
    "vit_large_patch16_224_in21k",
    "vit_base_patch16_224_in21k",
    "vit_base_r50_s16_384",
    "vit_base_r50_s16_224_in21k",
    "vit_tiny_patch16_224_augreg_in21k",
    "vit_tiny_patch16_384_augreg",
    "vit_small_patch16_224_augreg_in21k",
    "vit_small_patch16_384_augreg",
    "vit_base_patch16_224_augreg_in21k",
    "vit_base_patch16_384_augreg",
    "vit_large_patch16_224_augreg_in21k",
    "vit_large_patch16_384_augreg",
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "deit_base_patch16_384",
    "deit_tiny_distilled_patch16_224",
    "deit_small_distilled_patch16_224",
    "deit_base_distilled_patch16_224",
    "deit_base_distilled_patch16_384",
    "dinov2_vit_small_patch14",
    "dinov2_vit_small_patch14_reg4",
    "dinov2_vit_base_patch14",
    "dinov2_vit_base_patch14_reg4",
    "dinov2_vit_large_patch14",
    "dinov2_vit_large_patch14_reg4",
    "flexivit_small",
    "flexivit_base",
    "flexivit_large",
    "dinov3_vit_small_patch16",
    "dinov3_vit_small_plus_patch16",
    "dinov3_vit_base_patch16",
    "dinov3_vit_large_patch16",
    "dinov3_vit_large_patch16_sat493m",
)
RESNETS = ("resnet50_v1c", "resnet101_v1c")
PRESETS = (*_SEGMENTERS, *ENCODERS, *RESNETS)
DATASETS = (
    "cityscapes",
    "cityscapes_coarse",
    "ade20k",
    "pascal_context",
    "pascal_context_59",
)
# With their numbers of classes.
TEST_SERVERS = {"ade20k": 150, "cityscapes": 19}
# With the name of each one's class.
MODELS = CLASSES
# Of these, the ones on a ResNet; --layers and the like are of the others.
RESNET_MODELS = ("fcn", "semantic_fpn")
IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".npy",
)
# Of one file that `keras-setr segment` writes.
RASTER_SUFFIXES = (".tif", ".tiff", ".npy")
RASTER_OUTPUTS = ("labels", "probabilities", "entropy")
WEIGHT_SUFFIXES = (
    ".pth",
    ".pt",
    ".bin",
    ".ckpt",
    ".safetensors",
    ".npz",
)
# Of `--loss`.
LOSSES = ("ce", "dice", "focal", "jaccard", "lovasz", "ohem", "tversky")
# Of `keras-setr export`.
FORMATS = {
    "onnx": ".onnx",
    "tf_saved_model": "",
    "litert": ".tflite",
    "openvino": ".xml",
    "torch": ".pt2",
}
INT8_SUFFIXES = (".onnx", ".xml")
FLOAT_PARTS = ("attention", "ends", "decoder")
EXPORT_OUTPUTS = ("labels", "probabilities", "confidence", "logits")
EXPORT_SUFFIXES = tuple(suffix for suffix in FORMATS.values() if suffix)
