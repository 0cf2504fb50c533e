"""Conversion of template inputs to plain data, without callables and attributes."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from genkit_rag._core import schema
from genkit_rag._core.errors import invalid

_LARGEST = 1e21  # JavaScript writes larger whole numbers with an exponent
Spend = Callable[[int, int], None]
Fallback = Callable[[Any], Any]


def plain(value: Any, what: str) -> Any:
    """Convert a value to JSON-compatible data; models become objects with wire names.

    Raises INVALID_ARGUMENT, with the name `what`, for a value that cannot be converted.
    """
    return counted(value, what, str, lambda _steps, _characters: None)


def counted(value: Any, what: str, text: type[str], spend: Spend, fallback: Fallback | None = None) -> Any:
    """Convert a value to JSON-compatible data with texts of the type `text`; every value in it costs one step.

    Args:
        value: Data or models.
        what: The name of the value, for INVALID_ARGUMENT.
        text: The type of texts.
        spend: Takes steps and characters from the budget.
        fallback: Converts a value that is not JSON-compatible.
    """
    with _named_errors(what, value):
        return _walk(value, text, spend, fallback)


def nothing(_value: Any) -> None:
    """Return None, as the fallback for values that are not JSON-compatible."""


@contextmanager
def _named_errors(what: str, value: Any) -> Generator[None]:
    try:
        yield
    except (PydanticSerializationError, PydanticUserError, RecursionError, ValueError) as error:
        shown = type(value).__name__  # a context may hold secrets
        hint = "Pass text, numbers, lists, dicts and models."
        raise invalid(what, shown, f"must be JSON-compatible data ({error})", hint=hint) from error


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
    """Convert a model, document, date or the like to JSON-compatible data."""
    try:
        return schema.dump(value)
    except (PydanticUserError, PydanticSerializationError):
        if fallback is None:
            raise
        return fallback(value)


def _number(value: float) -> float | None:
    """Convert a number like JavaScript: 1.0 becomes 1; NaN and infinity become null."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _LARGEST else value
