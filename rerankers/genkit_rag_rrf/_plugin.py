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
    """What the fusion of one call is.

    Attributes:
        fusion: `rrf` adds `1 / (60 + rank)`; `convex` adds the scores, each stage's scaled to [0, 1].
        weights: The share of each stage by its name in `scores`; 1 where none is given, 0 leaves it out.
    """

    fusion: Fusion | None = None
    weights: dict[str, float] | None = None


class RRF(Plugin):
    """Registers the reranker `rrf`: reciprocal rank fusion (Cormack, Clarke and Buettcher 2009) of earlier stages.

    Every name in the documents' `scores` is one ranking: the legs of a hybrid search, rerankers that were asked before.
    The order that the documents came in is one more, called `current`, unless it is that of a stage already (as after
    a reranker). A document that a stage has no score for gets nothing from it.

    Args:
        name: The reranker's name.
        fusion: When the options say nothing.
        weights: When the options say nothing.
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
        """Returns the one reranker."""
        label = "Fusion of the scores of earlier stages"
        return [reranker_action(self.name, self._rerank, label=label, options_type=RRFOptions)]

    def _rerank(self, query: Document, documents: Sequence[Document], options: RRFOptions) -> list[float]:
        weights = self._weights if options.weights is None else checked_weights("options.weights", options.weights)
        fused = dict(fuse(rankings(documents), method=options.fusion or self._fusion, weights=weights))
        return [fused.get(str(row), 0.0) for row in range(len(documents))]


def checked_weights(argument: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Returns the weights; raises INVALID_ARGUMENT for one that is negative or no number."""
    for stage, weight in weights.items():
        if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise invalid(f"{argument}.{stage}", weight, "must be a finite number that is not negative")
    return dict(weights)


def rankings(documents: Sequence[Document]) -> dict[str, list[tuple[str, float]]]:
    """Returns for each stage `(row, score)`, best first; ties stay in the documents' order."""
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
    """Returns the documents' own order; their scores where all have one that agrees with it, else their positions."""
    scores = [document.score for document in documents]
    given = [score for score in scores if score is not None]
    if len(given) < len(documents) or given != sorted(given, reverse=True):
        given = [float(len(documents) - row) for row in range(len(documents))]
    return [(str(row), score) for row, score in enumerate(given)]
