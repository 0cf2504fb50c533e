"""Citations: which passages an answer names, checked against the passages that were given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from genkit_rag._blocks.document import Document
from genkit_rag._blocks.model import Citation

_FENCE = re.compile(r"^[ ]{0,3}(```|~~~).*?(?:^[ ]{0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_TICKS = re.compile(r"`+")
_LINK = re.compile(r"\[[^\[\]\n]*\]\([^()\n]*\)")
_MARKER = re.compile(r"\[([^\[\]\n]{1,200})\]")
_RANGE = re.compile(r"(\d{1,3})\s*[-–]\s*(\d{1,3})")
_NUMBER = re.compile(r"\d{1,3}")
_KEY_LIKE = re.compile(r"(?=\S*[\d._/#-])(?=\S*\w)\S+")


def find_citations(text: str, documents: Mapping[str, Document]) -> tuple[list[Citation], list[str]]:
    """Returns the citations in the order of their first mention, and the keys that no document has.

    A marker is `[1]`, `[1, 2]`, `[1; 2]`, `[1-3]` or `[key]`; a span is the whole marker, brackets included. Code,
    Markdown links and other words in brackets are no markers. With numbers as keys, an unknown key is a number of up to
    three digits (`[2024]` is a year); with other keys also a word without spaces that has a digit or one of `._/#-`.

    Args:
        text: The answer.
        documents: The passages that the model was given, by their keys.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    unknown: dict[str, None] = {}
    named = any(not _NUMBER.fullmatch(key) for key in documents)
    for marker in _MARKER.finditer(_masked(text)) if "[" in text else ():
        keys = list(_keys(marker[1], documents))
        cites = any(key in documents for key in keys)
        for key in keys:
            if key in documents:
                spans = found.setdefault(key, [])
                if marker.span() not in spans[-1:]:
                    spans.append(marker.span())
            elif cites or _NUMBER.fullmatch(key) or (named and _KEY_LIKE.fullmatch(key)):
                unknown[key] = None
    citations = [Citation(key=key, document=documents[key], spans=spans) for key, spans in found.items()]
    return citations, list(unknown)


def _keys(content: str, documents: Mapping[str, Document]) -> Iterator[str]:
    """Yields the keys in a marker; a document's key may itself hold commas and dashes."""
    whole = content.strip()
    if whole in documents:
        yield whole
        return
    for piece in re.split("[,;]", content):
        key = piece.strip()
        ends = _RANGE.fullmatch(key)
        if ends and key not in documents and ends[1] in documents and ends[2] in documents:
            yield from map(str, range(int(ends[1]), int(ends[2]) + 1))
        elif key:
            yield key


def _masked(text: str) -> str:
    """Returns the text, equally long, without code and links."""
    if "`" in text or "~~~" in text:
        text = _without_inline_code(_FENCE.sub(_blank, text))
    return _LINK.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _without_inline_code(text: str) -> str:
    """Blanks inline code: from a run of backticks to the next run of the same length in the paragraph."""
    runs = list(_TICKS.finditer(text))
    following: list[int | None] = [None] * len(runs)
    last_of_length: dict[int, int] = {}
    for position in reversed(range(len(runs))):
        length = len(runs[position][0])
        following[position] = last_of_length.get(length)
        last_of_length[length] = position
    pieces: list[str] = []
    end = position = 0
    while position < len(runs):
        closing = following[position]
        opens = runs[position]
        if closing is not None and "\n\n" not in text[opens.end() : runs[closing].start()]:
            pieces += [text[end : opens.start()], " " * (runs[closing].end() - opens.start())]
            end = runs[closing].end()
            position = closing
        position += 1
    return "".join([*pieces, text[end:]])
