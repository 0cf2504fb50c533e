"""The plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from genkit_rag.plugin_api import Document, OnError, QueryRewriter, RetrieverOptions, invalid
from genkit_rag_multi_query._parse import parse_queries

MULTI_QUERY_PROMPT = """\
Write {count} search queries that would find passages which answer the question below.
Use other words than the question does, and look at it from different sides. Keep names, numbers and codes as they are.
Write one query a line and nothing else.

Question: {query}
"""
"""The prompt for the model: `{query}` is the query, `{count}` the number of queries."""

MAX_QUERIES = 20


class MultiQueryOptions(RetrieverOptions):
    """What every retriever understands, and how many queries the model writes; with 0 it is not asked."""

    queries: int | None = Field(default=None, ge=0, le=MAX_QUERIES)


class MultiQuery(QueryRewriter[MultiQueryOptions]):
    """Registers `/retriever/multi-query/<name>`: LLM query expansion; all queries run concurrently and are fused.

    The query itself is always included. The notice `QUERIES` lists the others; `scores` has the score of each query,
    under `query`, `query-1`, `query-2` and so on. `k`, `fusion` (`rrf` by default), `candidates` and `queries` are this
    retriever's own; all other options are passed to the inner one, with `score_threshold` in the unit of its scores.

    Args:
        retrievers: For each name, the name of the inner retriever.
        model: The name of the model.
        queries: The number of queries from the model, from 1 to 20.
        prompt: The prompt for the model, with the placeholders `{query}` and `{count}`.
        config: The model's config, such as `{"temperature": 0.7}`.
        on_error: `raise`, or `degrade`: continue without the failed model or query, with a notice.
        name: The name of the plugin.
    """

    options_type = MultiQueryOptions

    provides = ("retriever",)

    def __init__(
        self,
        retrievers: Mapping[str, str],
        *,
        model: str,
        queries: int = 3,
        prompt: str = MULTI_QUERY_PROMPT,
        config: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
        name: str = "multi-query",
    ) -> None:
        super().__init__(
            retrievers,
            model=model,
            prompt=prompt,
            fields=("query", "count"),
            config=config,
            on_error=on_error,
            name=name,
        )
        if not 1 <= queries <= MAX_QUERIES:
            raise invalid("queries", queries, f"must be from 1 to {MAX_QUERIES}")
        self.queries = queries

    async def write(self, query: Document, options: MultiQueryOptions) -> tuple[dict[str, Document], list[str]]:
        """Return the query and its variants from the model."""
        written, notices = await self._written(query, options)
        return {"query": query} | {f"query-{n}": Document(text) for n, text in enumerate(written, 1)}, notices

    async def _written(self, query: Document, options: MultiQueryOptions) -> tuple[list[str], list[str]]:
        """Return the model's queries, and the notices."""
        count = self.queries if options.queries is None else options.queries
        if count == 0:
            return [], []
        if not query.is_text:
            return [], ["NOT_REWRITTEN: a query with media is asked as it is."]
        [answer] = await self.answers(self.prompt.format(query=query.text, count=count))
        if isinstance(answer, Exception):
            return [], [f"MODEL_FAILED: only the query itself was asked: {answer}"]
        known = " ".join(query.text.split()).casefold()
        queries = [text for text in parse_queries(answer, count + 1) if text.casefold() != known][:count]
        if not queries:
            return [], [f"NOT_REWRITTEN: `{self.model}` wrote no other query; only the query itself was asked."]
        return queries, [f"QUERIES: {'; '.join(f'query-{n} {text!r}' for n, text in enumerate(queries, 1))}"]
