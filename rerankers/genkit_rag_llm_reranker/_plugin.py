"""The plugin: one reranker over any model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genkit_rag.plugin_api import (
    ActionKind,
    Document,
    GenkitError,
    Message,
    ModelAction,
    ModelRequest,
    OutputConfig,
    Part,
    Plugin,
    RerankerAction,
    model_info,
    reranker_action,
)
from genkit_rag_llm_reranker._options import LlmRerankerOptions, llm_reranker_options
from genkit_rag_llm_reranker._prompt import DEFAULT_PROMPT, checked_prompt, filled, one_line, ranking

logger = logging.getLogger("genkit_rag.llm_reranker")

CHARACTERS = 4
"""Characters of a token, about, in English; other languages have fewer: lower `max_tokens` for them."""

_FRAME = len('<passage number="999"></passage>\n')


class LlmReranker(Plugin):
    """Registers the reranker `llm`: a language model orders the passages (listwise reranking).

    A window of passages moves from the last ones forward, so that the best reach the first window (Sun et al. 2023,
    "RankGPT"). No document is lost, duplicated or invented, whatever the model answers: passages that it does not name
    follow in their earlier order. A language model returns an order without scores, so the score is `1 / position`.
    Documents without text come last; a query without text keeps the order.

    Args:
        model: The name of the model, such as `openai/gpt-4.1-mini`.
        name: The name of the reranker.
        prompt: The prompt; see `DEFAULT_PROMPT`.
        config: The model's config; temperature 0 by default.
        options: See `LlmRerankerOptions`.
    """

    provides = ("reranker",)
    default_action = ""

    def __init__(
        self,
        model: str,
        *,
        name: str = "llm",
        prompt: str = DEFAULT_PROMPT,
        config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self._model = model
        self._prompt = checked_prompt(prompt)
        self._config = {"temperature": 0} if config is None else dict(config)
        self._options = llm_reranker_options(options)

    async def init(self) -> Sequence[RerankerAction]:
        """Return the single reranker."""
        return [reranker_action(self.name, self._rerank, label=f"Listwise by {self._model}")]

    async def _rerank(self, query: Document, documents: Sequence[Document]) -> list[float]:
        model: ModelAction = await self.registry.get(ActionKind.MODEL, self._model)
        words = one_line(query.text)
        texts = [one_line(document.text) for document in documents]
        order = [row for row, text in enumerate(texts) if text]
        if words and len(order) > 1:
            windows = Windows.fitting(self._options, self._prompt, words, [texts[row] for row in order])
            for start, end in windows.spans(len(order)):
                rows = order[start:end]
                passages = [texts[row][: windows.characters] for row in rows]
                best = await self._ranking(model, words[: self._options.max_tokens], passages)
                order[start:end] = [rows[i] for i in best] + [row for i, row in enumerate(rows) if i not in set(best)]
        order += [row for row, text in enumerate(texts) if not text]
        positions = {row: position for position, row in enumerate(order, 1)}
        return [1 / positions[row] for row in range(len(documents))]

    async def _ranking(self, model: ModelAction, query: str, passages: Sequence[str]) -> list[int]:
        """Return the rows that the model names, best first; none if it fails and `on_error` is `keep`."""
        try:
            response = await model(self._request(model, filled(self._prompt, query, passages), len(passages)))
            rows = ranking(response.text, len(passages))
            if not rows:
                raise GenkitError(
                    "INTERNAL",
                    f"`{self._model}` named no passage: {response.text[:200]!r}.",
                    hint="Use a larger model, or on_error='keep' to keep the earlier order then.",
                )
        except Exception as error:
            if self._options.on_error == "raise":
                raise
            logger.warning("%s did not rank %d passages, their order stays: %s", self._model, len(passages), error)
            return []
        return rows

    def _request(self, model: ModelAction, prompt: str, count: int) -> ModelRequest:
        supports = model_info(model).supports
        output = None
        if supports is not None and supports.constrained in ("all", "no-tools"):
            output = OutputConfig(format="json", schema=_schema(count), constrained=True)
        message = Message(role="user", content=[Part(text=prompt)])
        return ModelRequest(messages=[message], config=self._config, output=output)


@dataclass(frozen=True, slots=True)
class Windows:
    """How many passages the model sees at once, and how many characters of each."""

    size: int
    step: int
    characters: int

    @classmethod
    def fitting(cls, options: LlmRerankerOptions, prompt: str, query: str, texts: Sequence[str]) -> Windows:
        """Return the largest windows whose prompts stay within `max_tokens`, with at least two passages."""
        asked = min(len(query), options.max_tokens)  # a quarter of the prompt is the query's at most
        room = max(CHARACTERS * options.max_tokens - len(prompt) - asked, 0)
        characters = max(1, min(CHARACTERS * options.passage_tokens, room // 2 - _FRAME))
        longest = min(max(len(text) for text in texts), characters) + _FRAME
        size = max(2, min(options.window, room // longest))
        return cls(size, max(1, min(options.stride, size - 1)), characters)

    def spans(self, count: int) -> list[tuple[int, int]]:
        """Return `(start, end)` of each window, the last passages first; the last window begins at 0."""
        spans = [(max(0, count - self.size), count)]
        while spans[-1][0] > 0:
            end = spans[-1][1] - self.step
            spans.append((max(0, end - self.size), end))
        return spans


def _schema(count: int) -> dict[str, Any]:
    number = {"type": "integer", "minimum": 1, "maximum": count}
    return {
        "type": "object",
        "properties": {"ranking": {"type": "array", "items": number}},
        "required": ["ranking"],
        "additionalProperties": False,
    }
