"""A server that speaks the `/rerank` protocols as they are documented, for tests without a network.

Cohere's `/v2/rerank`, Jina's `/v1/rerank` (vLLM and llama.cpp speak it too) and Text Embeddings Inference's `/rerank`.
A score is the share of the query's words that a text has. Models by name: `status-429` (any number) fails with that
status; `flaky-2` fails that often, then works; `short`, `twice`, `beyond`, `negative`, `nan`, `huge`, `words`, `html`,
`empty`, `stall`, `reset` misbehave; `unknown` is not found; any other works.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Json = dict[str, Any]

COHERE = {"model", "query", "documents", "top_n", "max_tokens_per_doc", "priority"}
JINA = {"model", "query", "documents", "top_n", "return_documents", "truncate"}
TEI = {"query", "texts", "raw_scores", "return_text", "truncate", "truncation_direction"}
TEI_BATCH = 32


def score(query: str, text: str) -> float:
    """Returns the share of the query's words that the text has."""
    words = set(query.lower().split())
    return round(len(words & set(text.lower().replace(".", "").split())) / len(words), 6)


class FakeRerank:
    """The app, as `.app`; `.requests` are the bodies that came, in order, `.most` how many were under way at once."""

    def __init__(self, api_key: str | None = None, retry_after: str | None = "0") -> None:
        self.requests: list[Json] = []
        self.tei_model = "good"  # its servers have one model, and requests do not name it
        self.most = 0
        self._busy = 0
        self._failed: dict[str, int] = {}
        self._key = api_key
        self.retry_after = retry_after
        self.app = Starlette(
            routes=[
                Route("/v2/rerank", self._cohere, methods=["POST"]),
                Route("/v1/rerank", self._jina, methods=["POST"]),
                Route("/rerank", self._tei, methods=["POST"]),
            ]
        )

    async def _cohere(self, request: Request) -> Response:
        return await self._answer(request, COHERE, "documents", lambda message: {"id": "r1", "message": message})

    async def _jina(self, request: Request) -> Response:
        return await self._answer(request, JINA, "documents", lambda message: {"detail": message})

    async def _tei(self, request: Request) -> Response:
        return await self._answer(request, TEI, "texts", lambda message: {"error": message, "error_type": "Validation"})

    async def _answer(self, request: Request, known: set[str], field: str, shape: Any) -> Response:
        sent = request.headers.get("authorization", "")
        if self._key and sent != f"Bearer {self._key}":
            return JSONResponse(shape(f"invalid api token {sent.removeprefix('Bearer ')}"), 401)
        body = json.loads(await request.body())
        self.requests.append(body)
        self._busy += 1
        self.most = max(self.most, self._busy)
        try:
            await asyncio.sleep(0.01)
            problem = self._problem(body, known, field)
            if problem:
                headers = {"retry-after": self.retry_after} if problem[0] in (429, 503) and self.retry_after else {}
                return JSONResponse(shape(problem[1]), problem[0], headers=headers)
            return await self._ranking(body, field)
        finally:
            self._busy -= 1

    def _problem(self, body: Json, known: set[str], field: str) -> tuple[int, str] | None:
        model = self.tei_model if field == "texts" else body.get("model")
        if set(body) - known:
            return 422, f"unknown field {sorted(set(body) - known)[0]}"
        if not model:
            return 400, "model is required"
        texts = body.get(field)
        if not body.get("query", "").strip() or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            return 400, f"query and {field} must not be empty"
        if field == "texts" and len(texts) > TEI_BATCH:
            return 413, f"batch size {len(texts)} > maximum allowed batch size {TEI_BATCH}"
        kind, _, number = model.partition("-")
        if kind == "status":
            return int(number), "as you asked"
        if kind == "flaky" and self._failed.get(model, 0) < int(number):
            self._failed[model] = self._failed.get(model, 0) + 1
            return 503, "the model is overloaded"
        return (404, f"model '{model}' not found") if model == "unknown" else None

    async def _ranking(self, body: Json, field: str) -> Response:
        model = self.tei_model if field == "texts" else body["model"]
        name = "score" if field == "texts" else "relevance_score"
        found = [{"index": i, name: score(body["query"], text)} for i, text in enumerate(body[field])]
        found.sort(key=lambda item: -item[name])
        found = found[: body.get("top_n", len(found))]
        if model == "html":
            return Response("<html>It works!</html>", media_type="text/html")
        if model == "stall":
            await asyncio.sleep(5)
        if model == "reset":
            return StreamingResponse(_broken(), media_type="application/json", headers={"content-length": "100"})
        _spoil(model, found, name)
        # A NaN is no JSON, but some servers' encoders write it.
        text = json.dumps(found if field == "texts" else {"id": "r1", "results": found, "meta": {}})
        return Response("{}" if model == "empty" else text, media_type="application/json")


def _spoil(model: str, found: list[Json], name: str) -> None:
    spoilt: dict[str, Json] = {
        "beyond": {"index": 99},
        "negative": {"index": -1},
        "words": {"index": "0"},
        "nan": {name: float("nan")},
        "huge": {name: 10**400},
        "true": {name: True},
    }
    found[0].update(spoilt.get(model, {}))
    if model == "short":
        found.pop()
    if model == "twice" and len(found) > 1:
        found[1]["index"] = found[0]["index"]


async def _broken() -> Any:
    yield b'{"results": ['
