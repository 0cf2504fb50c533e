"""The one module that touches sentence-transformers and torch."""

from __future__ import annotations

from typing import Any

from genkit_rag.plugin_api import GenkitError


def load(source: str, device: str | None, max_tokens: int | None) -> Any:
    """Returns the model of a folder or a hub id; FAILED_PRECONDITION when it does not give one score for a pair."""
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(source, device=device, max_length=max_tokens)
    labels = int(model.config.num_labels)
    if labels != 1:
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"`{source}` gives {labels} labels for a pair: it classifies, it does not rank.",
            hint="Use a cross-encoder with one output, such as cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
    return model


def score(model: Any, query: str, texts: list[str], batch_size: int) -> list[float]:
    """Returns one score for each text, as the model gives it; higher is better."""
    pairs = [(_encodable(query), _encodable(text)) for text in texts]
    scores: Any = model.predict(pairs, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
    return [float(value) for value in scores]


def _encodable(text: str) -> str:
    """Returns the text with lone surrogates replaced, which tokenizers refuse."""
    return text.encode("utf-8", "replace").decode()
