"""The built-in template helpers, and adapters for those of an application."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genkit_rag._core.errors import GenkitError, invalid

logger = logging.getLogger("genkit_rag.prompt")

Helper = Callable[..., Any]
"""`(*arguments, **named)`; with a parameter `block` it can be used as a block and gets a `HelperBlock`."""

BUILTIN = (
    "if",
    "unless",
    "each",
    "with",
    "lookup",
    "log",
    "role",
    "history",
    "section",
    "media",
    "json",
    "ifEquals",
    "unlessEquals",
)
"""The built-in helpers."""


class HelperBlock:
    """The contents of `{{#name}}...{{else}}...{{/name}}`."""

    def __init__(self, options: Any) -> None:
        self._options = options

    def body(self, context: Any = None) -> str:
        """Render the body; names are looked up in `context`, by default the current one."""
        return str(self._options.fn(context))

    def inverse(self, context: Any = None) -> str:
        """Render the part after `{{else}}`."""
        return str(self._options.inverse(context))


def engine_helpers(spend: Callable[[str], str]) -> dict[str, Any]:
    """Return the helpers that only need the budget of the rendering."""

    def to_json(args: list[Any], options: Any) -> str:
        """Handle `{{json value indent=2}}`; NaN and infinities become null."""
        return spend(_json(args[0], options.hash_value("indent"))) if args else ""

    return {
        "json": to_json,
        "ifEquals": lambda args, options: _choose(options, len(args) > 1 and _equal(args[0], args[1])),
        "unlessEquals": lambda args, options: _choose(options, len(args) > 1 and not _equal(args[0], args[1])),
        "lookup": _lookup,
        "log": _log,
    }


def adapt_helper(name: str, fn: Helper, spend: Callable[[str], str]) -> Any:
    """Adapt a helper of the application to the engine; its exceptions become INVALID_ARGUMENT with its name."""
    parameters = inspect.signature(fn).parameters
    wants_block = "block" in parameters

    def call(args: list[Any], options: Any) -> Any:
        named = {**options.hash, **({"block": HelperBlock(options)} if wants_block else {})}
        try:
            result = fn(*args, **named)
        except GenkitError:
            raise
        except Exception as error:
            problem = f"The helper `{name}` failed: {type(error).__name__}: {error}"
            raise GenkitError("INVALID_ARGUMENT", problem, cause=error) from error
        return spend(result) if isinstance(result, str) else result

    return call


def check_helper(name: str, fn: Helper) -> None:
    """Raise INVALID_ARGUMENT for an invalid helper."""
    if name in BUILTIN:
        raise invalid("name", name, "is the name of a built-in helper", hint="Choose another name.")
    if not name.isidentifier():
        raise invalid("name", name, "must be an identifier such as `upper`")
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise invalid(
            "fn", fn, "must be a synchronous function", hint="Load data before rendering and pass it in the input."
        )


def _equal(one: Any, other: Any) -> bool:
    """Compare without conversion: 5 equals 5.0, but neither "5" nor True."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _choose(options: Any, show: bool) -> Any:
    return options.fn() if show else options.inverse()


def _lookup(args: list[Any], _options: Any) -> Any:
    """Handle `{{lookup items key}}`: items of lists and objects, but no attributes."""
    collection, key = [*args, None, None][:2]
    if isinstance(collection, Mapping):
        return collection.get(key if isinstance(key, str) else _json(key, None))
    if isinstance(collection, Sequence) and not isinstance(collection, str):
        number = int(key) if isinstance(key, int | float | str) and str(key).isdecimal() else -1
        return collection[number] if 0 <= number < len(collection) else None
    return None


def _log(args: list[Any], _options: Any) -> str:
    logger.debug("%s", " ".join(_json(arg, None) for arg in args))
    return ""


def _json(value: Any, indent: Any) -> str:
    if isinstance(indent, str) and not indent.isdecimal():
        indent = 0
    width = min(int(indent or 0), 10)  # as in JSON.stringify
    separators = None if width > 0 else (",", ":")
    return json.dumps(value, ensure_ascii=False, indent=width if width > 0 else None, separators=separators)
