"""The guards of the test run itself: offline, and honest about what it left out."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = r"Mark it with @pytest\.mark\.network"


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
async def test_a_test_without_the_marker_reaches_nothing(host: str) -> None:
    for connect in (socket.socket.connect, socket.socket.connect_ex):
        with socket.socket() as one, pytest.raises(RuntimeError, match=BLOCKED):
            connect(one, (host, 9))
    with pytest.raises(RuntimeError, match=BLOCKED):
        await asyncio.open_connection(host, 9)
    with pytest.raises(RuntimeError, match=BLOCKED):
        socket.getaddrinfo("example.org", 80)


@pytest.mark.network
async def test_a_test_with_the_marker_reaches_loopback_and_nothing_else() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    with socket.socket() as one, pytest.raises(RuntimeError, match="loopback only"):
        one.connect(("192.0.2.1", 9))


def test_sockets_inside_the_process_are_allowed() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.send(b"x")
        assert right.recv(1) == b"x"


FILES = {
    "test_extra.py": "from genkit_rag import MissingExtra\nraise MissingExtra('nowhere', 'engine')\n",
    "test_broken.py": "import no_such_module\n",
    "test_fine.py": (
        "import pytest\ndef test_fine(): pass\n"
        "@pytest.mark.weights('smollm2-135m')\ndef test_heavy(): raise AssertionError\n"
    ),
}


def test_a_missing_extra_leaves_its_file_out_and_any_other_import_error_stays_one(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  network:\n  weights:\n")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    environment = {**os.environ, "GENKIT_RAG_CACHE": str(tmp_path / "empty")}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout
    assert (
        'left out: test_extra.py: `engine` is not installed. Install it with: pip install "genkit-rag[nowhere]"' in said
    )
    assert "ERROR test_broken.py" in said
    assert "Run: genkit-rag models pull smollm2-135m" in said
    assert "1 passed, 1 skipped, 1 error" in said
