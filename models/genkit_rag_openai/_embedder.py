"""Embedders over `/embeddings`."""

from __future__ import annotations

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
from genkit_rag_openai._http import Connection

MAX_INPUTS = 2048
"""Texts in one request (https://platform.openai.com/docs/api-reference/embeddings/create)."""


def _known(dimensions: int) -> EmbedderInfo:
    supports = EmbedderSupports(input=["text"], multilingual=True)
    return EmbedderInfo(dimensions=dimensions, supports=supports, max_tokens=8191)


KNOWN_EMBEDDERS = {
    "text-embedding-3-small": _known(1536),
    "text-embedding-3-large": _known(3072),
    "text-embedding-ada-002": _known(1536),
}
"""OpenAI's own embedders."""

# 300,000 tokens is the most that one request may hold; at two characters to a token this stays below it.
_BATCHING = Batching(max_texts=512, max_characters=600_000, concurrency=4)


def make_embedder(name: str, model: str, connection: Connection, info: EmbedderInfo | None) -> EmbedderAction:
    """Returns the embedder action for a model of the server."""

    async def embed(documents: list[Document], options: EmbedderOptions) -> Vectors:
        texts = [_text(document) for document in documents]
        extra: dict[str, Any] = {"dimensions": options.dimensions} if options.dimensions else {}
        blocks: list[Vectors] = []
        for start in range(0, len(texts), MAX_INPUTS):
            batch = texts[start : start + MAX_INPUTS]
            body = {"model": model, "input": batch, "encoding_format": "float", **extra}
            blocks.append(_vectors(await connection.post("/embeddings", body), len(batch)))
        return np.concatenate(blocks) if blocks else np.zeros((0, 0), dtype=np.float32)

    shown = info or EmbedderInfo(supports=EmbedderSupports(input=["text"]))
    labelled = shown.model_copy(update={"label": shown.label or name.replace("/", " ", 1)})
    return embedder_action(name, embed, info=labelled, batching=_BATCHING)


def _text(document: Document) -> str:
    if not document.is_text or not document.text:
        raise invalid("input", document, "must be text, and not empty",
                      hint="This embedder takes text only: leave other documents out.")  # fmt: skip
    return document.text


def _vectors(answer: Any, count: int) -> Vectors:
    """Returns the vectors in the order of the texts: an answer's items say whose they are."""
    rows: list[Any] = [None] * count
    try:
        for item in answer["data"]:
            rows[item["index"]] = item["embedding"]
        return np.asarray(rows, dtype=np.float32)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GenkitError(
            "INTERNAL",
            f"The server did not answer with {count} vectors of one length.",
            hint="Check that base_url is an OpenAI-compatible one and that the model is an embedder.",
        ) from error
