"""Genkit's own command line (npm package genkit-cli) drives our runtime: a client that nobody here has written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.network, pytest.mark.genkit_cli]

VERSION = "1.43.0"
ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("GENKIT_RAG_NPM", Path.home() / ".cache" / "genkit_rag" / "npm")) / f"genkit-cli-{VERSION}"

DEFINITIONS = """
import asyncio
from genkit_rag import Genkit
from genkit_rag.plugin_api import Action, ActionContext, ActionKind, Message, ModelRequest, ModelResponse
from genkit_rag.plugin_api import ModelResponseChunk, Part, ToolRequest
from genkit_rag.testing import FakeEmbedder
from genkit_rag_memory import Memory

ai = Genkit([FakeEmbedder(), Memory(["docs"], embedder="fake/words")], model="obedient")

@ai.flow
async def shout(text: str) -> str:
    await ai.index("memory/docs", ["Lunch is at noon."])
    await ai.retrieve("memory/docs", text, {"k": 1})
    return text.upper()

@ai.flow
async def count(n: int, ctx: ActionContext) -> int:
    for i in range(n):
        ctx.send_chunk({"i": i})
        await asyncio.sleep(0.01)
    return n

@ai.flow
async def broken(text: str) -> str:
    raise ValueError(f"broken by {text}, password=canary-777777")

async def judge(request, ctx):
    return [{"testCaseId": row["testCaseId"],
             "evaluation": {"score": float(len(row.get("context") or [])), "details": {"reasoning": row["output"]}}}
            for row in request["dataset"]]

ai.registry.register(Action(ActionKind.EVALUATOR, "judge", judge, description="Counts what was retrieved."))

async def obedient(request: ModelRequest, ctx: ActionContext) -> ModelResponse:
    said = " ".join(message.text for message in request.messages)
    if request.tools:
        call = Part(tool_request=ToolRequest(name=request.tools[0].name, ref="1", input={"city": "New York"}))
        ctx.send_chunk(ModelResponseChunk(content=[call]))
        return ModelResponse(message=Message(role="model", content=[call]), finish_reason="stop")
    if request.output is not None and request.output.schema_ is not None:
        return ModelResponse(message=Message.model('{"name": "John Doe", "age": 30}'), finish_reason="stop")
    return ModelResponse(message=Message.model(f"RESPONSE: {said}"), finish_reason="stop")

ai.define_model("obedient", obedient)
"""
SCRIPTS = {
    "main.py": "from definitions import ai\nasync def main(): pass\nai.run_main(main())\n",
    "only.py": "from definitions import ai\n",
    "asgi.py": "import uvicorn\nfrom definitions import ai\nfrom starlette.applications import Starlette\n"
    "uvicorn.run(Starlette(), port=0)\n",
}
DATA = [{"input": "a"}, {"input": "b"}]


@pytest.fixture(scope="session")
def genkit() -> list[str]:
    """The command, installed once into a cache folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs Node: install Node.js 20 or newer with npm")
    command = CACHE / "node_modules" / ".bin" / "genkit"
    if not command.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                npm,
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
                str(CACHE),
                f"genkit-cli@{VERSION}",
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode or not command.exists():
            pytest.skip(f"needs genkit-cli: npm install genkit-cli@{VERSION}  # failed: {done.stderr[-300:]}")
    return [node, str(command), "--non-interactive"]


class Project:
    """A folder with the three kinds of apps, and the command in it."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.folder, self._command = folder, command
        for name, code in {**SCRIPTS, "definitions.py": DEFINITIONS, "pyproject.toml": ""}.items():
            (folder / name).write_text(code)
        for name, data in {
            "batch.json": ["a", "b"],
            "eval.json": DATA,
            "rows.json": [{"testCaseId": "1", "input": "a", "output": "A", "context": ["x", "y"]}],
        }.items():
            (folder / name).write_text(json.dumps(data))
        settings = folder / "home" / "configstore" / "@genkit-ai" / "tools-common.json"
        settings.parent.mkdir(parents=True)
        settings.write_text('{"analyticsOptOut": true, "updateNotificationsOptOut": true}')
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("GENKIT", "OTEL"))}
        paths = [str(ROOT), *(str(ROOT / shelf) for shelf in ("indexers", "embedders"))]
        self.env = {
            **clean,
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join(paths),
            "GENKIT_CLI_DISABLE_UPDATE_NOTIFICATIONS": "true",
        }

    def run(self, *arguments: str, script: str | None = None) -> str:
        """Returns what the command says; it was killed with all its children when it does not end."""
        own = [*self._command, *arguments, *(["--", sys.executable, script] if script else [])]
        with subprocess.Popen(
            own,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                end(process.pid)
                raise
        self.status = process.returncode
        return said

    @contextlib.contextmanager
    def started(self, script: str, *options: str) -> Iterator[Path]:
        """Runs `genkit start`; yields its log."""
        log = self.folder / "start.log"
        command = [*self._command, "start", "--noui", *options, "--", sys.executable, script]
        with log.open("w") as file:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        try:
            due = time.monotonic() + 30
            while not self.runtimes():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < due, log.read_text()
                time.sleep(0.05)
            yield log
            assert process.poll() is None, f"it died: {log.read_text()}"
        finally:
            end(process.pid)
            process.wait(10)

    def runtimes(self) -> list[Path]:
        return list((self.folder / ".genkit" / "runtimes").glob("*.json"))

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


def end(pid: int) -> None:
    """Ends a process and its descendants, by their own ids."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(pid)
        for one in [*family.children(recursive=True), family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@pytest.fixture
def project(tmp_path: Path, genkit: list[str]) -> Project:
    return Project(tmp_path, genkit)


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_start_and_the_commands_beside_it(project: Project, script: str) -> None:
    with project.started(script) as log:
        assert "HI" in project.run("flow:run", "shout", '"hi"')
        said = project.run("flow:run", "-s", "count", "3")
        assert said.index('"i": 0') < said.index('"i": 2') < said.index("Result:\n3")
        failed = project.run("flow:run", "-s", "broken", '"x"')
        assert "broken by x" in failed
        assert "canary" not in failed
        assert "canary" not in log.read_text()
        assert "TypeError" not in log.read_text()


def test_batches_evaluations_and_traces_of_a_started_app(project: Project) -> None:
    with project.started("main.py"):
        said = project.run("flow:batchRun", "shout", "batch.json", "--label", "seven")
        assert "Result:\nA" in said
        assert "Result:\nB" in said
        project.run("eval:flow", "shout", "--input", "eval.json", "--evaluators=judge", "--output", "out.json")
        rows = project.read("out.json")
        assert [(row["output"], row["context"]) for row in rows] == [(x, ["Lunch is at noon."]) for x in "AB"]
        assert [row["metrics"][0]["score"] for row in rows] == [1, 1]
        project.run("eval:run", "rows.json", "--evaluators=judge", "--output", "run.json")
        assert project.read("run.json")[0]["metrics"][0]["score"] == 2
        listed = next(one for one in project.run("trace:list").split("ID: ") if rows[0]["traceIds"][0] in one)
        assert re.search(r"Name: +shout\n", listed), listed
        assert re.search(r"Duration: +[0-9.]+ms\n", listed), listed
        assert "unknown" not in listed
        trace = project.run("trace:get", rows[0]["traceIds"][0])
        assert "memory/docs" in trace
        assert "Lunch is at noon." in trace


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_commands_that_start_the_app_themselves(project: Project, script: str) -> None:
    assert "HI" in project.run("flow:run", "shout", '"hi"', script=script)
    said = project.run("flow:run", "-s", "count", "3", script=script)
    assert said.index('"i": 0') < said.index('"i": 2') < said.index("Result:\n3")
    assert project.runtimes() == []


def test_batches_and_evaluations_that_start_the_app_themselves(project: Project) -> None:
    assert "Result:\nB" in project.run("flow:batchRun", "shout", "batch.json", script="only.py")
    project.run(
        "eval:flow", "shout", "--input", "eval.json", "--evaluators=judge", "--output", "out.json", script="only.py"
    )
    assert [row["metrics"][0]["score"] for row in project.read("out.json")] == [1, 1]
    project.run("eval:run", "rows.json", "--evaluators=judge", "--output", "run.json", script="main.py")
    assert project.read("run.json")[0]["metrics"][0]["score"] == 2
    missing = project.run("flow:run", "shoot", '"hi"', script="only.py")
    assert "Code: 5" in missing
    assert "Did you mean `shout`?" in missing


def test_the_model_test_passes_and_can_fail(project: Project) -> None:
    cases = "tool-request,structured-output,multiturn,system-role,streaming-tool-request"
    said = project.run("dev:test-model", "obedient", sys.executable, "only.py", "--supports", cases)
    assert project.status == 0, said
    assert said.count("Passed:") == 5
    assert project.run("dev:test-model", "obedient", sys.executable, "main.py", "--supports", "output-audio")
    assert project.status == 1
