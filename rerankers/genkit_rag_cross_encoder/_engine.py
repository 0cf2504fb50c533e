"""The one module that touches sentence-transformers and torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from genkit_rag.plugin_api import GenkitError

Dtype = Literal["float32", "float16", "bfloat16"]
Activation = Literal["sigmoid", "identity"]

MAX_CHARACTERS = 100_000
"""Of longer texts only the beginning is looked at; models read 512 to 8,192 tokens. It saves tokenizers seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded and run; None is the model's or the library's own choice."""

    device: str | None = None
    batch_size: int = 32
    max_tokens: int | None = None
    dtype: Dtype | None = None
    activation: Activation | None = None


def load(source: str, settings: Settings) -> Any:
    """Load the model of a folder or a hub id.

    Raises:
        GenkitError: FAILED_PRECONDITION if it does not return one score for a pair, or comes with its own code.
    """
    from sentence_transformers import CrossEncoder  # pyright: ignore[reportMissingImports]

    try:
        model: Any = CrossEncoder(
            source,
            device=settings.device,
            max_length=settings.max_tokens,
            trust_remote_code=False,
            model_kwargs={"dtype": settings.dtype} if settings.dtype else None,
            activation_fn=_activation(settings.activation),
        )
    except (ValueError, OSError, ImportError) as error:
        if "trust_remote_code" not in str(error):
            raise
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"The model {source} comes with Python code of its own, which is never run.",
            hint="Use a cross-encoder of an architecture that transformers has.",
        ) from error
    labels = int(model.config.num_labels)
    if labels != 1:
        raise GenkitError(
            "FAILED_PRECONDITION",
            f"`{source}` gives {labels} labels for a pair: it classifies, it does not rank.",
            hint="Use a cross-encoder with one output, such as cross-encoder/ms-marco-MiniLM-L6-v2.",
        )
    return model


def score(model: Any, query: str, texts: list[str], batch_size: int) -> list[float]:
    """Return the model's score for each text; higher is better."""
    pairs = [(_encodable(query), _encodable(text)) for text in texts]
    # The library sorts by length itself, so that a batch is little padding.
    scores: Any = model.predict(pairs, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
    return [float(value) for value in scores]


def _activation(name: Activation | None) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    return {None: None, "sigmoid": torch.nn.Sigmoid(), "identity": torch.nn.Identity()}[name]


def _encodable(text: str) -> str:
    """Return the beginning of the text with lone surrogates replaced, for which tokenizers raise."""
    return text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
