"""The wire format of the reflection API: portable JSON, and errors as Genkit's Status."""

from __future__ import annotations

import asyncio
import json
import math
import traceback
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from genkit_rag._core.errors import STATUS_CODES, GenkitError
from genkit_rag._core.redact import redactor

SPEC_VERSION = 1
"""`reflectionApiSpecVersion`; Genkit's CLI leaves when it is greater than its own."""

_MAX_STACK_CHARS = 20_000


@cache
def version() -> str:
    """Return `genkit-rag/<version>`, the `genkitVersion` of this runtime."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return f"genkit-rag/{installed('genkit-rag')}"
    except PackageNotFoundError:
        return "genkit-rag/unknown"


def encode(value: Any) -> str:
    """Serialise as JSON on one line of ASCII; numbers without a JSON form (NaN, infinities) become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast(list[Any], value)]
    return value


def status(error: BaseException, trace_id: str | None = None) -> dict[str, Any]:
    """Convert the error of a run to `{code, message, details}` with redacted texts.

    With a trace id, the details contain it and the stack, as Genkit's tools expect of a started run.
    """
    redact = redactor()
    # Which fields of an input do not fit: for forms.
    problems = error.details.get("problems") if isinstance(error, GenkitError) else None
    details: dict[str, Any] = {"problems": redact(problems)} if problems else {}
    if trace_id is not None:
        stack = "".join(traceback.format_exception(error))
        details |= {"stack": redact(stack[-_MAX_STACK_CHARS:]), "traceId": trace_id}
    return {"code": _code(error), "message": redact(_message(error)), "details": details}


def _code(error: BaseException) -> int:
    if isinstance(error, GenkitError):
        return error.code
    return STATUS_CODES["CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"]


def _message(error: BaseException) -> str:
    if isinstance(error, GenkitError):
        return f"{error.message} {error.hint}" if error.hint else error.message
    if isinstance(error, asyncio.CancelledError):
        return "The run was cancelled."
    try:
        return str(error) or type(error).__name__
    except Exception:  # an error that cannot say what it is
        return type(error).__name__
