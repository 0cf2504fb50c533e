"""Interrupted generations: their final response, and how `resume=` continues them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag._core import schema
from genkit_rag._core.context import ActionContext, Interrupt
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Message, Part
from genkit_rag._generation.generate.tools import Outcome, ToolRunner
from genkit_rag._generation.model import ModelRequest, ModelResponse
from genkit_rag._generation.tools.interrupts import RESTART_KEYS, Resume

FINISH_MESSAGE = "One or more tool calls resulted in interrupts."
_PENDING = {"pendingOutput": "output", "pendingContent": "content", "pendingMetadata": "metadata"}


def is_interrupted(outcomes: Sequence[Outcome]) -> bool:
    """Return whether a tool has interrupted the generation."""
    return any(isinstance(outcome, Interrupt) for outcome in outcomes)


def interrupted(answer: ModelResponse, message: Message, outcomes: Sequence[Outcome]) -> ModelResponse:
    """Build the response of a generation that was interrupted by tools.

    The metadata of an interrupted request has `interrupt`; that of a finished one has its output, so that the tool
    does not run again on resuming.
    """
    parts = iter(outcomes)
    content = [_annotated(part, next(parts)) if part.tool_request else part for part in message.content]
    return answer.model_copy(
        update={
            "message": message.model_copy(update={"content": content}),
            "finish_reason": "interrupted",
            "finish_message": FINISH_MESSAGE,
        }
    )


def _annotated(part: Part, outcome: Outcome) -> Part:
    metadata = dict(part.metadata or {})
    if isinstance(outcome, Interrupt):
        metadata["interrupt"] = schema.dump(outcome.metadata) or True
    elif (response := outcome.tool_response) is not None:
        metadata["pendingOutput"] = response.output
        if response.content:
            metadata["pendingContent"] = schema.dump(response.content)
        if outcome.metadata:
            metadata["pendingMetadata"] = outcome.metadata
    return part.model_copy(update={"metadata": metadata})


@dataclass(slots=True)
class Resumed:
    """The model's message with the resolved tool requests, and the outcome of each request."""

    message: Message
    outcomes: list[Outcome]
    metadata: Any

    @property
    def tool_message(self) -> Message:
        """The message with the tool responses."""
        content = [outcome for outcome in self.outcomes if isinstance(outcome, Part)]
        return Message(role="tool", content=content, metadata={"resumed": self.metadata})


async def resume_tools(request: ModelRequest, resume: Resume, runner: ToolRunner, ctx: ActionContext) -> Resumed:
    """Resolve the tool requests of the last message: with a kept output, an answer, or another run of the tool.

    Raises FAILED_PRECONDITION when the last message has no tool requests, INVALID_ARGUMENT for an unresolved request,
    an answer without a request, and a restart that changes the model's input without saying so.
    """
    message = request.messages[-1]
    if message.role != "model" or not message.tool_requests:
        raise GenkitError(
            "FAILED_PRECONDITION",
            "Nothing to resume: the last message must be a model's message with tool requests.",
            hint="Pass `messages=response.messages` of the interrupted response, and no `prompt`.",
        )
    answers = _Answers(resume)
    plan = [_Step.of(part, answers) for part in message.tool_requests]
    answers.check_all_used()
    again = [step.restart for step in plan if step.restart is not None]
    ran = iter(await runner.run_all(again, ctx, 0, restarted=True) if again else ())
    outcomes = [next(ran) if step.outcome is None else step.outcome for step in plan]
    steps = iter(plan)
    content = [next(steps).request if part.tool_request else part for part in message.content]
    return Resumed(message.model_copy(update={"content": content}), outcomes, resume.metadata or True)


class _Answers:
    """The parts of a resume. Each is used once, in order where the model gave no refs."""

    def __init__(self, resume: Resume) -> None:
        self._left = {"respond": list(resume.respond or ()), "restart": list(resume.restart or ())}

    def take(self, kind: str, part: Part) -> Part | None:
        """Remove and return the first part for that request."""
        asked = part.tool_request
        for position, answer in enumerate(self._left[kind]):
            given = answer.tool_response if kind == "respond" else answer.tool_request
            if given is not None and asked is not None and (given.name, given.ref) == (asked.name, asked.ref):
                return self._left[kind].pop(position)
        return None

    def check_all_used(self) -> None:
        """Raise INVALID_ARGUMENT for a part without a request."""
        for kind, parts in self._left.items():
            for part in parts:
                given = part.tool_response if kind == "respond" else part.tool_request
                name = f"`{given.name}` (ref {given.ref!r})" if given else "no tool"
                raise GenkitError(
                    "INVALID_ARGUMENT",
                    f"`resume.{kind}` refers to {name}, but the last message has no such open request.",
                    hint="Create it from a part of `response.interrupts`, with `respond_to` or `restart`.",
                )


@dataclass(slots=True)
class _Step:
    """One request on resuming: the resolved request, and its outcome or the part to run."""

    request: Part
    outcome: Part | None = None
    restart: Part | None = None

    @classmethod
    def of(cls, part: Part, answers: _Answers) -> _Step:
        asked, metadata = part.tool_request, dict(part.metadata or {})
        assert asked is not None
        if "pendingOutput" in metadata:
            kept: dict[str, Any] = {name: metadata.pop(key, None) for key, name in _PENDING.items()}
            own = kept.pop("metadata")
            raw = {"toolResponse": {"name": asked.name, "ref": asked.ref, **kept}, "metadata": own}
            outcome: Part = schema.parse(Part, raw, f"The kept output of the tool `{asked.name}`")
            outcome.metadata = {**(outcome.metadata or {}), "source": "pending"}
            return cls(_with(part, metadata), outcome)
        if "interrupt" in metadata:
            metadata["resolvedInterrupt"] = metadata.pop("interrupt")
        if (answer := answers.take("respond", part)) is not None:
            said = {"interruptResponse": True, **(answer.metadata or {})}
            return cls(_with(part, metadata), answer.model_copy(update={"metadata": said}))
        if (order := answers.take("restart", part)) is not None:
            said = _checked_restart(part, order)
            request = part.model_copy(update={"tool_request": order.tool_request, "metadata": {**metadata, **said}})
            return cls(request, restart=request)
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"Unresolved tool request `{asked.name}` (ref {asked.ref!r}): it was neither answered nor restarted.",
            hint="Resolve every part of `response.interrupts` in `resume=`.",
        )


def _checked_restart(part: Part, order: Part) -> dict[str, Any]:
    """Return the metadata of a restart; raises INVALID_ARGUMENT for an input that was changed without saying so."""
    asked, given = part.tool_request, order.tool_request
    assert asked is not None
    assert given is not None
    said = {"resumed": True, **{key: value for key, value in (order.metadata or {}).items() if key in RESTART_KEYS}}
    original = (part.metadata or {}).get("replacedInput", asked.input)
    if given.input != asked.input and (
        "replacedInput" not in said or said["replacedInput"] not in (original, asked.input)
    ):
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The restart of `{asked.name}` (ref {asked.ref!r}) has modified inputs: they differ from the model's.",
            hint="To replace the input, use `restart(part, input=...)`.",
        )
    if "replacedInput" in said:
        said["replacedInput"] = original  # the model's own input, even after several restarts
    return said


def _with(part: Part, metadata: dict[str, Any]) -> Part:
    return part.model_copy(update={"metadata": metadata or None})
