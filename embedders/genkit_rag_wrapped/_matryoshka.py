"""Shorter vectors, of models whose first components say most (https://arxiv.org/abs/2205.13147)."""

from __future__ import annotations

import numpy as np

from genkit_rag.plugin_api import Vectors, invalid


def check_dimensions(dimensions: int, most: int) -> None:
    """Raise INVALID_ARGUMENT if the model has fewer dimensions than requested."""
    if dimensions > most:
        raise invalid("dimensions", dimensions, f"must be at most {most}, which the embedder gives")


def shortened(vectors: Vectors, dimensions: int | None) -> Vectors:
    """Cut vectors to their first components and normalise them; shorter vectors are unchanged."""
    if dimensions is None or not len(vectors):
        return vectors
    check_dimensions(dimensions, int(vectors.shape[1]))
    if vectors.shape[1] == dimensions:
        return vectors
    short = vectors[:, :dimensions]
    unit: Vectors = short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), np.float32(1e-12))
    return unit
