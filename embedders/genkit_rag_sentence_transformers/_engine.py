"""The one module that touches sentence-transformers and torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genkit_rag.plugin_api import Vectors, invalid


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with what is known of it once it is loaded.

    Attributes:
        engine: The `SentenceTransformer`.
        dimensions: The length of a vector.
        max_tokens: What is beyond is cut off; None where the model has no limit.
        revision: The commit on the hub, or the hash of the weights in a local folder.
        prefixes: What the model's own configuration puts before queries and documents.
    """

    engine: Any
    dimensions: int
    max_tokens: int | None
    revision: str
    prefixes: tuple[str, str]


def load(source: str, device: str | None) -> Loaded:
    """Returns the model of a folder or a hub id; seconds, most of them for importing torch."""
    from sentence_transformers import SentenceTransformer

    engine: Any = SentenceTransformer(source, device=device)
    prompts: dict[str, str] = {key: value or "" for key, value in dict(engine.prompts or {}).items()}
    document = prompts.get("document") or prompts.get("passage") or ""
    # Asked of a vector: the method that tells has changed its name between versions.
    dimensions = int(engine.encode(["a"], show_progress_bar=False).shape[1])
    limit = engine.max_seq_length
    return Loaded(engine, dimensions, None if limit is None else int(limit), _revision(engine, source),
                  (prompts.get("query", ""), document))  # fmt: skip


def encode(model: Loaded, texts: list[str], prefix: str, dimensions: int | None, batch_size: int) -> Vectors:
    """Returns the vectors of length 1, cut to `dimensions` where that is given."""
    import numpy as np

    if dimensions is not None and dimensions > model.dimensions:
        raise invalid("options.dimensions", dimensions, f"must be at most {model.dimensions}, which the model gives")
    vectors: Any = model.engine.encode(
        [text.encode("utf-8", "replace").decode() for text in texts],  # tokenizers refuse lone surrogates
        prompt=prefix,
        batch_size=batch_size,
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    vectors = np.asarray(vectors, dtype=np.float32)[:, :dimensions]
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def count_tokens(model: Loaded, text: str) -> int:
    """Returns the number of tokens of the whole text, special ones included."""
    return len(model.engine.tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _revision(engine: Any, source: str) -> str:
    folder = Path(source)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted([*folder.rglob("*.safetensors"), *folder.rglob("*.bin")]):
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()
    config = getattr(getattr(engine[0], "auto_model", None), "config", None)
    return str(getattr(config, "_commit_hash", None) or "")
