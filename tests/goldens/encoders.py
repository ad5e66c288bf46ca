"""What timm and transformers compute with weights made from their names.

    PYTHON tests/goldens/encoders.py

writes `encoders.npz` anew. PYTHON has torch, timm and transformers. The file
holds the names and shapes of all tensors, whose values `random_state` gives,
the configurations of folders, and the tokens of the patches behind the last
norm, of images that are not square.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from tests.goldens.mmsegmentation_models import random_state

FILE = pathlib.Path(__file__).with_suffix(".npz")
PATCH, SIZE = 4, (8, 24)
PATCHES = 2 * 6
DIM, DEPTH, HEADS, MLP_DIM = 24, 2, 3, 20


def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, *SIZE, 3)).astype("float32")


def read(name):
    """The tensors, the configuration (or `{}`) and the tokens of a case."""
    with np.load(FILE) as arrays:
        shapes = json.loads(str(arrays[f"{name}/shapes"]))
        config = json.loads(str(arrays[f"{name}/config"]))
        return random_state(shapes), config, arrays[f"{name}/tokens"]


def names():
    with np.load(FILE) as arrays:
        return sorted({key.partition("/")[0] for key in arrays.files})


def of_transformers():
    """`(name, shapes, config, model)`, as its files and `from_pretrained`."""
    import transformers
    from safetensors.numpy import load_file
    from safetensors.numpy import save_file

    settings = {
        "hidden_size": DIM,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "patch_size": PATCH,
    }
    dinov3 = {**settings, "intermediate_size": MLP_DIM, "image_size": 16}
    gated = {"use_gated_mlp": True, "hidden_act": "silu"}
    for name, model, options in (
        ("Hugging Face DINOv3", "DINOv3ViT", dinov3),
        ("Hugging Face DINOv3 gated", "DINOv3ViT", {**dinov3, **gated}),
        ("Hugging Face DINOv2", "Dinov2", {**settings, "image_size": 16}),
        (
            "Hugging Face DINOv2 registers",
            "Dinov2WithRegisters",
            {**settings, "image_size": 12},
        ),
        ("Hugging Face ViT", "ViT", {**settings, "image_size": SIZE}),
    ):
        if model in ("DINOv3ViT", "Dinov2WithRegisters"):
            options["num_register_tokens"] = 2
        config = getattr(transformers, f"{model}Config")(**options)
        cls = getattr(transformers, f"{model}Model")
        with tempfile.TemporaryDirectory() as folder:
            cls(config).save_pretrained(folder)
            file = pathlib.Path(folder) / "model.safetensors"
            shapes = {k: v.shape for k, v in load_file(file).items()}
            save_file(random_state(shapes), file, {"format": "pt"})
            trained = cls.from_pretrained(folder)
        yield name, shapes, json.loads(config.to_json_string()), trained


def of_timm():
    """`(name, shapes, {}, model)`, filled by timm's own reading of files."""
    import timm
    import torch
    from timm.models import eva
    from timm.models.vision_transformer import VisionTransformer

    size = {"embed_dim": DIM, "depth": DEPTH, "num_heads": HEADS}
    settings = {
        **size,
        "patch_size": PATCH,
        "mlp_ratio": MLP_DIM / DIM,
        "num_classes": 0,
    }

    def as_torch(state):
        return {k: torch.from_numpy(np.array(v)) for k, v in state.items()}

    def shapes_of(model):
        return {k: tuple(v.shape) for k, v in model.state_dict().items()}

    def filled(name, model):
        shapes = shapes_of(model)
        model.load_state_dict(as_torch(random_state(shapes)))
        return name, shapes, {}, model

    yield filled("timm ViT", VisionTransformer(SIZE, **settings))
    yield filled(
        "timm FlexiViT",
        VisionTransformer(SIZE, no_embed_class=True, **settings),
    )
    dinov2 = {"init_values": 0.1, "dynamic_img_size": True, **settings}
    yield filled(
        "timm DINOv2 registers",
        VisionTransformer(12, reg_tokens=2, no_embed_class=True, **dinov2),
    )

    # The authors of SETR drop the distillation token and its position.
    distilled = timm.models.deit.VisionTransformerDistilled(SIZE, **settings)
    shapes = shapes_of(distilled)
    state = as_torch(random_state(shapes))
    del state["dist_token"]
    positions = state["pos_embed"]
    state["pos_embed"] = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    model = VisionTransformer(SIZE, **settings)
    model.load_state_dict(state)
    yield "timm DeiT distilled", shapes, {}, model

    for name, flexible in (("Google AugReg", False), ("Google FlexiViT", True)):
        model = VisionTransformer(SIZE, no_embed_class=flexible, **settings)
        shapes = google_shapes(flexible)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/vit.npz"
            np.savez(path, **random_state(shapes))
            model.load_pretrained(path)
        yield name, shapes, {}, model

    def dinov3(gated, biased):
        return eva.Eva(
            16,
            qkv_bias=biased,
            init_values=0.1,
            rope_type="dinov3",
            rope_temperature=100,
            rope_rotate_half=True,
            use_rot_pos_emb=True,
            use_abs_pos_emb=False,
            num_reg_tokens=2,
            dynamic_img_size=True,
            use_fc_norm=False,
            global_pool="token",
            swiglu_mlp=gated,
            swiglu_align_to=4,
            norm_layer=torch.nn.LayerNorm,  # of epsilon 1e-5
            **settings,
        )

    yield filled("timm DINOv3 gated", dinov3(gated=True, biased=False))
    for name, gated in (("Meta DINOv3", False), ("Meta DINOv3 gated", True)):
        model = dinov3(gated, biased=True)
        shapes = meta_shapes(gated)
        state = as_torch(random_state(shapes))
        model.load_state_dict(eva.checkpoint_filter_fn(state, model))
        yield name, shapes, {}, model


def google_shapes(flexible):
    """The names of big_vision for FlexiViT, else those before."""
    prefix = "params/" if flexible else ""
    attention, norm, mlp = (0, 1, 0) if flexible else (1, 2, 3)
    positions = "pos_embedding"
    if not flexible:
        positions = f"Transformer/posembed_input/{positions}"
    head_dim = DIM // HEADS
    shapes = {
        "cls": (1, 1, DIM),
        "embedding/kernel": (PATCH, PATCH, 3, DIM),
        "embedding/bias": (DIM,),
        positions: (1, PATCHES + (not flexible), DIM),
        "Transformer/encoder_norm/scale": (DIM,),
        "Transformer/encoder_norm/bias": (DIM,),
        "head/kernel": (DIM, 7),
        "head/bias": (7,),
    }
    for layer in range(DEPTH):
        block = f"Transformer/encoderblock_{layer}"
        for number in (0, norm):
            for part in ("scale", "bias"):
                shapes[f"{block}/LayerNorm_{number}/{part}"] = (DIM,)
        heads = f"{block}/MultiHeadDotProductAttention_{attention}"
        for part in ("query", "key", "value"):
            shapes[f"{heads}/{part}/kernel"] = (DIM, HEADS, head_dim)
            shapes[f"{heads}/{part}/bias"] = (HEADS, head_dim)
        shapes[f"{heads}/out/kernel"] = (HEADS, head_dim, DIM)
        shapes[f"{heads}/out/bias"] = (DIM,)
        dense = f"{block}/MlpBlock_{mlp}/Dense"
        shapes[f"{dense}_0/kernel"] = (DIM, MLP_DIM)
        shapes[f"{dense}_0/bias"] = (MLP_DIM,)
        shapes[f"{dense}_1/kernel"] = (MLP_DIM, DIM)
        shapes[f"{dense}_1/bias"] = (DIM,)
    return {prefix + name: shape for name, shape in shapes.items()}


def meta_shapes(gated):
    """The tensors of DINOv3's own files."""
    shapes = {
        "cls_token": (1, 1, DIM),
        "storage_tokens": (1, 2, DIM),
        "mask_token": (1, DIM),
        "patch_embed.proj.weight": (DIM, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (DIM,),
        "rope_embed.periods": (DIM // HEADS // 4,),
        "norm.weight": (DIM,),
        "norm.bias": (DIM,),
    }
    into = ("w1", "w2") if gated else ("fc1",)
    out = "w3" if gated else "fc2"
    for layer in range(DEPTH):
        block = f"blocks.{layer}"
        for name in ("norm1", "norm2"):
            shapes[f"{block}.{name}.weight"] = (DIM,)
            shapes[f"{block}.{name}.bias"] = (DIM,)
        for name, (rows, columns) in {
            "attn.qkv": (3 * DIM, DIM),
            "attn.proj": (DIM, DIM),
            **{f"mlp.{name}": (MLP_DIM, DIM) for name in into},
            f"mlp.{out}": (DIM, MLP_DIM),
        }.items():
            shapes[f"{block}.{name}.weight"] = (rows, columns)
            shapes[f"{block}.{name}.bias"] = (rows,)
        shapes[f"{block}.attn.qkv.bias_mask"] = (3 * DIM,)
        shapes[f"{block}.ls1.gamma"] = shapes[f"{block}.ls2.gamma"] = (DIM,)
    return shapes


def main():
    import torch

    x = torch.from_numpy(images()).permute(0, 3, 1, 2)
    arrays = {}
    for cases in (of_transformers(), of_timm()):
        for name, shapes, config, model in cases:
            with torch.inference_mode():
                if config:
                    tokens = model.eval()(x).last_hidden_state
                else:
                    tokens = model.eval().forward_features(x)
            arrays[f"{name}/shapes"] = json.dumps(shapes)
            arrays[f"{name}/config"] = json.dumps(config)
            arrays[f"{name}/tokens"] = tokens[:, -PATCHES:].numpy()
            print(name, float(tokens.abs().max()))
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
