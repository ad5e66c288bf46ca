"""Label files for folders of images, and for the datasets' test servers."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import sys
import zipfile
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import folder
from keras_setr.arguments import function
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import path as path_rule
from keras_setr.arguments import segmenter
from keras_setr.arguments import sequence
from keras_setr.arguments import shard as shard_rule
from keras_setr.arguments import string
from keras_setr.facts.datasets import DATASETS
from keras_setr.files.images import load_image
from keras_setr.files.masks import save_labels
from keras_setr.files.whole import make_folder
from keras_setr.files.whole import remove_partial
from keras_setr.files.whole import written_whole
from keras_setr.inference import VERBOSE
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.inference import ImageProgress
from keras_setr.inference import Views
from keras_setr.inference import ahead
from keras_setr.tables import printable

# Images handed to the model at a time, so that small ones share batches.
_IMAGES_AT_A_TIME = 4


@dataclasses.dataclass(frozen=True)
class TestServer:
    """What the test server of a dataset takes.

    Attributes:
        dataset: str. A name of `DATASETS`.
        image_name: regular expression of the test images' names.
        example: str. One of these names.
        zipped: bool. Whether the files go into one archive.
        source: str. Where it is written.
    """

    # Not a test, whatever pytest makes of the name.
    __test__ = False

    dataset: str
    image_name: str
    example: str
    zipped: bool
    source: str

    @property
    def values(self):
        """What is written for each label, as the dataset's files have it."""
        return DATASETS[self.dataset].label_values

    @property
    def image_size(self):
        """`(H, W)` of every image, or None where they vary."""
        return DATASETS[self.dataset].image_size


TEST_SERVERS = {
    server.dataset: server
    for server in (
        TestServer(
            "cityscapes",
            image_name=r"[^_]+_\d{6}_\d{6}_leftImg8bit\.png",
            example="berlin_000000_000019_leftImg8bit.png",
            zipped=False,
            source="cityscapesScripts, evalPixelLevelSemanticLabeling.py",
        ),
        TestServer(
            "ade20k",
            image_name=r"ADE_test_\d{8}\.jpg",
            example="ADE_test_00000001.jpg",
            zipped=True,
            source="mmsegmentation 1.2.2, datasets/ade.py and IoUMetric",
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class FolderRun:
    """What became of a run over image files.

    Attributes:
        written: int. Files segmented now.
        kept: int. Files that an earlier run had written.
        failed: tuple of `(path, message)` of images that cannot be read.
        archive: path of the archive, where one was asked for.
    """

    written: int
    kept: int
    failed: tuple = ()
    archive: pathlib.Path | None = None


@checked(
    *VIEW_OPTIONS,
    model=segmenter(),
    files=sequence(path_rule()),
    save=function(),
    done=optional(function()),
    batch_size=optional(integer(1)),
    verbose=VERBOSE,
    confidence=flag(),
    entropy=flag(),
    shard=optional(shard_rule()),
)
def segment_files(
    model: Any,
    files: Iterable[str | os.PathLike[str]],
    save: Callable[..., Any],
    *,
    done: Callable[..., bool] | None = None,
    batch_size: int | None = None,
    verbose: bool | int | str = "auto",
    confidence: bool = False,
    entropy: bool = False,
    shard: tuple[int, int] | None = None,
    **views: Any,
) -> FolderRun:
    """Segment image files one after another, going on where a run stopped.

    While some are segmented, the next ones are read and the last ones written,
    each by a thread.

    Args:
        model: a segmenter. Its `load_image`, where it has one, reads the
            files, so that a model of five channels or of 16 bits gets what
            it was trained on; 8-bit RGB otherwise.
        files: sequence of paths of images.
        save: callable `save(path, image, labels)`, which writes what is made
            of an image, `(H, W, C)`, and its labels, `(H, W)`, or with
            `confidence` and `entropy` `(labels, confidence, entropy)`, those
            that were asked for. It is called in the order of the files, from
            a thread of its own.
        done: callable, whether the files of a path are there already; such
            paths are passed over.
        batch_size: int. Windows in a forward pass.
        verbose: `"auto"` or 1 for a progress bar with the images per second
            and the time left, 2 for a line at the end, 0 for silence.
        confidence, entropy: bool. Ask for the probability of each label, and
            for the entropy of all probabilities, too.
        shard: `(worker, num_workers)`, for several workers that share the
            files: this one takes every num_workers-th, from its own number
            on.
        **views: `window_size`, `stride`, `scales`, `flip`, `protocol`,
            `base_scale` and `blend`, as of `keras_setr.inference.Views`.

    Returns:
        A `FolderRun`. Images that cannot be read, or that the model or `save`
        refuses, are reported on stderr and listed there.
    """
    options = Views(**views).options()
    extras = {"confidence": confidence, "entropy": entropy}
    options.update({name: True for name, asked in extras.items() if asked})
    load = getattr(model, "load_image", load_image)
    files = list(files)
    if shard is not None:
        worker, num_workers = shard
        files = files[worker::num_workers]
    left = [path for path in files if done is None or not done(path)]

    def segment_images(images):
        return model.segment(
            images, batch_size=batch_size, verbose=0, **options
        )

    if hasattr(model, "windowed"):
        # Options that suit no image are told at once, and not for each.
        segment_images([])
    progress = ImageProgress(len(left), verbose if left else 0)
    failed, passed = [], 0
    at_a_time = batch_size or _IMAGES_AT_A_TIME

    def report(path, error):
        failed.append((path, str(error)))
        print(printable(f"\nskipped {path}: {error}"), file=sys.stderr)

    def segment_group(group):
        """Yields `(path, image, labels)`, of what the model takes."""
        try:
            images = [image for _, image in group]
            labels = segment_images(images) if images else []
        except (TypeError, ValueError) as error:
            if len(group) == 1:
                report(group[0][0], error)
            else:
                for one in group:
                    yield from segment_group([one])
            return
        for (path, image), one in zip(group, labels, strict=True):
            yield path, image, one

    def read(path):
        try:
            return path, load(path), None
        except (OSError, ValueError) as error:
            return path, None, error

    def groups():
        for first in range(0, len(left), at_a_time):
            yield [read(path) for path in left[first : first + at_a_time]]

    def wait_for(written):
        for path, saved in written:
            try:
                saved.result()
            except (OSError, ValueError) as error:
                report(path, error)

    with concurrent.futures.ThreadPoolExecutor(1) as writer:
        before: list = []
        for group in ahead(groups(), 1):
            for path, _, error in group:
                if error is not None:
                    report(path, error)
            whole = [(path, image) for path, image, e in group if e is None]
            written = [
                (sample[0], writer.submit(save, *sample))
                for sample in segment_group(whole)
            ]
            wait_for(before)
            before = written
            passed += len(group)
            if passed < len(left):
                progress.update(passed)
        wait_for(before)
    if left:
        progress.update(passed, last=True)
    return FolderRun(
        written=passed - len(failed),
        kept=len(files) - len(left),
        failed=tuple(failed),
    )


@checked(
    *VIEW_OPTIONS,
    model=segmenter(),
    images=path_rule(),
    out=folder(),
    dataset=string(),
    overwrite=flag(),
    batch_size=optional(integer(1)),
    verbose=VERBOSE,
)
def write_submission(
    model: Any,
    images: Any,
    out: str | os.PathLike[str],
    dataset: str,
    *,
    overwrite: bool = False,
    batch_size: int | None = None,
    verbose: bool | int | str = "auto",
    **views: Any,
) -> FolderRun:
    """Files for a dataset's test server from a folder of its test images.

    Cityscapes: one PNG of labelIds per image, under the image's own name, in
    1024 x 2048. ADE20K: one PNG of 1..150 per image and `submission.zip` with
    all of them. Every file is written whole or not at all, and a run that was
    interrupted goes on where it stopped: files that are there are kept, so
    `out` should be new for each model and each choice of options.

    Args:
        model: a segmenter with the dataset's classes.
        images: folder with the test images, at any depth, under the names in
            which they were published.
        out: folder for the results.
        dataset: `"cityscapes"` or `"ade20k"`.
        overwrite: bool. Write all files anew.
        batch_size, verbose, **views: as for `segment_files`. `base_scale`
            defaults to the dataset's, and so do `window_size` and `stride`
            for models that take images of any size.

    Returns:
        A `FolderRun`. There is no archive where images failed.

    Raises:
        ValueError: no server takes this dataset's results, the model has
            another number of classes, or `images` holds no image or two under
            one name.
    """
    given = Views(**views).options()
    if dataset not in TEST_SERVERS:
        raise ValueError(
            f"dataset must be one of {sorted(TEST_SERVERS)}, which have a test "
            f"server. Received: {dataset!r}."
        )
    server = TEST_SERVERS[dataset]
    if model.num_classes != len(server.values):
        raise ValueError(
            f"{dataset} has {len(server.values)} classes. Received: a model "
            f"with num_classes={model.num_classes}."
        )
    targets = {
        path: pathlib.Path(out) / f"{path.stem}.png"
        for path in find_test_images(images, dataset)
    }
    values = np.array(server.values, np.uint8)

    def save(path, image, labels):
        if server.image_size not in (None, labels.shape):
            raise ValueError(
                f"an image of {dataset} must be {server.image_size}. "
                f"Received: {labels.shape}; the server compares pixel by pixel."
            )
        save_labels(targets[path], values[labels])

    make_folder(out)
    remove_partial(out)
    run = segment_files(
        model,
        list(targets),
        save,
        done=None if overwrite else lambda path: targets[path].exists(),
        batch_size=batch_size,
        verbose=verbose,
        **{**_published(model, DATASETS[dataset]), **given},
    )
    if not server.zipped or run.failed:
        return run
    archive = pathlib.Path(out) / "submission.zip"
    _zip(archive, sorted(targets.values()))
    return dataclasses.replace(run, archive=archive)


def _published(model, dataset):
    """The dataset's own test options, as far as the model can follow."""
    backbone = getattr(model, "backbone", None)
    if backbone is not None and None in backbone.image_shape:
        return dataset.test_options
    return {"base_scale": dataset.base_scale}


def find_test_images(
    images: str | os.PathLike[str], dataset: str
) -> list[pathlib.Path]:
    """The test images of a dataset in a folder, in order.

    Args:
        images: folder, at any depth of which they lie.
        dataset: str. A key of `TEST_SERVERS`.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: there are none, or two under one name.
    """
    server, images = TEST_SERVERS[dataset], pathlib.Path(images)
    if not images.is_dir():
        kind = "a file" if images.exists() else "which does not exist"
        raise NotADirectoryError(
            f"images must be a folder. Received: {images}, {kind}."
        )
    found = [
        path
        for path in sorted(images.rglob("*"))
        if re.fullmatch(server.image_name, path.name)
    ]
    if not found:
        raise ValueError(
            f"{images} must hold test images of {server.dataset}, named as "
            f"{server.example}. Found none."
        )
    names = collections.Counter(path.name for path in found)
    (twice, count), *_ = names.most_common(1)
    if count > 1:
        raise ValueError(
            f"{images} holds several images named {twice}, which would share "
            "one result. Leave one of them."
        )
    return found


def _zip(archive, files):
    """All files at the top of one archive, written whole or not at all."""
    with written_whole(archive) as partial:
        # PNGs do not get smaller.
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as zipped:
            for file in files:
                zipped.write(file, file.name)
