"""The test protocols against mmsegmentation's own code, on equal weights.

    python tests/benchmarks/mmsegmentation.py --peer PYTHON REFERENCE

PYTHON has mmsegmentation 1.2.2; REFERENCE is a script whose `build` and
`randomise` make a small SETR of it. For each decoder the peer writes a random
checkpoint and what its `slide_inference`, mmcv's resizing, `SegTTAModel` and
`IoUMetric` make of a few images, and the authors' multi-scale test written
out over its `slide_inference`. Each backend loads the checkpoint in a process
of its own and compares. The last line is the verdict, and the exit code 1 if
a figure is beyond its limit.
"""

import importlib.util
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
from processes import beside_peer
from processes import last_json
from processes import printed

HEADS = ("naive", "pup", "mla")
CLASSES, WINDOW, STRIDE = 7, 64, 42
TAPS = (0, 2, 3, 5)
# Landscape, portrait and one that is lower than the window at every scale.
SIZES = ((81, 131), (125, 70), (34, 100))
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
BASE_SCALE = (96, 160)
# Logits relative to the largest one, percent of equal labels, IoU.
LOGITS, LABELS, IOU = 1e-5, 99.99, 1e-9
IGNORED = 255


def images():
    """Random blobs, uint8, in the sizes above."""
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
        blobs = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        noise = rng.integers(-20, 21, blobs.shape)
        yield np.clip(blobs + noise, 0, 255).astype("uint8")


def truths():
    """Labels without class 3, with ignored pixels."""
    rng = np.random.default_rng(1)
    for size in SIZES:
        labels = rng.integers(0, CLASSES, size)
        labels[labels == 3] = IGNORED
        yield labels


def run_peer(args):
    """In mmsegmentation's Python: checkpoints and `(head)_(what)` arrays."""
    spec = importlib.util.spec_from_file_location("reference", args.reference)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    import mmcv
    import torch
    from mmcv.transforms import Resize
    from mmseg.evaluation.metrics import IoUMetric
    from mmseg.models.segmentors import SegTTAModel
    from mmseg.structures import SegDataSample

    # The models are tiny: threads would wait for each other.
    torch.set_num_threads(1)
    mean = torch.tensor([123.675, 116.28, 103.53])
    std = torch.tensor([58.395, 57.12, 57.375])

    def nchw(image):
        x = (torch.tensor(image.copy()).float() - mean) / std
        return x.permute(2, 0, 1)[None]

    def predict(model, scaled, size, flip):
        sample = SegDataSample()
        sample.set_metainfo(
            {
                "ori_shape": size,
                "img_shape": scaled.shape[:2],
                "flip": flip,
                "flip_direction": "horizontal" if flip else None,
                "img_path": "",
            }
        )
        looked_at = scaled[:, ::-1] if flip else scaled
        return model.predict(nchw(looked_at), [sample])[0]

    def authors_scale(image, scale):
        """Resize(setr_multi_scale=True) of the authors' transforms.py."""
        shorter = max(int(min(BASE_SCALE) * scale), WINDOW)
        height, width = image.shape[:2]
        if height > width:
            target = (shorter * height / width, shorter)
        else:
            target = (shorter, shorter * width / height)
        return mmcv.imrescale(image, target)

    def authors(model, image):
        """aug_test: the mean over views of the softmax at the first size."""
        views = []
        for scale in SCALES:
            scaled = authors_scale(image, scale)
            for flip in (False, True):
                x = nchw(scaled[:, ::-1] if flip else scaled)
                meta = [{"img_shape": scaled.shape[:2]}]
                logits = model.slide_inference(x, meta)
                logits = torch.nn.functional.interpolate(
                    logits,
                    size=image.shape[:2],
                    mode="bilinear",
                    align_corners=False,
                )
                p = logits.softmax(dim=1)
                views.append(p.flip(dims=(3,)) if flip else p)
        return torch.stack(views).mean(dim=0)[0].permute(1, 2, 0)

    work = pathlib.Path(args.work)
    for head in HEADS:
        model = reference.build(head, CLASSES, 48, 6, 4, WINDOW, TAPS).eval()
        reference.randomise(model, seed=3)
        torch.save(
            {"state_dict": model.state_dict()}, work / f"{head}_checkpoint.pth"
        )
        merge = SegTTAModel(module=model)
        arrays, areas = {}, []
        with torch.inference_mode():
            for index, (image, truth) in enumerate(zip(images(), truths())):
                size = image.shape[:2]
                single = predict(model, image, size, flip=False)
                based = Resize(scale=BASE_SCALE, keep_ratio=True)
                base = predict(
                    model, based({"img": image})["img"], size, flip=False
                )
                views = [
                    predict(model, resize({"img": image})["img"], size, flip)
                    for resize in (
                        Resize(scale_factor=r, keep_ratio=True) for r in SCALES
                    )
                    for flip in (False, True)
                ]
                merged = merge.merge_preds([views])[0].pred_sem_seg.data
                logits = single.seg_logits.data.permute(1, 2, 0)
                base = base.seg_logits.data.permute(1, 2, 0)
                arrays[f"slide_{index}"] = logits.numpy()
                arrays[f"base_{index}"] = base.numpy()
                arrays[f"paper_{index}"] = merged.squeeze().numpy()
                arrays[f"authors_{index}"] = authors(model, image).numpy()
                areas.append(
                    IoUMetric.intersect_and_union(
                        single.pred_sem_seg.data[0],
                        torch.tensor(truth),
                        CLASSES,
                        IGNORED,
                    )
                )
        # Its areas are float32, exact at these sizes; so that the ratios are
        # exact as well they are divided in float64.
        totals = [
            sum(area[i] for area in areas).double()
            for i in range(len(areas[0]))
        ]
        scores = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])
        arrays["iou"] = np.asarray(scores["IoU"], "float64")
        np.savez_compressed(work / f"{head}.npz", **arrays)


def measure(args):
    """On one backend: JSON of the worst difference of each kind."""
    import keras_setr as ks

    taps = {"mla": {"feature_layers": (1, 3, 4, 6)}}
    options = {"verbose": 0}
    rows = {}
    for head, name in zip(HEADS, ("SETRNaive", "SETRPUP", "SETRMLA")):
        model = getattr(ks, name).from_preset(
            os.path.join(args.work, f"{head}_checkpoint.pth"),
            num_heads=4,
            image_shape=(WINDOW, WINDOW, 3),
            verbose=False,
            **taps.get(head, {"auxiliary_layers": (1, 3, 4)}),
        )
        confusion = ks.metrics.ConfusionMatrix(CLASSES, IGNORED)
        slide = base = multi = authors = 0.0
        pixels = 0
        with np.load(os.path.join(args.work, f"{head}.npz")) as arrays:
            for i, (image, truth) in enumerate(zip(images(), truths())):

                def view(**more):
                    return model.segment(
                        image, protocol="mmsegmentation", **more, **options
                    )

                logits = view(output="logits")
                slide = max(slide, relative(logits, arrays[f"slide_{i}"]))
                logits = view(output="logits", base_scale=BASE_SCALE)
                base = max(base, relative(logits, arrays[f"base_{i}"]))
                wrong = view(scales="paper") != arrays[f"paper_{i}"]
                multi += wrong.sum()
                expected = arrays[f"authors_{i}"].argmax(axis=-1)
                labels = model.segment(
                    image, scales="paper", base_scale=BASE_SCALE, **options
                )
                authors += (labels != expected).sum()
                pixels += wrong.size
                confusion.update(truth, view())
            iou = ks.metrics.per_class_iou(confusion.counts)
            difference = np.abs(iou - arrays["iou"])
            same = (np.isnan(iou) == np.isnan(arrays["iou"])).all()
        rows[head] = {
            "slide": slide,
            "base": base,
            "paper": 100 * (1 - multi / pixels),
            "authors": 100 * (1 - authors / pixels),
            "iou": float(np.nanmax(difference)) if same else float("nan"),
        }
    print(json.dumps(rows))


def relative(logits, expected):
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def agrees(row):
    return (
        max(row["slide"], row["base"]) <= LOGITS
        and min(row["paper"], row["authors"]) >= LABELS
        and row["iou"] <= IOU
    )


def main():
    args = beside_peer(__doc__, run_peer, measure)
    if args is None:
        return
    python, reference = args.peer
    beyond = []
    with tempfile.TemporaryDirectory() as work:
        call = [__file__, "--work", work]
        printed([python, *call, "--reference", reference])
        print(
            f"{'backend':12}{'decoder':9}{'slide':>9}{'base scale':>12}"
            f"{'paper, M %':>12}{'paper, A %':>12}{'IoU':>9}"
        )
        for backend in args.backends:
            rows = last_json([sys.executable, *call, "--measure"], backend)
            for head, row in rows.items():
                if not agrees(row):
                    beyond.append(f"{backend} {head}")
                print(
                    f"{backend:12}{head:9}{row['slide']:9.1e}"
                    f"{row['base']:12.1e}{row['paper']:12.3f}"
                    f"{row['authors']:12.3f}{row['iou']:9.1e}",
                    flush=True,
                )
    print(
        f"limits: logits {LOGITS:g} of the largest, labels {LABELS} %, IoU "
        f"{IOU:g}: " + ("beyond: " + ", ".join(beyond) if beyond else "all met")
    )
    sys.exit(bool(beyond))


if __name__ == "__main__":
    main()
