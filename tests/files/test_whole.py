import errno
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import time
import types

import pytest

from keras_setr.files import whole
from keras_setr.files.whole import folder_written_whole
from keras_setr.files.whole import is_partial
from keras_setr.files.whole import remove_partial
from keras_setr.files.whole import restore_folder
from keras_setr.files.whole import written_whole
from tests import tiny

pytestmark = pytest.mark.no_backend

ROOT = pathlib.Path(__file__).parents[2]


class Interrupted(Exception):
    pass


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def start(code, *arguments):
    """Another process, which has said its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    return process


def test_a_folder_that_cannot_be_made_is_named_with_what_would_do(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("/proc/nowhere", tmp_path / "file" / "runs"):
        for write in (written_whole, folder_written_whole):
            with pytest.raises(OSError, match="name another place") as error:
                with write(pathlib.Path(place) / "new"):
                    pass
            assert f"{place} must be a folder" in str(error.value)


# The module alone: the package would import Keras.
HOLD_FILE = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("whole", sys.argv[1])
whole = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole)
with getattr(whole, sys.argv[3])(sys.argv[2]) as partial:
    (partial / "a" if partial.is_dir() else partial).write_text("half")
    print("holds", flush=True)
    time.sleep(60)
"""


def hold(path, writer="written_whole"):
    """A process that has written half of a path and waits."""
    return start(HOLD_FILE, whole.__file__, path, writer)


def kill(process):
    process.kill()
    process.wait()


def test_a_file_that_was_not_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(Interrupted):
        with written_whole(path) as partial:
            partial.write_text("half")
            raise Interrupted
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_both_succeed(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_text("first")
        second.write_text("second")
    # The outer one ends last.
    assert path.read_text() == "first"
    assert names(path.parent) == ["a.txt"]


def test_the_temporary_name_keeps_the_ending_and_fits_any_name(tmp_path):
    path = tmp_path / ("a" * 200 + ".weights.h5")
    with written_whole(path) as partial:
        assert partial.name.endswith(".weights.h5")
        partial.write_text("whole")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_a_new_file_has_the_mode_that_open_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        with written_whole(tmp_path / "a.txt") as partial:
            partial.write_text("whole")
        with folder_written_whole(tmp_path / "b") as partial:
            (partial / "c.txt").write_text("whole")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a.txt") == 0o666 & ~umask
    assert mode(tmp_path / "b") == 0o777 & ~umask
    assert mode(tmp_path / "b" / "c.txt") == 0o666 & ~umask


def test_what_is_replaced_hands_its_permissions_on(tmp_path):
    path, folder = tmp_path / "a.txt", tmp_path / "b"
    path.write_text("before")
    path.chmod(0o640)
    folder.mkdir()
    (folder / "c.txt").write_text("before")
    folder.chmod(0o750)
    with written_whole(path) as partial:
        partial.write_text("after")
    with folder_written_whole(folder) as partial:
        (partial / "d.txt").write_text("after")
    assert (path.read_text(), mode(path)) == ("after", 0o640)
    assert (names(folder), mode(folder)) == (["d.txt"], 0o750)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="the administrator may write protected files",
)
def test_a_protected_file_is_not_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="a.txt"):
        with written_whole(path) as partial:
            partial.write_text("after")
    assert path.read_text() == "before"


def test_a_link_stays_one(tmp_path):
    (tmp_path / "kept").mkdir()
    target, link = tmp_path / "kept" / "a.txt", tmp_path / "link.txt"
    target.write_text("before")
    link.symlink_to(target)
    with written_whole(link) as partial:
        partial.write_text("after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_room_is_asked_for_before_hdf5_ends_the_process(tmp_path, monkeypatch):
    usage = types.SimpleNamespace(total=2000, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    whole.check_room(tmp_path / "a", 1000)
    with pytest.raises(OSError, match="are needed and 0.0 MB are") as error:
        whole.check_room(tmp_path / "a", 1001)
    assert error.value.errno == errno.ENOSPC
    model = tiny.build("naive")
    with pytest.raises(OSError, match="1.2 MB are needed.*preset"):
        model.save_to_preset(tmp_path / "preset")
    assert not list(tmp_path.iterdir())
    # Some file systems of networks tell nothing.
    usage.total = usage.free = 0
    whole.check_room(tmp_path / "a", 1001)


@pytest.mark.parametrize("writer", [written_whole, folder_written_whole])
def test_a_full_disk_keeps_the_old_and_names_the_path(tmp_path, writer):
    path = tmp_path / "a"
    with writer(path) as partial:
        (partial / "b" if partial.is_dir() else partial).write_text("before")
    held = names(tmp_path)
    with pytest.raises(OSError, match="nothing was written") as error:
        with writer(path):
            # As closing a file raises it, without a name.
            raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(path)
    assert names(tmp_path) == held
    assert (path / "b" if path.is_dir() else path).read_text() == "before"


def test_an_error_about_another_file_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="other.txt") as error:
        with written_whole(tmp_path / "a.txt"):
            (tmp_path / "other.txt").read_text()
    assert "nothing was written" not in str(error.value)


@pytest.mark.parametrize("writer", ["written_whole", "folder_written_whole"])
def test_what_a_killed_process_left_is_removed_and_no_more(tmp_path, writer):
    live, killed = (hold(tmp_path / "a.txt", writer) for _ in range(2))
    assert len(names(tmp_path)) == 2
    kill(killed)
    remove_partial(tmp_path)
    (left,) = names(tmp_path)
    assert f"-{live.pid}-" in left
    kill(live)
    # This process has the path in use itself.
    with written_whole(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
        remove_partial(tmp_path)
        assert names(tmp_path) == [partial.name]
    assert names(tmp_path) == ["a.txt"]


def test_of_another_machine_only_what_is_old_is_removed(tmp_path):
    new = tmp_path / ".partial-elsewhere.1-7-0123abcd-a.txt"
    old = tmp_path / ".partial-elsewhere.1-7-0123abce-a.txt"
    for path in (new, old):
        path.write_text("half")
    os.utime(old, (time.time() - 3700,) * 2)
    remove_partial(tmp_path)
    assert names(tmp_path) == [new.name]


def test_a_folder_that_is_there_may_be_left(tmp_path):
    with folder_written_whole(tmp_path / "a", replace=False) as partial:
        (partial / "mine.txt").write_text("mine")
        # Another process is faster.
        with folder_written_whole(tmp_path / "a") as other:
            (other / "theirs.txt").write_text("theirs")
        (tmp_path / "a" / "theirs.txt").read_text()
        with pytest.raises(FileExistsError, match="holds something"):
            with folder_written_whole(tmp_path / "a", replace=False) as third:
                (third / "third.txt").write_text("third")
        (tmp_path / "a" / "theirs.txt").unlink()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["mine.txt"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_while_a_folder_is_replaced_leaves_the_old_or_the_new(
    tmp_path, renames
):
    folder = tmp_path / "preset"
    with folder_written_whole(folder) as partial:
        (partial / "before.txt").write_text("before")
    # The first fails on the folder that is there, the second sets it aside,
    # the third puts the new one in its place.
    code = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("whole", sys.argv[1])
whole = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole)
rename, left = os.rename, [int(sys.argv[3]) + 1]
def rename_or_die(source, target):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    rename(source, target)
os.rename = rename_or_die
with whole.folder_written_whole(sys.argv[2]) as partial:
    (partial / "after.txt").write_text("after")
"""
    process = start(code, whole.__file__, folder, renames)
    assert process.wait() == -signal.SIGKILL
    assert folder.exists() == (renames != 1)
    restore_folder(folder)
    expected = ["after.txt"] if renames == 2 else ["before.txt"]
    assert names(folder) == expected
    remove_partial(tmp_path)
    assert names(tmp_path) == ["preset"]


def test_what_is_left_of_one_name_can_be_removed_alone(tmp_path):
    for name in ("preset", "other"):
        kill(hold(tmp_path / name, "folder_written_whole"))
    remove_partial(tmp_path, "preset")
    (left,) = names(tmp_path)
    assert left.endswith("-other")


def test_what_is_being_written_can_be_told(tmp_path):
    with folder_written_whole(tmp_path / "preset") as partial:
        assert is_partial(partial) and is_partial(str(partial))
        assert not is_partial(tmp_path / "preset")
    assert not is_partial(partial)
