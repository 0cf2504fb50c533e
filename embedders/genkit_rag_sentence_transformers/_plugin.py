"""The plugin: sentence-transformers models as embedders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from genkit_rag.plugin_api import (
    ActionKind,
    Batching,
    Document,
    EmbedderAction,
    EmbedderInfo,
    EmbedderOptions,
    EmbedderSupports,
    LocalModel,
    Plugin,
    Vectors,
    embedder_action,
    invalid,
)
from genkit_rag_sentence_transformers import _engine
from genkit_rag_sentence_transformers._images import inputs_of

Prompts = tuple[str, str]

_BATCHING = Batching(max_texts=128)


class SentenceTransformers(Plugin):
    """Registers `sentence-transformers/<model>` for your models, and for any id of the model hub on request.

    torch is imported and a model is loaded at its first call. The vectors have length 1. The prompts of the model's
    configuration are used for queries and documents unless you give others.

    Args:
        models: Ids of the hub, or a mapping of names to ids or folders. The id `sentence-transformers/x` is named `x`.
        name: The prefix of the embedders' names.
        device: `cpu`, `cuda`, `mps`; the best available one by default.
        prompts: A mapping of model names to `(query prompt, document prompt)`.
        batch_size: The number of texts or images in one run of the model.
        trust_remote_code: The names of models that may run Python code that comes with them; none by default. Other
            models with such code raise an error.
    """

    provides = ("embedder",)

    def __init__(
        self,
        models: Sequence[str] | Mapping[str, str | Path] = (),
        *,
        name: str = "sentence-transformers",
        device: str | None = None,
        prompts: Mapping[str, Prompts] | None = None,
        batch_size: int = 32,
        trust_remote_code: Sequence[str] = (),
    ) -> None:
        if isinstance(models, str):
            raise invalid("models", models, "must be a list of ids or a mapping", hint=f"Write models=[{models!r}].")
        if isinstance(trust_remote_code, str | bool):
            raise invalid(
                "trust_remote_code",
                trust_remote_code,
                "must be a list of models",
                hint="Name each model whose code you have read.",
            )
        if batch_size < 1:
            raise invalid("batch_size", batch_size, "must be at least 1")
        self.name = name
        self._sources = dict(models) if isinstance(models, Mapping) else {_short(id_): id_ for id_ in models}
        self._device = device
        self._prompts = {_short(model): pair for model, pair in (prompts or {}).items()}
        self._batch_size = batch_size
        self._trusted = {_short(model) for model in trust_remote_code}
        self._embedders: list[_Embedder] = []

    async def init(self) -> Sequence[EmbedderAction]:
        """Return the embedders of the named models."""
        return [self._add(model, source) for model, source in self._sources.items()]

    async def resolve(self, kind: str, name: str) -> EmbedderAction | None:
        """Return an embedder for any id of the hub."""
        model = name.removeprefix(f"{self.name}/")
        return self._add(model, model) if kind == ActionKind.EMBEDDER and model != name else None

    async def close(self) -> None:
        """Frees the models."""
        for embedder in self._embedders:
            embedder.close()

    def _add(self, model: str, source: str | Path) -> EmbedderAction:
        settings = _Settings(
            self._device, self._prompts.get(_short(model)), self._batch_size, _short(model) in self._trusted
        )
        embedder = _Embedder(f"{self.name}/{model}", source, settings)
        self._embedders.append(embedder)
        return embedder.action


@dataclass(frozen=True, slots=True)
class _Settings:
    """How a model is run."""

    device: str | None
    prompts: Prompts | None
    batch_size: int
    trusted: bool


class _Embedder:
    """One model and its action, whose properties are completed when the model is loaded."""

    def __init__(self, name: str, source: str | Path, settings: _Settings) -> None:
        self._settings = settings
        self._model = LocalModel(
            source, lambda place: self._learn(_engine.load(place, settings.device, trusted=settings.trusted))
        )
        self.close = self._model.close
        self.action = embedder_action(
            name,
            self._embed,
            info=EmbedderInfo(
                label=str(source), supports=EmbedderSupports(input=["text"]), prefixes=settings.prompts or ("", "")
            ),
            batching=_BATCHING,
            count_tokens=lambda text: self._model.use(_engine.count_tokens, text),
        )

    def _learn(self, model: _engine.Loaded) -> _engine.Loaded:
        known = {
            "dimensions": model.dimensions,
            "max_tokens": model.max_tokens,
            "revision": model.revision,
            "prefixes": self._settings.prompts or model.prefixes,
            "supports": EmbedderSupports(input=list(model.takes)),
        }
        self.action.info = self.action.info.model_copy(update=known)
        return model

    async def _embed(self, documents: Sequence[Document], options: EmbedderOptions) -> Vectors:
        return await self._model.run(self._encode, documents, options)

    def _encode(self, model: _engine.Loaded, documents: Sequence[Document], options: EmbedderOptions) -> Vectors:
        inputs = inputs_of(documents, "image" in model.takes)
        prefix = self.action.info.prefixes[0 if options.task == "query" else 1]
        return _engine.encode(model, inputs, prefix, options.dimensions, self._settings.batch_size)


def _short(model: str) -> str:
    """Return the id without the organisation if that is the plugin's own name."""
    return model.removeprefix("sentence-transformers/")
