"""The plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from genkit_rag.plugin_api import Document, OnError, QueryRewriter, RetrieverOptions, invalid

HYDE_PROMPT = """\
Write a passage that answers the question below, as it could stand in a good document on the subject.
Write three to five plain sentences, without a preface. Where you do not know a fact, write a plausible one.

Question: {query}

Passage:
"""
"""The prompt for the model; `{query}` is the query."""

MAX_PASSAGES = 8
"""As many as in the paper."""
MAX_CHARACTERS = 4000
"""A passage is cut there: embedders read less."""


class HydeOptions(RetrieverOptions):
    """What every retriever understands, how many passages are written (0: none), and whether the query is asked too."""

    passages: int | None = Field(default=None, ge=0, le=MAX_PASSAGES)
    include_query: bool | None = None


class Hyde(QueryRewriter[HydeOptions]):
    """Registers `/retriever/hyde/<name>`: retrieval with passages that a model writes as answers to the query.

    Hypothetical document embeddings (Gao et al. 2022, "Precise Zero-Shot Dense Retrieval without Relevance Labels"): an
    answer, even a wrong one, is nearer to the right passage than the question. The rankings of passages and query are
    fused; the paper averages their vectors, which requires vector search. The written passages are never part of the
    result. `scores` has the score of each query, under `query`, `passage-1` and so on. `k`, `fusion` (`rrf` by
    default), `candidates`, `passages` and `include_query` are this retriever's own; all other options are passed to the
    inner one, with `score_threshold` in the unit of its scores.

    Args:
        retrievers: For each name, the name of the inner retriever.
        model: The name of the model.
        passages: The number of passages, from 1 to 8, each from its own call: more than one needs a model that varies
            its answers.
        include_query: Whether to search with the query itself, too.
        prompt: The prompt for the model, with the placeholder `{query}`.
        config: The model's config, such as `{"temperature": 0.7}`.
        on_error: `raise`, or `degrade`: continue without the failed parts, at last with the query alone, with a notice.
        name: The name of the plugin.
    """

    options_type = HydeOptions

    provides = ("retriever",)

    def __init__(
        self,
        retrievers: Mapping[str, str],
        *,
        model: str,
        passages: int = 1,
        include_query: bool = True,
        prompt: str = HYDE_PROMPT,
        config: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
        name: str = "hyde",
    ) -> None:
        super().__init__(retrievers, model=model, prompt=prompt, config=config, on_error=on_error, name=name)
        if not 1 <= passages <= MAX_PASSAGES:
            raise invalid("passages", passages, f"must be from 1 to {MAX_PASSAGES}")
        self.passages = passages
        self.include_query = include_query

    async def write(self, query: Document, options: HydeOptions) -> tuple[dict[str, Document], list[str]]:
        """Return the passages as queries, with the query itself if requested or if there are none."""
        written, notices = await self._written(query, options)
        asked = {f"passage-{n}": Document(text) for n, text in enumerate(written, 1)}
        with_query = self.include_query if options.include_query is None else options.include_query
        return ({"query": query} | asked if with_query or not asked else asked), notices

    async def _written(self, query: Document, options: HydeOptions) -> tuple[list[str], list[str]]:
        """Return the unique passages, and the notices."""
        count = self.passages if options.passages is None else options.passages
        if count == 0:
            return [], []
        if not query.is_text:
            return [], ["NOT_WRITTEN: a query with media is asked as it is."]
        answers = await self.answers(self.prompt.format(query=query.text), count)
        notices = [f"MODEL_FAILED: a passage is missing: {error}" for error in answers if isinstance(error, Exception)]
        texts = [answer.strip()[:MAX_CHARACTERS] for answer in answers if isinstance(answer, str)]
        passages = list(dict.fromkeys(text for text in texts if re.search(r"\w", text)))
        if not passages:
            notices.append(f"NOT_WRITTEN: `{self.model}` wrote no passage; only the query itself was asked.")
        return passages, notices
