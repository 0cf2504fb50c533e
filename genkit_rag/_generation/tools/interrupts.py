"""Interrupts: a tool stops the generation to ask a person, and the generation is resumed with the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genkit_rag._core.errors import invalid
from genkit_rag._documents.part import Part, ToolRequest, ToolResponse
from genkit_rag._documents.wire import WireModel

_SAME: Any = object()
RESTART_KEYS = ("resumed", "replacedInput")
"""The metadata keys of a request whose tool runs again."""


class Resume(WireModel):
    """What became of the interrupts of a generation.

    Attributes:
        respond: Answers in place of the tools' own: parts of `respond_to`.
        restart: Tools that shall run again: parts of `restart`.
        metadata: Stands as `resumed` on the tool message; True when None.
    """

    respond: list[Part] | None = None
    restart: list[Part] | None = None
    metadata: dict[str, Any] | None = None


ResumeLike = Resume | Part | Sequence[Part]
"""What `resume=` takes: the parts that `respond_to` and `restart` gave, or a `Resume`."""


def respond_to(interrupt: Part, output: Any, metadata: Mapping[str, Any] | None = None) -> Part:
    """Create the answer to an interrupt, for `generate(resume=...)`; the tool does not run.

    Args:
        interrupt: One of `response.interrupts`.
        output: The tool's output for the model.
        metadata: The `interruptResponse` of the part; True if None.
    """
    request = _request_of(interrupt)
    response = ToolResponse(name=request.name, ref=request.ref, output=output)
    return Part(tool_response=response, metadata={"interruptResponse": dict(metadata) if metadata else True})


def restart(interrupt: Part, metadata: Any = None, *, input: Any = _SAME) -> Part:
    """Create the request to run an interrupted tool again, for `generate(resume=...)`.

    Args:
        interrupt: One of `response.interrupts`.
        metadata: The value of `ctx.resumed` in the tool; True if None.
        input: An input that replaces the model's, which the tool finds as `ctx.original_input`.
    """
    request = _request_of(interrupt)
    known = {key: value for key, value in (interrupt.metadata or {}).items() if key != "interrupt"}
    known["resumed"] = True if metadata is None else metadata
    if input is _SAME:
        return Part(tool_request=request, metadata=known)
    known.setdefault("replacedInput", request.input)
    return Part(tool_request=request.model_copy(update={"input": input}), metadata=known)


def to_resume(resume: ResumeLike) -> Resume:
    """Return the answers and restarts among parts; INVALID_ARGUMENT for other parts."""
    if isinstance(resume, Resume):
        return resume
    parts = [resume] if isinstance(resume, Part) else list(resume)
    for part in parts:
        if not isinstance(part, Part) or (part.tool_response is None and part.tool_request is None):
            hint = "Make them of parts of `response.interrupts`."
            raise invalid("resume", part, "takes parts that `respond_to` and `restart` gave", hint=hint)
    return Resume(
        respond=[part for part in parts if part.tool_response is not None],
        restart=[part for part in parts if part.tool_request is not None],
    )


def _request_of(interrupt: Part) -> ToolRequest:
    request = interrupt.tool_request
    if request is None:
        raise invalid("interrupt", interrupt, "asks for no tool", hint="Take it from `response.interrupts`.")
    return request
