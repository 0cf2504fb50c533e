"""The one module that touches sentence-transformers and torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from genkit_rag.plugin_api import GenkitError, Vectors, invalid

Takes = Literal["text", "image"]
_TAKES: tuple[Takes, ...] = ("text", "image")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model and its properties.

    Attributes:
        engine: The `SentenceTransformer`.
        dimensions: The length of a vector.
        max_tokens: The token limit of an input; None if there is none.
        revision: The commit on the hub, or the hash of the weights in a local folder.
        prefixes: The prefixes for queries and documents in the model's configuration.
        takes: The accepted inputs: `text`, `image`.
    """

    engine: Any
    dimensions: int
    max_tokens: int | None
    revision: str
    prefixes: tuple[str, str]
    takes: tuple[Takes, ...]


def load(source: str, device: str | None, *, trusted: bool = False) -> Loaded:
    """Load the model of a folder or a hub id; takes seconds, mostly to import torch.

    With `trusted`, Python code that comes with the model may run; otherwise a model that needs it raises an error.
    """
    from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]

    try:
        engine: Any = SentenceTransformer(source, device=device, trust_remote_code=trusted)
    except (ValueError, OSError, ImportError) as error:
        if "trust_remote_code" in str(error) and not trusted:
            raise _untrusted(source) from error
        raise
    prompts: dict[str, str] = {key: value or "" for key, value in dict(engine.prompts or {}).items()}
    document = prompts.get("document") or prompts.get("passage") or ""
    # Asked of a vector: the method that tells has changed its name between versions.
    dimensions = int(engine.encode(["a"], show_progress_bar=False).shape[1])
    limit = engine.max_seq_length
    takes: list[Takes] = [kind for kind in _TAKES if engine.supports(kind)]
    return Loaded(
        engine,
        dimensions,
        None if limit is None else int(limit),
        _revision(engine, source),
        (prompts.get("query", ""), document),
        tuple(takes),
    )


def encode(model: Loaded, inputs: list[Any], prefix: str, dimensions: int | None, batch_size: int) -> Vectors:
    """Return unit vectors, cut to `dimensions` if given; the prefix applies to texts only."""
    import numpy as np

    if dimensions is not None and dimensions > model.dimensions:
        raise invalid("options.dimensions", dimensions, f"must be at most {model.dimensions}, which the model gives")
    whole = np.empty((len(inputs), model.dimensions), dtype=np.float32)
    texts = np.array([isinstance(one, str) for one in inputs])
    for chosen, prompt in ((texts, prefix), (~texts, None)):
        if chosen.any():
            whole[chosen] = model.engine.encode(
                [one for one, taken in zip(inputs, chosen, strict=True) if taken],
                prompt=prompt,
                batch_size=batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
    vectors = whole[:, :dimensions]
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def count_tokens(model: Loaded, text: str) -> int:
    """Count the tokens of the whole text, with special tokens."""
    return len(model.engine.tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _untrusted(source: str) -> GenkitError:
    return GenkitError(
        "FAILED_PRECONDITION",
        f"The model {source} comes with Python code of its own, which is not run unasked.",
        hint="Read that code; if you trust it, name the model in SentenceTransformers(trust_remote_code=[...]).",
    )


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
