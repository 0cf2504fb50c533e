"""The program after `--` on the command line, and its process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from genkit_rag._cli.failures import WrongUsage

T = TypeVar("T")

GRACE_SECONDS = 10.0
"""How long a program may take to end after it was asked to."""

STRAGGLER_SECONDS = 1.0
"""Timeout for processes that a program has left behind."""

_PROGRAM = "genkit_rag.program"


class CommandWithProgram(TyperCommand):
    """A command that may end with `-- PROGRAM ...`; everything after `--` belongs to the program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments before `--`."""
        own, mark, program = args, "", []
        if "--" in args:
            at = args.index("--")
            own, mark, program = args[:at], "--", args[at + 1 :]
        if mark and not program:
            ctx.fail("`--` needs a program behind it, such as: -- python app.py")
        ctx.meta[_PROGRAM] = program
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- PROGRAM ...]"]


def program_of(context: typer.Context) -> list[str]:
    """Return the program after `--`; empty without it."""
    found: list[str] = context.meta.get(_PROGRAM, [])
    return found


class Program:
    """A running program that ends with this process's block in all cases.

    On a terminal it shares our process group, so that it can read from the terminal and receives Ctrl-C. Otherwise it
    has its own group, whose remaining processes are ended too.
    """

    def __init__(self, process: asyncio.subprocess.Process, *, own_group: bool) -> None:
        self._process = process
        self._own_group = own_group

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end and return the exit code in shell form: 128 + number for a signal."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    async def stop(self) -> None:
        """End the program with the received signal, otherwise SIGTERM; kill it after 10 s."""
        if self._process.returncode is None:
            number = signals.received or signal.SIGTERM
            if not (number == signal.SIGINT and not self._own_group):  # the terminal has sent it already
                self._send(number)
            try:
                await asyncio.wait_for(self._process.wait(), GRACE_SECONDS)
            except TimeoutError:
                self.kill()
                await self._process.wait()
        if self._own_group:
            await self._end_stragglers()

    def kill(self) -> None:
        """Kill the program at once."""
        if self._process.returncode is None or self._own_group:
            self._send(getattr(signal, "SIGKILL", signal.SIGTERM))

    async def _end_stragglers(self) -> None:
        left = self._send(signal.SIGTERM)
        due = time.monotonic() + STRAGGLER_SECONDS
        while left and time.monotonic() < due:
            await asyncio.sleep(0.02)
            left = self._send(0)
        if left:
            self.kill()

    def _send(self, number: int) -> bool:
        """Send a signal; return whether a process received it."""
        try:
            if self._own_group:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


@asynccontextmanager
async def started(
    command: Sequence[str], environment: Mapping[str, str], *, talks: bool = False
) -> AsyncGenerator[Program]:
    """Start a program and end it with the block.

    Args:
        command: Its name and arguments.
        environment: All of its environment variables.
        talks: Whether its output goes to stderr, because stdout is ours.
    """
    own_group = os.name == "posix" and not _on_terminal()
    more: dict[str, Any] = {"process_group": 0} if own_group else {}
    if talks:
        more["stdout"] = sys.stderr.fileno()
        more["stdin"] = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment, **more)
    except OSError as error:
        raise WrongUsage(
            f"`{command[0]}` cannot be started: {error.strerror or error}.",
            hint="Write a program and its arguments behind --, such as: -- python app.py",
        ) from error
    program = Program(process, own_group=own_group)
    signals.programs.add(program)
    try:
        yield program
    finally:
        await program.stop()
        signals.programs.discard(program)


def _on_terminal() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        return False


class Signals:
    """Received signals, and the programs to end."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.programs: set[Program] = set()

    def take(self, number: int, stop: Callable[[], object]) -> None:
        """Stop at the first signal, kill the programs at the second, exit at the third."""
        if self.received is None:
            self.received = number
            stop()
        elif self.programs:
            self.kill()
            self.programs.clear()
        else:
            os._exit(128 + number)

    def kill(self) -> None:
        """Kills the programs."""
        for program in self.programs:
            program.kill()


signals = Signals()


def run_until_signal(main: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine and return its result. SIGINT, SIGTERM and SIGHUP cancel it and end its programs.

    Raises:
        KeyboardInterrupt: After SIGINT.
        typer.Exit: With 128 + number after another signal.
    """

    async def run() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                with contextlib.suppress(NotImplementedError):  # Windows
                    loop.add_signal_handler(number, signals.take, number, task.cancel)
        return await main

    signals.received = None
    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if signals.received in (None, signal.SIGINT):
            raise KeyboardInterrupt from None
        raise typer.Exit(128 + signals.received) from None
    finally:
        signals.kill()
        signals.programs.clear()
