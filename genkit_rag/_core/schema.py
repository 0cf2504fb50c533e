"""Types to JSON Schemas, and wire data to typed values with errors that name the JSON path."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Hashable, Mapping
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from genkit_rag._core.errors import GenkitError

JsonSchema = Mapping[str, Any]
TypeOrSchema = Any
"""A Python type that pydantic knows, a JSON Schema as a dict, or None for «anything»."""


MAX_PROBLEMS = 100
"""How many problems of one value an error holds."""


@functools.lru_cache(maxsize=1024)
def _adapter(tp: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, tp))


def adapter(tp: Any) -> TypeAdapter[Any]:
    """Return the cached pydantic adapter of a type."""
    return _adapter(tp)


def json_schema(tp: TypeOrSchema, *, mode: Any = "validation") -> dict[str, Any] | None:
    """Return the JSON Schema of a type; pass a schema through; None for "any value"."""
    if tp is None or tp is Any or tp is inspect.Parameter.empty:
        return None
    if isinstance(tp, Mapping):
        return dict(cast(JsonSchema, tp))
    if tp is types.NoneType:
        return {"type": "null"}
    return adapter(tp).json_schema(by_alias=True, mode=mode)


def parse(tp: TypeOrSchema, raw: Any, what: str) -> Any:
    """Parse `raw` as a value of `tp`; INVALID_ARGUMENT names the JSON path and `what` was parsed."""
    if tp is None or tp is Any or tp is inspect.Parameter.empty:
        return raw
    if isinstance(tp, Mapping):
        check_json(cast(JsonSchema, tp), raw, what)
        return raw
    try:
        return adapter(tp).validate_python(raw)
    except ValidationError as error:
        raise validation_error(error, what) from error


def validation_error(error: ValidationError, what: str) -> GenkitError:
    """Convert pydantic's findings to one INVALID_ARGUMENT error with JSON paths."""
    problems = [
        {"path": _path(item["loc"]), "problem": item["msg"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
    ]
    text = "; ".join(f"{p['path']}: {p['problem']}" for p in problems[:3])
    more = f" (and {error.error_count() - 3} more)" if len(problems) > 3 else ""
    return GenkitError(
        "INVALID_ARGUMENT",
        f"{what} does not match its schema: {text}{more}.",
        hint="Correct the value at the path; the action's schema says what it takes.",
        details={"problems": problems},
    )


def check_json(schema: JsonSchema, value: Any, what: str) -> None:
    """Raise INVALID_ARGUMENT with the JSON path if `value` does not match the JSON Schema."""
    from jsonschema import validators  # 40 ms: only where a raw schema is used
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # Use an own registry: the default one fetches the targets of `$ref`, and a schema may come from an untrusted
    # source.
    validator = validators.validator_for(schema)(schema, registry=Registry())
    try:
        found = next(iter(validator.iter_errors(value)), None)
    except Unresolvable as error:
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The schema of {what[0].lower()}{what[1:]} refers to what is not in it: {error}.",
            hint="Put the definition into the schema's `$defs`.",
            cause=error,
            details={"unresolved": error.ref},
        ) from error
    if found is not None:
        path = _path(tuple(found.absolute_path))
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"{what} does not match its schema: {path}: {found.message}.",
            hint="Correct the value at the path; the action's schema says what it takes.",
            details={"problems": [{"path": path, "problem": found.message}]},
        )


def dump(value: Any) -> Any:
    """Convert `value` to JSON-compatible data with wire names: camelCase, absent fields left out."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return adapter(type(value)).dump_python(value, mode="json", by_alias=True, exclude_none=True)


def dump_json(value: Any) -> str:
    """Serialise `value` to JSON text with wire names."""
    return adapter(type(value)).dump_json(value, by_alias=True, exclude_none=True).decode()


def hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations of a function; an empty dict if they cannot be resolved."""
    try:
        return get_type_hints(fn, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def _path(location: tuple[Any, ...]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
