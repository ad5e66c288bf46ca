"""A progress bar in images per second, with the time left."""

import sys
import time
from collections.abc import Iterable
from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import string

# The rule for `verbose`, as in Keras.
VERBOSE = either(choice("auto"), integer(0, 2), flag())

_WIDTH = 20
# So that a terminal is not written to for each of many small images.
_INTERVAL = 0.1


class ImageProgress:
    """A bar as Keras', without Keras: images per second, and the time left.

    Args:
        total: int, or None where that is not known.
        verbose: 0, 1 or 2, as in Keras: silent, a bar, a line at the end.
        unit: str. What is counted.
    """

    @checked(total=optional(integer(0)), verbose=VERBOSE, unit=string())
    def __init__(
        self, total: int | None, verbose: bool | int | str, unit: str = "image"
    ) -> None:
        self._total = total
        self._unit = unit
        # "auto" as in Keras, which takes it for 1.
        self._verbose = 1 if verbose == "auto" else int(verbose)
        self._started = time.perf_counter()
        self._shown_at = 0.0
        self._length = 0
        if self._verbose == 1:
            # The first images may take a while; an error in place of them
            # is written over it.
            self._write(_count(0, total), "\r")

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def update(
        self,
        done: int,
        images: int | None = None,
        figures: Iterable[Any] = (),
        last: bool = False,
    ) -> None:
        """Show that `done` of the total are done.

        Args:
            done: int.
            images: int. Defaults to `done`; differs where those are batches.
            figures: `(name, value)` pairs.
            last: bool. Ends the line.
        """
        seconds = self.seconds
        early = seconds - self._shown_at < _INTERVAL
        if not self._verbose or not last and (early or self._verbose == 2):
            return
        self._shown_at = seconds
        total = done if last else self._total
        rate = (done if images is None else images) / max(seconds, 1e-9)
        time_left = _time(done, total, seconds, self._unit)
        parts = [_count(done, total), time_left]
        named = [(f"{self._unit}s_per_second", rate), *figures]
        parts += [f"{name}: {value:.4f}" for name, value in named]
        self._write(" - ".join(parts), "\n" if last else "")

    def _write(self, line, end=""):
        if self._verbose == 1:
            # What the line before leaves is blanked.
            line = f"\r{line:{self._length}}"
            self._length = len(line) - 1
        sys.stdout.write(line + end)
        sys.stdout.flush()


def _count(done, total):
    if not total:
        return f"{done}/Unknown"
    filled = min(_WIDTH * done // total, _WIDTH)
    return f"{done}/{total} [{'=' * filled:.<{_WIDTH}}]"


def _time(done, total, seconds, unit):
    """The time left, or at the end that of each image."""
    if total and 0 < done < total:
        minutes, rest = divmod(int(seconds / done * (total - done)), 60)
        return f"{minutes}:{rest:02} left"
    return f"{seconds:.0f}s {1000 * seconds / max(done, 1):.0f}ms/{unit}"
