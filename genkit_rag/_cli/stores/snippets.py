"""Snippets: the part of a passage that matches a query best, with the positions of the query's words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from genkit_rag._cli.output import one_line

SNIPPET_CHARACTERS = 280

_WORD = re.compile(r"\w+")
_MIN_STEM = 4
_MIN_TERM = 3
"""Shorter words (`is`, `of`) only count when a query has no longer ones."""
_MAX_FOUND = 500


@dataclass(frozen=True, slots=True)
class Snippet:
    """A clean text in one line.

    Attributes:
        text: With `…` where something was cut.
        spans: `(start, end)` of the words of the query in it.
    """

    text: str
    spans: list[tuple[int, int]]


def snippet_of(text: str, query: str, width: int = SNIPPET_CHARACTERS) -> Snippet:
    """Return the window of a text with the most different query words; the beginning if it has none."""
    flat = one_line(text)
    terms = _terms(query)
    found = [(match.span(), term) for match in _WORD.finditer(flat) if (term := _term_of(match[0], terms)) is not None]
    start = _best_start(found[:_MAX_FOUND], width) if len(flat) > width else 0
    start, end = _at_words(flat, start, width)
    lead = "… " if start else ""
    shown = lead + flat[start:end] + (" …" if end < len(flat) else "")
    shift = len(lead) - start
    spans = [(low + shift, high + shift) for (low, high), _ in found if start <= low and high <= end]
    return Snippet(shown, spans)


def _terms(query: str) -> list[str]:
    words = list(dict.fromkeys(word.casefold() for word in _WORD.findall(query)))
    return [word for word in words if len(word) >= _MIN_TERM] or words


def _term_of(word: str, terms: list[str]) -> str | None:
    """Return the term that matches a word: equal, or one is a prefix of the other."""
    folded = word.casefold()
    for term in terms:
        if folded == term:
            return term
        short, long = sorted((folded, term), key=len)
        if len(short) >= _MIN_STEM and long.startswith(short):
            return term
    return None


def _best_start(found: list[tuple[tuple[int, int], str]], width: int) -> int:
    """Return the start of the window with the most different terms, then the most words, with some context."""
    best, start = (0, 0), 0
    for first, ((low, _), _) in enumerate(found):
        inside = [term for (_, high), term in found[first:] if high - low <= width]
        score = (len(set(inside)), len(inside))
        if score > best:
            best, start = score, low
    return max(0, start - width // 5)


def _at_words(text: str, start: int, width: int) -> tuple[int, int]:
    """Move the window to word boundaries."""
    start = min(start, max(0, len(text) - width))
    end = min(len(text), start + width)
    if start:
        space = text.find(" ", start, start + width // 5)
        start = space + 1 if space >= 0 else start
    if end < len(text):
        space = text.rfind(" ", end - width // 5, end)
        end = space if space > start else end
    return start, end
