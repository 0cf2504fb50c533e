"""The plugin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

from genkit_rag.plugin_api import (
    ActionContext,
    ActionKind,
    Document,
    GenkitError,
    Plugin,
    RetrieverAction,
    RetrieverOptions,
    RetrieverRequest,
    RetrieverResponse,
    fuse,
    invalid,
    retriever_action,
)

CANDIDATES = 50
"""How many documents each leg gives, unless the options say otherwise; at least `k`."""


class HybridOptions(RetrieverOptions):
    """What every retriever understands, and a share for each leg by its name."""

    weights: dict[str, float] | None = None


class Hybrid(Plugin):
    """Registers `/retriever/hybrid/<name>` for each name: several retrievers asked at once, their rankings fused.

    A document that several legs find counts once; `scores` holds each leg's score under the leg's name. `k`, `fusion`,
    `candidates` and `weights` are the hybrid's, everything else in the options goes to every leg.

    Args:
        retrievers: For each name, the names of the retrievers to join.
        on_leg_error: `raise`, or `degrade`: answer from the other legs and say so in the notices.
        name: The plugin's name.
    """

    def __init__(
        self,
        retrievers: Mapping[str, Sequence[str]],
        *,
        on_leg_error: Literal["raise", "degrade"] = "raise",
        name: str = "hybrid",
    ) -> None:
        self.name = name
        self.on_leg_error = on_leg_error
        self.retrievers = {key: list(legs) for key, legs in retrievers.items()}
        for key, legs in self.retrievers.items():
            if len(set(legs)) != len(legs) or not legs:
                raise invalid(f"retrievers[{key!r}]", legs, "must be names of different retrievers")

    async def init(self) -> Sequence[RetrieverAction]:
        """Returns one retriever for each name."""
        return [self._action(name, legs) for name, legs in self.retrievers.items()]

    def _action(self, name: str, legs: list[str]) -> RetrieverAction:
        async def retrieve(query: Document, options: HybridOptions, ctx: ActionContext) -> RetrieverResponse:
            return await self._retrieve(legs, query, options)

        return retriever_action(f"{self.name}/{name}", retrieve, options_type=HybridOptions)

    async def _retrieve(self, legs: list[str], query: Document, options: HybridOptions) -> RetrieverResponse:
        unknown = set(options.weights or {}) - set(legs)
        if unknown:
            raise invalid("options.weights", sorted(unknown), f"must name legs: {', '.join(legs)}")
        many = max(options.candidates or CANDIDATES, options.k)
        passed_on = options.model_dump(
            exclude={"k", "fusion", "candidates", "weights", "vector_weight", "score_threshold"}, exclude_none=True
        )
        asked = [self._leg(leg, query, {**passed_on, "k": many}) for leg in legs]
        answers = await asyncio.gather(*asked, return_exceptions=self.on_leg_error == "degrade")
        notices: list[str] = []
        found: dict[str, RetrieverResponse] = {}
        for leg, answer in zip(legs, answers, strict=True):
            if isinstance(answer, RetrieverResponse):
                found[leg] = answer
                notices += answer.notices
            elif isinstance(answer, Exception):
                notices.append(f"LEG_FAILED: `{leg}` gave nothing: {answer}")
            else:
                raise answer
        if not found:
            raise GenkitError("UNAVAILABLE", "Every leg failed.", hint="; ".join(notices))
        return RetrieverResponse(_fused(found, options), notices)

    async def _leg(self, leg: str, query: Document, options: dict[str, object]) -> RetrieverResponse:
        action = await self.registry.get(ActionKind.RETRIEVER, leg)
        response: RetrieverResponse = await action(RetrieverRequest(query=query, options=options))
        return response


def _fused(found: Mapping[str, RetrieverResponse], options: HybridOptions) -> list[Document]:
    rankings = {leg: [(d.id, d.score if d.score is not None else -float(d.rank or 0)) for d in docs]
                for leg, docs in found.items()}  # fmt: skip
    documents = {document.id: document for docs in reversed(list(found.values())) for document in docs}
    scores: dict[str, dict[str, float]] = {}
    for leg, ranking in rankings.items():
        for id_, score in ranking:
            scores.setdefault(id_, {})[leg] = score
    fused = fuse(rankings, method=options.fusion or "convex", weights=options.weights)
    threshold = options.score_threshold
    return [
        documents[id_].copy(score=score, scores=scores[id_], retriever=None)
        for id_, score in fused[: options.k]
        if threshold is None or score >= threshold
    ]
