"""The plugin."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from genkit_rag.plugin_api import (
    CALLERS_ERRORS,
    Document,
    OnLegError,
    Plugin,
    RetrieverAction,
    RetrieverOptions,
    RetrieverResponse,
    ask_legs,
    ask_model,
    ask_retriever,
    check_choice,
    check_prompt,
    fuse_legs,
    invalid,
    leg_options,
    refuse_mmr,
    retriever_action,
)

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
CANDIDATES = 50
"""How many documents the query and each passage find, unless the options say otherwise; at least `k`."""

_OWN = frozenset(("fusion", "candidates", "passages", "include_query"))


class HydeOptions(RetrieverOptions):
    """What every retriever understands, how many passages are written (0: none), and whether the query is asked too."""

    passages: int | None = Field(default=None, ge=0, le=MAX_PASSAGES)
    include_query: bool | None = None


class Hyde(Plugin):
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
        on_leg_error: `raise`, or `degrade`: go on without what failed, in the end with the query alone, and say so.
        name: The plugin's name.
    """

    def __init__(
        self,
        retrievers: Mapping[str, str],
        *,
        model: str,
        passages: int = 1,
        include_query: bool = True,
        prompt: str = HYDE_PROMPT,
        config: Mapping[str, Any] | None = None,
        on_leg_error: OnLegError = "raise",
        name: str = "hyde",
    ) -> None:
        check_choice("on_leg_error", on_leg_error, ("raise", "degrade"))
        check_prompt(prompt, ("query",))
        if not 1 <= passages <= MAX_PASSAGES:
            raise invalid("passages", passages, f"must be from 1 to {MAX_PASSAGES}")
        for key, retriever in retrievers.items():
            if not isinstance(retriever, str) or retriever == f"{name}/{key}":
                raise invalid(f"retrievers[{key!r}]", retriever, "must be the name of another retriever")
        self.name = name
        self.retrievers = dict(retrievers)
        self.model = model
        self.passages = passages
        self.include_query = include_query
        self.prompt = prompt
        self.config = dict(config) if config else None
        self.on_leg_error: OnLegError = on_leg_error

    async def init(self) -> Sequence[RetrieverAction]:
        """Returns one retriever for each name."""
        return [self._action(name, retriever) for name, retriever in self.retrievers.items()]

    def _action(self, name: str, retriever: str) -> RetrieverAction:
        async def retrieve(query: Document, options: HydeOptions) -> RetrieverResponse:
            refuse_mmr(options)
            if options.k == 0:
                return RetrieverResponse()
            written, notices = await self._written(query, options)
            told = leg_options(options, _OWN, max(options.candidates or CANDIDATES, options.k))
            asked = {f"passage-{n}": Document(text) for n, text in enumerate(written, 1)}
            with_query = self.include_query if options.include_query is None else options.include_query
            if with_query or not asked:
                asked = {"query": query} | asked
            found, more = await ask_legs(
                {leg: ask_retriever(self.registry, retriever, one, told) for leg, one in asked.items()},
                self.on_leg_error,
            )
            return RetrieverResponse(fuse_legs(found, options.fusion or "rrf"), [*notices, *more])

        return retriever_action(f"{self.name}/{name}", retrieve, options_type=HydeOptions)

    async def _written(self, query: Document, options: HydeOptions) -> tuple[list[str], list[str]]:
        """Returns the passages, each once, and what there is to say of them."""
        count = self.passages if options.passages is None else options.passages
        if count == 0:
            return [], []
        if not query.is_text:
            return [], ["NOT_WRITTEN: a query with media is asked as it is."]
        answers = await self._answers(self.prompt.format(query=query.text), count)
        notices = [f"MODEL_FAILED: a passage is missing: {error}" for error in answers if isinstance(error, Exception)]
        texts = [answer.strip()[:MAX_CHARACTERS] for answer in answers if isinstance(answer, str)]
        passages = list(dict.fromkeys(text for text in texts if re.search(r"\w", text)))
        if not passages:
            notices.append(f"NOT_WRITTEN: `{self.model}` wrote no passage; only the query itself was asked.")
        return passages, notices

    async def _answers(self, prompt: str, count: int) -> list[str | Exception]:
        async def one() -> str | Exception:
            try:
                return await ask_model(self.registry, self.model, prompt, self.config)
            except Exception as error:
                if self.on_leg_error == "raise" or getattr(error, "status", None) in CALLERS_ERRORS:
                    raise
                return error

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one()) for _ in range(count)]
        except ExceptionGroup as failed:
            error = failed.exceptions[0]
            raise error from error.__cause__
        return [task.result() for task in tasks]
