"""What a run folder was started with, in the words of its options."""

import json
import os
import pathlib

from keras_setr_commands.defaults import EARLIER
from keras_setr_commands.messages import CommandError
from keras_setr_commands.parsing import dashed

_FILE = "settings.json"
_NEVER_KEPT = {"out", "list"}
_PATHS = ("data", "data_dir", "manual_dir", "image_dir", "names", "preset")


class Settings:
    """The options of the run in a folder, written beside its checkpoints.

    Args:
        folder: path.
    """

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / _FILE
        try:
            self.options = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(self.options, dict):
                raise ValueError(f"{type(self.options).__name__}, no object")
        except (FileNotFoundError, NotADirectoryError):
            self.options = {}
        except (OSError, ValueError, RecursionError) as error:
            raise CommandError(
                f"{self.path} must hold the options that the run was started "
                f"with. Received: {error}. Remove it, and say all of them "
                "again."
            ) from error
        if "data" in self.options and "model" not in self.options:
            self.options = EARLIER | self.options

    def missing(self, given, parser):
        """Options of the run that are not said now."""
        if not self.options:
            return {}
        kept = {
            name: value
            for name, value in self.options.items()
            if name not in given
        }
        # A run of a folder does not become one of a recipe.
        for one, other in (("data", "recipe"), ("recipe", "data")):
            if one in given and other in kept:
                parser.error(
                    f"{self.path.parent} holds a run of --{other} "
                    f"{kept[other]}; name another --out"
                )
        return kept

    def check(self, given, defaults, free, parser):
        """End the command where an option differs that may not.

        Args:
            given: dict of what was said, with what the run had.
            defaults: dict of what options mean that are not said.
            free: names of options that may differ.
            parser: `Parser`.
        """
        if not self.options:
            return
        for name, now in _kept(given).items():
            before = self.options.get(name, defaults.get(name))
            # A folder that is gone was moved.
            moved = name in _PATHS and not os.path.exists(str(before))
            if now == before or name in free or moved:
                continue
            option = dashed(name)
            started = f"with {option} {_shown(before)}"
            if name not in self.options:
                started = f"without {option}"
            parser.error(
                f"{self.path.parent} holds a run that was started {started}. "
                f"Received: {option} {_shown(now)}; leave it out to go on, or "
                "name another --out"
            )

    def write(self, given):
        """Keep the options of a run that starts or goes on."""
        from keras_setr.files.whole import written_whole

        text = json.dumps(_kept(given), indent=1)
        with written_whole(self.path) as partial:
            partial.write_text(text, encoding="utf-8")


def _kept(given):
    """Options as JSON gives them back, with paths that hold from anywhere."""
    kept = {k: v for k, v in given.items() if k not in _NEVER_KEPT}
    for name in _PATHS:
        if name in kept and os.path.exists(kept[name]):
            kept[name] = os.path.realpath(kept[name])
    return json.loads(json.dumps(kept))


def _shown(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(
            "=".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v)
            for v in value
        )
    return str(value)
