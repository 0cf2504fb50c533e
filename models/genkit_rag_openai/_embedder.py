"""Embedders over `/embeddings`."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from genkit_rag.plugin_api import (
    Batching,
    Document,
    EmbedderAction,
    EmbedderInfo,
    EmbedderOptions,
    EmbedderSupports,
    EmbedResponse,
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

_FIXED = {"text-embedding-ada-002"}
"""Those that know no `dimensions`."""

# 300,000 tokens is the most that one request may hold; at two characters to a token this stays below it.
_BATCHING = Batching(max_texts=512, max_characters=600_000, concurrency=4)


def make_embedder(name: str, model: str, connection: Connection, info: EmbedderInfo | None) -> EmbedderAction:
    """Create the embedder action for a model of the server."""
    shown = info or EmbedderInfo(supports=EmbedderSupports(input=["text"]))

    async def embed(documents: list[Document], options: EmbedderOptions) -> EmbedResponse:
        if options.dimensions and model in _FIXED and options.dimensions != shown.dimensions:
            raise GenkitError(
                "UNIMPLEMENTED",
                f"`{name}` gives {shown.dimensions} dimensions, no others.",
                hint="Leave `dimensions` out, or take text-embedding-3-small.",
            )
        texts = [_text(position, document) for position, document in enumerate(documents)]
        # Numbers as base64 of float32 are a quarter of their decimals, and exact.
        body: dict[str, Any] = {"model": model, "encoding_format": "base64"}
        if options.dimensions and model not in _FIXED:
            body["dimensions"] = options.dimensions
        blocks: list[Vectors] = []
        tokens = 0
        for start in range(0, len(texts), MAX_INPUTS):
            batch = texts[start : start + MAX_INPUTS]
            answer = await connection.post("/embeddings", {**body, "input": batch})
            blocks.append(_vectors(answer, len(batch)))
            tokens += _tokens(answer)
        vectors = np.concatenate(blocks) if blocks else np.zeros((0, 0), dtype=np.float32)
        return EmbedResponse(vectors, input_tokens=tokens or None)

    labelled = shown.model_copy(update={"label": shown.label or name.replace("/", " ", 1)})
    return embedder_action(name, embed, info=labelled, batching=_BATCHING)


def _text(position: int, document: Document) -> str:
    if not document.is_text or not document.text:
        raise invalid(
            f"input[{position}]",
            document,
            "must be text, and not empty",
            hint="This embedder takes text only: leave other documents out.",
        )
    return document.text.encode("utf-8", "replace").decode()  # half a surrogate pair is no JSON


def _vectors(answer: Any, count: int) -> Vectors:
    """Return the vectors in the order of the texts, by the index of each item."""
    rows: list[Any] = [None] * count
    try:
        for item in answer["data"]:
            rows[item["index"]] = _numbers(item["embedding"])
        return np.asarray(rows, dtype=np.float32)
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise GenkitError(
            "INTERNAL",
            f"The server did not answer with {count} vectors of one length.",
            hint="Check that base_url is an OpenAI-compatible one and that the model is an embedder.",
        ) from error


def _tokens(answer: Any) -> int:
    """Return the number of tokens that the server counted; 0 if it does not report it."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else 0


def _numbers(embedding: Any) -> Any:
    """Decode the numbers of a vector; servers without base64 support send a list."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return embedding
