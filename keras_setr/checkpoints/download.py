"""Files from published addresses into Keras' cache: resumed and verified."""

import contextlib
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request

import keras

from keras_setr.arguments import checked
from keras_setr.arguments import path as path_rule
from keras_setr.files.decoding import check_regular
from keras_setr.files.whole import written_in_parts

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_ATTEMPTS = 5
# The largest published file has 1.3 GB.
_MOST_BYTES = 8 << 30


class _NotWritten(Exception):
    """The disk refuses what has arrived; its cause says why."""


class _TooLarge(OSError):
    """More bytes than any file of weights has."""


def cache_folder():
    """Where downloads and converted copies are kept.

    Below `KERAS_HOME`, or `~/.keras` where that is not set.
    """
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return os.path.join(os.path.expanduser(home), "models", "keras_setr")


def download(url, path, sha256=None, verbose=True):
    """Fetch a file, unless it is there, and check its hash.

    What has arrived is kept as `path.part`; a cut connection is taken up
    where it broke, in this call or the next. `path` exists only whole and
    verified, however many processes fetch it.

    Args:
        url: str.
        path: str.
        sha256: str. The first digits of the expected hash, or `None`.
        verbose: bool. Whether to draw a progress bar.

    Returns:
        `path`.

    Raises:
        OSError: where the server has no such file or cannot be reached, or
            the disk is full.
        ValueError: where the hash is another one, also of a file that was
            put at `path` by hand.
    """
    if os.path.exists(path):
        found = hash_file(path)
        if sha256 and not found.startswith(sha256):
            raise ValueError(
                f"{path} is not the file that {url} publishes: its hash is "
                f"{found[: len(sha256)]}, and {sha256} was published. Remove "
                "it, and it is downloaded; or pass it by itself, as the file "
                "that it is."
            )
        return path
    with written_in_parts(path) as part:
        _fetch(url, part, path, verbose)
        found = hash_file(part)
        if sha256 and not found.startswith(sha256):
            os.remove(part)
            raise ValueError(
                f"{url} has the hash {found[: len(sha256)]}, but {sha256} was "
                "published. It was removed; download it again, and do not use "
                "the file if this repeats."
            )
    return path


def _fetch(url, part, path, verbose):
    """Append what `part` lacks of the file at `url`, in several attempts."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _continue(url, part, verbose)
        except _NotWritten as error:
            cause = error.__cause__
            raise OSError(
                cause.errno,
                f"{cause.strerror}; what has arrived of {url} is kept",
                path,
            ) from cause
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:
                raise OSError(
                    f"{url} cannot be downloaded: {error.code} "
                    f"{error.reason}. If you have the file, put it at {path}."
                ) from error
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS or isinstance(error, _TooLarge):
                raise OSError(
                    f"{url} cannot be downloaded: {error}. What has arrived "
                    f"is kept; try again, or put the file at {path}."
                ) from error
        time.sleep(min(2 ** (attempt - 1), 8) * 0.25)


@checked(path=path_rule())
def hash_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _continue(url, part, verbose):
    """Append what `part` lacks of the file at `url`, once."""
    start = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={"User-Agent": "keras_setr"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:  # nothing is lacking
            return
        raise
    with response:
        if start and response.status != 206:  # the server starts anew
            start = 0
        # Of what is no number, nothing is known.
        length = response.headers.get("Content-Length", "").strip()
        total = start + int(length) if length.isdecimal() else None
        if total is not None and total > _MOST_BYTES:
            raise _TooLarge(f"it has {total} bytes, more than {_MOST_BYTES}")
        progress = keras.utils.Progbar(
            total, unit_name="byte", verbose=int(verbose)
        )
        done = start
        with _file(part, "ab" if start else "wb") as file:
            # What is there at once: a connection that stalls loses nothing.
            while chunk := response.read1(_CHUNK):
                _write(file, chunk)
                done += len(chunk)
                progress.update(done)
                if done > _MOST_BYTES:
                    file.truncate(0)
                    raise _TooLarge(f"it has more than {_MOST_BYTES} bytes")
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


@contextlib.contextmanager
def _file(path, mode):
    try:
        file = open(path, mode, buffering=0)
    except OSError as error:
        raise _NotWritten from error
    with file:
        yield file


def _write(file, chunk):
    try:
        while chunk:
            chunk = chunk[file.write(chunk) :]
    except OSError as error:
        raise _NotWritten from error
