"""Tracing of actions: one span for each.

Without an OpenTelemetry provider tracing costs nothing: as long as `opentelemetry.trace` is not imported no provider
can exist, and the API's proxy provider does not record. Failures of tracing never reach the caller.

Attribute names: Genkit's tools read `genkit:*`; `gen_ai.*` are OpenTelemetry's GenAI conventions
(semantic-conventions 1.41.1) and come from the `telemetry` function of the action.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from genkit_rag._core.context import Interrupt, context_variable
from genkit_rag._core.redact import redact_text
from genkit_rag._core.schema import dump_json

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger("genkit_rag.tracing")

MAX_CONTENT_CHARS = 100_000
"""Inputs and outputs longer than this are cut in a span."""

T = TypeVar("T")
Attributes = Mapping[str, Any]
Telemetry = Callable[[Any, Any], Attributes]
"""`(input, output or None) -> gen_ai.* attributes`; called only when the span records."""

_path: ContextVar[tuple[str, str]] = ContextVar("genkit_rag_trace_path", default=("", ""))


class Root:
    """Settings of the next span of a task, which begins a trace.

    Args:
        attributes: Further attributes of the span.
        on_start: Called with the trace id and the span id, as 32 and 16 hex digits, before the action runs.
    """

    __slots__ = ("attributes", "on_start")

    def __init__(self, attributes: Attributes, on_start: Callable[[str, str], None]) -> None:
        self.attributes, self.on_start = attributes, on_start


_root: ContextVar[Root | None] = ContextVar("genkit_rag_trace_root", default=None)


def begin_trace(root: Root) -> None:
    """Let the next action of this task begin a trace; `on_start` is not called if nothing records."""
    _root.set(root)


_cached: tuple[Any, Any] = (None, None)


def tracer() -> Tracer | None:
    """Return the tracer, or None if nothing can record."""
    global _cached
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if provider is not _cached[0]:
        proxy = isinstance(provider, api.ProxyTracerProvider)
        _cached = (provider, None if proxy else api.get_tracer("genkit-tracer", "v1"))
    found: Tracer | None = _cached[1]
    return found


def captures_content() -> bool:
    """Return whether spans may hold inputs and outputs: always in dev, otherwise only on request.

    Dev is `GENKIT_ENV=dev`; the switch elsewhere is OpenTelemetry's
    `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` (`SPAN_ONLY`, `SPAN_AND_EVENT` or `true`).
    """
    if os.environ.get("GENKIT_ENV") == "dev":
        return True
    wanted = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "")
    return wanted.upper() in {"SPAN_ONLY", "SPAN_AND_EVENT", "TRUE"}


def name_span(name: str) -> None:
    """Rename the span of the running action if it is recorded."""
    if tracer() is not None:
        _guard(sys.modules["opentelemetry.trace"].get_current_span().update_name, name)


FLOW_STEP = "flowStep"
"""The `genkit:type` of a step."""


class Traced(Protocol):
    """The identity of an action in a span; a step of a flow has no key and no subtype."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def telemetry(self) -> Telemetry | None: ...


class Step:
    """The identity of a step: a named piece of work that is not an action."""

    __slots__ = ("name",)
    kind = FLOW_STEP
    key = ""
    telemetry = None

    def __init__(self, name: str) -> None:
        self.name = name


async def traced(found: Tracer, what: Traced, value: Any, run: Awaitable[T]) -> T:
    """Run a coroutine in a span and return its result."""
    span = ActionSpan(found, what, value)
    try:
        output = await run
    except BaseException as error:
        span.fail(value, error)
        raise
    else:
        span.succeed(value, output)
        return output
    finally:
        span.end()


class ActionSpan:
    """The span of one run of one action: made at its start, told the outcome, ended."""

    __slots__ = ("_action", "_captures", "_otel_token", "_path_token", "_span")

    def __init__(self, found: Tracer, action: Traced, value: Any) -> None:
        self._action = action
        self._captures = captures_content()
        self._path_token: Any = None
        self._otel_token: Any = None
        self._span: Span | None = None
        _guard(self._start, found, value)

    def _start(self, found: Tracer, value: Any) -> None:
        from opentelemetry import context
        from opentelemetry.trace import set_span_in_context

        action = self._action
        root = _root.get()
        parent, qualified_parent = _path.get() if root is None else ("", "")
        is_step = action.kind == FLOW_STEP
        piece = f"{{{action.name},t:{action.kind if is_step or action.kind == 'flow' else 'action'}"
        path = f"{parent}/{piece}}}"
        qualified = f"{qualified_parent}/{piece}{'' if is_step else f',s:{action.kind}'}}}"
        attributes: dict[str, Any] = {
            "genkit:name": action.name,
            "genkit:type": FLOW_STEP if is_step else "action",
            "genkit:path": path,
            "genkit:qualifiedPath": qualified,
            "genkit:isRoot": not parent,
        }
        if not is_step:
            attributes |= {"genkit:key": action.key, "genkit:metadata:subtype": action.kind}
        if self._captures:
            attributes["genkit:input"] = content(value)
            if not parent and (facts := context_variable().get()):
                attributes["genkit:metadata:context"] = content(_without_identity(facts))
        if root is None:
            span = found.start_span(action.name, attributes=attributes)
        else:
            _root.set(None)
            span = found.start_span(action.name, context.Context(), attributes={**attributes, **root.attributes})
        self._span = span
        self._otel_token = context.attach(set_span_in_context(span))
        self._path_token = _path.set((path, qualified))
        if root is not None:
            ids = span.get_span_context()
            root.on_start(format(ids.trace_id, "032x"), format(ids.span_id, "016x"))

    @property
    def trace_id(self) -> str | None:
        """The trace id as 32 hex digits."""
        return None if self._span is None else format(self._span.get_span_context().trace_id, "032x")

    def succeed(self, value: Any, output: Any) -> None:
        """Record the result of a successful run."""
        _guard(self._succeed, value, output)

    def _succeed(self, value: Any, output: Any) -> None:
        span = self._span
        if span is None or not span.is_recording():
            return
        attributes: dict[str, Any] = {"genkit:state": "success", **self._facts(value, output)}
        if self._captures:
            attributes["genkit:output"] = content(output)
        span.set_attributes(attributes)

    def fail(self, value: Any, error: BaseException) -> None:
        """Record the error of a failed run."""
        _guard(self._fail, value, error)

    def _fail(self, value: Any, error: BaseException) -> None:
        span = self._span
        if span is None or not span.is_recording():
            return
        if isinstance(error, Interrupt):
            span.set_attributes({"genkit:state": "success", "genkit:metadata:interrupted": True})
            return
        from opentelemetry.trace import StatusCode

        status = getattr(error, "status", None) or type(error).__name__
        # The text of an error may quote the input: it is content like any other.
        message = redact_text(str(error))[:1000] if self._captures else type(error).__name__
        source = not getattr(error, "_genkit_traced", False)
        attributes: dict[str, Any] = {
            "genkit:state": "error",
            "genkit:error": message,
            "genkit:isFailureSource": source,
            "error.type": str(status),
        }
        span.set_attributes({**self._facts(value, None), **attributes})
        span.set_status(StatusCode.ERROR, message)
        error._genkit_traced = True  # type: ignore[attr-defined]

    def _facts(self, value: Any, output: Any) -> Attributes:
        telemetry = self._action.telemetry
        try:
            return {} if telemetry is None else telemetry(value, output)
        except Exception as error:  # the state must be written all the same
            logger.debug("tracing failed: %r", error)
            return {}

    def end(self) -> None:
        """End the span and restore the caller's span."""
        _guard(self._restore)
        if self._span is not None:
            _guard(self._span.end)

    def _restore(self) -> None:
        from opentelemetry import context

        if self._otel_token is not None:
            context.detach(self._otel_token)
        if self._path_token is not None:
            _path.reset(self._path_token)


def _guard(step: Callable[..., Any], *args: Any) -> None:
    """Run one step of tracing; log its errors instead of raising them."""
    try:
        step(*args)
    except Exception as error:
        logger.debug("tracing failed: %r", error)


def content(value: Any) -> str:
    """Serialise a value as JSON for a span: without the values of fields named like secrets, and capped in size."""
    try:
        text = redact_text(dump_json(value))  # before the cut, which could halve a secret
    except Exception:  # what is not JSON must not cost the span
        text = f'"<{type(value).__name__}>"'
    return text if len(text) <= MAX_CONTENT_CHARS else text[:MAX_CONTENT_CHARS] + "…"


def _without_identity(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's context for a span without authentication data, as Genkit does."""
    return {name: "<redacted>" if name in ("auth", "secrets") else value for name, value in context.items()}
