"""What makes a model's answer the response of a generation, or an error."""

from __future__ import annotations

from collections.abc import Sequence

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.part import Message
from genkit_rag._generation.model import ModelRequest, ModelResponse

_RETRY = "output-retry"


def check_answer(answer: ModelResponse) -> Message:
    """Returns the answer's message; raises FAILED_PRECONDITION when it was blocked or is not there."""
    if answer.message is not None and answer.finish_reason != "blocked":
        return answer.message
    what = "blocked the answer" if answer.finish_reason == "blocked" else "gave no answer"
    raise GenkitError(
        "FAILED_PRECONDITION",
        f"The model {what}: {answer.finish_message or 'it gave no reason'}.",
        hint="See `error.response.raw` for what came from the model.",
        details={"finishReason": answer.finish_reason},
    )


def internal(what: str, error: Exception) -> GenkitError:
    """Returns an INTERNAL error for an exception that is none of ours."""
    hint = "The exception is the `__cause__` of this error."
    return GenkitError("INTERNAL", f"{what} failed: {type(error).__name__}: {error}", hint=hint, cause=error)


def with_retry(request: ModelRequest, answer: Message, feedback: str) -> ModelRequest:
    """Returns the request with an answer that does not fit and what is wrong with it; the last one only."""
    wrong = answer.model_copy(update={"metadata": {**(answer.metadata or {}), "purpose": _RETRY}})
    correction = Message.user(feedback)
    correction.metadata = {"purpose": _RETRY}
    return request.model_copy(update={"messages": [*_kept(request.messages), wrong, correction]})


def without_retries(request: ModelRequest) -> ModelRequest:
    """Returns the request as if the model had answered right at once."""
    return request.model_copy(update={"messages": _kept(request.messages)})


def _kept(messages: Sequence[Message]) -> list[Message]:
    return [message for message in messages if (message.metadata or {}).get("purpose") != _RETRY]
