"""Files and folders that are there whole or not at all, whenever a kill comes.

What is being written lies beside its place under a name of its own,
`.partial-HOST-PROCESS-RANDOM-NAME`: any number of processes can write the same
file, and what a killed one left can be told from what a live one still writes.
"""

import contextlib
import errno
import io
import os
import pathlib
import platform
import re
import shutil
import time
import uuid

# A folder that gives way to a new one is called `former` meanwhile.
_NAME = re.compile(
    r"\.(?P<kind>partial|former)-(?P<host>.+)-(?P<process>\d+)-[0-9a-f]{8}-"
    r"(?P<end>.+)",
    re.DOTALL,
)
# File systems take names of 255 bytes, and writers choose formats by the end.
_LONGEST_END = 40
# Processes of other machines cannot be asked for.
_ABANDONED_AFTER_SECONDS = 3600
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)
_in_use: set[str] = set()


def make_folder(path):
    """Make a folder, and those above it, where they are missing.

    Raises:
        OSError: as of `os.makedirs`; it says what would do.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"{path} must be a folder, or one that can be made. Received: "
            f"{error.strerror} ({error.filename}); name another place."
        ) from error


def check_folder_of(path):
    """Raise where `path` cannot be written, as far as its folders tell.

    Raises:
        NotADirectoryError, PermissionError: naming the folder.
    """
    path = pathlib.Path(path)
    folder = next(p for p in path.absolute().parents if p.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; {path} cannot be.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} may not be written to, for {path}.")


def check_room(path, size):
    """Raise where a disk has not the room for what is to be written.

    Args:
        path: path of a file or folder to write.
        size: int. Bytes.

    Raises:
        OSError: ENOSPC; names the path.
    """
    folders = pathlib.Path(os.path.realpath(path)).parents
    usage = shutil.disk_usage(next(f for f in folders if f.exists()))
    # Some file systems of networks tell nothing.
    if usage.total and size > usage.free:
        raise OSError(
            errno.ENOSPC,
            f"{size / 1e6:,.1f} MB are needed and {usage.free / 1e6:,.1f} MB "
            "are free",
            str(path),
        )


class RaisingFile(io.BytesIO):
    """A new file for HDF5 to write to, whose errors are Python's.

    On a full disk, or one that is gone, HDF5's own files end the process when
    they are closed. Here it is an `OSError`; what HDF5 still wants to write
    after it goes nowhere.

    Args:
        path: path. Of what Keras writes, its end counts.
    """

    def __init__(self, path):
        super().__init__()
        self._path = path
        self._file = open(path, "w+b", buffering=0)
        self._failed = False

    def __str__(self):
        return str(self._path)

    def _do(self, method, *args):
        if self._failed:
            return 0
        try:
            return getattr(self._file, method)(*args)
        except OSError:
            self._failed = True
            raise

    def write(self, data):
        data = memoryview(data).cast("B")
        done = 0
        while done < len(data) and not self._failed:
            done += self._do("write", data[done:])
        return len(data)

    def readinto(self, buffer):
        return self._do("readinto", buffer)

    def seek(self, *args):
        return self._do("seek", *args)

    def tell(self):
        return self._do("tell")

    def truncate(self, *args):
        return self._do("truncate", *args)

    def flush(self):
        pass  # Nothing is kept back.

    def close(self):
        self._failed = True
        self._file.close()


@contextlib.contextmanager
def written_whole(path):
    """A temporary path beside `path`, which takes its place at the end.

    What was there before stays until the new file is on the disk, and if the
    body raises, for good. Its permissions pass on to the new file.

    Args:
        path: path of the file to write. Missing folders are made.

    Yields:
        `pathlib.Path` to write to; it ends like `path`.

    Raises:
        OSError: what `open(path, "w")` would raise, or the disk is full; it
            names `path`.
    """
    # A link stays a link, as for `open`.
    path = pathlib.Path(os.path.realpath(path))
    make_folder(path.parent)
    if path.exists():
        open(path, "r+b").close()  # raises if the file is protected
    with _partial(path) as partial:
        yield partial
        _sync(partial)
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
        _sync_folder(path.parent)


@contextlib.contextmanager
def folder_written_whole(path, replace=True):
    """As `written_whole`, a temporary folder that takes the place of `path`.

    Of a folder that is replaced, nothing is kept but its permissions. It is
    renamed before the new one is; where a kill comes between the two,
    `restore_folder` puts it back.

    Args:
        path: path of the folder to write.
        replace: bool. Whether to replace a folder that holds something.

    Yields:
        `pathlib.Path` of an empty folder.

    Raises:
        FileExistsError: `path` holds something, perhaps only since then, and
            `replace` is False.
        OSError: as of `written_whole`.
    """
    path = pathlib.Path(os.path.realpath(path))
    make_folder(path.parent)
    restore_folder(path)
    with _partial(path) as partial:
        partial.mkdir()
        yield partial
        for written in partial.rglob("*"):
            (_sync_folder if written.is_dir() else _sync)(written)
        _sync_folder(partial)
        if path.is_dir():
            shutil.copymode(path, partial)
        try:
            _move_folder(partial, path, replace)
        finally:
            restore_folder(path)
        _sync_folder(path.parent)


@contextlib.contextmanager
def written_in_parts(path):
    """As `written_whole`, for what is gone on with where it broke off.

    If the body raises, what it has written is kept as `NAME.part`, and the
    next call finds it, or what a killed process left. Several processes write
    beside each other: one goes on, the others begin anew.

    Args:
        path: path of the file to write. Missing folders are made.

    Yields:
        `pathlib.Path` to append to.
    """
    path = pathlib.Path(os.path.realpath(path))
    make_folder(path.parent)
    kept = path.with_name(f"{path.name}.part")
    partial = _beside(path, "partial")
    _in_use.add(partial.name)
    former = [kept, *_abandoned(path.parent, "partial", path.name)]
    try:
        for other in sorted(former, key=_size, reverse=True):
            # Whoever renames it first has it.
            with contextlib.suppress(FileNotFoundError):
                os.rename(other, partial)
                break
        try:
            yield partial
            _sync(partial)
        except BaseException:
            if _size(partial) > _size(kept):
                os.replace(partial, kept)
            raise
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        _remove(partial)
        _in_use.discard(partial.name)
    for other in (kept, *_abandoned(path.parent, "partial", path.name)):
        _remove(other)


def _size(path):
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def _move_folder(partial, path, replace):
    while True:
        try:
            os.rename(partial, path)
            return
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            if not replace:
                raise FileExistsError(
                    errno.EEXIST, "The folder holds something", str(path)
                ) from None
        # Another process may have moved it, or put its own there, meanwhile.
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, _beside(path, "former"))


def restore_folder(path):
    """Put back what a process was killed over as it replaced a folder.

    Args:
        path: path of the folder; nothing happens to one that is there.
    """
    path = pathlib.Path(os.path.realpath(path))
    for former in _abandoned(path.parent, "former", path.name):
        if path.exists():
            # Never half of it under a name from which it would be restored.
            partial = _beside(path, "partial")
            os.rename(former, partial)
            _remove(partial)
        else:
            os.rename(former, path)


def remove_partial(folder, name=""):
    """Remove what killed processes left half-written in a folder.

    What a live process writes stays: on this machine a process is looked up,
    and of others, what changed within an hour counts as live.

    Args:
        folder: path.
        name: str. Of the file or folder that was being written; by default,
            whatever it was.
    """
    for path in _abandoned(pathlib.Path(folder), "partial", name):
        _remove(path)


def is_partial(path):
    """Whether a path is one that this process writes to be whole later."""
    return pathlib.Path(path).name in _in_use


@contextlib.contextmanager
def _partial(path):
    """A temporary name that is gone at the end; errors name `path` instead."""
    partial = _beside(path, "partial")
    _in_use.add(partial.name)
    try:
        yield partial
    except OSError as error:
        of_this = str(error.filename).startswith(str(partial))
        if type(error) is OSError and error.errno is None:
            raise OSError(f"{path} cannot be written: {error}") from error
        if error.errno is None or not (error.filename is None or of_this):
            raise
        reason = f"{error.strerror}; nothing was written"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        _remove(partial)
        _in_use.discard(partial.name)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(path, kind):
    owner = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{kind}-{owner}-{path.name[-_LONGEST_END:]}")


def _host():
    """What tells those apart for whom a process number means another one."""
    node = re.sub(r"\W", "_", platform.node())[:32]
    try:
        # Containers may share the name of their host.
        return f"{node}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return node


def _abandoned(folder, kind, name=""):
    """Paths in a folder that no live process writes any more.

    Args:
        folder: pathlib.Path.
        kind: `"partial"` or `"former"`.
        name: str. Of the file or folder that they stand for; any by default.
    """
    end = f"-{name[-_LONGEST_END:]}" if name else ""
    return [
        path
        for path in folder.glob(f".{kind}-*")
        if path.name.endswith(end) and not _is_live(path)
    ]


def _is_live(path):
    match = _NAME.fullmatch(path.name)
    if match and match["host"] == _host() and os.name == "posix":
        process = int(match["process"])
        if process == os.getpid():
            return path.name in _in_use
        try:
            os.kill(process, 0)  # asks, and sends nothing
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
    try:
        changed = max(p.stat().st_mtime for p in (path, *path.rglob("*")))
    except FileNotFoundError:
        return True
    return time.time() - changed < _ABANDONED_AFTER_SECONDS


def _sync(path):
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path):
    """Wait until the names in a folder are on the disk.

    Windows opens no folders and some network file systems sync none; what was
    written is there all the same.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
