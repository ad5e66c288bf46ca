"""Files from published addresses into Keras' cache: resumed and verified."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request

import keras

from keras_setr.files.whole import written_whole

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_ATTEMPTS = 5


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
    verified.

    Args:
        url: str.
        path: str.
        sha256: str. The first digits of the expected hash, or `None`.
        verbose: bool. Whether to draw a progress bar.

    Returns:
        `path`.

    Raises:
        OSError: where the server has no such file or cannot be reached.
        ValueError: where the hash is another one.
    """
    if os.path.exists(path):
        return path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = path + ".part"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _continue(url, part, verbose)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _ATTEMPTS:
                raise OSError(
                    f"{url} cannot be downloaded: {error.code} "
                    f"{error.reason}. If you have the file, put it at {path}."
                ) from error
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS:
                raise OSError(
                    f"{url} cannot be downloaded: {error}. What has arrived "
                    f"is kept; try again, or put the file at {path}."
                ) from error
        time.sleep(min(2 ** (attempt - 1), 8) * 0.25)
    found = hash_file(part)
    if sha256 and not found.startswith(sha256):
        os.remove(part)
        raise ValueError(
            f"{url} has the hash {found[: len(sha256)]}, but {sha256} was "
            "published. It was removed; download it again, and do not use "
            "the file if this repeats."
        )
    with written_whole(path) as whole:
        os.replace(part, whole)
    return path


def hash_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _continue(url, part, verbose):
    """Append what `part` lacks of the file at `url`."""
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
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        progress = keras.utils.Progbar(
            total, unit_name="byte", verbose=int(verbose)
        )
        done = start
        with open(part, "ab" if start else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress.update(done)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
