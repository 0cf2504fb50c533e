"""MaxSim over many documents at once, and the scaling that joins it with other scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genkit_rag.plugin_api import Vectors
from genkit_rag_late_interaction._file import Halves


def maxsim(query: Vectors, documents: Sequence[Halves]) -> Vectors:
    """Return for each document the mean over the query's tokens of the largest cosine; 0 without tokens.

    Args:
        query: The query's token vectors of length 1, shape `(tokens, d)`.
        documents: The token vectors of each document.
    """
    scores = np.zeros(len(documents), dtype=np.float32)
    lengths = np.asarray([len(document) for document in documents])
    rows = np.flatnonzero(lengths)
    if len(query) and len(rows):
        tokens = np.concatenate([document for document in documents if len(document)]).astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(lengths[rows])[:-1]])
        scores[rows] = np.maximum.reduceat(query @ tokens.T, starts, axis=1).mean(axis=0)
    return scores


def scaled(scores: Vectors) -> Vectors:
    """Scale the scores to [0, 1] by their extremes; equal scores become 1."""
    low, high = scores.min(), scores.max()
    unit: Vectors = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    return unit
