"""Official archives read in place: zip files, tar files, or their folders."""

import contextlib
import pathlib
import tarfile
import zipfile


class Archive:
    """The files of an archive, or of a folder that one was extracted to.

    Args:
        path: of a `.zip`, a `.tar`, or a folder.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._close = contextlib.ExitStack()
        try:
            if self.path.is_dir():
                self._open_folder()
            # By what it holds: TFDS downloads to names of its own.
            elif tarfile.is_tarfile(self.path):
                self._open_tar()
            else:
                self._open_zip()
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise ValueError(
                f"{self.path} cannot be read: {error}. The download is "
                "incomplete or damaged; get the file again."
            ) from error

    def _open_folder(self):
        self._members = {
            path.relative_to(self.path).as_posix(): path
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }
        self._read = pathlib.Path.read_bytes

    def _open_zip(self):
        archive = self._close.enter_context(zipfile.ZipFile(self.path))
        self._members = {
            info.filename: info
            for info in archive.infolist()
            if not info.is_dir()
        }
        self._read = archive.read

    def _open_tar(self):
        archive = self._close.enter_context(tarfile.open(self.path))
        self._members = {
            info.name.removeprefix("./"): info
            for info in archive
            if info.isfile()
        }
        self._read = lambda info: archive.extractfile(info).read()

    def __enter__(self):
        """The archive itself, which is closed at the end of the block."""
        return self

    def __exit__(self, *error):
        self._close.close()

    def names(self, folder=""):
        """Sorted paths of the files below `folder`, with `/`."""
        prefix = folder.strip("/") + "/" if folder else ""
        return sorted(
            name
            for name in self._members
            if name.startswith(prefix)
            # What macOS puts beside the files of every zip archive.
            and not name.startswith("__MACOSX")
            and not name.rpartition("/")[2].startswith(".")
        )

    def read(self, name):
        """The bytes of a file.

        Raises:
            ValueError: the file is damaged within the archive.
        """
        try:
            return self._read(self._members[name])
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise ValueError(
                f"{self.where(name)} cannot be read: {error}. The download "
                "is damaged; get the archive again."
            ) from error

    def where(self, name):
        """A path to show: the archive and the file in it."""
        return f"{self.path}/{name}"


def open_archive(manual_dir, names, source):
    """The first of `names` that lies in `manual_dir`.

    Args:
        manual_dir: path of the folder that downloads are put into.
        names: archive, and what folders it may have been extracted to.
        source: str. Where to get it.

    Raises:
        FileNotFoundError: none does.
    """
    manual_dir = pathlib.Path(manual_dir)
    for name in names:
        path = manual_dir / name
        if path.exists():
            return Archive(path)
    held = (
        sorted(path.name for path in manual_dir.iterdir())
        if manual_dir.is_dir()
        else []
    )
    raise FileNotFoundError(
        f"{manual_dir / names[0]} must exist. Received: a folder with "
        f"{', '.join(held[:8]) or 'nothing in it'}. Get {names[0]} from "
        f"{source} and put it there as it is, or pass manual_dir= if it lies "
        "elsewhere."
    )
