"""Retrieval tried out: one query against two configurations, side by side."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import parse
from genkit_rag._core.threads import run_in_thread
from genkit_rag._evaluation.dataset import Judgement
from genkit_rag._rag.stop_words import STOP_WORDS
from genkit_rag._server.datasets import DatasetStore
from genkit_rag._server.dev_ui.screens._stores import Json, store_names
from genkit_rag._server.dev_ui.ui import Screen, Ui, json_object, json_response

DATASET = "judgements"
"""Where marks go unless another name is given."""


class _Playground:
    def __init__(self, ui: Ui) -> None:
        self._ui = ui
        self._datasets = DatasetStore(ui.data)

    async def page(self, request: Request) -> Response:
        actions = {} if await self._ui.runtimes.current() is None else await self._ui.runtimes.list_actions()
        infos = await run_in_thread(self._datasets.list)
        return await self._ui.page(
            request,
            "playground/page.html",
            retrievers=_names(actions, "retriever"),
            stores=store_names(actions),
            rerankers=_names(actions, "reranker"),
            models=_names(actions, "model"),
            windows=_windows(actions),
            stop_words=sorted(STOP_WORDS),
            datasets=[one.dataset_id for one in infos if one.kind == "judgements"],
            dataset=DATASET,
            default_model=await self._default_model() if actions else "",
        )

    async def judge(self, request: Request) -> Response:
        """Save a judgement and return the dataset's name and size."""
        body = await json_object(request)
        dataset = body.pop("dataset", DATASET)
        made = await run_in_thread(self._datasets.judge, dataset, parse(Judgement, body, "The judgement"))
        return json_response({"dataset": made.dataset_id, "size": made.size, "version": made.version})

    async def judgements(self, request: Request) -> Response:
        """Answers with the grades of a query's documents; of several marks on one document the last one counts."""
        dataset, query = request.query_params.get("dataset") or DATASET, request.query_params.get("query", "")
        try:
            rows = (await run_in_thread(self._datasets.get, dataset)).rows
        except GenkitError as error:
            if error.status != "NOT_FOUND":
                raise
            rows = []
        grades = {row["documentId"]: row.get("grade", 1) for row in rows if row.get("query") == query}
        return json_response({"dataset": dataset, "grades": grades})

    async def _default_model(self) -> str:
        found: Any = (await self._ui.runtimes.values("defaultModel")).get("defaultModel")
        name = found.get("name") if isinstance(found, dict) else found
        return str(name).removeprefix("/model/") if isinstance(name, str) else ""


def _names(actions: dict[str, Json], kind: str) -> list[str]:
    return sorted(key[len(kind) + 2 :] for key in actions if key.startswith(f"/{kind}/"))


def _windows(actions: dict[str, Json]) -> dict[str, int]:
    """Return the context windows of models by name, where the metadata has them."""
    found: dict[str, int] = {}
    for name in _names(actions, "model"):
        metadata = actions[f"/model/{name}"].get("metadata")
        about = metadata.get("model") if isinstance(metadata, dict) else None
        window = about.get("contextWindow") if isinstance(about, dict) else None
        if isinstance(window, int) and not isinstance(window, bool) and window > 0:
            found[name] = window
    return found


def routes(ui: Ui) -> list[Route]:
    """Create the routes of the screen."""
    playground = _Playground(ui)
    return [
        Route("/playground", playground.page),
        Route("/playground/judge", playground.judge, methods=["POST"]),
        Route("/playground/judgements", playground.judgements),
    ]


screen = Screen("Playground", "/playground", "playground", order=30, routes=routes)
