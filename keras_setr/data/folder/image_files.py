"""The visible images below a folder."""

import os
import pathlib

from keras_setr.tables import listed

IMAGE_EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".npy",
)


def is_hidden(name):
    """Whether a file or a folder is none of the user's."""
    # __MACOSX: what macOS puts beside the files of every zip archive.
    return name.startswith(".") or name == "__MACOSX"


def contents_of(directory):
    """In words, what is visible in a folder."""
    names = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in directory.iterdir()
        if not is_hidden(entry.name)
    )
    if not names:
        return "nothing"
    return listed(names, 8)


def image_files(top):
    """Every visible image below a folder, and what is wrong there.

    Returns:
        `(files, problems)`: dict of relative POSIX path -> path, list of str.
    """
    files, problems = {}, []

    def walk(folder, above):
        # Links are followed: data sets are often linked into place.
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in above:
            problems.append(
                f"{folder} is a link that leads back to a folder it lies in, "
                "so that its files would be read without end. Remove the link."
            )
            return
        try:
            entries = sorted(folder.iterdir())
        except PermissionError:
            problems.append(
                f"{folder} may not be read. Give yourself the right to, or "
                "move the folder away."
            )
            return
        for path in entries:
            if is_hidden(path.name):
                continue
            if path.is_dir():
                walk(path, (*above, identity))
            elif path.suffix.lower() in IMAGE_EXTENSIONS:
                files[path.relative_to(top).as_posix()] = path

    walk(pathlib.Path(top), ())
    return files, problems
