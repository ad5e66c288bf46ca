"""One process at a time in a folder, and who it is.

The operating system holds the lock and drops it when the process ends, by a
kill or a crash too: a lock that is left behind is nobody's.
"""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import platform

from keras_setr.files.whole import make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

# What file systems without locks answer, some network ones among them.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
# Windows keeps others from reading the locked byte, so it lies behind the
# text.
_LOCKED_BYTE = 1 << 20


@contextlib.contextmanager
def only_process(path, doing):
    """Hold a lock file that says who holds it; it is gone at the end.

    Args:
        path: path of the lock file. Missing folders are made.
        doing: str. What nobody else may do meanwhile, for the error:
            "trains in runs/a".

    Raises:
        ValueError: another process holds it.
    """
    path = pathlib.Path(path)
    make_folder(path.parent)
    descriptor = _acquire(path, doing)
    try:
        who = {
            "process": os.getpid(),
            "host": platform.node(),
            "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
        }
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(who).encode())
        yield
    finally:
        if fcntl is not None:
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path, doing):
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
            raise ValueError(
                f"{_who(path)} {doing} already, as {path} says. Wait until it "
                "has ended, stop it, or name another directory."
            ) from None
        # The one before may have removed the file that this one has opened.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _lock(descriptor):
    if fcntl is None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise


def _who(path):
    try:
        who = json.loads(path.read_text())
        return (
            f"Process {who['process']} on {who['host']}, since {who['since']},"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"
