"""What mmsegmentation's FCN and Semantic FPN compute with made weights.

    PYTHON tests/goldens/mmsegmentation_baselines.py REFERENCE

writes `mmsegmentation_{fcn,fcn_d6,semantic_fpn}.npz` anew. PYTHON is that of an
environment with mmsegmentation 1.2.2; REFERENCE is a script that, imported,
makes mmsegmentation run without compiled operations. The models are those of
its configurations, with few channels and blocks; weights are made from names,
see `mmsegmentation_models.py`, and images are not square.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.goldens.mmsegmentation_models import random_state  # noqa: E402

FOLDER = pathlib.Path(__file__).parent
CONFIGS = {
    "fcn": "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "fcn_d6": "fcn/fcn-d6_r50-d16_4xb2-40k_cityscapes-512x1024.py",
    "semantic_fpn": "sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py",
}
CLASSES, FILTERS, BLOCKS = 3, 4, (1, 2, 2, 1)
HEIGHT, WIDTH = 41, 70
# Of 7 x 9 pixels behind the ResNet: kernels dilated by 6 reach over them.
SIZES = {"fcn_d6": (97, 130)}


def images(name="fcn"):
    size = SIZES.get(name, (HEIGHT, WIDTH))
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, *size, 3)).astype("float32")


def build(name, blocks=BLOCKS, filters=FILTERS, classes=CLASSES):
    """The model of a configuration, as small as that."""
    import mmseg
    from mmengine.config import Config
    from mmseg.models.backbones import ResNet
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    ResNet.arch_settings[0] = (ResNet.arch_settings[50][0], blocks)
    configs = pathlib.Path(mmseg.__file__).parent / ".mim" / "configs"
    model = Config.fromfile(configs / CONFIGS[name]).model
    model.pretrained = None
    norm = {"type": "BN", "requires_grad": True}
    model.backbone.update(
        depth=0, base_channels=filters, stem_channels=filters, norm_cfg=norm
    )
    widths = [4 * filters * 2**stage for stage in range(4)]
    head = model.decode_head
    head.update(num_classes=classes, norm_cfg=norm, channels=2 * filters)
    if name.startswith("fcn"):
        head.update(in_channels=widths[3])
        model.auxiliary_head.update(
            num_classes=classes,
            norm_cfg=norm,
            in_channels=widths[2],
            channels=filters,
        )
    else:
        model.neck.update(in_channels=widths, out_channels=3 * filters)
        head.update(in_channels=[3 * filters] * 4)
    return MODELS.build(model).eval()


def main(reference):
    import torch

    spec = importlib.util.spec_from_file_location("reference", reference)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    for name in CONFIGS:
        model = build(name)
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
        state = random_state(shapes)
        model.load_state_dict(
            {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
        )
        x = torch.from_numpy(images(name)).permute(0, 3, 1, 2)

        def last(tensor):
            return tensor.permute(0, 2, 3, 1).numpy()

        with torch.inference_mode():
            stages = model.backbone(x)
            maps = model.neck(stages) if model.with_neck else stages
            head = model.decode_head(maps)
            arrays = {}
            for corners in (False, True):
                logits = torch.nn.functional.interpolate(
                    head, x.shape[2:], mode="bilinear", align_corners=corners
                )
                # The rest is interpolated between these.
                arrays[f"logits_{corners}"] = last(logits)[:, ::4, ::5]
            if model.with_auxiliary_head:
                arrays["auxiliary_0"] = last(model.auxiliary_head(maps))
            for i, tensor in enumerate(stages, start=1):
                arrays[f"stage_{i}"] = last(tensor)
        arrays["shapes"] = json.dumps(shapes)
        np.savez_compressed(FOLDER / f"mmsegmentation_{name}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
