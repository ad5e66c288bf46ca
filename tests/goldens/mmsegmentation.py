"""What mmsegmentation's test code makes of one image and a fixed function.

    PYTHON tests/goldens/mmsegmentation.py REFERENCE

writes `mmsegmentation.npz` anew. PYTHON has mmsegmentation 1.2.2; REFERENCE
is a script whose `build` makes a small SETR of it, of which only `predict`
with its `slide_inference` and postprocessing is used: `forward` below stands
for the network, so that no weights need to be stored.
"""

import importlib.util
import pathlib
import sys

import numpy as np

FILE = pathlib.Path(__file__).with_suffix(".npz")
WINDOW, STRIDE, CLASSES = (24, 24), (16, 16), 4
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# (height, width) of the sides, in mmcv any order.
BASE_SCALE = (50, 60)


def image():
    """Blobs, uint8 `(38, 53, 3)`: at scale 0.5 it is lower than a window."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 7, 3))
    blobs = coarse.repeat(8, axis=0).repeat(8, axis=1)[:38, :53]
    return np.clip(blobs + rng.integers(-20, 21, blobs.shape), 0, 255).astype(
        "uint8"
    )


def truth():
    """Labels of the image, without class 2, the first rows ignored."""
    labels = np.random.default_rng(1).integers(0, CLASSES, (38, 53))
    labels[labels == 2] = 0
    labels[:3] = 255
    return labels


def forward(windows):
    """`(b, h, w, 3)` to `(b, h, w, 4)`: of the pixel and its place."""
    x = np.asarray(windows, "float64") / 50
    h, w = x.shape[1:3]
    rows, columns = np.arange(h)[:, None] / 7, np.arange(w) / 9
    logits = [
        np.sin(x[..., 0] + rows) * 2,
        np.cos(x[..., 1] - columns) * 2,
        np.sin(x[..., 2] + rows * columns) * 2,
        x[..., 0] - x[..., 1],
    ]
    return np.stack(logits, axis=-1).astype("float32")


def main():
    spec = importlib.util.spec_from_file_location("reference", sys.argv[1])
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    import torch
    from mmcv.transforms import Resize
    from mmengine.config import ConfigDict
    from mmseg.evaluation.metrics import IoUMetric
    from mmseg.models.segmentors import SegTTAModel
    from mmseg.structures import SegDataSample

    model = reference.build("naive", CLASSES, 48, 6, 4, 64, (0, 2, 3, 5)).eval()
    model.test_cfg = ConfigDict(mode="slide", crop_size=WINDOW, stride=STRIDE)
    model.encode_decode = lambda x, metas: torch.tensor(
        forward(x.permute(0, 2, 3, 1).numpy())
    ).permute(0, 3, 1, 2)

    def predict(flip=False, **resize):
        scaled = {"img": image()}
        if resize:
            scaled = Resize(keep_ratio=True, **resize)(scaled)
        scaled = scaled["img"][:, ::-1] if flip else scaled["img"]
        sample = SegDataSample()
        sample.set_metainfo(
            {
                "ori_shape": image().shape[:2],
                "img_shape": scaled.shape[:2],
                "flip": flip,
                "flip_direction": "horizontal",
                "img_path": "",
            }
        )
        x = torch.tensor(scaled.copy()).float().permute(2, 0, 1)[None]
        return model.predict(x, [sample])[0]

    views = [predict(f, scale_factor=r) for r in SCALES for f in (False, True)]
    merged = SegTTAModel(module=model).merge_preds([views])[0]
    single = predict()
    areas = IoUMetric.intersect_and_union(
        single.pred_sem_seg.data[0], torch.tensor(truth()), CLASSES, 255
    )
    # Its areas are whole numbers in float32; divided in float64.
    scores = IoUMetric.total_area_to_metrics(
        *(area.double() for area in areas), ["mIoU"]
    )
    np.savez_compressed(
        FILE,
        slide=single.seg_logits.data.permute(1, 2, 0).numpy(),
        # Of the first class alone.
        base=predict(scale=BASE_SCALE).seg_logits.data[0].numpy(),
        paper=merged.pred_sem_seg.data.squeeze().numpy().astype("uint8"),
        iou=np.asarray(scores["IoU"], "float64"),
        accuracy=np.asarray(scores["Acc"], "float64"),
    )


if __name__ == "__main__":
    main()
