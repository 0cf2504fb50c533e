"""Placeholders that replace secrets in a request, and are replaced by the secrets in the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genkit_rag._core import schema
from genkit_rag._generation.middleware.sensitive import Finder, find

_LIKE = re.compile(r"\[[A-Z][A-Z0-9_]*_\d+\]")


class Placeholders:
    """The placeholders of one request; the same text always has the same placeholder.

    They are numbered in order of appearance, so that a growing conversation keeps its placeholders. A text of the
    request that looks like a placeholder is not changed, and its name is not used.

    Args:
        finders: The finders by name.
        texts: The texts of the request, for the names in use.
    """

    def __init__(self, finders: Mapping[str, Finder], texts: Iterable[str] = ()) -> None:
        self._finders = finders
        self._taken = {found for text in texts if "[" in text for found in _LIKE.findall(text)}
        self._names: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        self.originals: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """Replace secrets in a text by placeholders."""
        found = find(text, self._finders)
        if not found:
            return text
        pieces: list[str] = []
        end = 0
        for start, stop, name in found:
            pieces += [text[end:start], self._name(name, text[start:stop])]
            end = stop
        return "".join([*pieces, text[end:]])

    def hide_all(self, value: Any) -> Any:
        """Replace secrets in data by placeholders; the result is JSON-compatible, with texts for replaced numbers."""

        def leaf(item: Any) -> Any:
            if isinstance(item, str):
                return self.hide(item)
            if isinstance(item, int) and not isinstance(item, bool):
                hidden = self.hide(str(item))
                return item if hidden == str(item) else hidden
            if item is None or isinstance(item, bool | float):
                return item
            return walk(schema.dump(item), leaf)

        return walk(value, leaf)

    def show_all(self, value: Any) -> Any:
        """Restore the originals in JSON-compatible data."""
        return walk(value, lambda item: self.show(item) if isinstance(item, str) else item)

    def show(self, text: str, *, json_text: bool = False) -> str:
        """Restore the originals in a text.

        Args:
            text: The text of a model.
            json_text: Whether the text is JSON, in which quotes and line ends are escaped.
        """
        if "[" not in text or not self.originals:
            return text
        return _LIKE.sub(lambda found: self._original(found[0], json_text), text)

    def unfinished(self, text: str) -> int:
        """Return the number of characters at the end that may be the beginning of a placeholder."""
        at = text.rfind("[")
        tail = text[at:] if at >= 0 else ""
        return len(tail) if tail and any(name != tail and name.startswith(tail) for name in self.originals) else 0

    def _original(self, name: str, json_text: bool) -> str:
        original = self.originals.get(name)
        if original is None:
            return name
        return json.dumps(original, ensure_ascii=False)[1:-1] if json_text else original

    def _name(self, kind: str, original: str) -> str:
        known = self._names.get((kind, original))
        if known is not None:
            return known
        number = self._last.get(kind, 0) + 1
        while (name := f"[{kind.upper()}_{number}]") in self._taken:
            number += 1
        self._last[kind] = number
        self._names[kind, original] = name
        self.originals[name] = original
        return name


def walk(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Apply `leaf` to all leaves of nested lists and mappings, keys included."""
    if isinstance(value, Mapping):
        mapping: Mapping[Any, Any] = value
        return {walk(name, leaf): walk(item, leaf) for name, item in mapping.items()}
    if isinstance(value, list | tuple):
        items: Sequence[Any] = value
        return [walk(item, leaf) for item in items]
    return leaf(value)
