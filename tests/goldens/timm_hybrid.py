"""What timm's hybrid of ResNet and ViT computes with weights made from names.

    PYTHON tests/goldens/timm_hybrid.py

writes `timm_hybrid.npz` anew. PYTHON is that of an environment with timm; of
torchvision it needs names alone, which stand in below where it is absent. The
model is `vit_base_r50_s16_384` with fewer blocks and channels: 32, the fewest
of 32 groups. Weights are made from names, see `mmsegmentation_models.py`.
"""

import functools
import importlib.machinery
import json
import pathlib
import sys
import types

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.goldens.mmsegmentation_models import random_state  # noqa: E402

FILE = pathlib.Path(__file__).with_suffix(".npz")
BLOCKS, FILTERS, DIM, DEPTH, HEADS = (1, 2, 1), 32, 24, 2, 3
HEIGHT, WIDTH = 32, 48


def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, HEIGHT, WIDTH, 3)).astype("float32")


class _Name(type):
    """A class with any attribute, each again such a class."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name, (), {})


def stand_in_for_torchvision():
    try:
        import torchvision  # noqa: F401
    except ImportError:
        pass
    else:
        return
    for path in (
        "torchvision",
        "torchvision.datasets",
        "torchvision.ops",
        "torchvision.ops.misc",
        "torchvision.transforms",
        "torchvision.transforms.functional",
    ):
        parent, _, name = path.rpartition(".")
        module = types.ModuleType(path)
        module.__path__ = []
        module.__spec__ = importlib.machinery.ModuleSpec(path, None)
        module.__getattr__ = functools.partial(getattr, _Name(name, (), {}))
        sys.modules[path] = module
        if parent:
            setattr(sys.modules[parent], name, module)


def build():
    from timm.layers import StdConv2dSame
    from timm.models.resnetv2 import ResNetV2
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    stem = ResNetV2(
        layers=BLOCKS,
        channels=[4 * FILTERS * 2**stage for stage in range(3)],
        stem_chs=FILTERS,
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=functools.partial(StdConv2dSame, eps=1e-8),
    )
    return VisionTransformer(
        img_size=(HEIGHT, WIDTH),
        patch_size=1,
        embed_dim=DIM,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=4,
        embed_layer=functools.partial(HybridEmbed, backbone=stem),
    ).eval()


def main():
    stand_in_for_torchvision()
    import torch

    model = build()
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    state = random_state(shapes)
    model.load_state_dict(
        {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
    )
    x = torch.from_numpy(images()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        maps = model.patch_embed.backbone(x)
        tokens = model.forward_features(x)[:, 1:]
    np.savez_compressed(
        FILE,
        maps=maps.permute(0, 2, 3, 1).numpy(),
        features=tokens.reshape(1, HEIGHT // 16, WIDTH // 16, DIM).numpy(),
        shapes=json.dumps(shapes),
    )


if __name__ == "__main__":
    main()
