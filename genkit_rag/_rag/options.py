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
    """The options that every retriever accepts.

    Attributes:
        k: The maximum number of documents (`limit` is an alias).
        filter: A metadata filter.
        score_threshold: The minimum score, in the unit of the search mode.
        namespace: The namespace to search.
        mode: Vector, keyword or hybrid search. None for the retriever's default.
        mmr_lambda: Diversify with maximal marginal relevance: 1 for relevance only, 0 for diversity only.
        fusion: How hybrid search fuses its two rankings.
        vector_weight: The weight of the vector ranking in hybrid search, in [0, 1]; None to derive it from the query
            length.
        candidates: The number of candidates of each sub-retriever of hybrid search, and of MMR; at least k.
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
    """Validate retriever options; INVALID_ARGUMENT names the option, its value and the fix."""
    if raw is None:
        return _DEFAULTS
    options = raw if isinstance(raw, RetrieverOptions) else parse_options(RetrieverOptions, raw)
    if options.k < 0 or options.k > MAX_K:
        raise invalid("options.k", options.k, f"must be from 0 to {MAX_K}", hint="Leave it out for 10.")
    return options


def parse_options(kind: type[T], raw: T | Mapping[str, Any] | None) -> T:
    """Parse options of the given type; INVALID_ARGUMENT lists the valid options."""
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
    """Build the options of a plugin; INVALID_ARGUMENT names the unknown or invalid one and lists the valid ones.

    Args:
        kind: The model class of the options.
        given: The given values, by name.
        base: The values of options that were not given; None for the defaults.
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
