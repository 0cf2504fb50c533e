"""Embedder actions: documents in, aligned vectors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

from genkit_rag._core.action import Action, ActionKind, adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._documents.wire import WireModel, wire_schema
from genkit_rag._rag.options import EmbedderOptions
from genkit_rag._rag.vector_store import Fingerprint, Vectors, checked_vectors


class Embedding(WireModel):
    """One vector, with metadata where one document gave several."""

    embedding: list[float]
    metadata: dict[str, Any] | None = None


class EmbedRequest(WireModel):
    """The input of an embedder action."""

    input: list[Document]
    options: EmbedderOptions = Field(default_factory=EmbedderOptions)


class EmbedResponse:
    """Embedding vectors, each with the index of its input.

    Attributes:
        vectors: float32, shape `(n, dimensions)`.
        owners: For each vector the index of its input; None if vector i belongs to input i.
        metadata: For each vector, metadata that identifies it among the vectors of its input; None if there is none.
        input_tokens: The number of tokens that the provider counted, if it reports it.
    """

    __slots__ = ("input_tokens", "metadata", "owners", "vectors")

    def __init__(
        self,
        vectors: Any,
        owners: Sequence[int] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        input_tokens: int | None = None,
    ) -> None:
        self.input_tokens = input_tokens
        self.vectors: Vectors = checked_vectors(vectors, None, argument="embeddings")
        self.owners = owners
        self.metadata = metadata

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return int(self.vectors.shape[1])

    @property
    def embeddings(self) -> list[Embedding]:
        """The vectors as wire values."""
        notes: Sequence[Any] = self.metadata or [None] * len(self)
        return [
            Embedding(embedding=row, metadata=None if note is None else dict(note))
            for row, note in zip(self.vectors.tolist(), notes, strict=True)
        ]

    def by_input(self, count: int) -> list[list[Embedding]]:
        """Return the embeddings of each of the `count` inputs."""
        found: list[list[Embedding]] = [[] for _ in range(count)]
        for owner, embedding in zip(self.owners or range(len(self)), self.embeddings, strict=True):
            found[owner].append(embedding)
        return found

    def to_wire(self) -> dict[str, Any]:
        """Convert to Genkit's EmbedResponse."""
        return {"embeddings": [embedding.to_wire() for embedding in self.embeddings]}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return wire_schema(_Wire, cls._validate, cls.to_wire, handler)

    @classmethod
    def _validate(cls, raw: Any) -> EmbedResponse:
        return raw if isinstance(raw, cls) else _of(_Wire.model_validate(raw).embeddings)


class _Wire(WireModel):
    embeddings: list[Embedding]


class EmbedderSupports(WireModel):
    """The kinds of input that an embedder accepts."""

    input: list[Literal["text", "image", "video"]] | None = None
    multilingual: bool | None = None


class EmbedderInfo(WireModel):
    """The properties of an embedder.

    Attributes:
        label: A name for people.
        dimensions: The length of the vectors, if known before the first call.
        supports: The accepted kinds of input.
        revision: The revision or hash of the weights; part of the fingerprint.
        normalized: Whether the vectors have length 1.
        prefixes: Texts that the embedder prepends to queries and documents.
        max_tokens: The input limit; the model ignores tokens beyond it.
        vectors_of: The name of the embedder that computes the vectors, for a wrapper such as a cache or a rate limit.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")

    label: str | None = None
    dimensions: int | None = None
    supports: EmbedderSupports | None = None
    revision: str = ""
    normalized: bool = True
    prefixes: tuple[str, str] = ("", "")
    max_tokens: int | None = None
    vectors_of: str = ""


class Batching(WireModel):
    """How the framework feeds an embedder.

    Attributes:
        max_texts: Documents in one call.
        max_characters: Characters in one call (about four to a token).
        concurrency: Calls at the same time: 1 for a local model, more for a remote one.
    """

    max_texts: int = 256
    max_characters: int = 400_000
    concurrency: int = 1


class EmbedderAction(Action[EmbedRequest, EmbedResponse, None]):
    """An embedder action, with the limits for batching and the fingerprint of its vectors."""

    __slots__ = ("batching", "count_tokens", "info", "service")

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        info: EmbedderInfo | None = None,
        batching: Batching | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        self.info = info or EmbedderInfo(label=name)
        self.batching = batching or Batching()
        self.count_tokens = count_tokens
        self.service: Any = None  # made and kept by `embedding_service.service_of`
        handler = adapt(fn, ("input", "options"))

        async def run(request: EmbedRequest, ctx: ActionContext) -> EmbedResponse:
            if not request.input:
                return EmbedResponse(_empty())
            try:
                return _response(self.name, await handler(request, ctx), len(request.input))
            except GenkitError as error:
                _name_document(error, request.input)
                raise

        super().__init__(
            ActionKind.EMBEDDER,
            name,
            run,
            input_type=EmbedRequest,
            output_type=EmbedResponse,
            description=self.info.label,
            metadata={
                "type": "embedder",
                "info": self.info.to_wire(),
                "embedder": {
                    "label": self.info.label,
                    "dimensions": self.info.dimensions,
                    "customOptions": EmbedderOptions.model_json_schema(by_alias=True),
                },
            },
            telemetry=self._telemetry,
        )

    def fingerprint(self, dimensions: int) -> Fingerprint:
        """Return the fingerprint that a store keeps to identify the embedding model of its vectors."""
        provider, _, model = (self.info.vectors_of or self.name).partition("/")
        return Fingerprint(
            provider=provider,
            model=model or provider,
            dimensions=dimensions,
            revision=self.info.revision,
            normalized=self.info.normalized,
            prefixes=self.info.prefixes,
        )

    def _telemetry(self, request: EmbedRequest, response: EmbedResponse | None) -> dict[str, Any]:
        provider, _, model = self.name.partition("/")
        found: dict[str, Any] = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model or provider,
        }
        if response is not None and len(response):
            found["gen_ai.embeddings.dimension.count"] = response.dimensions
            if response.input_tokens is not None:
                found["gen_ai.usage.input_tokens"] = response.input_tokens
        return found


def embedder_action(
    name: str,
    fn: Callable[..., Any],
    *,
    info: EmbedderInfo | None = None,
    batching: Batching | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> EmbedderAction:
    """Create an embedder action.

    Args:
        name: `<plugin>/<model>`.
        fn: `(documents)`, `(documents, options)` or `(documents, options, ctx)`, sync or async; gives an array of shape
            `(len(documents), dimensions)`, a list of vectors, or an `EmbedResponse` where a document has several.
            Sync functions run in a worker thread.
        info: Label, dimensions, revision, normalisation, prefixes.
        batching: How much goes into one call.
        count_tokens: The model's own token count of a text, for token-aware splitting.
    """
    return EmbedderAction(name, fn, info=info, batching=batching, count_tokens=count_tokens)


def _response(name: str, raw: Any, expected: int) -> EmbedResponse:
    """Validate the handler's result: one vector or one group of vectors for each input."""
    if isinstance(raw, EmbedResponse):
        response = raw
    elif isinstance(raw, Sequence) and raw and isinstance(raw[0], Embedding):
        response = _of(cast(Sequence[Embedding], raw))
    else:
        response = EmbedResponse(raw)
    owners = response.owners
    if owners is None and len(response) != expected:
        raise GenkitError(
            "INTERNAL",
            f"The embedder `{name}` returned {len(response)} vectors for {expected} inputs.",
            hint="Return one vector for each input, in their order, or an EmbedResponse with `owners`.",
        )
    if owners is not None and (len(owners) != len(response) or set(owners) != set(range(expected))):
        raise GenkitError(
            "INTERNAL",
            f"The embedder `{name}` returned `owners` that do not cover its {expected} inputs.",
            hint="Give each vector the index of its input; every input needs at least one.",
        )
    return response


def _name_document(error: GenkitError, documents: Sequence[Document]) -> None:
    """Add the id of the document to an error about its vector, since a row number means little to the caller."""
    row = error.details.get("row")
    if isinstance(row, int) and error.details.get("rows") == len(documents):
        error.details["id"] = documents[row].id
        error.message += f" It is the vector of document {documents[row].id!r}."


def _of(embeddings: Sequence[Embedding]) -> EmbedResponse:
    notes = [item.metadata for item in embeddings]
    vectors = [item.embedding for item in embeddings] or _empty()
    return EmbedResponse(vectors, metadata=notes if any(notes) else None)


def _empty() -> Any:
    import numpy as np

    return np.zeros((0, 0), dtype=np.float32)
