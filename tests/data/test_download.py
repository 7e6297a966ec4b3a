from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ltbench.data.download import download
from ltbench.errors import DataError

BODY = bytes(range(256)) * 400
GOOD = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """/ok, /html, /missing, /cut (always truncated), /cut-once, /busy-twice, /no-range; requests are noted."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        times = sum(path == self.path for path, _ in self.seen)
        wanted = self.headers.get("Range")
        self.seen.append((self.path, wanted))
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/busy" or (self.path == "/busy-twice" and times < 2):
            return self.send_error(503)
        if self.path == "/html":
            return self.answer(200, b"\n<!DOCTYPE html><title>Log in</title>")
        start = int(wanted[6:-1]) if wanted and self.path != "/no-range" else 0
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            return self.end_headers()
        cut = self.path == "/cut" or (self.path == "/cut-once" and times == 0)
        part = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}" if start else None
        return self.answer(206 if start else 200, BODY[start:], 1000 if cut else None, part)

    def answer(self, status: int, body: bytes, sent: int | None = None, part: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    handler = type("Fresh", (Handler,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.seen = handler.seen  # type: ignore[attr-defined]
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield httpd
        httpd.shutdown()


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    monkeypatch.setattr("ltbench.data.download.BLOCK", 500)

    def call(path: str, checksum: str | None = GOOD, tries: int = 3):
        url = f"http://127.0.0.1:{server.server_port}{path}"
        return download(url, tmp_path / "deep" / "file.bin", checksum=checksum, tries=tries, wait=0.01)

    return call


def test_a_good_file_is_fetched_once(get, server):
    target = get("/ok")
    assert target.read_bytes() == BODY
    assert get("/ok") == target
    assert len(server.seen) == 1
    assert [p.name for p in target.parent.iterdir()] == ["file.bin"]


def test_busy_server_is_asked_again(get, server):
    assert get("/busy-twice").read_bytes() == BODY
    assert len(server.seen) == 3


def test_busy_for_good(get):
    with pytest.raises(DataError, match=r"failed 3 times, last: status 503"):
        get("/busy")


def test_truncated_file_resumes_where_it_stopped(get, server):
    assert get("/cut-once").read_bytes() == BODY
    assert server.seen == [("/cut-once", None), ("/cut-once", "bytes=1000-")]


def test_always_truncated_is_an_error_and_keeps_the_part(get, tmp_path):
    with pytest.raises(DataError, match=r"failed 2 times"):
        get("/cut", tries=2)
    assert not (tmp_path / "deep/file.bin").exists()
    assert (tmp_path / "deep/file.bin.part").stat().st_size == 2000


@pytest.mark.parametrize("path", ["/ok", "/no-range"])
def test_resume_of_an_earlier_call(get, server, tmp_path, path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file.bin.part").write_bytes(BODY[:5000])
    assert get(path).read_bytes() == BODY
    assert server.seen == [(path, "bytes=5000-")]


def test_complete_part_is_used(get, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file.bin.part").write_bytes(BODY)
    assert get("/ok").read_bytes() == BODY


def test_part_of_another_file_is_thrown_away(get, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/file.bin.part").write_bytes(b"x" * 5000)
    assert get("/ok").read_bytes() == BODY


def test_wrong_hash(get, tmp_path):
    with pytest.raises(DataError, match=r"has the hash .* expected md5:00"):
        get("/ok", "md5:00")
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize(("path", "message"), [("/html", "web page in place of the file"), ("/missing", "status 404")])
def test_no_file_there(get, tmp_path, path, message):
    with pytest.raises(DataError, match=message):
        get(path, None)
    assert list((tmp_path / "deep").iterdir()) == []


def test_offline(tmp_path):
    with pytest.raises(DataError, match=r"cannot reach 127\.0\.0\.1:9 after 2 tries; is this machine online"):
        download("http://127.0.0.1:9/x", tmp_path / "x", tries=2, wait=0.01)


def test_target_cannot_be_written(get, tmp_path):
    (tmp_path / "deep").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot write"):
        get("/ok")
