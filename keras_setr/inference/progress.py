"""A progress bar in images per second, with the time left."""

import time
from collections.abc import Iterable
from typing import Any

import keras

from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import integer

# The rule for `verbose`, as in Keras.
VERBOSE = either(choice("auto"), integer(0, 2), flag())


class ImageProgress:
    """Keras' bar, which tells the time left, with the images per second.

    Args:
        total: int, or None where that is not known.
        verbose: 0, 1 or 2, as in Keras.
        names: sequence of str. Further figures, shown as they are.
    """

    def __init__(
        self, total: int | None, verbose: bool | int | str, names: Any = ()
    ) -> None:
        self._bar = keras.utils.Progbar(
            total,
            verbose=verbose,
            stateful_metrics=["images_per_second", *names],
            unit_name="image",
        )
        self._started = time.perf_counter()

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
        if last:
            self._bar.target = done
        images = done if images is None else images
        rate = images / max(self.seconds, 1e-9)
        values = [("images_per_second", rate), *figures]
        self._bar.update(done, values, finalize=last)
