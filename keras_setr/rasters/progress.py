"""How far a run has come: a small file, written after each band."""

import dataclasses
import glob
import json
import pathlib
import re
from typing import Any

from keras_setr.files.whole import written_whole
from keras_setr.rasters.plan import RasterPlan


class Progress:
    """The bands that a worker has written, counted in their order.

    Args:
        path: of the file, or None to keep none. Of several workers each has
            one of its own, `PATH-WORKER-of-NUM_WORKERS`.
        plan: `RasterPlan` of this worker.
        settings: dict of JSON. All that the values and the bands of all
            workers depend on.

    Attributes:
        path: of this worker's file, or None.
        done: int. Bands in the sink.
        checksum: int or None. Of the last one's values.

    Raises:
        ValueError: the file, or that of another worker, is of another run, or
            damaged.
    """

    def __init__(
        self,
        path: pathlib.Path | None,
        plan: RasterPlan,
        settings: dict[str, Any],
    ) -> None:
        _, num_workers = plan.shard
        # How many bands each worker has.
        self._counts: dict[pathlib.Path, int] = {}
        for other in range(num_workers if path is not None else 0):
            shard = other, num_workers
            bands = dataclasses.replace(plan, shard=shard).bands()
            self._counts[_of_worker(path, *shard)] = len(bands)
        # As JSON gives them back.
        self._settings = json.loads(json.dumps(settings))
        self.path = None if path is None else _of_worker(path, *plan.shard)
        self.done = 0
        self.checksum: int | None = None
        for file in [] if path is None else _there(path):
            if file not in self._counts:
                raise ValueError(
                    f"{file} is of a run with another number of workers. "
                    f"Received: shard {plan.shard}. Go on with that one, or "
                    "remove the file, and the raster is segmented anew."
                )
            done, checksum = self._read(file)
            if file == self.path:
                self.done, self.checksum = done, checksum

    def _read(self, path):
        """Bands and checksum of a worker whose settings are those of all."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            before = dict(content["settings"])
            done, checksum = int(content["done"]), int(content["checksum"])
            if not 0 < done <= self._counts[path]:
                raise ValueError(f"{done} of {self._counts[path]} bands")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} must tell how far a run has come. Received: "
                f"{type(error).__name__}: {error}. Remove it, and the raster "
                "is segmented anew."
            ) from error
        for name, value in self._settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{path} is of a run with another {name}: "
                    f"{before.get(name)}. Received: {value}. Go on with that "
                    "one, or remove the file, and the raster is segmented anew."
                )
        return done, checksum

    def mark(self, done: int, checksum: int) -> None:
        """Note that so many bands are in the sink.

        Args:
            done: int.
            checksum: int. Of the last one's values.
        """
        self.done, self.checksum = done, checksum
        if self.path is None:
            return
        content = {
            "settings": self._settings,
            "done": done,
            "checksum": checksum,
        }
        with written_whole(self.path) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def all_done(self) -> bool:
        """Whether the other workers have written their bands, too.

        This one has when it asks; without files there is none to ask.
        """
        return all(
            file == self.path or _done(file) == count
            for file, count in self._counts.items()
        )

    def remove(self) -> None:
        """Remove the files of all workers."""
        for file in self._counts:
            file.unlink(missing_ok=True)


def _of_worker(path, worker, num_workers):
    """The file of one of several workers that share a raster."""
    if num_workers == 1:
        return path
    return path.with_name(f"{path.name}-{worker}-of-{num_workers}")


def _there(path):
    """The files of any number of workers that are there."""
    name = re.compile(re.escape(path.name) + r"(-\d+-of-\d+)?")
    return [
        file
        for file in path.parent.glob(f"{glob.escape(path.name)}*")
        if name.fullmatch(file.name)
    ]


def _done(path):
    """How many bands another worker has written, as far as its file tells."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["done"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
