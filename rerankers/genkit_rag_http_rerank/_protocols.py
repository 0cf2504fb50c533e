"""The wire formats of rerank servers: requests and responses. Nothing here opens a connection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from genkit_rag.plugin_api import GenkitError, invalid

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The wire format of one server.

    Attributes:
        path: The path after the base URL.
        documents: The field of the texts.
        score: The field of a score.
        settings: Further fixed fields.
        base_url: The provider's own server; None for self-hosted servers.
        key_variable: The environment variable of the key.
        max_documents: The default number of documents in one request.
        takes_top_n: Whether the server can return only the best.
        takes_model: Whether a request may name the model; some servers have only one.
        needs_model: Whether a request must name the model.
    """

    path: str
    documents: str = "documents"
    score: str = "relevance_score"
    settings: tuple[tuple[str, Any], ...] = ()
    base_url: str | None = None
    key_variable: str = "RERANK_API_KEY"
    max_documents: int = 1000
    takes_top_n: bool = True
    takes_model: bool = True
    needs_model: bool = False

    def body(self, model: str | None, query: str, texts: Sequence[str], top_n: int) -> Body:
        """Build the request; `top_n` is always sent if supported, since servers may have their own defaults."""
        body: Body = {"query": query, self.documents: list(texts), **dict(self.settings)}
        if self.takes_top_n:
            body |= {"top_n": top_n}
        return {"model": model, **body} if model and self.takes_model else body

    def scores(self, answer: Any, count: int) -> list[float | None]:
        """Return a score for each document, None for those missing in the answer.

        Raises:
            GenkitError: INTERNAL for an index that is out of range or repeated, and for a score that is not a finite
                number.
        """
        listed: Any = cast(Body, answer).get("results") if isinstance(answer, dict) else answer
        if not isinstance(listed, list):
            raise _wrong("it has no list of results")
        items: list[Any] = listed
        scores: list[float | None] = [None] * count
        for item in items:
            entry = cast(Body, item) if isinstance(item, dict) else {}
            index, score = entry.get("index"), entry.get(self.score)
            if type(index) is not int or not 0 <= index < count:
                raise _wrong(f"the index {index!r} is not one of the {count} documents")
            if scores[index] is not None:
                raise _wrong(f"the index {index} comes twice")
            scores[index] = _finite(score, self.score)
        return scores


def _finite(score: Any, name: str) -> float:
    if type(score) not in (int, float):
        raise _wrong(f"`{name}` is {score!r}")
    try:
        value = float(score)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _wrong(f"`{name}` is {value!r}")
    return value


def _wrong(problem: str) -> GenkitError:
    return GenkitError(
        "INTERNAL",
        f"The server's ranking cannot be used: {problem}.",
        hint="Check that `api` names the protocol that the server speaks, and that its model is a reranker.",
    )


# https://docs.cohere.com/v2/reference/rerank: not more than 1,000 documents in one request.
_COHERE = Protocol("/v2/rerank", base_url="https://api.cohere.com", key_variable="CO_API_KEY", needs_model=True)
# https://api.jina.ai/redoc, as vLLM has it too; without `return_documents` all texts come back.
_JINA = Protocol(
    "/v1/rerank",
    base_url="https://api.jina.ai",
    key_variable="JINA_API_KEY",
    needs_model=True,
    settings=(("return_documents", False),),
)
# https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
_VLLM = Protocol("/v1/rerank", key_variable="VLLM_API_KEY", needs_model=True)
# https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md: the name of its one model is not needed.
_LLAMA_CPP = Protocol("/v1/rerank", key_variable="LLAMA_API_KEY")
# https://huggingface.github.io/text-embeddings-inference: 32 texts in one request (`--max-client-batch-size`). Texts
# over the model's token limit raise an error unless `truncate` is set.
_TEI = Protocol(
    "/rerank",
    documents="texts",
    score="score",
    key_variable="TEI_API_KEY",
    max_documents=32,
    takes_top_n=False,
    takes_model=False,
    settings=(("truncate", True),),
)

PROTOCOLS = {"cohere": _COHERE, "jina": _JINA, "vllm": _VLLM, "llama.cpp": _LLAMA_CPP, "tei": _TEI}


def protocol_named(api: str) -> Protocol:
    """Return the protocol with that name; INVALID_ARGUMENT lists the names."""
    if api not in PROTOCOLS:
        raise invalid("api", api, "is no protocol", hint=f"There are: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[api]
