"""Embedders over `/api/embed` (https://github.com/ollama/ollama/blob/main/docs/api.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genkit_rag.plugin_api import (
    Batching,
    Document,
    EmbedderAction,
    EmbedderInfo,
    EmbedderOptions,
    EmbedderSupports,
    GenkitError,
    Vectors,
    embedder_action,
    invalid,
)
from genkit_rag_ollama._http import Connection

# The server works on one batch at a time: more calls at once only wait there.
_BATCHING = Batching(max_texts=64, max_characters=100_000, concurrency=1)


def make_embedder(name: str, model: str, connection: Connection, settings: Mapping[str, Any]) -> EmbedderAction:
    """Create the embedder action for a model of the server; `settings` are sent with every request."""

    async def embed(documents: list[Document], options: EmbedderOptions) -> Vectors:
        texts = [_text(position, document) for position, document in enumerate(documents)]
        body: dict[str, Any] = {"model": model, "input": texts, **settings}
        if options.dimensions:
            body["dimensions"] = options.dimensions
        vectors = _vectors(model, await connection.post("/api/embed", body))
        if options.dimensions and vectors.shape[1:] != (options.dimensions,):
            raise GenkitError(
                "UNIMPLEMENTED",
                f"The server gave {vectors.shape[1]} dimensions for `{model}`, not {options.dimensions}.",
                hint="Older servers do not shorten vectors, and none lengthens them: leave `dimensions` out.",
            )
        return vectors

    info = EmbedderInfo(label=f"Ollama {model}", supports=EmbedderSupports(input=["text"]))
    return embedder_action(name, embed, info=info, batching=_BATCHING)


def _text(position: int, document: Document) -> str:
    if not document.is_text or not document.text:
        raise invalid(
            f"input[{position}]", document, "must be text, and not empty", hint="Leave documents without text out."
        )
    return document.text.encode("utf-8", "replace").decode()  # half a surrogate pair is no JSON


def _vectors(model: str, answer: Any) -> Vectors:
    try:
        vectors = np.asarray(answer["embeddings"], dtype=np.float32)
    except (KeyError, TypeError, ValueError):
        vectors = np.zeros(0, dtype=np.float32)
    if vectors.ndim != 2:
        raise GenkitError(
            "INTERNAL",
            f"Ollama did not answer with vectors of one length for `{model}`.",
            hint="Check that the model is an embedder: `ollama show` names its capabilities.",
        )
    return vectors
