"""Genkit's trace JSON, `TraceData` and `SpanData`: lenient when parsing, exact when writing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import validation_error
from genkit_rag._documents.wire import WireModel

SPAN_KINDS = ("INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""OpenTelemetry's span kinds by number; unspecified counts as internal."""

IGNORE = "genkitx:ignore-trace"
"""A span with this attribute is not kept, and neither is the rest of its trace."""

TraceId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
SpanId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Millis = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
"""Milliseconds since the epoch."""


def _without_nulls(value: Any) -> Any:
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


def _kind(value: Any) -> Any:
    if isinstance(value, int) and 0 <= value < len(SPAN_KINDS):
        return SPAN_KINDS[value]
    return "INTERNAL" if value is None else value


Attributes = Annotated[dict[str, Any], BeforeValidator(_without_nulls)]


class _Wire(WireModel):
    model_config = ConfigDict(extra="ignore")


class SpanStatus(_Wire):
    """How a span ended: code 0 unset, 1 ok, 2 error."""

    code: int = 0
    message: str | None = None


class InstrumentationLibrary(_Wire):
    """What made the span."""

    name: str = ""
    version: str | None = None
    schema_url: str | None = None


class Annotation(_Wire):
    """The content of an event."""

    attributes: Attributes = Field(default_factory=dict)
    description: str = ""


class TimeEvent(_Wire):
    """An event of a span."""

    time: Millis
    annotation: Annotation


class TimeEvents(_Wire):
    """The events of a span."""

    time_event: list[TimeEvent] | None = None


class SpanContext(_Wire):
    """Which span a link points to."""

    trace_id: str
    span_id: str
    is_remote: bool | None = None
    trace_flags: int = 0


class Link(_Wire):
    """A link to a span, often of another trace."""

    context: SpanContext | None = None
    attributes: Attributes | None = None
    dropped_attributes_count: int | None = None


class SameProcess(_Wire):
    """Whether the parent ran in the same process."""

    value: bool


class SpanData(_Wire):
    """One span; `end_time` 0 means that it is running."""

    span_id: SpanId
    trace_id: TraceId
    parent_span_id: SpanId | None = None
    start_time: Millis
    end_time: Millis = 0
    attributes: Attributes = Field(default_factory=dict)
    display_name: str = ""
    links: list[Link] | None = None
    instrumentation_library: InstrumentationLibrary = Field(default_factory=InstrumentationLibrary)
    span_kind: Annotated[str, BeforeValidator(_kind)] = "INTERNAL"
    same_process_as_parent_span: SameProcess | None = None
    status: SpanStatus | None = None
    time_events: TimeEvents | None = None
    truncated: bool | None = None

    @field_validator("parent_span_id", mode="before")
    @classmethod
    def _no_parent(cls, value: Any) -> Any:
        return value or None

    @field_validator("end_time", mode="before")
    @classmethod
    def _running(cls, value: Any) -> Any:
        return 0 if value is None else value

    @field_validator("display_name", mode="before")
    @classmethod
    def _unnamed(cls, value: Any) -> Any:
        return "" if value is None else value

    def to_json(self) -> str:
        """Convert the span to Genkit's JSON; absent fields are left out instead of null."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


class TraceData(_Wire):
    """Spans of one trace, by their ids."""

    trace_id: TraceId
    display_name: str | None = None
    start_time: Millis | None = None
    end_time: Millis | None = None
    spans: dict[str, SpanData]


class TraceEvent(_Wire):
    """A live event about one span."""

    type: Literal["span_start", "span_end"]
    trace_id: TraceId
    span: SpanData


def parse_trace(body: bytes) -> list[SpanData]:
    """Parse the spans of a posted trace; INVALID_ARGUMENT names the problem.

    Every span must belong to the posted trace, so that a client cannot write into another one.
    """
    try:
        trace = TraceData.model_validate_json(body)
    except ValidationError as error:
        raise validation_error(error, "The trace") from None  # the cause would carry the input
    for key, span in trace.spans.items():
        if span.trace_id != trace.trace_id or span.span_id != key:
            raise GenkitError(
                "INVALID_ARGUMENT",
                "A span stands under another id or is of another trace.",
                hint="Post one trace at a time, its spans keyed by their spanId.",
            )
    return list(trace.spans.values())
