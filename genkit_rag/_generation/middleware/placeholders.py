"""Placeholders: what stands for a secret in what a model reads, and gives it back in what the model says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from genkit_rag._core import schema
from genkit_rag._generation.middleware.sensitive import Finder, find

_LIKE = re.compile(r"\[[A-Z][A-Z0-9_]*_\d+\]")


class Placeholders:
    """The placeholders of one request: the same text has the same one wherever it stands.

    They are numbered as they come, so a conversation that grows keeps those it has. What looks like a placeholder in
    the request itself is left alone, and no secret gets its name.

    Args:
        finders: What is looked for, by name.
        texts: The request's texts, for the names that are taken.
    """

    def __init__(self, finders: Mapping[str, Finder], texts: Iterable[str] = ()) -> None:
        self._finders = finders
        self._taken = {found for text in texts if "[" in text for found in _LIKE.findall(text)}
        self._names: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        self.originals: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """Returns the text with placeholders."""
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
        """Returns data with placeholders, as JSON-compatible data; a number that is found becomes a text."""

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
        """Returns JSON-compatible data with what the placeholders stand for."""
        return walk(value, lambda item: self.show(item) if isinstance(item, str) else item)

    def show(self, text: str, *, json_text: bool = False) -> str:
        """Returns the text with what the placeholders stand for.

        Args:
            text: What a model has said.
            json_text: Whether the text is JSON, in which quotes and line ends are escaped.
        """
        if "[" not in text or not self.originals:
            return text
        return _LIKE.sub(lambda found: self._original(found[0], json_text), text)

    def unfinished(self, text: str) -> int:
        """Returns how many characters at the end may be the beginning of a placeholder."""
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
    """Returns lists and mappings with everything in them changed that is neither, names of fields too."""
    if isinstance(value, Mapping):
        mapping: Mapping[Any, Any] = value
        return {walk(name, leaf): walk(item, leaf) for name, item in mapping.items()}
    if isinstance(value, list | tuple):
        items: Sequence[Any] = value
        return [walk(item, leaf) for item in items]
    return leaf(value)
