"""The plugin: one reranker over the scores of earlier stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from genkit_rag.plugin_api import Document, Plugin, RerankerAction, RerankerOptions, fuse, invalid, reranker_action

Fusion = Literal["rrf", "convex"]
CURRENT = "current"
"""The name of the ranking that the documents came in, where none of their `scores` is it."""


class RRFOptions(RerankerOptions):
    """The settings of the fusion.

    Attributes:
        fusion: `rrf` adds `1 / (60 + rank)`; `convex` adds the scores, scaled to [0, 1] for each stage.
        weights: The weight of each stage by its name in `scores`; 1 by default, 0 leaves it out.
    """

    fusion: Fusion | None = None
    weights: dict[str, float] | None = None


class RRF(Plugin):
    """Registers the reranker `rrf`: reciprocal rank fusion (Cormack, Clarke and Buettcher 2009) of earlier stages.

    Every name in the documents' `scores` is one ranking: sub-retrievers of a hybrid, earlier rerankers. The current
    order is a further one, named `current`, unless it equals that of a stage (as after a reranker). A document without
    a score in a stage gets nothing from it.

    Args:
        name: The name of the reranker.
        fusion: The default fusion.
        weights: The default weights.
    """

    provides = ("reranker",)
    default_action = ""

    def __init__(
        self, *, name: str = "rrf", fusion: Fusion = "rrf", weights: Mapping[str, float] | None = None
    ) -> None:
        if fusion not in ("rrf", "convex"):
            raise invalid("fusion", fusion, "is no fusion", hint="There are: rrf, convex.")
        self.name = name
        self._fusion: Fusion = fusion
        self._weights = checked_weights("weights", weights or {})

    async def init(self) -> Sequence[RerankerAction]:
        """Return the single reranker."""
        label = "Fusion of the scores of earlier stages"
        return [reranker_action(self.name, self._rerank, label=label, options_type=RRFOptions)]

    def _rerank(self, query: Document, documents: Sequence[Document], options: RRFOptions) -> list[float]:
        weights = self._weights if options.weights is None else checked_weights("options.weights", options.weights)
        fused = dict(fuse(rankings(documents), method=options.fusion or self._fusion, weights=weights))
        return [fused.get(str(row), 0.0) for row in range(len(documents))]


def checked_weights(argument: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights; INVALID_ARGUMENT for one that is negative or not a number."""
    for stage, weight in weights.items():
        if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise invalid(f"{argument}.{stage}", weight, "must be a finite number that is not negative")
    return dict(weights)


def rankings(documents: Sequence[Document]) -> dict[str, list[tuple[str, float]]]:
    """Return `(row, score)` for each stage, best first; ties keep the documents' order."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row, document in enumerate(documents):
        for stage, score in (document.scores or {}).items():
            if not math.isfinite(score):
                raise invalid(f"documents[{row}].scores[{stage!r}]", score, "must be a finite number")
            found.setdefault(stage, []).append((str(row), score))
    for ranking in found.values():
        ranking.sort(key=lambda item: -item[1])
    if not any(all((document.scores or {}).get(stage) == document.score for document in documents) for stage in found):
        found[CURRENT] = _current(documents)
    return found


def _current(documents: Sequence[Document]) -> list[tuple[str, float]]:
    """Return the documents' current order: their scores if they agree with it, otherwise their positions."""
    scores = [document.score for document in documents]
    given = [score for score in scores if score is not None]
    if len(given) < len(documents) or given != sorted(given, reverse=True):
        given = [float(len(documents) - row) for row in range(len(documents))]
    return [(str(row), score) for row, score in enumerate(given)]
