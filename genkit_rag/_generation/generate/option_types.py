"""Type checks of the options of `generate`, before they are used."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from genkit_rag._core.action import Action
from genkit_rag._core.errors import invalid
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Part
from genkit_rag._generation.model import ModelRequest, ModelResponse
from genkit_rag._generation.no_context import NoContext, WithoutContext
from genkit_rag._generation.tools.interrupts import Resume

Check = tuple[Callable[[Any], bool], str]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | Mapping)


def _is_content(value: Any) -> bool:
    return isinstance(value, str | Part) or _is_list(value)


def _is_resources(value: Any) -> bool:
    return _is_list(value) and all(isinstance(item, str) or callable(item) for item in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _one_of(*names: str) -> Check:
    return lambda value: isinstance(value, str) and value in names, f"must be one of `{'`, `'.join(names)}`"


_CONTENT: Check = (_is_content, "must be text, a Part or a list of them")
_LIST: Check = (_is_list, "must be a list")
_COUNT: Check = (_is_count, "must be a whole number from 0")
_BOOL: Check = (_is_bool, "must be True or False")
_NAME: Check = (_is_name, "must be a non-empty name")

_CHECKS: dict[str, Check] = {
    "model": (
        lambda value: _is_name(value) or isinstance(value, Action),
        "must be the name of a model or a model action",
    ),
    "prompt": _CONTENT,
    "system": _CONTENT,
    "messages": _LIST,
    "tools": _LIST,
    "tool_choice": _one_of("auto", "required", "none"),
    "tool_errors": _one_of("raise", "return"),
    "tool_timeout": (_is_seconds, "must be more than 0 seconds"),
    "return_tool_requests": _BOOL,
    "max_turns": _COUNT,
    "resume": (
        lambda value: isinstance(value, Resume | Part) or _is_list(value),
        "must be a Resume, or parts from `respond_to` and `restart`",
    ),
    "config": (
        lambda value: isinstance(value, Mapping) or hasattr(value, "model_dump"),
        "must be a mapping or a model",
    ),
    "docs": (lambda value: isinstance(value, str | Document) or _is_list(value), "must be a list of documents"),
    "no_context": (
        lambda value: isinstance(value, NoContext) or (isinstance(value, str) and value in get_args(WithoutContext)),
        "must be `answer`, `refuse`, `raise` or a NoContext",
    ),
    "resources": (_is_resources, "must be a list of names, resource actions and functions"),
    "output_schema": (
        lambda value: not isinstance(value, str | bytes | int | float | list | tuple),
        "must be a type or a JSON Schema",
    ),
    "output_format": _NAME,
    "output_constrained": _BOOL,
    "output_instructions": (lambda value: isinstance(value, str | bool), "must be True, False or text"),
    "output_content_type": _NAME,
    "output_retries": _COUNT,
    "use": _LIST,
    "step_name": _NAME,
}


@functools.cache
def _plan(options_type: Any) -> tuple[tuple[str, Any, Callable[[Any], bool], str], ...]:
    fields = options_type.__dataclass_fields__
    return tuple((name, fields[name].default, fits, problem) for name, (fits, problem) in _CHECKS.items())


def check_types(options: Any) -> None:
    """Raise INVALID_ARGUMENT for the first option of a wrong type; None is accepted for an empty list."""
    kind: Any = type(options)
    for name, default, fits, problem in _plan(kind):
        value = getattr(options, name)
        if value is default or (value is None and default == ()):
            continue
        if not fits(value):
            raise invalid(name, value, problem, hint=_hint(value, fits))


def _hint(value: Any, fits: Callable[[Any], bool]) -> str:
    if inspect.isawaitable(value):
        return "Did you forget `await`?"
    return "Put a single value into a list." if fits is _is_list else "Omit the argument to use the default."


def check_caller(request: ModelRequest, context: Any, on_chunk: Any) -> None:
    """Raise INVALID_ARGUMENT for a context that is not a mapping, or a listener that is not callable."""
    if context is not None and not isinstance(context, Mapping):
        error = invalid("context", context, "must be a mapping", hint="For example `context={'user': 'ada'}`.")
    elif on_chunk is not None and not callable(on_chunk):
        error = invalid(
            "on_chunk", on_chunk, "must be a function of a chunk", hint="Pass a function, or use `generate_stream`."
        )
    else:
        return
    error.response = ModelResponse(request=request)
    raise error
