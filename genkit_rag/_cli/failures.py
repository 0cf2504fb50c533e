"""Turns what went wrong into a message, a fix and an exit code."""

from __future__ import annotations

import difflib
import os
import re
import sys
import traceback
from dataclasses import dataclass

from genkit_rag._cli.output import Output, one_line
from genkit_rag._core.errors import GenkitError, MissingExtra

DEBUG_VARIABLE = "GENKIT_RAG_DEBUG"

FAILED = 1
USAGE = 2
PARTIAL = 3
NOT_SET_UP = 4
INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


_CHOICE = re.compile("'([^']*)' is not one of (.*)")
_LOOK = f"{DEBUG_VARIABLE}=1 shows where it came up."
_FIXES = {
    "UNAVAILABLE": "The other side is not available: try again later, or use another model.",
    "DEADLINE_EXCEEDED": "Try again, or use another model.",
    "RESOURCE_EXHAUSTED": "Wait a little, then try again.",
}
"""Hints for errors without their own."""


class WrongUsage(GenkitError):
    """An argument of the command line that cannot be used."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("INVALID_ARGUMENT", message, hint=hint)


class NotReady(GenkitError):
    """A missing precondition of a command, for example an app."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("UNAVAILABLE", message, hint=hint)


@dataclass(frozen=True, slots=True)
class Failure:
    """The message of an error, and the exit code."""

    status: str
    message: str
    hint: str
    code: int = FAILED


def failure_of(error: BaseException) -> Failure | None:
    """Return the message of an error; None for an interruption or a closed pipe, which have none."""
    if isinstance(error, GenkitError):
        code = USAGE if isinstance(error, WrongUsage) else NOT_SET_UP if isinstance(error, NotReady) else FAILED
        return Failure(error.status, error.message, error.hint or _FIXES.get(error.status, _LOOK), code)
    if isinstance(error, MissingExtra):
        problem, _, fix = str(error).partition(" Install it with: ")
        return Failure("FAILED_PRECONDITION", problem, fix)
    if _is_interruption(error) or isinstance(error, BrokenPipeError):
        return None
    parser_message = getattr(error, "format_message", None)
    if parser_message is not None:  # an error of the command line's parser: typer has its own, older ones click's
        context = getattr(error, "ctx", None)
        command = getattr(context, "command_path", None) or "genkit-rag"
        message: str = parser_message()
        return Failure("INVALID_ARGUMENT", message, f"{_guess(message)}See: {command} --help", USAGE)
    if isinstance(error, OSError):
        return Failure("UNAVAILABLE", str(error), "Check the path, its permissions and the disk.")
    return Failure("INTERNAL", f"{type(error).__name__}: {error}", f"This is a defect. {_LOOK}")


def _guess(message: str) -> str:
    """Suggest an option's choice similar to an invalid value."""
    found = _CHOICE.search(message)
    close = found and difflib.get_close_matches(found[1], re.findall("'([^']*)'", found[2]), n=1)
    return f"Did you mean `{close[0]}`? " if close else ""


def report(error: BaseException, *, json: bool) -> int:
    """Report an error on stderr, for JSON also on stdout, and return the exit code."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    out = Output(json=json)
    failure = failure_of(error)
    if failure is None:
        if isinstance(error, BrokenPipeError):
            _discard_stdout()
            return FAILED
        return interrupted()
    out.say(f"error: {one_line(failure.message)}")
    out.say(f"fix: {one_line(failure.hint)}")
    if json:
        _print_json(out, failure)
    elif isinstance(error, OSError):
        _flush_stdout()
    return failure.code


def interrupted() -> int:
    """Report an interruption and return its exit code."""
    Output().say("Interrupted. What was done is kept.")
    return INTERRUPTED


def _is_interruption(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort"


def _print_json(out: Output, failure: Failure) -> None:
    try:
        out.data({"error": {"status": failure.status, "message": failure.message, "hint": failure.hint}})
    except OSError:  # stdout itself is what failed; stderr has said it
        _discard_stdout()
        return
    _flush_stdout()


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()


def _discard_stdout() -> None:
    """Redirect stdout, so that the interpreter does not report the closed pipe at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
