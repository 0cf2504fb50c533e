"""The plugin."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag.plugin_api import (
    ActionKind,
    Document,
    GenkitError,
    Plugin,
    RetrieverAction,
    RetrieverOptions,
    RetrieverRequest,
    RetrieverResponse,
    fuse,
    get_field,
    invalid,
    matches_value,
    retriever_action,
)
from genkit_rag_boost._decay import Decay

CANDIDATES = 50
"""How many documents are scored anew, unless the options say otherwise; at least `k`."""

Boosts = Mapping[str, Mapping[Any, float]] | Callable[[Document], float]


@dataclass(frozen=True)
class BoostConfig:
    """A retriever whose scores are changed.

    Args:
        retriever: Its name.
        decay: How relevance fades with age; None for not at all.
        boosts: Factors by field and value, `{"kind": {"guide": 1.5, "draft": 0.5}}`, where each value that a list
            holds counts; or a function of a document that gives a factor. Factors are 0 or more; 1 changes nothing.
    """

    retriever: str
    decay: Decay | None = None
    boosts: Boosts | None = None

    def __post_init__(self) -> None:
        given: Any = self.boosts
        if given is None or callable(given):
            return
        if not isinstance(given, Mapping) or not all(isinstance(values, Mapping) for values in given.values()):
            raise invalid("boosts", given, "must be {field: {value: factor}} or a function of a document")
        for field, values in given.items():
            for value, factor in values.items():
                _checked(f"boosts[{field!r}][{value!r}]", factor)

    def boost(self, document: Document) -> float:
        """Return the factor of a document; INVALID_ARGUMENT if a function returns no number of at least 0."""
        given = self.boosts
        if given is None:
            return 1.0
        if not isinstance(given, Mapping):
            return _checked("boosts", given(document.copy()))
        factor = 1.0
        for field, values in given.items():
            found = get_field(document.metadata, field)
            factor *= math.prod(weight for value, weight in values.items() if matches_value("$eq", value, found))
        return factor


class Boost(Plugin):
    """Registers `/retriever/boost/<name>`: the results of another retriever, rescored by age and metadata.

    The candidates' scores are scaled so that the best is 1, then multiplied by the factors. A score of 0 stays 0; if
    some are negative or missing, the scale begins at the lowest score, or at the rank after the last. `scores` keeps
    the earlier score under the inner retriever's name, and has the factors `decay` and `boost`. `k` and `candidates`
    are this retriever's own; all other options are passed to the inner one, with `score_threshold` in the unit of its
    scores.

    Args:
        retrievers: For each name, the inner retriever and the changes of its scores.
        now: The time, in seconds since 1970.
        name: The name of the plugin.
    """

    provides = ("retriever",)

    def __init__(
        self, retrievers: Mapping[str, BoostConfig], *, now: Callable[[], float] = time.time, name: str = "boost"
    ) -> None:
        self.name = name
        self.retrievers = dict(retrievers)
        self.now = now
        for key, boosted in self.retrievers.items():
            if not isinstance(boosted, BoostConfig) or boosted.retriever == f"{name}/{key}":
                raise invalid(f"retrievers[{key!r}]", boosted, "must be BoostConfig(...) over another retriever")

    async def init(self) -> Sequence[RetrieverAction]:
        """Create one retriever for each name."""
        return [self._action(name, boosted) for name, boosted in self.retrievers.items()]

    def _action(self, name: str, boosted: BoostConfig) -> RetrieverAction:
        async def retrieve(query: Document, options: RetrieverOptions) -> RetrieverResponse:
            if options.mmr_lambda is not None:
                raise GenkitError(
                    "UNIMPLEMENTED",
                    "`mmr_lambda` does not go with a retriever that scores anew.",
                    hint="Rerank the result with `mmr`.",
                    details={"argument": "options.mmr_lambda"},
                )
            if options.k == 0:
                return RetrieverResponse()
            many = max(options.candidates or CANDIDATES, options.k)
            told = options.model_dump(exclude={"k", "candidates"}, exclude_defaults=True)
            action = await self.registry.get(ActionKind.RETRIEVER, boosted.retriever)
            found: RetrieverResponse = await action(RetrieverRequest(query=query, options={**told, "k": many}))
            return self._scored(found, boosted)

        return retriever_action(f"{self.name}/{name}", retrieve)

    def _scored(self, found: RetrieverResponse, boosted: BoostConfig) -> RetrieverResponse:
        now = self.now()
        documents: list[Document] = []
        no_dates = 0
        for document, relevance in zip(found, _relevance(found), strict=True):
            scores = {f"{boosted.retriever}/{stage}": score for stage, score in (document.scores or {}).items()}
            if document.score is not None:
                scores[boosted.retriever] = document.score
            if boosted.decay is not None:
                scores["decay"], no_date = boosted.decay.factor(document.metadata, now)
                no_dates += no_date
            if boosted.boosts is not None:
                scores["boost"] = boosted.boost(document)
            score = relevance * scores.get("decay", 1.0) * scores.get("boost", 1.0)
            documents.append(document.copy(score=score, scores=scores, retriever=None))
        documents.sort(key=lambda document: -(document.score or 0.0))
        notices = list(found.notices)
        if no_dates and boosted.decay is not None:
            notices.append(f"BAD_DATE: `{boosted.decay.field}` of {no_dates} candidates is no date.")
        return RetrieverResponse(documents, notices)


def _relevance(documents: Sequence[Document]) -> list[float]:
    """Scale the scores to [0, 1], keeping their order."""
    scores = [document.score for document in documents if document.score is not None]
    if len(scores) < len(documents) or not all(map(math.isfinite, scores)):
        scores = [float(len(documents) - rank) for rank in range(len(documents))]
    floors = {"": 0.0} if min(scores, default=0.0) >= 0 else None
    scaled = dict(fuse({"": [(str(place), score) for place, score in enumerate(scores)]}, floors=floors))
    return [scaled[str(place)] for place in range(len(scores))]


def _checked(argument: str, factor: Any) -> float:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
        raise invalid(argument, factor, "must be a finite number from 0", hint="1 changes nothing.")
    return float(factor)
