"""Tests of the test run's own guards: offline, one summary line per missing ability."""

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
    "test_extra.py": (
        "from genkit_rag import MissingExtra\nraise MissingExtra('nowhere', 'engine')\ndef test_a(): pass\n"
    ),
    "test_torch.py": (
        "from genkit_rag import MissingExtra\nraise MissingExtra('cross-encoder', 'torch')\n"
        "def test_a(): pass\nclass TestB:\n    async def test_b(self): pass\n"
    ),
    "test_package.py": "import pytest\npytest.importorskip('nowhere')\ndef test_a(): pass\n",
    "test_broken.py": "import no_such_module\n",
    "test_fine.py": (
        "import pytest\ndef test_fine(): pass\n"
        "@pytest.mark.weights('smollm2-135m')\ndef test_heavy(): raise AssertionError\n"
        "def test_browser(): pytest.skip('needs Chromium: apt-get install chromium')\n"
        "def test_not_mine(): pytest.skip('this model has no tools')\n"
    ),
}
SUMMARY = [
    "1 tests need Chromium: apt-get install chromium",
    "1 tests need `nowhere`: make test (installs it)",
    '1 tests need the extra `nowhere`: pip install "genkit-rag[nowhere]"',
    "1 tests need the weights smollm2-135m: genkit-rag models pull smollm2-135m",
    "2 tests need torch: make test TORCH=1",
    "1 contract tests do not apply to the plugin under test (-rs lists them)",
]


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_each_missing_ability_is_one_line_and_any_other_import_error_stays_an_error(
    tmp_path: Path, workers: list[str]
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  network:\n  weights:\n")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**outer, "GENKIT_RAG_CACHE": str(tmp_path / "empty")}
    done = subprocess.run(
        [*command, *workers], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    begin = next(number for number, line in enumerate(lines) if line.strip("= ") == "not run") + 1
    assert lines[begin : begin + len(SUMMARY)] == SUMMARY
    assert any(line.startswith("ERROR test_broken.py") for line in lines)
    assert "1 passed, 7 skipped, 1 error" in lines[-1]
