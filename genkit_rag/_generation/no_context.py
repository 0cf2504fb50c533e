"""The behaviour of a generation whose `docs` are empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._documents.document import Document, to_documents
from genkit_rag._documents.part import Message
from genkit_rag._generation.augmentation import AugmentWithContext
from genkit_rag._generation.model import ModelResponse

WithoutContext = Literal["answer", "refuse", "raise"]

DEFAULT_REFUSAL = "The documents hold nothing on this, so it cannot be answered from them."
FINISH_MESSAGE = "NO_CONTEXT: no passage was found, so no model was asked."


@dataclass(frozen=True, slots=True)
class NoContext:
    """The behaviour of a generation whose `docs` are empty, or exceed the budget.

    Args:
        action: `answer` calls the model without passages; `refuse` returns the message without calling a model; `raise`
            raises NOT_FOUND.
        message: The answer of `refuse`.
    """

    action: WithoutContext = "answer"
    message: str = DEFAULT_REFUSAL

    def __post_init__(self) -> None:
        if self.action not in get_args(WithoutContext):
            raise invalid("no_context", self.action, "must be one of answer, refuse, raise")
        if not isinstance(self.message, str) or not self.message.strip():
            raise invalid("no_context.message", self.message, "must be a text", hint="Leave it out for the default.")


NoContextLike = WithoutContext | NoContext


def to_no_context(given: Any) -> NoContext:
    """Convert to `NoContext`; INVALID_ARGUMENT for an unknown choice."""
    return given if isinstance(given, NoContext) else NoContext(given)


def response_without_context(
    no_context: NoContextLike, docs: str | Document | Sequence[str | Document] | None, augmentation: AugmentWithContext
) -> ModelResponse | None:
    """Return the answer of a generation without passages that must not call a model; None if it may call one.

    Args:
        no_context: The behaviour.
        docs: The `docs` argument; None if it was not given, which is not an empty search result.
        augmentation: The augmentation, whose budget may exclude all documents.

    Raises:
        GenkitError: NOT_FOUND for `raise`.
    """
    if no_context == "answer":
        return None
    chosen = to_no_context(no_context)
    if docs is None or chosen.action == "answer":
        return None
    given = to_documents([docs] if isinstance(docs, str | Document) else docs, "docs")
    if augmentation.passages(given):
        return None
    if chosen.action == "raise":
        raise GenkitError(
            "NOT_FOUND",
            "`docs` holds no passage to answer from, so no model was asked.",
            hint="Search in other words or with fewer filters, raise `max_tokens` of the augmentation, or pass "
            "no_context='refuse' or 'answer'.",
            details={"argument": "docs"},
        )
    return ModelResponse(message=Message.model(chosen.message), finish_reason="other", finish_message=FINISH_MESSAGE)
