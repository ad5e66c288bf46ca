"""Files that are there whole or not at all, whenever a process is killed."""

import contextlib
import os
import pathlib

_PARTIAL = ".partial-"


@contextlib.contextmanager
def written_whole(path):
    """A temporary path beside `path`, which takes its place at the end.

    What was there before stays until the new file is on the disk; if the body
    raises, it stays for good. The temporary name ends like `path`, as some
    writers choose their format by it.

    Args:
        path: path of the file to write.

    Yields:
        `pathlib.Path` to write to.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(_PARTIAL + path.name)
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial_files(folder):
    """Remove what a killed process left of `written_whole` in a folder."""
    for path in pathlib.Path(folder).glob(_PARTIAL + "*"):
        path.unlink(missing_ok=True)


def _sync(path):
    """Wait until a file or folder is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders.
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
