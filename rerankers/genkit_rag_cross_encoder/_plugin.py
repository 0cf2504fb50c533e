"""The plugin: sentence-transformers cross-encoders as rerankers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from genkit_rag.plugin_api import ActionKind, Document, LocalModel, Plugin, RerankerAction, invalid, reranker_action
from genkit_rag_cross_encoder import _engine
from genkit_rag_cross_encoder._engine import Activation, Dtype, Settings

DEFAULT_MODELS: Mapping[str, str | Path] = {"ms-marco-minilm": "cross-encoder/ms-marco-MiniLM-L6-v2"}


class CrossEncoder(Plugin):
    """Registers `cross-encoder/<model>` for your models, and for every id of the model hub when it is asked for.

    torch is imported and a model loaded at its first call; until then nothing is read and no hub is asked. Scores are
    the model's own: comparable within one query, not between models. Code that comes with a model is never run. The
    CPU threads are torch's: `torch.set_num_threads` or OMP_NUM_THREADS says how many.

    Args:
        models: Ids of the hub, or name -> id or folder. The id `cross-encoder/x` is called just `x`.
        name: The first part of the rerankers' names.
        device: `cpu`, `cuda`, `mps`; the best that torch finds by default.
        batch_size: Pairs in one run of the model.
        max_tokens: Tokens of query and document together; the model's own limit by default.
        dtype: `float32`, or `float16` and `bfloat16` for half the memory, and on a GPU half the time.
        activation: `sigmoid` for scores in (0, 1), `identity` for the raw ones; the model's own by default.
    """

    provides = ("reranker",)
    default_action = "ms-marco-minilm"

    def __init__(
        self,
        models: Sequence[str] | Mapping[str, str | Path] = DEFAULT_MODELS,
        *,
        name: str = "cross-encoder",
        device: str | None = None,
        batch_size: int = 32,
        max_tokens: int | None = None,
        dtype: Dtype | None = None,
        activation: Activation | None = None,
    ) -> None:
        if isinstance(models, str):
            raise invalid("models", models, "must be a list of ids or a mapping", hint=f"Write models=[{models!r}].")
        self.name = name
        named = (
            dict(models) if isinstance(models, Mapping) else {id_.removeprefix(_ORGANISATION): id_ for id_ in models}
        )
        self._sources = named
        for argument, value in (("batch_size", batch_size), ("max_tokens", max_tokens)):
            if value is not None and value < 1:
                raise invalid(argument, value, "must be at least 1")
        names = (("dtype", dtype, get_args(Dtype)), ("activation", activation, get_args(Activation)))
        for argument, given, known in names:
            if given is not None and given not in known:
                raise invalid(argument, given, "is not known", hint=f"There are: {', '.join(known)}.")
        self._settings = Settings(device, batch_size, max_tokens, dtype, activation)
        self._models: list[LocalModel[Any]] = []

    async def init(self) -> Sequence[RerankerAction]:
        """Return the rerankers of the named models."""
        return [self._reranker(model, source) for model, source in self._sources.items()]

    async def resolve(self, kind: str, name: str) -> RerankerAction | None:
        """Return a reranker for any id of the hub; an id without organisation is one of `cross-encoder/`."""
        model = name.removeprefix(f"{self.name}/")
        if kind != ActionKind.RERANKER or model == name:
            return None
        return self._reranker(model, model if "/" in model else _ORGANISATION + model)

    async def close(self) -> None:
        """Frees the models."""
        for model in self._models:
            model.close()

    def _reranker(self, name: str, source: str | Path) -> RerankerAction:
        model = LocalModel(source, lambda place: _engine.load(place, self._settings))
        self._models.append(model)

        async def rerank(query: Document, documents: Sequence[Document]) -> list[float]:
            texts = [document.text for document in documents]
            return await model.run(_engine.score, query.text, texts, self._settings.batch_size)

        return reranker_action(f"{self.name}/{name}", rerank, label=str(source))


_ORGANISATION = "cross-encoder/"
