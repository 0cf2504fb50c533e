"""The plugin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from genkit_rag.plugin_api import (
    Document,
    Fusion,
    GenkitError,
    OnError,
    Plugin,
    RetrieverAction,
    RetrieverOptions,
    RetrieverResponse,
    check_choice,
    fuse_rankings,
    invalid,
    reject_mmr,
    retriever_action,
    run_retriever,
    run_sub_retrievers,
    sub_retriever_options,
)

CANDIDATES = 50
"""The default number of documents of each sub-retriever; at least `k`."""

SubRetriever = str | tuple[str, Mapping[str, Any]]
"""The name of a retriever, or the name and options that it is always asked with."""

_OWN = frozenset(("fusion", "candidates", "weights", "score_threshold"))


class HybridOptions(RetrieverOptions):
    """The options of every retriever, and a weight for each sub-retriever by name."""

    weights: dict[str, float] | None = None


@dataclass(frozen=True)
class HybridConfig:
    """The sub-retrievers of a hybrid retriever and their default fusion settings.

    Args:
        retrievers: The sub-retrievers, in a list or by names of yours. Each is the name of a retriever or
            `(name, options)`; in a list the latter is named `name?option=value`.
        weights: The weight of each sub-retriever by name; 1 by default.
        floors: For convex fusion, the score of a sub-retriever that becomes 0. The default is 0 with `mode='text'`,
            where it means no shared word, otherwise the lowest score among the candidates.
        fusion: `convex` or `rrf`.
        candidates: The number of documents of each sub-retriever; at least `k`.
    """

    retrievers: Sequence[SubRetriever] | Mapping[str, SubRetriever]
    weights: Mapping[str, float] | None = None
    floors: Mapping[str, float] | None = None
    fusion: Fusion = "convex"
    candidates: int = CANDIDATES


class Hybrid(Plugin):
    """Registers `/retriever/hybrid/<name>` for each name: several retrievers run concurrently, with fused rankings.

    A document found by several sub-retrievers is returned once; `scores` has the score of each under its name. `k`,
    `fusion`, `candidates`, `weights` and `score_threshold` (of the fused score) are the hybrid's own; `filter`,
    `namespace`, `mode` are passed to every sub-retriever. Options fixed for a sub-retriever stay; its filter and the
    caller's must both match.

    Args:
        retrievers: For each name, the sub-retrievers.
        on_error: `raise`, or `degrade`: use the other sub-retrievers and add a notice.
        name: The name of the plugin.
    """

    provides = ("retriever",)

    def __init__(
        self,
        retrievers: Mapping[str, Sequence[SubRetriever] | Mapping[str, SubRetriever] | HybridConfig],
        *,
        on_error: OnError = "raise",
        name: str = "hybrid",
    ) -> None:
        check_choice("on_error", on_error, ("raise", "degrade"))
        self.name = name
        self.on_error: OnError = on_error
        self._retrievers = {
            key: _Joined.made(f"retrievers[{key!r}]", value, f"{name}/{key}") for key, value in retrievers.items()
        }

    async def init(self) -> Sequence[RetrieverAction]:
        """Create one retriever for each name."""
        return [self._action(name, joined) for name, joined in self._retrievers.items()]

    def _action(self, name: str, joined: _Joined) -> RetrieverAction:
        async def retrieve(query: Document, options: HybridOptions) -> RetrieverResponse:
            return await self._retrieve(joined, query, options)

        return retriever_action(f"{self.name}/{name}", retrieve, options_type=HybridOptions)

    async def _retrieve(self, joined: _Joined, query: Document, options: HybridOptions) -> RetrieverResponse:
        told = joined.told(options)  # wrong options are wrong for no documents as well
        weights = joined.weights if options.weights is None else options.weights
        _check_numbers("options.weights", weights, joined.retrievers, shares=True)
        if options.k == 0:
            return RetrieverResponse()
        found, notices = await run_sub_retrievers(
            {
                sub: run_retriever(self.registry, joined.retrievers[sub][0], query, told[sub])
                for sub in joined.retrievers
            },
            self.on_error,
        )
        floors = {sub: 0.0 for sub, its in told.items() if its.get("mode") == "text"} | dict(joined.floors)
        documents = fuse_rankings(found, options.fusion or joined.fusion, weights=weights, floors=floors)
        least = -math.inf if options.score_threshold is None else options.score_threshold
        return RetrieverResponse([document for document in documents if (document.score or 0.0) >= least], notices)


@dataclass(frozen=True)
class _Joined:
    """Validated `HybridConfig`: retriever and fixed options of each sub-retriever by name."""

    retrievers: Mapping[str, tuple[str, Mapping[str, Any]]]
    weights: Mapping[str, float]
    floors: Mapping[str, float]
    fusion: Fusion
    candidates: int

    @classmethod
    def made(
        cls, argument: str, raw: Sequence[SubRetriever] | Mapping[str, SubRetriever] | HybridConfig, itself: str
    ) -> _Joined:
        given = raw if isinstance(raw, HybridConfig) else HybridConfig(raw)
        retrievers = _named(argument, given.retrievers)
        for sub, (retriever, options) in retrievers.items():
            if retriever == itself:
                raise invalid(f"{argument}[{sub!r}]", retriever, "must not be the hybrid itself")
            if {"k", "limit"} & options.keys():
                raise invalid(f"{argument}[{sub!r}]", dict(options), "must not fix `k`", hint="Use `candidates`.")
        check_choice(f"{argument}.fusion", given.fusion, ("convex", "rrf"))
        if given.candidates < 1:
            raise invalid(f"{argument}.candidates", given.candidates, "must be at least 1")
        weights, floors = dict(given.weights or {}), dict(given.floors or {})
        _check_numbers(f"{argument}.weights", weights, retrievers, shares=True)
        _check_numbers(f"{argument}.floors", floors, retrievers, shares=False)
        return cls(retrievers, weights, floors, given.fusion, given.candidates)

    def told(self, options: HybridOptions) -> dict[str, dict[str, Any]]:
        """Return the options for each sub-retriever."""
        reject_mmr(options)
        if options.vector_weight is not None:
            raise GenkitError(
                "UNIMPLEMENTED",
                "`vector_weight` is not for a hybrid of named retrievers.",
                hint="Use `weights`, one for each sub-retriever, or fix it on one: (name, {'vector_weight': 0.3}).",
                details={"argument": "options.vector_weight"},
            )
        many = max(options.candidates or self.candidates, options.k)
        common = sub_retriever_options(options, _OWN, many)
        return {sub: _merged(common, fixed) for sub, (_, fixed) in self.retrievers.items()}


def _named(argument: str, raw: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    if not raw or isinstance(raw, str) or not isinstance(raw, Mapping | Sequence):
        raise invalid(argument, raw, "must be names of different retrievers")
    pairs: list[tuple[str | None, Any]] = (
        list(raw.items()) if isinstance(raw, Mapping) else [(None, sub) for sub in raw]
    )
    retrievers: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for given, sub in pairs:
        retriever, fixed = sub if isinstance(sub, tuple) and len(sub) == 2 else (sub, {})
        if not isinstance(retriever, str) or not isinstance(fixed, Mapping):
            raise invalid(argument, sub, "must be the name of a retriever, or (name, options)")
        name = given or (f"{retriever}?{urlencode(fixed)}" if fixed else retriever)
        if name in retrievers:
            raise invalid(argument, raw, "must be names of different retrievers")
        retrievers[name] = (retriever, dict(fixed))
    return retrievers


def _check_numbers(argument: str, numbers: Mapping[str, float], retrievers: Mapping[str, Any], *, shares: bool) -> None:
    unknown = sorted(set(numbers) - set(retrievers))
    if unknown:
        raise invalid(argument, unknown, f"must name retrievers: {', '.join(retrievers)}")
    if not all(math.isfinite(number) and (number >= 0 or not shares) for number in numbers.values()):
        raise invalid(argument, dict(numbers), f"must be finite numbers{' from 0' if shares else ''}")
    if shares and not any(numbers.get(sub, 1.0) for sub in retrievers):
        raise invalid(argument, dict(numbers), "must give at least one sub-retriever a weight above 0")


def _merged(common: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**common, **fixed}
    if common.get("filter") and fixed.get("filter"):
        merged["filter"] = {"$and": [fixed["filter"], common["filter"]]}
    return merged
