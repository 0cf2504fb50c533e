"""What happens when passages were to be given and there are none."""

from __future__ import annotations

from typing import Any

import pytest

from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._generation.augmentation import DEFAULT_AUGMENTATION, augment_with_context
from genkit_rag._generation.no_context import DEFAULT_REFUSAL, NoContext, response_without_context

TOO_LONG = augment_with_context(max_tokens=5)


def outcome(choice: Any, docs: Any, augmentation: Any = DEFAULT_AUGMENTATION) -> str | None:
    """Returns the text of a refusal, the status of an error, or None when the model is asked."""
    try:
        response = response_without_context(choice, docs, augmentation)
    except GenkitError as error:
        return error.status
    return None if response is None else response.text


@pytest.mark.parametrize("choice", ["answer", "refuse", "raise"])
@pytest.mark.parametrize("docs", [None, ["a passage"], "a passage", Document("a passage"), [Document("a passage")]])
def test_a_model_is_asked_when_there_are_passages_or_none_were_to_be_given(choice: Any, docs: Any) -> None:
    assert outcome(choice, docs) is None


@pytest.mark.parametrize(("docs", "augmentation"), [([], DEFAULT_AUGMENTATION), (["a b c d e f g h"], TOO_LONG)])
def test_nothing_found_is_answered_refused_or_raised(docs: Any, augmentation: Any) -> None:
    assert outcome("answer", docs, augmentation) is None
    assert outcome("refuse", docs, augmentation) == DEFAULT_REFUSAL
    assert outcome("raise", docs, augmentation) == "NOT_FOUND"
    assert outcome(NoContext("answer"), docs, augmentation) is None
    assert outcome(NoContext("refuse", "Ask somebody."), docs, augmentation) == "Ask somebody."
    assert outcome(NoContext("raise"), docs, augmentation) == "NOT_FOUND"


def test_a_refusal_says_that_it_is_one() -> None:
    response = response_without_context("refuse", [], DEFAULT_AUGMENTATION)
    assert response is not None
    assert response.finish_reason == "other"
    assert response.finish_message is not None
    assert response.finish_message.startswith("NO_CONTEXT: ")


def test_the_error_names_the_argument_and_the_ways_out() -> None:
    with pytest.raises(GenkitError, match="docs") as caught:
        response_without_context("raise", [], DEFAULT_AUGMENTATION)
    assert caught.value.details == {"argument": "docs"}
    assert caught.value.hint is not None
    assert "refuse" in caught.value.hint


@pytest.mark.parametrize("docs", [None, [], ["a"]])
@pytest.mark.parametrize("choice", ["", "Refuse", None, 3, ["refuse"]])
def test_a_choice_that_there_is_not_is_refused_whatever_was_found(choice: Any, docs: Any) -> None:
    assert outcome(choice, docs) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("message", ["", "  ", None, 3])
def test_a_refusal_must_say_something(message: Any) -> None:
    with pytest.raises(GenkitError, match=r"no_context\.message"):
        NoContext("refuse", message)
