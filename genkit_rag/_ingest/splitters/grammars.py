"""Syntax trees of programs, by tree-sitter: the one module that knows its grammars."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from genkit_rag._core.errors import require_extra

_GRAMMARS = {
    "bash": "bash",
    "c": "c",
    "cpp": "cpp",
    "csharp": "c_sharp",
    "go": "go",
    "java": "java",
    "javascript": "javascript",
    "php": "php.language_php",
    "python": "python",
    "ruby": "ruby",
    "rust": "rust",
    "scala": "scala",
    "tsx": "typescript.language_tsx",
    "typescript": "typescript.language_typescript",
}
"""The package behind each language, as `tree_sitter_<package>`, with its function where it is not `language`."""

_ALIASES = {
    "c++": "cpp",
    "c#": "csharp",
    "c_sharp": "csharp",
    "cs": "csharp",
    "golang": "go",
    "js": "javascript",
    "jsx": "javascript",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "bash",
    "shell": "bash",
    "ts": "typescript",
    "zsh": "bash",
}


def languages() -> tuple[str, ...]:
    """Return the languages with a grammar."""
    return tuple(_GRAMMARS)


def parse(code: bytes, language: str) -> Any:
    """Parse a program and return its root node; None for a language without a grammar.

    Raises MissingExtra where the grammar is not installed: chunks must not depend on what happens to be there.
    """
    name = _ALIASES.get(language.lower(), language.lower())
    if name not in _GRAMMARS:
        return None
    return importlib.import_module("tree_sitter").Parser(_grammar(name)).parse(code).root_node


@cache
def _grammar(name: str) -> Any:
    package, _, function = _GRAMMARS[name].partition(".")
    require_extra("code", "tree_sitter", f"tree_sitter_{package}")
    tree_sitter = importlib.import_module("tree_sitter")
    grammar = importlib.import_module(f"tree_sitter_{package}")
    return tree_sitter.Language(getattr(grammar, function or "language")())
