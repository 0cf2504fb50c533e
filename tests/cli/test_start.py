"""`genkit-rag start`: processes, signals, servers."""

from __future__ import annotations

import http.client
import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest

from tests.cli.apps import environment, gone, make_project, once, python, running
from tests.cli.terminal import COMMAND

pytestmark = pytest.mark.network

START = ("start", "--no-open")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def request(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_an_app_is_started_seen_run_and_traced_and_ctrl_c_leaves_nothing_behind(project: Path) -> None:
    with running(*START, *python("main_app.py"), cwd=project) as start:
        said = start.wait_for("Connected: main_app")
        assert "Developer UI: http://127.0.0.1:" in said
        assert "/?token=" in said
        family = start.family()
        assert family
        ran = once("flow", "run", "greet", "Ada", cwd=project)
        assert (ran.returncode, ran.stdout) == (0, "Hello Ada\n"), ran.stderr
        assert start.finish(signal.SIGINT) == 130
    assert start.out == "main ran\n"
    assert "Traceback" not in start.err
    assert gone(family)
    assert list((project / ".genkit/runtimes").iterdir()) == []
    traces = project / ".genkit_rag/traces.db"
    assert stat.S_IMODE(traces.stat().st_mode) == 0o600
    [trace] = json.loads(once("trace", "list", "--json", cwd=project).stdout)["traces"]
    assert (trace["name"], trace["status"]) == ("greet", "ok")
    assert trace["traceId"] in ran.stderr


@pytest.mark.parametrize("script", ["defs_app.py", "asgi_app.py"])
def test_scripts_that_only_define_and_asgi_apps_are_seen(project: Path, script: str) -> None:
    program = python(script)
    if script == "asgi_app.py":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        program = python("-m", "uvicorn", "asgi_app:api", "--port", port, "--log-level", "error")
    with running("start", "--no-ui", *program, cwd=project) as start:
        start.wait_for("Connected: ")
        ran = once("flow", "run", "greet", "Bo", "--json", cwd=project)
        assert json.loads(ran.stdout)["result"] == "Hello Bo"
        family = start.family()
        assert start.finish(signal.SIGTERM) == 143
    assert gone(family)


def test_the_exit_code_is_the_programs_and_its_output_goes_through(project: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    ran = once(*START, "--no-ui", *python("-c", code), cwd=project)
    assert (ran.returncode, ran.stdout) == (7, "out\n")
    assert "err\n" in ran.stderr


def test_a_program_that_is_not_there_is_wrong_usage(project: Path) -> None:
    ran = once("start", "--no-ui", "--json", "--", "no-such-program", cwd=project)
    assert ran.returncode == 2
    assert "no-such-program" in ran.stderr
    assert once("start", "--no-ui", "--", cwd=project).returncode == 2


def test_what_a_program_leaves_behind_is_ended_with_it(project: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
    )
    ran = once("start", "--no-ui", *python("-c", code), cwd=project)
    assert ran.returncode == 0
    assert not psutil.pid_exists(int(ran.stdout)) or psutil.Process(int(ran.stdout)).status() == psutil.STATUS_ZOMBIE


def test_a_second_ctrl_c_kills_a_program_that_ignores_the_first(project: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "[signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)]\n"
        "print('deaf', file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )
    with running("start", "--no-ui", *python("-c", code), cwd=project) as start:
        start.wait_for("deaf")
        family = start.family()
        start.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            start.process.wait(0.5)
        assert start.finish(signal.SIGINT, seconds=8) == 130
    assert gone(family)


def test_a_given_port_that_is_taken_is_an_error_and_another_one_is_looked_for_otherwise(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = once(*START, "--port", str(taken.getsockname()[1]), "--json", cwd=project)
        assert ran.returncode == 1
        assert json.loads(ran.stdout)["error"]["status"] == "UNAVAILABLE"
    with running(*START, cwd=project) as first, running(*START, cwd=project) as second:
        ports = [one.wait_for("this address").partition("127.0.0.1:")[2].partition("/")[0] for one in (first, second)]
    assert ports[0] != ports[1]


def test_the_pages_ask_for_a_token_and_the_way_in_for_spans_gives_nothing_away(project: Path) -> None:
    with running(*START, "--json", *python("defs_app.py"), cwd=project) as start:
        start.wait_for("Connected: ")
        assert start.process.stdout is not None
        where: dict[str, Any] = json.loads(start.process.stdout.readline())
        url, telemetry = where["url"], where["telemetry"]
        assert request(url, "GET", "/")[0] == 401
        assert request(url, "GET", "/api/traces")[0] == 401
        path = f"/?{urlsplit(url).query}"
        assert request(url, "GET", path)[0] == 303
        assert request(url, "GET", path)[0] == 401, "the address works once"
        span = '{"traceId": "%s", "spans": {}}' % ("a" * 32)
        assert request(telemetry, "POST", "/api/traces", span.encode(), Content_Type="application/json")[0] == 200
        assert request(telemetry, "POST", "/api/traces", span.encode(), Content_Type="text/plain")[0] == 415
        as_json, evil = "application/json", "http://evil.example"
        assert request(telemetry, "POST", "/api/traces", span.encode(), Content_Type=as_json, Origin=evil)[0] == 403
        for method, path in (
            ("GET", "/api/traces"),
            ("GET", "/"),
            ("GET", "/api/live"),
            ("GET", "/api/otlp"),
            ("DELETE", f"/api/traces/{'a' * 32}"),
        ):
            status, body = request(telemetry, method, path, Content_Type="application/json")
            assert (status, body) == (404, b""), (method, path)
        assert start.finish(signal.SIGTERM) == 143


def test_an_app_that_somebody_else_started_is_told_where_its_spans_go(project: Path) -> None:
    with running("start", "--no-ui", cwd=project) as start:
        start.wait_for("Waiting for apps")
        app = subprocess.Popen([sys.executable, "main_app.py"], cwd=project, env=environment(GENKIT_ENV="dev"))
        try:
            start.wait_for("Connected: main_app")
            ran = once("flow", "run", "greet", "Ada", "--wait", cwd=project)
            assert ran.stdout == "Hello Ada\n"
            due = time.monotonic() + 10
            while "greet" not in once("trace", "list", cwd=project).stdout:
                assert time.monotonic() < due
        finally:
            app.terminate()
            app.wait()
        start.wait_for("Gone: main_app")
        assert start.finish(signal.SIGINT) == 130


def test_on_a_terminal_the_program_reads_what_is_typed_and_ctrl_c_ends_both(project: Path) -> None:
    code = "import time\nprint('got', input())\ntime.sleep(60)"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        arguments = [*COMMAND, "start", "--no-ui", *python("-c", code)]
        os.execve(arguments[0], arguments, environment(TERM="xterm"))
    printed = b""
    try:
        os.write(terminal, b"hello\n")
        while b"got hello" not in printed:
            printed += os.read(terminal, 65_536)
        family = psutil.Process(pid).children(recursive=True)
        os.write(terminal, b"\x03")
        try:
            while piece := os.read(terminal, 65_536):
                printed += piece
        except OSError:  # how a terminal says that the other side is gone
            pass
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"Interrupted." in printed
    assert gone(family)
