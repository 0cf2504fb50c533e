"""The one vocabulary of options for retrieving, indexing, embedding and reranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.schema import validation_error
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE, SearchMode

MAX_K = 10_000
"""The largest `k`: beyond it a retrieval is an export."""

Fusion = Literal["convex", "rrf"]


class RetrieverOptions(WireModel):
    """What every retriever understands.

    Attributes:
        k: How many documents at most (`limit` is an alias).
        filter: A filter on the metadata; see the filter language.
        score_threshold: Documents below it are left out; in the unit of the mode's score.
        namespace: The partition to search; nothing outside of it is ever seen.
        mode: By vectors, by words, or both. None means what the retriever was defined with.
        mmr_lambda: Diversify with maximal marginal relevance: 1 is relevance only, 0 is diversity only.
        fusion: How hybrid joins its two rankings.
        vector_weight: The share of the vector ranking in hybrid, in [0, 1]; by the length of the query when None.
        candidates: How many candidates each leg of hybrid (and MMR) looks at; at least k.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    k: int = Field(default=10, strict=True, validation_alias=AliasChoices("k", "limit"))
    filter: dict[str, Any] | None = None
    score_threshold: float | None = Field(default=None, allow_inf_nan=False)
    namespace: str = DEFAULT_NAMESPACE
    mode: SearchMode | None = None
    mmr_lambda: float | None = Field(default=None, ge=0, le=1)
    fusion: Fusion | None = None
    vector_weight: float | None = Field(default=None, ge=0, le=1)
    candidates: int | None = Field(default=None, strict=True, ge=1, le=MAX_K)


class IndexerOptions(WireModel):
    """What every indexer understands: the partition to write to, and how many documents make one durable batch."""

    namespace: str = DEFAULT_NAMESPACE
    batch_size: int = Field(default=1000, strict=True, ge=1, le=100_000)


class RerankerOptions(WireModel):
    """What every reranker understands: how many to keep (all by default)."""

    k: int | None = Field(default=None, strict=True, validation_alias=AliasChoices("k", "limit", "topN"))
    weight: float | None = Field(default=None, ge=0, le=1)
    """The share of the reranker's score against the earlier one, for rerankers that interpolate."""


class EmbedderOptions(WireModel):
    """What every embedder understands.

    Attributes:
        task: Whether the texts are queries or documents; asymmetric models treat them differently.
        dimensions: Shorter vectors, for models that were trained for it.
    """

    task: Literal["query", "document"] = "document"
    dimensions: int | None = Field(default=None, ge=1)


T = TypeVar("T", bound=WireModel)

_DEFAULTS = RetrieverOptions()


def retriever_options(raw: RetrieverOptions | Mapping[str, Any] | None) -> RetrieverOptions:
    """Returns checked options; raises INVALID_ARGUMENT naming the option, its value and the fix."""
    if raw is None:
        return _DEFAULTS
    options = raw if isinstance(raw, RetrieverOptions) else parse_options(RetrieverOptions, raw)
    if options.k < 0 or options.k > MAX_K:
        raise invalid("options.k", options.k, f"must be from 0 to {MAX_K}", hint="Leave it out for 10.")
    return options


def parse_options(kind: type[T], raw: T | Mapping[str, Any] | None) -> T:
    """Returns options of the kind; raises INVALID_ARGUMENT that says which options there are."""
    if isinstance(raw, kind):
        return raw
    if isinstance(raw, BaseModel) and issubclass(kind, type(raw)):
        raw = raw.model_dump(exclude_unset=True)  # the common options, for an action that knows more
    if not isinstance(raw, Mapping | None):
        other = isinstance(raw, BaseModel)
        raise invalid(
            "options",
            type(raw).__name__ if other else raw,
            f"must be {kind.__name__}" if other else "must be an object",
            hint=f"Known options: {', '.join(kind.model_fields)}.",
        )
    try:
        return kind.model_validate(dict(raw or {}))
    except ValidationError as error:
        unknown = [str(item["loc"][-1]) for item in error.errors() if item["type"] == "extra_forbidden"]
        if unknown:
            raise GenkitError(
                "INVALID_ARGUMENT",
                f"Unknown option `{unknown[0]}`.",
                hint=f"Known options: {', '.join(kind.model_fields)}.",
                details={"argument": f"options.{unknown[0]}"},
            ) from error
        raise validation_error(error, "`options`") from error


Own = TypeVar("Own", bound=BaseModel)


def plugin_options(kind: type[Own], given: Mapping[str, Any], base: Own | None = None) -> Own:
    """Returns a plugin's own options; INVALID_ARGUMENT names the wrong one, and says which there are.

    Args:
        kind: Their model.
        given: What was given, by name.
        base: What holds for those that were not given; the defaults when None.
    """
    try:
        return kind.model_validate({**({} if base is None else dict(base)), **given})
    except ValidationError as error:
        problem = error.errors(include_context=False)[0]
        name = str(problem["loc"][0])
        shown = "" if isinstance(given.get(name), Mapping) else f", got {given.get(name)!r}"  # headers may hold a key
        raise GenkitError(
            "INVALID_ARGUMENT",
            f"The option `{name}` is not valid: {problem['msg']}{shown}.",
            hint=f"Known options: {', '.join(kind.model_fields)}.",
            details={"argument": name},
        ) from error
