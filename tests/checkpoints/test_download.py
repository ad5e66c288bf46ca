"""Downloads from a server on loopback that misbehaves as told."""

import concurrent.futures
import hashlib
import http.server
import os
import threading

import pytest

from keras_setr.checkpoints import download as module
from keras_setr.checkpoints.download import download

pytestmark = pytest.mark.no_backend

CONTENT = bytes(range(256)) * 40  # 10,240 bytes


class Server:
    """Serves `files`; `cut` of its answers break after `cut_after` bytes."""

    def __init__(self, files):
        self.files, self.cut, self.cut_after = files, 0, 4000
        self.ranges, self.honours_range = [], True
        self.length, self.stalls = None, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, handler):
        content = self.files.get(handler.path[1:])
        if content is None:
            return handler.send_error(404)
        header = handler.headers.get("Range")
        self.ranges.append(header)
        start = 0
        if header and self.honours_range:
            start = int(header.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return handler.send_error(416)
        handler.send_response(206 if start else 200)
        length = str(len(content) - start)
        if self.length is not None:
            length = self.length
        if length:
            handler.send_header("Content-Length", length)
        handler.end_headers()
        body = content[start:]
        if self.cut:
            self.cut -= 1
            body = body[: self.cut_after]
        if self.stalls:
            self.stalls -= 1
            handler.wfile.write(body[: self.cut_after])
            handler.wfile.flush()
            return threading.Event().wait(1)
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    server = Server({"weights.pth": CONTENT})
    yield server
    server.http.shutdown()
    server.http.server_close()


SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(server, path, sha256=SHA256[:8], name="weights.pth"):
    return download(server.url + name, str(path), sha256, verbose=False)


def test_a_file_arrives_whole_and_is_not_fetched_twice(server, tmp_path):
    path = tmp_path / "deep" / "weights.pth"
    assert fetch(server, path) == str(path)
    assert path.read_bytes() == CONTENT
    fetch(server, path)
    assert server.ranges == [None]
    assert [p.name for p in path.parent.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize("honours_range", [True, False])
def test_a_cut_connection_is_taken_up_where_it_broke(
    server, tmp_path, honours_range
):
    server.cut, server.honours_range = 2, honours_range
    path = tmp_path / "weights.pth"
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    # A server that ignores the range sends the first 4,000 bytes again.
    second = "bytes=8000-" if honours_range else "bytes=4000-"
    assert server.ranges == [None, "bytes=4000-", second]


def test_what_has_arrived_is_kept_for_the_next_call(server, tmp_path):
    server.cut, server.cut_after = 5, 1000
    path = tmp_path / "weights.pth"
    with pytest.raises(OSError, match="ended after 5000 of 10240.*is kept"):
        fetch(server, path)
    assert not path.exists()
    fetch(server, path)
    assert server.ranges[-1] == "bytes=5000-"
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_only_checked(server, tmp_path):
    path = tmp_path / "weights.pth"
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing_behind(server, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match=f"{SHA256[:8]}, but 00000000"):
        fetch(server, path, "00000000")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_names_its_address_at_once(server, tmp_path):
    path = tmp_path / "other.pth"
    with pytest.raises(OSError, match="other.pth.*404.*put it at"):
        fetch(server, path, name="other.pth")
    assert server.ranges == []


def test_a_server_that_is_away_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with pytest.raises(OSError, match="127.0.0.1:9.*cannot be downloaded"):
        download("http://127.0.0.1:9/a.pth", str(tmp_path / "a.pth"))


@pytest.mark.parametrize("length", ["abc", "-7", ""])
def test_a_length_that_says_nothing_is_none(server, tmp_path, length):
    server.length = length
    path = tmp_path / "weights.pth"
    fetch(server, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["", None, "99999999999999"])
def test_no_download_is_without_end(server, tmp_path, monkeypatch, length):
    monkeypatch.setattr(module, "_MOST_BYTES", 5000)
    server.length = length
    path = tmp_path / "weights.pth"
    with pytest.raises(OSError, match="weights.pth cannot.* more than 5000"):
        fetch(server, path)
    assert not any(p.stat().st_size for p in tmp_path.iterdir())


def test_a_stall_loses_nothing_that_had_arrived(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.2)
    server.stalls, server.cut_after = 1, 4321
    path = tmp_path / "weights.pth"
    fetch(server, path)
    assert server.ranges == [None, "bytes=4321-"]
    assert path.read_bytes() == CONTENT


def test_a_file_that_was_put_there_by_hand_is_looked_at(server, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"another")
    with pytest.raises(ValueError, match=f"not the file.*{SHA256[:8]}.*Remove"):
        fetch(server, path)
    assert path.read_bytes() == b"another" and server.ranges == []
    path.write_bytes(CONTENT)
    assert fetch(server, path) == str(path)


def test_downloads_side_by_side_all_succeed(server, tmp_path):
    path = tmp_path / "weights.pth"
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:3000])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(fetch, server, path) for _ in range(8)]
        assert {call.result() for call in calls} == {str(path)}
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]
    assert server.ranges.count("bytes=3000-") == 1


def test_a_full_disk_names_the_file_and_keeps_what_arrived(
    server, tmp_path, monkeypatch
):
    if not os.path.exists("/dev/full"):
        pytest.skip("only Linux has a disk that is always full")
    monkeypatch.setattr(
        module, "_file", lambda *_: open("/dev/full", "wb", buffering=0)
    )
    path = tmp_path / "weights.pth"
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:3000])
    with pytest.raises(OSError, match="No space left.*is kept") as error:
        fetch(server, path)
    assert error.value.filename == str(path)
    assert len(server.ranges) == 1
    assert (tmp_path / "weights.pth.part").read_bytes() == CONTENT[:3000]
