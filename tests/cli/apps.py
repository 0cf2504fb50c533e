"""Small apps in a folder of their own, and the command beside them as processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]

from tests.cli.terminal import COMMAND

FLOWS = '''
import asyncio
from typing import Any

from genkit_rag import ActionContext, Document, Genkit

ai = Genkit()


@ai.flow()
async def greet(name: str) -> str:
    """Greets somebody."""
    return f"Hello {name}"


@ai.flow()
async def count(n: int, ctx: ActionContext) -> dict[str, int]:
    for number in range(n):
        ctx.send_chunk(f"{number} ")
    return {"n": n}


@ai.flow()
async def whoami(_: Any, ctx: ActionContext) -> Any:
    return ctx.context.get("user")


@ai.flow()
async def fail(text: str) -> str:
    raise ValueError("bad \\x1b]0;title\\x07 thing")


@ai.flow()
async def picky(n: int) -> int:
    if n < 0:
        raise ValueError("negative")
    return n


@ai.flow()
async def slow(path: str) -> str:
    with open(path, "w") as file:
        try:
            file.write("running")
            file.flush()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            file.write(" cancelled")
            raise
    return "done"


async def find(query: Document, options: Any) -> list[Document]:
    return [Document.from_text(f"About {query.text}", id=f"doc-{query.text}")]


ai.define_retriever("notes", find)


@ai.flow()
async def answer(question: str) -> str:
    found = await ai.retrieve("notes", question)
    return found[0].text


@ai.evaluator("in_context")
async def in_context(datapoint: Any) -> bool:
    """Whether the output stands in the context."""
    return datapoint.output in (datapoint.context or [])
'''

RUN_MAIN = """
from flows import ai


async def main() -> None:
    print("main ran", flush=True)


if __name__ == "__main__":
    ai.run_main(main())
"""

DEFINES_ONLY = "from flows import ai\n"

ASGI = """
from flows import ai


async def api(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


def make_project(folder: Path) -> Path:
    """Returns the folder, now a project with four apps."""
    folder.mkdir(exist_ok=True)
    files = {
        "pyproject.toml": "",
        "flows.py": FLOWS,
        "main_app.py": RUN_MAIN,
        "defs_app.py": DEFINES_ONLY,
        "asgi_app.py": ASGI,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def environment(**more: str) -> dict[str, str]:
    """Returns an environment in which nothing of a developer's own is set."""
    ours = ("GENKIT_", "OPENAI_", "OTEL_", "DISPLAY", "WAYLAND_DISPLAY")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **more}


class Running:
    """The command as a process that goes on."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.out = self.err = ""

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        """Returns what stderr says up to a text."""
        due = time.monotonic() + seconds
        assert self.process.stderr is not None
        while text not in self.err:
            assert time.monotonic() < due, f"no {text!r} in {self.err!r}"
            if select.select([self.process.stderr], [], [], 0.2)[0]:
                piece = os.read(self.process.stderr.fileno(), 65_536)
                assert piece, f"it ended without {text!r}: {self.err!r}"
                self.err += piece.decode()
        return self.err

    def family(self) -> list[psutil.Process]:
        """Returns what it has started, and what that has."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def finish(self, number: int | None = None, seconds: float = 30.0) -> int:
        """Returns the exit code, after a signal where one is named."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=seconds)
        self.out, self.err = self.out + out.decode(), self.err + err.decode()
        return self.process.returncode


@contextmanager
def running(*arguments: str, cwd: Path, **more: str) -> Generator[Running]:
    """Gives a command that was started; it and all that it has started are gone afterwards."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_listen_to_ctrl_c,
    )
    family: list[psutil.Process] = []
    try:
        yield Running(process)
    finally:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
        for one in family:
            if one.is_running():
                one.kill()
        process.communicate()


def gone(family: list[psutil.Process]) -> bool:
    """Returns whether all of these processes have ended."""
    return not psutil.wait_procs(family, timeout=5)[1]


def python(*arguments: str) -> tuple[str, ...]:
    """Returns what stands behind `--` for a Python program."""
    return ("--", sys.executable, *arguments)


def once(*arguments: str, cwd: Path, stdin: str | None = None, **more: str) -> Any:
    """Returns the finished process of a command."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _listen_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
