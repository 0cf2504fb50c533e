"""Keyword search: text folded to words that Chroma can find, and BM25 over the matches.

Text is split at characters other than letters and digits, lower-cased, stripped of accents and English stop words, and
stemmed (Porter2).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tantivy

from genkit_rag.plugin_api import STOP_WORDS

K1, B = 1.2, 0.75
"""Lucene's defaults (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework")."""
MAX_TERMS = 256
"""How many different words of a query count: the first ones."""

_tantivy: Any = tantivy


def _made() -> Any:
    filters = _tantivy.Filter
    builder = _tantivy.TextAnalyzerBuilder(_tantivy.Tokenizer.simple())
    steps = (
        filters.remove_long(255),
        filters.lowercase(),
        filters.ascii_fold(),
        filters.custom_stopword(sorted(STOP_WORDS)),
        filters.stemmer("english"),
    )
    for step in steps:
        builder = builder.filter(step)
    return builder.build()


_analyzer = _made()


def words_of(text: str) -> list[str]:
    """Return the folded words of a text, in order."""
    found: list[str] = _analyzer.analyze(text.encode("utf-8", "replace").decode())
    return found


def folded(text: str) -> str:
    """Return the folded words surrounded by spaces, so that ` word ` is found exactly if the word occurs."""
    return f" {' '.join(words_of(text))} "


def terms_of(query: str) -> dict[str, int]:
    """Return the words of a query with their counts."""
    return dict(list(Counter(words_of(query)).items())[:MAX_TERMS])


def length_of(words: str) -> int:
    """Return the number of folded words."""
    return len(words.split())


def having(terms: Mapping[str, int]) -> dict[str, Any]:
    """Return Chroma's `where_document` for rows with any of the words."""
    clauses = [{"$contains": f" {term} "} for term in terms]
    return {"$or": clauses} if len(clauses) > 1 else clauses[0]


def bm25(terms: Mapping[str, int], rows: Sequence[str], count: int, total: int) -> list[float]:
    """Return the BM25 score of each row.

    Args:
        terms: The words of the query with their counts.
        rows: The folded words of all rows with any of them.
        count: The total number of rows.
        total: The total number of words.
    """
    split = [row.split() for row in rows]
    found = [Counter(word for word in row if word in terms) for row in split]
    frequency = Counter(term for row in found for term in row)
    weights = {term: often * _rarity(frequency[term], count) for term, often in terms.items()}
    average = total / count if total else 1.0
    return [
        sum(
            weights[term] * often * (K1 + 1) / (often + K1 * (1 - B + B * len(words) / average))
            for term, often in row.items()
        )
        for row, words in zip(found, split, strict=True)
    ]


def _rarity(having: int, count: int) -> float:
    return math.log(1 + (max(count - having, 0) + 0.5) / (having + 0.5))
