"""Documentation and docstrings use the terms of the field."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("genkit_rag", "embedders", "indexers", "retrievers", "rerankers", "models")
GLOSSARY = ROOT / "docs/reference/glossary.md"

# A word of our own, as a pattern -> the term of the field.
REFUSED = {
    r"\btwins?\b": "near-duplicate, copy",
    r"\blegs?\b": "sub-retriever, ranking",
    r"\b(?:its|their|at a|a) pace\b|\bpacing\b": "rate limit",
    r"\bwhoever\b|\bsomebody\b|\bnobody\b": "the caller, the user, no one named",
    r"\bwhat stands\b|\bstands (?:for|in|by|beside) \b": "is, represents, is located",
    r"\bsays of itself\b|\bis told of\b|\btold apart\b": "describes, reports, distinguishes",
    r"\bof what is gone\b|\bthat are gone\b|\bis gone\b": "deleted, removed",
    r"\bsearch by words\b|\bby meaning\b": "keyword search, vector search",
}


def texts() -> Iterator[tuple[str, str]]:
    """Yield the documentation pages and the docstrings of the source, with their places."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
                yield place, ast.get_docstring(node) or ""


@pytest.mark.parametrize("pattern", REFUSED)
def test_no_text_uses_a_word_of_our_own_for_a_term_of_the_field(pattern: str) -> None:
    found = [f"{place}: {match[0]!r}" for place, text in texts() for match in re.finditer(pattern, text, re.IGNORECASE)]
    assert found == [], f"write: {REFUSED[pattern]}"


def test_every_term_of_the_glossary_is_used_in_the_documentation() -> None:
    terms = re.findall(r"^\| ([^|]+?) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)[2:]
    pages = "\n".join(text for place, text in texts() if place.endswith(".md") and "glossary" not in place).lower()
    assert len(terms) > 30
    assert [term for row in terms for term in row.lower().split(", ") if term not in pages] == []
