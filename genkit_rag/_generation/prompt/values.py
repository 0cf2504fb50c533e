"""Values on their way into a template: plain data, in which nothing can be called and no attribute be reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from genkit_rag._core import schema
from genkit_rag._core.errors import invalid

_LARGEST = 1e21  # from here on a whole number is written with an exponent
Spend = Callable[[int, int], None]
Fallback = Callable[[Any], Any]


def plain(value: Any, what: str) -> Any:
    """Returns a value as JSON-compatible data; models become objects with their wire names.

    Raises INVALID_ARGUMENT that names `what` it is for what is no data.
    """
    return counted(value, what, str, lambda _steps, _characters: None)


def counted(value: Any, what: str, text: type[str], spend: Spend, fallback: Fallback | None = None) -> Any:
    """Returns a value as JSON-compatible data whose texts are of the type `text`; every value in it takes a step.

    Args:
        value: Data or models.
        what: What it is, for INVALID_ARGUMENT.
        text: The type of texts.
        spend: Takes from the budget.
        fallback: Gives data in place of what is none.
    """
    with _refusing(what, value):
        return _walk(value, text, spend, fallback)


def nothing(_value: Any) -> None:
    """Returns None, in place of what is no data."""


@contextmanager
def _refusing(what: str, value: Any) -> Generator[None]:
    try:
        yield
    except (PydanticSerializationError, PydanticUserError, RecursionError, ValueError) as error:
        shown = type(value).__name__  # a context may hold secrets
        hint = "Pass text, numbers, lists, dicts and models."
        raise invalid(what, shown, f"is no JSON-compatible data ({error})", hint=hint) from error


def _walk(value: Any, text: type[str], spend: Spend, fallback: Fallback | None) -> Any:
    spend(1, 0)
    kind = type(value)
    if kind is str:
        return text(value)
    if value is None or kind is int or kind is bool:
        return value
    if kind is float:
        return _number(value)
    if isinstance(value, Mapping):
        return {text(str(key)): _walk(item, text, spend, fallback) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_walk(item, text, spend, fallback) for item in value]
    made = _dumped(value, fallback)
    if isinstance(made, str):
        return text(str.__str__(made))
    return made if type(made) is kind else _walk(made, text, spend, fallback)


def _dumped(value: Any, fallback: Fallback | None) -> Any:
    """Returns a model, a document, a date and the like as JSON-compatible data."""
    try:
        return schema.dump(value)
    except (PydanticUserError, PydanticSerializationError):
        if fallback is None:
            raise
        return fallback(value)


def _number(value: float) -> float | None:
    """Returns a number as JavaScript writes it: 1.0 is 1, and what is no number is null."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _LARGEST else value
