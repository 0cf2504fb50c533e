"""Where and how long the reflection API of an app is served: real programs, started as a tool starts them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from genkit_rag import Genkit
from genkit_rag._server.reflection.lifecycle import connect_to
from genkit_rag._server.reflection.runtime_file import project_root
from genkit_rag._server.serving import serve_in_thread
from genkit_rag._server.telemetry import TraceStore
from genkit_rag._server.telemetry.app import telemetry_app
from tests.fakes.serving import closed_port

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parents[2]
APP = """
import asyncio
from genkit_rag import Genkit
ai = Genkit()
first = []  # the loop that the app's own work runs in

@ai.flow
async def same_loop(_: str) -> str:
    return "no loop yet" if not first else str(asyncio.get_running_loop() is first[0])

@ai.flow
def blocking(text: str) -> str:
    return text.upper()
"""
RUN_MAIN = (
    APP
    + """
async def main():
    first.append(asyncio.get_running_loop())
    return "the end"
print(ai.run_main(main()))
"""
)
PLAIN_LOOP = (
    APP
    + """
async def main():
    first.append(asyncio.get_running_loop())
    await asyncio.sleep(60)
asyncio.run(main())
"""
)
UVICORN = (
    APP
    + """
import contextlib, uvicorn
from starlette.applications import Starlette
@contextlib.asynccontextmanager
async def lifespan(app):
    first.append(asyncio.get_running_loop())
    yield
uvicorn.run(Starlette(lifespan=lifespan), port=0)
"""
)
MANY_LOOPS = (
    APP
    + """
import time
asyncio.run(asyncio.sleep(0.3))
asyncio.run(asyncio.sleep(0.3))
print("over", flush=True)
"""
)


class Program:
    def __init__(self, folder: Path, code: str, **env: str) -> None:
        (folder / "pyproject.toml").touch()
        (folder / "inner").mkdir()
        (folder / "inner" / "app.py").write_text(code)
        self.folder = folder
        paths = [str(ROOT), *(str(ROOT / shelf) for shelf in ("indexers", "embedders"))]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GENKIT", "OTEL"))}
        self.process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=folder / "inner",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**clean, "GENKIT_ENV": "dev", "PYTHONPATH": os.pathsep.join(paths), **env},
        )

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / ".genkit" / "runtimes").glob("*"))

    def runtime(self) -> dict[str, Any]:
        due = time.monotonic() + 20
        while not self.files:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < due, "no runtime file"
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(self.files[0].read_text())
        return found

    def run(self, key: str, value: Any) -> Any:
        url = f"{self.runtime()['reflectionServerUrl']}/api/runAction"
        return httpx.post(url, json={"key": key, "input": value}, timeout=10, trust_env=False).json()["result"]

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=15)
        return self.process.returncode, said


@contextlib.contextmanager
def program(folder: Path, code: str, **env: str) -> Iterator[Program]:
    made = Program(folder, code, **env)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.communicate()


@pytest.fixture
def tools() -> dict[str, str]:
    return {"GENKIT_TELEMETRY_SERVER": f"http://localhost:{closed_port()}"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_main_goes_on_serving_in_its_own_loop_until_it_is_told_to_end(tmp_path: Path, number: int) -> None:
    with program(tmp_path, RUN_MAIN) as made:
        assert made.run("/flow/same_loop", "") == "True"
        assert made.run("/flow/blocking", "x") == "X"
        status, said = made.end(number)
    assert (status, said.strip()) == (0, "the end")
    assert made.files == []


@pytest.mark.parametrize("code", [PLAIN_LOOP, UVICORN], ids=["asyncio.run", "uvicorn.run"])
def test_a_loop_that_starts_after_the_app_was_made_gets_it(tmp_path: Path, code: str) -> None:
    with program(tmp_path, code) as made:
        assert made.run("/flow/same_loop", "") == "True"
        status, said = made.end(signal.SIGTERM)
    assert status == -signal.SIGTERM
    assert "Traceback" not in said
    assert made.files == []


@pytest.mark.parametrize("code", [APP, MANY_LOOPS], ids=["no loop", "loops that ended"])
def test_a_script_that_a_tool_started_is_served_after_its_end(tmp_path: Path, code: str, tools: dict[str, str]) -> None:
    with program(tmp_path, code, **tools) as made:
        if code is MANY_LOOPS:
            assert made.process.stdout is not None
            assert made.process.stdout.readline() == "over\n"
        assert made.run("/flow/same_loop", "") == "no loop yet"
        assert made.run("/flow/blocking", "x") == "X"
        status, said = made.end(signal.SIGTERM)
    assert status == 0
    assert "Traceback" not in said
    assert made.files == []


@pytest.mark.parametrize(
    ("code", "env", "status"),
    [
        (APP, {}, 0),
        (APP + "raise SystemExit('wrong')\n", {}, 1),
        (APP + "1 / 0\n", {"GENKIT_TELEMETRY_SERVER": "x"}, 1),
    ],
    ids=["no tool", "exit", "failed"],
)
def test_a_script_that_nobody_waits_for_just_ends(tmp_path: Path, code: str, env: dict[str, str], status: int) -> None:
    with program(tmp_path, code, **env) as made:
        made.process.communicate(timeout=15)
        assert made.process.returncode == status
    assert made.files == []


def test_outside_of_dev_nothing_is_imported_and_nothing_is_served(tmp_path: Path) -> None:
    code = (
        APP
        + "import sys, threading\nassert 'genkit_rag._server' not in sys.modules and threading.active_count() == 1\n"
    )
    with program(tmp_path, code, GENKIT_ENV="prod") as made:
        said, _ = made.process.communicate(timeout=15)
        assert made.process.returncode == 0, said


def test_a_missing_extra_is_a_warning_and_the_app_runs(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['starlette'] = None\n" + APP
    code += "async def main(): await asyncio.sleep(0.2); return 'ran'\nprint(ai.run_main(main()))\n"
    with program(tmp_path, code) as made:
        said, _ = made.process.communicate(timeout=15)
    assert made.process.returncode == 0, said
    assert 'pip install "genkit-rag[dev]"' in said
    assert "ran" in said


ENDS_WITH_SPANS = (
    APP
    + """
import os, signal
from opentelemetry import trace
async def main():
    await same_loop("x")
    await asyncio.sleep(0.5)  # the sender has started, and has sent this
    tracer = trace.get_tracer("t")
    with tracer.start_as_current_span("late"):
        for _ in range(200):
            tracer.start_span("inner").end()
    os.kill(os.getpid(), signal.SIGTERM)
asyncio.run(main())
"""
)


def test_sigterm_sends_the_spans_that_wait_and_then_ends_by_the_signal(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "t.db")
    with serve_in_thread(telemetry_app(store)) as served:
        with program(tmp_path, ENDS_WITH_SPANS, GENKIT_TELEMETRY_SERVER=served.url) as made:
            said, _ = made.process.communicate(timeout=20)
            assert made.process.returncode == -signal.SIGTERM, said
        (late,) = [trace for trace in store.list_traces().traces if trace.name == "late"]
        assert late.spans == 201
    store.close()


def test_sigterm_does_not_wait_for_a_telemetry_server_that_hangs(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # accepts, and never answers
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with program(tmp_path, ENDS_WITH_SPANS, GENKIT_TELEMETRY_SERVER=url) as made:
            said, _ = made.process.communicate(timeout=20)
            assert made.process.returncode == -signal.SIGTERM, said
        assert time.monotonic() - began < 5, "the sender alone would wait for five seconds, from its first post on"


@pytest.mark.parametrize("host", ["127.0.0.1:9", "shop.example"])
def test_the_credentials_of_an_offered_url_are_not_logged(host: str, caplog: pytest.LogCaptureFixture) -> None:
    connect_to(f"http://user:canary-12345678@{host}")
    assert "No spans are sent to http://[redacted]@" in caplog.text
    assert "canary" not in caplog.text


def test_the_users_own_handler_of_sigterm_stays(tmp_path: Path) -> None:
    code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + PLAIN_LOOP
    with program(tmp_path, code) as made:
        made.runtime()
        status, said = made.end(signal.SIGTERM)
    assert status == 7, said
    assert made.files == []


def test_the_runtime_file_says_what_tools_read(tmp_path: Path) -> None:
    port = str(closed_port())
    with program(tmp_path, RUN_MAIN, GENKIT_RUNTIME_ID="my-id", GENKIT_REFLECTION_PORT=port) as made:
        facts = made.runtime()
        (path,) = made.files
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [one.name for one in (tmp_path / ".genkit").iterdir()] == ["runtimes"]
        url = facts["reflectionServerUrl"]
        for identifier, status in (("my-id", 200), ("x", 503)):
            reply = httpx.get(f"{url}/api/__health?id={identifier}", trust_env=False)
            assert reply.status_code == status
        httpx.post(f"{url}/api/__quitquitquit", json={}, trust_env=False)
        said, _ = made.process.communicate(timeout=15)
    assert url == f"http://127.0.0.1:{port}"
    assert facts["id"] == "my-id"
    assert facts["pid"] == made.process.pid
    assert facts["reflectionApiSpecVersion"] == 1
    assert abs(datetime.now(UTC) - datetime.fromisoformat(facts["timestamp"])) < timedelta(minutes=1)
    assert said.strip() == "the end"


def test_beyond_this_machine_it_listens_only_with_a_token(tmp_path: Path) -> None:
    with program(tmp_path, RUN_MAIN, GENKIT_REFLECTION_HOST="0.0.0.0") as made:
        assert made.runtime()["reflectionServerUrl"].startswith("http://127.0.0.1:")
        _, said = made.end(signal.SIGTERM)
    assert "GENKIT_REFLECTION_TOKEN" in said


def test_the_root_of_a_project_is_the_nearest_folder_with_a_marker(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "requirements.txt").touch()
    assert project_root(inner) == tmp_path / "a"
    (inner / "package.json").mkdir()
    assert project_root(inner) == tmp_path / "a"
    (inner / "go.mod").touch()
    assert project_root(inner) == inner


async def test_an_app_made_in_a_loop_is_served_there_and_no_longer_than_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENKIT_ENV", "dev")
    folder = tmp_path / ".genkit" / "runtimes"
    async with Genkit() as first, Genkit() as second:
        second.define_flow(project_root, name="only_second")
        assert first is not second
        facts = [json.loads(path.read_text()) for path in folder.iterdir()]
        assert len({fact["id"] for fact in facts}) == 2
        async with httpx.AsyncClient(trust_env=False) as client:
            lists = [(await client.get(f"{fact['reflectionServerUrl']}/api/actions")).json() for fact in facts]
        assert sum("/flow/only_second" in actions for actions in lists) == 1
    assert list(folder.iterdir()) == []
    await asyncio.sleep(0)
