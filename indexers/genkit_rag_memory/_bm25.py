"""BM25 over a few documents, computed at the query."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from genkit_rag.plugin_api import STOP_WORDS

K1, B = 1.2, 0.75
"""Lucene's defaults (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework")."""

_WORD = re.compile(r"\w+")


def words(text: str) -> Counter[str]:
    """Count the lower-case words of a text without stop words; a plural `s` or `es` is removed."""
    kept = (word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS)
    return Counter(re.sub(r"(?<=\w{3})(es|s)$", "", word) for word in kept)


def bm25(query: str, documents: Sequence[Counter[str]]) -> list[float]:
    """Return the BM25 score of each document; 0 without a common word."""
    count = len(documents)
    lengths = [sum(document.values()) for document in documents]
    average = (sum(lengths) / count if count else 0.0) or 1.0
    scores = [0.0] * count
    for term in words(query):
        having = [(row, document[term]) for row, document in enumerate(documents) if term in document]
        weight = math.log(1 + (count - len(having) + 0.5) / (len(having) + 0.5))
        for row, often in having:
            scores[row] += weight * often * (K1 + 1) / (often + K1 * (1 - B + B * lengths[row] / average))
    return scores
