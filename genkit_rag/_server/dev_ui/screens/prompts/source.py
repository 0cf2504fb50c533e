"""The text of a `.prompt` file for a prompt that the app describes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z]([\w ./@-]*[\w])?")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})
_FIELDS = ("model", "config", "input", "output", "tools", "toolChoice", "maxTurns")


def prompt_source(prompt: Mapping[str, Any], description: str | None = None) -> str | None:
    """Rebuild front matter and template from the metadata of a prompt; None for a prompt without a template.

    Settings that exist only in code (functions, middleware, further messages) are not in the metadata, and so not in
    the text.
    """
    template = prompt.get("template")
    if not isinstance(template, str):
        return None
    front = {name: prompt[name] for name in _FIELDS if prompt.get(name) not in (None, {}, [])}
    if description:
        front["description"] = description
    return f"---\n{_block(front, 0)}---\n{template}\n" if front else template


def _block(fields: Mapping[str, Any], indent: int) -> str:
    """Render an object as YAML with one field a line; lists and empty objects are JSON, which is valid YAML."""
    lines: list[str] = []
    for name, value in fields.items():
        key = f"{'  ' * indent}{_scalar(str(name))}:"
        if isinstance(value, Mapping) and value:
            lines.append(f"{key}\n{_block(value, indent + 1)}")
        else:
            lines.append(
                f"{key} {_scalar(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n"
            )
    return "".join(lines)


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
