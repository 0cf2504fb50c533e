"""Interrupted generations: what they end with, and how they go on."""

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
    """Returns whether any tool asked before it goes on."""
    return any(isinstance(outcome, Interrupt) for outcome in outcomes)


def interrupted(answer: ModelResponse, message: Message, outcomes: Sequence[Outcome]) -> ModelResponse:
    """Returns the response that a generation ends with when tools asked.

    The requests of those have `interrupt` in their metadata; what the others gave is kept beside their requests, so
    that they need not run again.
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
    """The model's message that asked for tools, as it stands after the answers, and what became of each request."""

    message: Message
    outcomes: list[Outcome]
    metadata: Any

    @property
    def tool_message(self) -> Message:
        """The message with the responses."""
        content = [outcome for outcome in self.outcomes if isinstance(outcome, Part)]
        return Message(role="tool", content=content, metadata={"resumed": self.metadata})


async def resume_tools(request: ModelRequest, resume: Resume, runner: ToolRunner, ctx: ActionContext) -> Resumed:
    """Returns the requests of the last message with their outcomes: kept, answered, or run again.

    Raises FAILED_PRECONDITION when the last message asks for no tool, INVALID_ARGUMENT for a request without an
    outcome, an answer to a question that was not asked, and a restart with another input than the model's.
    """
    message = request.messages[-1]
    if message.role != "model" or not message.tool_requests:
        raise GenkitError(
            "FAILED_PRECONDITION",
            "There is nothing to resume: the last message is no model's message that asks for tools.",
            hint="Pass `messages=response.messages` of the interrupted response, and no `prompt`.",
        )
    answers = _Answers(resume)
    plan = [_Step.of(part, answers) for part in message.tool_requests]
    answers.refuse_left()
    again = [step.restart for step in plan if step.restart is not None]
    ran = iter(await runner.restart_all(again, ctx, 0) if again else ())
    outcomes = [next(ran) if step.outcome is None else step.outcome for step in plan]
    steps = iter(plan)
    content = [next(steps).request if part.tool_request else part for part in message.content]
    return Resumed(message.model_copy(update={"content": content}), outcomes, resume.metadata or True)


class _Answers:
    """The parts of a resume; each is used once, first come first served where a model gave no refs."""

    def __init__(self, resume: Resume) -> None:
        self._left = {"respond": list(resume.respond or ()), "restart": list(resume.restart or ())}

    def take(self, kind: str, part: Part) -> Part | None:
        """Returns the first part for that request."""
        asked = part.tool_request
        for position, answer in enumerate(self._left[kind]):
            given = answer.tool_response if kind == "respond" else answer.tool_request
            if given is not None and asked is not None and (given.name, given.ref) == (asked.name, asked.ref):
                return self._left[kind].pop(position)
        return None

    def refuse_left(self) -> None:
        """Raises INVALID_ARGUMENT for a part that belongs to no request."""
        for kind, parts in self._left.items():
            for part in parts:
                given = part.tool_response if kind == "respond" else part.tool_request
                name = f"`{given.name}` (ref {given.ref!r})" if given else "no tool"
                raise GenkitError(
                    "INVALID_ARGUMENT",
                    f"`resume.{kind}` names {name}, and the last message has no such open request.",
                    hint="Make it of a part of `response.interrupts`, with `respond_to` or `restart`.",
                )


@dataclass(slots=True)
class _Step:
    """One request on resuming: as it stands afterwards, and its outcome or the order to run it."""

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
            outcome: Part = schema.parse(Part, raw, f"What was kept of the tool `{asked.name}`")
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
            hint="Answer every part of `response.interrupts` in `resume=`.",
        )


def _checked_restart(part: Part, order: Part) -> dict[str, Any]:
    """Returns what a restart says; raises INVALID_ARGUMENT when its input was changed without saying so."""
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
            f"The restart of `{asked.name}` (ref {asked.ref!r}) has modified inputs: the model asked with others.",
            hint="Replace an input on purpose with `restart(part, input=...)`.",
        )
    if "replacedInput" in said:
        said["replacedInput"] = original  # the model's, however often it was replaced, whatever the order claims
    return said


def _with(part: Part, metadata: dict[str, Any]) -> Part:
    return part.model_copy(update={"metadata": metadata or None})
