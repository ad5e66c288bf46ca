"""Checkpoints on disk: one file each, the newest two kept.

A file is an `.npz` archive of arrays with a JSON text among them. Its table
of contents stands at the end and every array carries a CRC, so that neither a
cut nor a damaged file passes for a whole one.
"""

import json
import pathlib
import re
import zipfile

import numpy as np

from keras_setr import workers
from keras_setr.files.whole import remove_partial
from keras_setr.files.whole import written_whole

_KEPT = 2
_RECORD = "record.json"
_NAME = re.compile(r"step_(\d+)\.npz")


class UnreadableCheckpoint(Exception):
    """A file that is cut, damaged or no checkpoint; the text says which."""


def write_checkpoint(path, record, arrays):
    """Write a checkpoint, whole or not at all.

    Args:
        path: path of the file.
        record: dict that JSON can hold.
        arrays: iterable of `(name, array)`, read one by one, so that the host
            holds only one of them at a time.
    """
    with written_whole(path) as partial:
        with zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
            archive.writestr(_RECORD, json.dumps(record))
            for name, array in arrays:
                with archive.open(name + ".npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(
                        file, np.asanyarray(array), allow_pickle=False
                    )


def read_checkpoint(path):
    """Read and check all of a checkpoint.

    Returns:
        `(record, arrays)`, arrays a dict. bfloat16 comes as 2-byte void.

    Raises:
        UnreadableCheckpoint: the file is not whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            record = json.loads(archive.read(_RECORD))
            arrays = {}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        arrays[name.removesuffix(".npy")] = (
                            np.lib.format.read_array(file, allow_pickle=False)
                        )
        return record, arrays
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError) as e:
        raise UnreadableCheckpoint(f"{path}: {type(e).__name__}: {e}") from e


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        folder: path. Made when the first checkpoint is written.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def paths(self):
        """The files, newest first."""
        if not self.folder.is_dir():
            return []
        found = [
            (int(match[1]), path)
            for path in self.folder.iterdir()
            if (match := _NAME.fullmatch(path.name))
        ]
        return [path for _, path in sorted(found, reverse=True)]

    def newest(self):
        """`(path, record, arrays)` of the newest readable file, or `None`.

        One that cannot be read is said and set aside, so that it does not
        count among the files that are kept.

        Raises:
            ValueError: there are files, but none can be read.
        """
        if workers.is_chief():
            remove_partial(self.folder)
        paths = self.paths()
        for path in paths:
            try:
                return path, *read_checkpoint(path)
            except UnreadableCheckpoint as error:
                workers.say(f"Checkpoint skipped, it cannot be read: {error}")
                if workers.is_chief() and path.exists():
                    path.replace(path.with_suffix(".unreadable"))
        if paths:
            raise ValueError(
                f"None of the checkpoints in {self.folder} can be read; they "
                "are kept there as *.unreadable. Start the same command again "
                "to begin anew, or restore the files from a copy."
            )
        return None

    def write(self, step, record, arrays):
        """Write the checkpoint of a step, and then drop the oldest.

        Returns:
            The path.
        """
        path = self.folder / f"step_{step:07d}.npz"
        write_checkpoint(path, record, arrays)
        for old in self.paths()[_KEPT:]:
            old.unlink(missing_ok=True)
        return path
