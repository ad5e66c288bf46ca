"""Images per second of the input pipeline, beside mmsegmentation's own.

    python tests/benchmarks/input_pipeline.py [--peer PYTHON] [options]

Decoding and the paper's whole augmentation, from ADE20K-sized JPEG files (512
x 683, crop 512) and Cityscapes-sized PNG files (1024 x 2048, crop 768), drawn
here. With `--peer`, the Python of an environment that has mmsegmentation, its
own transforms run on the same files, in as many worker processes as there
are cores; mmcv-lite will do. The two take turns, and the medians over the
rounds are printed: of the images per second, and of the CPU time per image,
which other work on the machine disturbs less.
"""

import argparse
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
import types

from processes import last_json

# name: (height, width), extension, crop, base scale (h, w), classes, files.
# The noise makes files of the published sizes: ADEChallengeData2016.zip has
# 42 KB per image and its labels, leftImg8bit_trainvaltest.zip 2.3 MB.
CASES = {
    "ade20k": ((512, 683), ".jpg", 512, (512, 2048), 150, 64),
    "cityscapes": ((1024, 2048), ".png", 768, (1025, 2049), 19, 16),
}
NOISE = {"ade20k": 1.0, "cityscapes": 0.7}


def write_files(folder, case):
    """Scenes of soft textures with some forty things in each."""
    import cv2
    import numpy as np

    (height, width), extension, _, _, classes, count = CASES[case]
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image = np.zeros((height, width, 3), "float32")
        for cell in (128, 32, 8):
            grid = (height // cell + 1, width // cell + 1, 3)
            grid = rng.normal(0, cell**0.5, grid).astype("float32")
            image += cv2.resize(grid, (width, height))
        noise = rng.normal(0, NOISE[case], image.shape)
        image = np.clip(128 + 4 * image + noise, 0, 255).astype("uint8")
        label = np.zeros((height, width), "uint8")
        label[height // 3 :] = 1
        label[2 * height // 3 :] = 2
        for _ in range(40):
            center = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (
                int(rng.integers(4, width // 8)),
                int(rng.integers(4, height // 5)),
            )
            value = int(rng.integers(classes))
            cv2.ellipse(label, center, axes, 0, 0, 360, value, -1)
        for name, pixels, suffix in (
            ("images", image, extension),
            ("masks", label + (case == "ade20k"), ".png"),
        ):
            path = folder / name / f"{index:03}{suffix}"
            assert cv2.imwrite(str(path), pixels)


def cpu_seconds():
    """Of this process and its finished children."""
    usages = (
        resource.getrusage(who)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def report(batches, batch_size, count):
    """Takes two batches to warm up, then times the next, as JSON."""
    for _ in range(2):
        next(batches)
    cpu, start = cpu_seconds(), time.perf_counter()
    for _ in range(count // batch_size):
        next(batches)
    seconds = time.perf_counter() - start
    images = count // batch_size * batch_size
    print(
        json.dumps(
            {
                "images per second": images / seconds,
                "CPU ms per image": 1000 * (cpu_seconds() - cpu) / images,
            }
        ),
        flush=True,
    )
    # Threads that read ahead need not be waited for.
    os._exit(0)


def measure(args):
    """Times this package."""
    import keras_setr as ks

    _, _, crop, base_scale, classes, _ = CASES[args.case]
    folder = ks.data.SegmentationFolder(
        args.folder,
        num_classes=classes,
        reduce_zero_label=args.case == "ade20k",
    )
    batches = folder.batches(
        args.batch_size,
        augment=ks.data.TrainingTransform((crop, crop), base_scale),
        # Two to warm up, and some to read ahead until the end.
        steps_per_epoch=args.images // args.batch_size + 8,
        check=False,
        reader=args.reader,
    )
    report(iter(batches), args.batch_size, args.images)


def measure_peer(args):
    """Times mmsegmentation; in its own environment, without this package."""

    class NoOps(types.ModuleType):
        """mmcv-lite has no compiled part, of which mmseg imports names."""

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **options: None

    if importlib.util.find_spec("mmcv._ext") is None:
        ops = NoOps("mmcv._ext")
        ops.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
        sys.modules["mmcv._ext"] = ops
    import cv2
    import torch
    from mmengine.dataset import Compose
    from mmengine.dataset import pseudo_collate
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    _, _, crop, (base_height, base_width), _, _ = CASES[args.case]
    reduce = args.case == "ade20k"
    transform = Compose(
        [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "reduce_zero_label": reduce},
            {
                "type": "RandomResize",
                "scale": (base_width, base_height),
                "ratio_range": (0.5, 2.0),
                "keep_ratio": True,
            },
            {
                "type": "RandomCrop",
                "crop_size": (crop, crop),
                "cat_max_ratio": 0.75,
            },
            {"type": "RandomFlip", "prob": 0.5},
            {"type": "PhotoMetricDistortion"},
            {"type": "PackSegInputs"},
        ]
    )
    folder = pathlib.Path(args.folder)
    images = sorted(map(str, (folder / "images").iterdir()))
    masks = sorted(map(str, (folder / "masks").iterdir()))

    class Samples(torch.utils.data.Dataset):
        def __len__(self):
            return args.images + 2 * args.batch_size

        def __getitem__(self, index):
            index %= len(images)
            return transform(
                {
                    "img_path": images[index],
                    "seg_map_path": masks[index],
                    "reduce_zero_label": reduce,
                    "label_map": None,
                    "seg_fields": [],
                }
            )

    def one_thread(_):
        cv2.setNumThreads(0)
        torch.set_num_threads(1)

    if args.workers == 0:
        # CPU time of worker processes is only counted when they end.
        one_thread(0)
    loader = torch.utils.data.DataLoader(
        Samples(),
        args.batch_size,
        num_workers=args.workers,
        collate_fn=pseudo_collate,
        worker_init_fn=one_thread,
    )
    report(iter(loader), args.batch_size, args.images)


def run(python, task, case, folder, args, images, workers):
    command = [python, __file__, "--task", task, "--case", case]
    command += ["--folder", str(folder), "--images", str(images)]
    command += ["--workers", str(workers), "--reader", args.reader]
    command += ["--batch-size", str(args.batch_size)]
    if task == "peer":
        # Python's own path of this process is of no use to another one.
        return last_json(command, PYTHONPATH="")
    root = pathlib.Path(__file__).parents[2]
    backend = os.environ.get("KERAS_BACKEND", "torch")
    return last_json(command, backend, PYTHONPATH=str(root))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument(
        "--reader", default="threads", choices=("threads", "tf.data", "grain")
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--images", type=int, help="per round and measure")
    for internal in ("--task", "--case", "--folder"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        return {"peer": measure_peer, "own": measure}[args.task](args)

    with tempfile.TemporaryDirectory() as directory:
        for case in args.cases:
            folder = pathlib.Path(directory) / case
            write_files(folder, case)
            sizes = [p.stat().st_size for p in (folder / "images").iterdir()]
            count = args.images or (320 if case == "ade20k" else 64)
            rows = {"keras_setr": [], "mmsegmentation": []}
            for _ in range(args.rounds):
                own = run(sys.executable, "own", case, folder, args, count, 0)
                rows["keras_setr"].append(own)
                if args.peer:
                    peer = [
                        run(args.peer, "peer", case, folder, args, n, workers)
                        for n, workers in (
                            (count, args.workers),
                            (count // 2, 0),
                        )
                    ]
                    peer[0]["CPU ms per image"] = peer[1]["CPU ms per image"]
                    rows["mmsegmentation"].append(peer[0])
            show(case, statistics.mean(sizes), rows)


def show(case, file_size, rows):
    (height, width), extension, crop, _, _, _ = CASES[case]
    print(
        f"{height} x {width} {extension} of {file_size / 1000:,.0f} KB, "
        f"crop {crop}"
    )
    medians = {
        name: {
            key: statistics.median(row[key] for row in measured)
            for key in measured[0]
        }
        for name, measured in rows.items()
        if measured
    }
    for name, values in medians.items():
        cells = "".join(f"{v:9.1f} {key}" for key, v in values.items())
        print(f"  {name:16}{cells}")
    if len(medians) == 2:
        own, peer = medians.values()
        speed, cost = own
        print(
            f"  {'ratio':16}{own[speed] / peer[speed]:9.2f} {speed}"
            f"{peer[cost] / own[cost]:9.2f} {cost}",
            flush=True,
        )


if __name__ == "__main__":
    main()
