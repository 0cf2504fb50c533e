"""What happens when passages were to be given and there are none."""

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
    """What a generation does whose `docs` are empty, or too long for their budget.

    Args:
        action: `answer` asks the model without passages; `refuse` gives the message in place of an answer, and asks no
            model; `raise` is NOT_FOUND.
        message: What `refuse` says.
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
    """Returns the choice; raises INVALID_ARGUMENT for one that there is not."""
    return given if isinstance(given, NoContext) else NoContext(given)


def response_without_context(
    no_context: NoContextLike, docs: str | Document | Sequence[str | Document] | None, augmentation: AugmentWithContext
) -> ModelResponse | None:
    """Returns the answer of a generation that shall not ask a model, having nothing to answer from; None when it shall.

    Args:
        no_context: The choice.
        docs: What was given as `docs`; None when nothing was, which is no failed search.
        augmentation: What puts passages before the model: documents that are all over its budget are none.

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
