"""Evaluators of the citations in an answer, without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import Field

from genkit_rag._documents.citations import Citations, find_citations
from genkit_rag._documents.document import Document
from genkit_rag._documents.wire import WireModel
from genkit_rag._evaluation.types import EvalDataPoint, Score, graded, text_of, unmeasured

MIN_WORDS = 3
"""A sentence of fewer words (a heading, a yes) needs no citation."""

# A marker behind the full stop belongs to the sentence before it.
_END = re.compile(r"(?:[.!?]+(?=[\s\[]|\Z)|[。！？]+)(?:[ ]?\[[^\[\]\n]{1,200}\])*|\n+")
_WORD = re.compile(r"\w+")
_MARKER = re.compile(r"\[[^\[\]\n]{1,200}\]")


class CitationOptions(WireModel):
    """Options of the citation evaluators.

    Attributes:
        keys: The keys that the model was given; by default those that the target's response knows, else the numbers
            from 1 of the context.
        threshold: PASS from this value on, FAIL below; None says neither.
    """

    keys: list[str] | None = None
    threshold: float | None = Field(default=1.0, ge=0, le=1)


class CoverageOptions(CitationOptions):
    """Options of `citation_coverage`: those of citations, with a threshold of 0.5."""

    threshold: float | None = Field(default=0.5, ge=0, le=1)


def citation_validity(datapoint: EvalDataPoint, options: CitationOptions) -> Score:
    """Compute the share of cited keys that belong to a given passage."""
    found = _citations(datapoint, options)
    known = len(found)
    if not known and not found.unknown:
        return unmeasured("The answer cites nothing.")
    reasoning = f"Unknown: {', '.join(found.unknown)}."[:500] if found.unknown else None
    return graded(known / (known + len(found.unknown)), options.threshold, reasoning)


def citation_coverage(datapoint: EvalDataPoint, options: CoverageOptions) -> Score:
    """Compute the share of the answer's sentences that cite a given passage."""
    text = text_of(datapoint.output)
    found = [span for citation in _citations(datapoint, options) for span in citation.spans]
    total, bare = 0, list[str]()
    for start, end in sentences(text):
        words = _WORD.findall(_MARKER.sub("", text[start:end]))
        if len(words) < MIN_WORDS:
            continue
        total += 1
        if not any(start <= span[0] < end for span in found):
            bare.append(text[start:end].strip())
    if not total:
        return unmeasured("The answer has no sentence.")
    reasoning = f"Without a citation: {bare[0]!r:.300}" if bare else None
    return graded((total - len(bare)) / total, options.threshold, reasoning)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the bounds of sentences: they end at `.`, `!` or `?` before a space, and at line breaks."""
    start = 0
    for end in _END.finditer(text):
        yield start, end.end()
        start = end.end()
    if start < len(text):
        yield start, len(text)


def _citations(point: EvalDataPoint, options: CitationOptions) -> Citations:
    return find_citations(text_of(point.output), dict.fromkeys(_keys(point, options), Document()))


def _keys(point: EvalDataPoint, options: CitationOptions) -> list[str]:
    if options.keys is not None:
        return options.keys
    noted: Any = point.further("citationKeys")
    if isinstance(noted, list):
        return [str(key) for key in noted]
    count = len(point.context or ())
    output: Any = point.output
    if not count and isinstance(output, Mapping):
        documents: Any = cast("Mapping[str, Any]", output).get("documents")
        count = len(documents) if isinstance(documents, list) else 0
    return [str(number) for number in range(1, count + 1)]
