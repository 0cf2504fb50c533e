"""Errors that carry a status, what was wrong and what to do about it."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

Status = Literal[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]
"""The status names of gRPC; their numbers are their positions (https://grpc.io/docs/guides/status-codes/)."""

STATUS_CODES: dict[Status, int] = {name: number for number, name in enumerate(get_args(Status))}
"""Status name -> gRPC number."""

HTTP_CODES: dict[Status, int] = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""Status name -> HTTP status code, as Genkit maps them."""


class GenkitError(Exception):
    """An error with a gRPC status, a one-line message and a hint with the next step.

    Attributes:
        status: One of the sixteen gRPC error statuses.
        message: The problem, with the argument and its value.
        hint: The fix, or None if there is none.
        details: Machine-readable facts (JSON-compatible).
        response: The `ModelResponse` so far, if the error was raised inside a generate loop.
        retry_after: Seconds to wait before a retry, if the server sent them.
    """

    def __init__(
        self,
        status: Status,
        message: str,
        *,
        hint: str | None = None,
        details: dict[str, Any] | None = None,
        cause: BaseException | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status: Status = status
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = details or {}
        self.response: Any = None
        self.retry_after = retry_after
        if cause is not None:
            self.__cause__ = cause

    @property
    def code(self) -> int:
        """The gRPC number of the status."""
        return STATUS_CODES[self.status]

    @property
    def http_code(self) -> int:
        """The HTTP status code that a handler answers with."""
        return HTTP_CODES[self.status]

    def __str__(self) -> str:
        text = f"{self.status}: {self.message}"
        return f"{text} {self.hint}" if self.hint else text


class PublicError(GenkitError):
    """A `GenkitError` whose text may be shown to the users of a server; no other error's text leaves it."""


class MissingExtra(ImportError):
    """An optional dependency is not installed; the message is the command that installs it.

    Args:
        extra: The extra of `genkit-rag` that installs the dependency.
        package: The package that was not found.
    """

    def __init__(self, extra: str, package: str) -> None:
        self.extra = extra
        super().__init__(
            f'`{package}` is not installed. Install it with: pip install "genkit-rag[{extra}]"  '
            f'(or: uv add "genkit-rag[{extra}]")',
            name=package,
        )


def require_extra(extra: str, *modules: str) -> AbstractContextManager[None]:
    """Check that the modules of an extra are installed, without importing them.

    Call it before the imports in a function, or as `with require_extra("pdf", "pypdfium2"):` around imports at the top
    of a module.

    Args:
        extra: The extra of `genkit-rag` that installs the modules.
        modules: The import names of the modules.

    Raises:
        MissingExtra: A module is not installed.
    """
    for module in modules:
        if not _is_installed(module):
            raise MissingExtra(extra, module)
    return nullcontext()


def _is_installed(module: str) -> bool:
    if module in sys.modules:
        return bool(sys.modules[module])  # None marks a failed import
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a parent package is missing
        return False


def invalid(argument: str, value: object, problem: str, *, hint: str | None = None) -> GenkitError:
    """Create an INVALID_ARGUMENT error with the argument, its value and the fix."""
    shown = repr(value)
    if len(shown) > 120:
        shown = shown[:117] + "..."
    return GenkitError(
        "INVALID_ARGUMENT", f"`{argument}` {problem}, got {shown}.", hint=hint, details={"argument": argument}
    )
