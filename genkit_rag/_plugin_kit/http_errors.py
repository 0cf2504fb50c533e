"""Statuses and messages of the errors in a provider's answers."""

from __future__ import annotations

from typing import Any, cast

from genkit_rag._core.errors import Status

_STATUSES: dict[int, Status] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}
_NAMED: dict[str, Status] = {
    "invalid_request_error": "INVALID_ARGUMENT",
    "context_length_exceeded": "INVALID_ARGUMENT",
    "authentication_error": "UNAUTHENTICATED",
    "invalid_api_key": "UNAUTHENTICATED",
    "permission_error": "PERMISSION_DENIED",
    "not_found_error": "NOT_FOUND",
    "model_not_found": "NOT_FOUND",
    "rate_limit_error": "RESOURCE_EXHAUSTED",
    "rate_limit_exceeded": "RESOURCE_EXHAUSTED",
    "insufficient_quota": "RESOURCE_EXHAUSTED",
    "timeout": "DEADLINE_EXCEEDED",
}


def status_of_http(code: int) -> Status:
    """Map a provider's HTTP status code to a status; a 5xx code without a status maps to UNAVAILABLE."""
    if code in _STATUSES:
        return _STATUSES[code]
    return "UNAVAILABLE" if code >= 500 else "INVALID_ARGUMENT" if code >= 400 else "UNKNOWN"


def status_of_error(body: dict[str, Any]) -> Status:
    """Map the code or type of an error in a stream to a status; UNAVAILABLE for an error without either."""
    error = body["error"] if isinstance(body.get("error"), dict) else body
    for label in (error.get("code"), error.get("type")):
        if isinstance(label, str) and label in _NAMED:
            return _NAMED[label]
        code = int(label) if isinstance(label, int | str) and str(label).isdecimal() else 0
        if 400 <= code < 600:
            return status_of_http(code)
    return "UNAVAILABLE"


def error_text(payload: Any) -> str | None:
    """Extract the message of an error body in any of its usual shapes; None for a body without a message."""
    if isinstance(payload, str):
        return payload.strip() or None
    body = cast(dict[str, Any], payload) if isinstance(payload, dict) else {}
    found = (error_text(body[name]) for name in ("error", "message", "detail") if name in body)
    return next((text for text in found if text), None)
