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
"""What the model is asked; `{query}` is the query."""

MAX_PASSAGES = 8
"""As many as in the paper."""
MAX_CHARACTERS = 4000
"""A passage is cut there: embedders read less."""


class HydeOptions(RetrieverOptions):
    """What every retriever understands, how many passages are written (0: none), and whether the query is asked too."""

    passages: int | None = Field(default=None, ge=0, le=MAX_PASSAGES)
    include_query: bool | None = None


class Hyde(QueryRewriter[HydeOptions]):
    """Registers `/retriever/hyde/<name>`: a model writes passages that answer the query, and these are the queries.

    Hypothetical document embeddings (Gao et al. 2022, "Precise Zero-Shot Dense Retrieval without Relevance Labels"):
    an answer, even a wrong one, lies nearer to the right passage than the question does. The rankings of passages and
    query are joined; the paper takes the mean of their vectors, which only a store could search for. What the model
    wrote is asked for and then forgotten: it never stands in the result. `scores` holds the score that each gave, under
    `query`, `passage-1` and so on. `k`, `fusion` (`rrf` unless the options say otherwise), `candidates`, `passages` and
    `include_query` are this retriever's; everything else goes to the inner one, a `score_threshold` in the unit of its
    scores.

    Args:
        retrievers: For each name, the name of the retriever to ask.
        model: The name of the model.
        passages: How many passages it writes, from 1 to 8, each in a call of its own: more than one needs a model that
            does not always say the same.
        include_query: Whether the query itself is asked as well.
        prompt: What the model is asked, with the field `{query}`.
        config: The model's settings, such as `{"temperature": 0.7}`.
        on_error: `raise`, or `degrade`: go on without what failed, in the end with the query alone, and say so.
        name: The plugin's name.
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
        """Returns the passages as queries, with the query itself when it is wanted or nothing else is there."""
        written, notices = await self._written(query, options)
        asked = {f"passage-{n}": Document(text) for n, text in enumerate(written, 1)}
        with_query = self.include_query if options.include_query is None else options.include_query
        return ({"query": query} | asked if with_query or not asked else asked), notices

    async def _written(self, query: Document, options: HydeOptions) -> tuple[list[str], list[str]]:
        """Returns the passages, each once, and what there is to say of them."""
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
