"""Citations: which passages an answer names, checked against the passages that were given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import Field

from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message
from genkit_rag._documents.passages import KEY_FORM, cited_passages, has_searched
from genkit_rag._documents.wire import WireModel

_FENCE = re.compile(r"^[ ]{0,3}(```|~~~).*?(?:^[ ]{0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_TICKS = re.compile(r"`+")
_LINK = re.compile(r"\[[^\[\]\n]*\]\([^()\n]*\)")
_MARKER = re.compile(r"\[([^\[\]\n]{1,200})\]")
_RANGE = re.compile(r"(\d{1,3})\s*[-–]\s*(\d{1,3})")
_NUMBER = re.compile(r"\d{1,3}")
_KEY_LIKE = re.compile(r"(?=\S*[\d._/#-])(?=\S*\w)\S+")
_TOOL_KEY_LIKE = re.compile(r"[b-df-hj-np-tv-z]\d[0-9a-z]{5,7}")  # a retriever tool's, give or take a character


class Citation(WireModel):
    """A passage that the answer cites.

    Attributes:
        key: The key in the answer, without brackets.
        document: The passage.
        spans: `(start, end)` character offsets of the markers in the answer's text.
    """

    key: str
    document: Document
    spans: list[tuple[int, int]] = Field(default_factory=list[tuple[int, int]])


class Citations(list[Citation]):
    """The passages that an answer cites, in the order of their first mention, with the invalid keys.

    Attributes:
        unknown: Cited keys that belong to no given passage.
    """

    __slots__ = ("_repairs", "unknown")

    def __init__(
        self,
        citations: Iterable[Citation] = (),
        unknown: Iterable[str] = (),
        repairs: Iterable[tuple[tuple[int, int], str]] = (),
    ) -> None:
        super().__init__(citations)
        self.unknown = list(unknown)
        self._repairs = list(repairs)

    def without_unknown(self, text: str) -> str:
        """Return the searched text without its unknown keys: `A [1, 7]. B [7].` becomes `A [1]. B.`."""
        pieces: list[str] = []
        end = 0
        for (start, stop), kept in self._repairs:
            before = text[end:start]
            pieces += [before if kept else before.rstrip(" "), kept]
            end = stop
        return "".join([*pieces, text[end:]])


def check_citations(text: str, given: Mapping[str, Document] | None, messages: Sequence[Message]) -> Citations:
    """Find the citations of an answer among all passages that the model received.

    Args:
        text: The answer.
        given: The passages of `docs=` by their keys; None when there were none to give.
        messages: The conversation: what retriever tools found, in this turn or in earlier ones, may be cited too.
    """
    if "[" not in text or (given is None and not has_searched(messages)):
        return Citations()
    return find_citations(text, {**cited_passages(messages), **(given or {})})


def find_citations(text: str, documents: Mapping[str, Document]) -> Citations:
    """Find the citations in a text, in the order of their first mention; keys without a document are in `.unknown`.

    A marker is `[1]`, `[1, 2]`, `[1; 2]`, `[1-3]` or `[key]`; a span covers the whole marker with its brackets. Code,
    Markdown links and other bracketed words are not markers. An unknown key is a number of up to three digits (`[2024]`
    is a year) or has the form of a retriever tool's key; if there are keys of other forms, also a word without spaces
    that has a digit or one of `._/#-`.

    Args:
        text: The answer.
        documents: The passages that the model received, by key.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    unknown: dict[str, None] = {}
    repairs: list[tuple[tuple[int, int], str]] = []
    named = any(not _NUMBER.fullmatch(key) and not KEY_FORM.fullmatch(key) for key in documents)
    like_key = _KEY_LIKE if named else _TOOL_KEY_LIKE
    for marker in _MARKER.finditer(_masked(text)) if "[" in text else ():
        keys = list(_keys(marker[1], documents))
        known = [key for key in keys if key in documents]
        wrong = [
            key for key in keys if key not in documents and (known or _NUMBER.fullmatch(key) or like_key.fullmatch(key))
        ]
        for key in dict.fromkeys(known):
            found.setdefault(key, []).append(marker.span())
        if wrong:
            unknown |= dict.fromkeys(wrong)
            repairs.append((marker.span(), f"[{', '.join(dict.fromkeys(known))}]" if known else ""))
    citations = [Citation(key=key, document=documents[key], spans=spans) for key, spans in found.items()]
    return Citations(citations, unknown, repairs)


def _keys(content: str, documents: Mapping[str, Document]) -> Iterator[str]:
    """Yield the keys in a marker; a document's key may contain commas and dashes."""
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
    """Return the text with code and links blanked out, at the same length."""
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
