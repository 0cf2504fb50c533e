"""What providers say when something went wrong, as statuses and one-line texts."""

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
    """Returns the status for a provider's HTTP status code; UNAVAILABLE for any 5xx that has none of its own."""
    if code in _STATUSES:
        return _STATUSES[code]
    return "UNAVAILABLE" if code >= 500 else "INVALID_ARGUMENT" if code >= 400 else "UNKNOWN"


def status_of_error(body: dict[str, Any]) -> Status:
    """Returns the status of an error in the middle of a stream, by its code or type; UNAVAILABLE when it has none."""
    error = body["error"] if isinstance(body.get("error"), dict) else body
    for said in (error.get("code"), error.get("type")):
        if isinstance(said, str) and said in _NAMED:
            return _NAMED[said]
        code = int(said) if isinstance(said, int | str) and str(said).isdecimal() else 0
        if 400 <= code < 600:
            return status_of_http(code)
    return "UNAVAILABLE"


def error_text(payload: Any) -> str | None:
    """Returns the message of a provider's error body in any of its usual shapes; None when it has none."""
    if isinstance(payload, str):
        return payload.strip() or None
    body = cast(dict[str, Any], payload) if isinstance(payload, dict) else {}
    found = (error_text(body[name]) for name in ("error", "message", "detail") if name in body)
    return next((text for text in found if text), None)
