"""How far a run has come: a small file, written after each band."""

import json
import pathlib
from typing import Any

from keras_setr.files.whole import written_whole


class Progress:
    """The bands that a worker has written, counted in their order.

    Args:
        path: of the file, or None to keep none.
        settings: dict of JSON. All that the values depend on.

    Raises:
        ValueError: the file is that of another run, or damaged.
    """

    def __init__(
        self, path: pathlib.Path | None, settings: dict[str, Any]
    ) -> None:
        self.path = path
        # As JSON gives them back.
        self._settings = json.loads(json.dumps(settings))
        self.done = 0
        self.checksum: int | None = None
        if path is not None and path.exists():
            self._read()

    def _read(self):
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            before = content["settings"]
            self.done, self.checksum = content["done"], content["checksum"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} must tell how far a run has come. Received: "
                f"{type(error).__name__}: {error}. Remove it, and the raster "
                "is segmented anew."
            ) from error
        for name, value in self._settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{self.path} is of a run with another {name}: "
                    f"{before.get(name)}. Received: {value}. Go on with that "
                    "one, or remove the file, and the raster is segmented anew."
                )

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

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def path_of_worker(
    path: pathlib.Path, worker: int, num_workers: int
) -> pathlib.Path:
    """The file of one of several workers that share a raster."""
    if num_workers == 1:
        return path
    return path.with_name(f"{path.name}-{worker}-of-{num_workers}")


def done_of(path: pathlib.Path) -> int:
    """How many bands another worker has written, as far as its file tells."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["done"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
