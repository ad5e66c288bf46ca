"""What a command has written into a folder, and of what: a small record."""

import json
import os
import pathlib

from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands.messages import CommandError


def fingerprint(preset):
    """What tells one preset from another: its files, their sizes and times.

    Args:
        preset: str. A folder, a file, a name or a handle.

    Returns:
        list of JSON.
    """
    path = pathlib.Path(preset)
    if not path.exists():
        return [preset]
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    found = []
    for file in files:
        # The model card says nothing about the weights.
        if file.is_file() and file.suffix in (
            ".json",
            ".h5",
            ".pb",
            *names.WEIGHT_SUFFIXES,
            *names.EXPORT_SUFFIXES,
        ):
            told = file.stat()
            found.append([file.name, told.st_size, told.st_mtime_ns])
    return found


def settings_of(args, **others):
    """What results depend on: the preset, the views and what else is given."""
    views = options.views(args)
    # How many windows run at a time changes nothing.
    views.pop("batch_size", None)
    return {"preset": fingerprint(args.preset), **others, **views}


def names_in(record):
    """The names of results in the record of some folder.

    Empty where there is no record, or none that can be read.

    Args:
        record: path.
    """
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return [*content["names"].values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


class OutputFolder:
    """A folder of results, with the settings that all of them were made by.

    Args:
        folder: path.
        name: str. Of the record's file in it.
        settings: dict of JSON. Results of other settings are not current.
    """

    def __init__(self, folder, name, settings):
        self.folder = pathlib.Path(folder)
        self._record = self.folder / name
        # As JSON gives them back.
        self._settings = json.loads(json.dumps(settings))
        before = self._read()
        self.is_new = not before
        self.changed = bool(before) and before["settings"] != self._settings
        self.names = before.get("names", {})
        self._since = 0 if self.changed else before.get("since", 0)

    def _read(self):
        try:
            return json.loads(self._record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CommandError(
                f"{self._record} must tell what was written here. Received: "
                f"{error}. Remove it, and say --overwrite to write all files "
                "anew."
            ) from error

    def start(self):
        """Write the record; what is older is not current from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._since:
            self._write()
            # By the clock of the file system that dates the results.
            self._since = self._record.stat().st_mtime_ns
        self._write()

    def _write(self):
        from keras_setr.files.whole import written_whole

        content = {
            "settings": self._settings,
            "since": self._since,
            "names": self.names,
        }
        with written_whole(self._record) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def is_current(self, result, source):
        """Whether a file was made from its source by these settings."""
        try:
            made = os.stat(result).st_mtime_ns
            return made >= max(self._since, os.stat(source).st_mtime_ns)
        except FileNotFoundError:
            return False
