import json
import os
import platform
import sys

import pytest

from keras_setr.files import lock
from keras_setr.files.lock import only_process
from tests.files.test_whole import kill
from tests.files.test_whole import start

pytestmark = pytest.mark.no_backend

# The module alone: the package would import Keras.
HOLD = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
with lock.only_process(sys.argv[2], "trains there"):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_told_who_the_first_is(tmp_path):
    path = tmp_path / "run" / "training.lock"
    process = start(HOLD, lock.__file__, path)
    try:
        who = f"Process {process.pid} on {platform.node()}, since 2.*, trains"
        with pytest.raises(ValueError, match=who) as error:
            with only_process(path, "trains there"):
                raise AssertionError
        assert str(path) in str(error.value)
        assert "stop it, or name another directory" in str(error.value)
    finally:
        kill(process)
    # A killed one holds nobody up.
    with only_process(path, "trains there"):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert not path.exists() or sys.platform == "win32"


def test_a_lock_ends_with_an_error_too(tmp_path):
    path = tmp_path / "training.lock"
    for _ in range(2):
        with pytest.raises(RuntimeError, match="trained badly"):
            with only_process(path, "trains there"):
                with pytest.raises(ValueError, match=f"Process {os.getpid()}"):
                    with only_process(path, "trains there"):
                        pass
                raise RuntimeError("trained badly")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7"])
def test_what_is_left_of_a_lock_is_nobodys(tmp_path, text):
    path = tmp_path / "training.lock"
    path.write_text(text)
    with only_process(path, "trains there"):
        pass
