"""Retrievers that ask another one with queries that a model wrote."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Plugin
from genkit_rag._documents.document import Document
from genkit_rag._generation.text_generation import check_prompt_template, generate_text
from genkit_rag._rag.options import RetrieverOptions
from genkit_rag._rag.retrieval import RetrieverAction, RetrieverResponse, retriever_action
from genkit_rag._rag.sub_retrievers import (
    OnError,
    check_choice,
    fuse_rankings,
    must_raise,
    reject_mmr,
    run_retriever,
    run_sub_retrievers,
    sub_retriever_options,
)

OptionsT = TypeVar("OptionsT", bound=RetrieverOptions)

CANDIDATES = 50
"""How many documents each query finds, unless the options say otherwise; at least `k`."""

_JOINING = frozenset(("fusion", "candidates"))


class QueryRewriter(Plugin, Generic[OptionsT]):
    """Registers `/retriever/<plugin>/<name>`: retrievers queried with LLM-written queries. Override `write`.

    All queries run concurrently and their rankings are fused, by `rrf` unless the options say otherwise. `k`, `fusion`,
    `candidates` and the fields of `options_type` are the plugin's own; all other options are passed to the inner
    retriever.

    Args:
        retrievers: The names of the retrievers, with the names of those that they query.
        model: The name of the model.
        prompt: The prompt for the model.
        fields: The allowed placeholders in the prompt; `query` is required.
        config: The model's config.
        on_error: `raise`, or `degrade`: continue without the failed model or query, with a notice.
        name: The name of the plugin.
    """

    options_type: ClassVar[type[RetrieverOptions]] = RetrieverOptions

    def __init__(
        self,
        retrievers: Mapping[str, str],
        *,
        model: str,
        prompt: str,
        fields: Collection[str] = ("query",),
        config: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
        name: str,
    ) -> None:
        check_choice("on_error", on_error, ("raise", "degrade"))
        check_prompt_template(prompt, fields)
        for key, retriever in retrievers.items():
            if not isinstance(retriever, str) or retriever == f"{name}/{key}":
                raise invalid(f"retrievers[{key!r}]", retriever, "must be the name of another retriever")
        self.name = name
        self.retrievers = dict(retrievers)
        self.model = model
        self.prompt = prompt
        self.config = dict(config) if config else None
        self.on_error: OnError = on_error
        self._own = _JOINING | (self.options_type.model_fields.keys() - RetrieverOptions.model_fields.keys())

    async def init(self) -> Sequence[RetrieverAction]:
        """Create one retriever for each name."""
        return [self._action(name, retriever) for name, retriever in self.retrievers.items()]

    @abstractmethod
    async def write(self, query: Document, options: OptionsT) -> tuple[dict[str, Document], list[str]]:
        """Return the queries, at least one, by the names of their scores, and the notices."""

    async def answers(self, prompt: str, count: int = 1) -> list[str | Exception]:
        """Call the model `count` times concurrently with a prompt; with `degrade`, return errors among the answers."""

        async def one() -> str | Exception:
            try:
                return await generate_text(self.registry, self.model, prompt, self.config)
            except Exception as error:
                if must_raise(error, self.on_error):
                    raise
                return error

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one()) for _ in range(count)]
        except ExceptionGroup as failed:
            error = failed.exceptions[0]
            raise error from error.__cause__
        return [task.result() for task in tasks]

    def _action(self, name: str, retriever: str) -> RetrieverAction:
        async def retrieve(query: Document, options: RetrieverOptions) -> RetrieverResponse:
            reject_mmr(options)
            if options.k == 0:
                return RetrieverResponse()
            queries, notices = await self.write(query, cast("OptionsT", options))
            told = sub_retriever_options(options, self._own, max(options.candidates or CANDIDATES, options.k))
            found, more = await run_sub_retrievers(
                {leg: run_retriever(self.registry, retriever, one, told) for leg, one in queries.items()},
                self.on_error,
            )
            return RetrieverResponse(fuse_rankings(found, options.fusion or "rrf"), [*notices, *more])

        return retriever_action(f"{self.name}/{name}", retrieve, options_type=self.options_type)
