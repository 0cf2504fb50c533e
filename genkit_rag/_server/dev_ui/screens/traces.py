"""Traces: the live list, one trace, two compared, exports, and the way of a span into a dataset."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from genkit_rag._core.action import ActionKind
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._server.datasets import DatasetStore
from genkit_rag._server.dev_ui.trace_view.compare import compare
from genkit_rag._server.dev_ui.trace_view.dataset import dataset_row
from genkit_rag._server.dev_ui.trace_view.export import to_otlp
from genkit_rag._server.dev_ui.trace_view.span import span_detail
from genkit_rag._server.dev_ui.trace_view.tree import Tree, make_tree
from genkit_rag._server.dev_ui.ui import OWN_RUN, Screen, Ui, json_object, json_response
from genkit_rag._server.telemetry import Condition, TraceQuery
from genkit_rag._server.telemetry.app import query_of
from genkit_rag._server.telemetry.wire import SpanData

PAGE_SIZE = 50
FILTERS = ("q", "kind", "name", "status", "minLatency", "scope", "own")
_LIVE_MINUTES = 10


def routes(ui: Ui) -> list[BaseRoute]:
    """Create the routes of the screen."""
    screen = _Traces(ui)
    return [
        Route("/traces", screen.index),
        Route("/traces/rows", screen.rows),
        Route("/traces/compare", screen.compare),
        Route("/traces/{trace_id}", screen.trace),
        Route("/traces/{trace_id}/tree", screen.tree),
        Route("/traces/{trace_id}/spans/{span_id}", screen.span),
        Route("/traces/{trace_id}/export", screen.export),
        Route("/traces/{trace_id}/dataset", screen.add_to_dataset, methods=["POST"]),
    ]


class _Traces:
    def __init__(self, ui: Ui) -> None:
        self._ui = ui
        self._datasets = DatasetStore(ui.data)

    # -- the list

    async def index(self, request: Request) -> Response:
        return await self._ui.page(request, "traces/list.html", **await self._list(request))

    async def rows(self, request: Request) -> Response:
        return await self._ui.fragment("traces/_table.html", **await self._list(request))

    async def _list(self, request: Request) -> dict[str, Any]:
        given = request.query_params
        problem, page = "", None
        try:
            page = await run_in_thread(self._ui.store.list_traces, _query(given))
        except GenkitError as error:
            if error.status not in ("INVALID_ARGUMENT", "DEADLINE_EXCEEDED"):
                raise
            problem = f"{error.message} {error.hint or ''}".strip()
        filters = {name: given.get(name, "") for name in FILTERS}
        following = page.next if page else None
        set_ones = {name: value for name, value in filters.items() if value}
        traces = page.traces if page else []
        return {
            "traces": traces,
            "next": urlencode({**set_ones, "continuationToken": following}) if following else "",
            "filters": filters,
            "filtered": bool(set_ones),
            "later": "continuationToken" in given,
            "problem": problem,
            "kinds": [str(kind) for kind in ActionKind],
            "longest": max((one.latency or 0 for one in traces), default=0),
        }

    # -- one trace

    async def trace(self, request: Request) -> Response:
        spans, tree = await self._load(request)
        span_id = request.query_params.get("span") or tree.rows[0].span_id
        datasets = await run_in_thread(self._datasets.list)
        return await self._ui.page(
            request,
            "traces/trace.html",
            tree=tree,
            trace_id=request.path_params["trace_id"],
            detail=await run_in_thread(span_detail, _one(spans, span_id), spans),
            selected=span_id,
            datasets=[one.dataset_id for one in datasets if one.kind == "examples"],
            live=_is_young(tree),
            dropped=await run_in_thread(self._dropped, request.path_params["trace_id"]),
        )

    def _dropped(self, trace_id: str) -> int:
        found = self._ui.store.list_traces(TraceQuery(1, where=(Condition("id", "eq", trace_id),))).traces
        return found[0].dropped if found else 0

    async def tree(self, request: Request) -> Response:
        _, tree = await self._load(request)
        selected = request.query_params.get("span", "")
        trace_id = request.path_params["trace_id"]
        return await self._ui.fragment("traces/_tree.html", tree=tree, trace_id=trace_id, selected=selected)

    async def span(self, request: Request) -> Response:
        spans = await self._spans(request)
        detail = await run_in_thread(span_detail, _one(spans, request.path_params["span_id"]), spans)
        return await self._ui.fragment("traces/_span.html", detail=detail, trace_id=request.path_params["trace_id"])

    async def _load(self, request: Request, trace_id: str | None = None) -> tuple[list[SpanData], Tree]:
        spans = await self._spans(request, trace_id)
        return spans, await run_in_thread(make_tree, spans, time.time() * 1000)

    async def _spans(self, request: Request, trace_id: str | None = None) -> list[SpanData]:
        wanted = trace_id if trace_id is not None else request.path_params["trace_id"]
        spans = await run_in_thread(self._ui.store.load, wanted)
        if not spans:
            hint = "It may have been deleted, be older than what is kept, or not have arrived yet."
            raise GenkitError("NOT_FOUND", "There is no such trace.", hint=hint)
        return spans

    # -- what can be done with it

    async def compare(self, request: Request) -> Response:
        ids = [request.query_params.get(name, "") for name in ("a", "b")]
        if not all(ids):
            raise invalid("a, b", ids, "must be two trace ids", hint="Choose two traces in the list.")
        (a_spans, a), (b_spans, b) = [await self._load(request, one) for one in ids]
        found = await run_in_thread(compare, (a, a_spans), (b, b_spans))
        return await self._ui.page(request, "traces/compare.html", a=a, b=b, ids=ids, found=found)

    async def export(self, request: Request) -> Response:
        form, trace_id = request.query_params.get("format", "genkit"), request.path_params["trace_id"]
        if form not in ("genkit", "otlp"):
            raise invalid("format", form, "must be `genkit` or `otlp`")
        spans = await self._spans(request)
        text = await run_in_thread(self._ui.store.load_json, trace_id) if form == "genkit" else None
        text = text or await run_in_thread(lambda: json.dumps(to_otlp(spans)))
        headers = {"content-disposition": f'attachment; filename="trace-{trace_id}.{form}.json"'}
        return Response(text, media_type="application/json", headers=headers)

    async def add_to_dataset(self, request: Request) -> Response:
        body = await json_object(request)
        dataset_id, span_id = body.get("datasetId"), body.get("spanId")
        if not isinstance(dataset_id, str) or not isinstance(span_id, str):
            raise invalid("datasetId", dataset_id, "must be the name of a dataset, beside a spanId")
        spans = await self._spans(request)
        row = await run_in_thread(dataset_row, _one(spans, span_id), spans)
        return json_response(await run_in_thread(self._append, dataset_id, row))

    def _append(self, dataset_id: str, row: dict[str, Any]) -> dict[str, Any]:
        target = row.pop("target")
        if not self._datasets.versions(dataset_id):
            made = self._datasets.create(dataset_id, [row], target=target)
        else:
            made = self._datasets.append(dataset_id, [row])
        return {"datasetId": made.dataset_id, "size": made.size, "version": made.version}


def _query(given: Any) -> TraceQuery:
    wanted = query_of({name: given[name] for name in (*FILTERS, "continuationToken") if given.get(name)})
    where = wanted.where
    # Labels are known of traces, not of single spans.
    if given.get("own") != "all" and not wanted.any_span:
        where += tuple(Condition(name, "neq", value) for name, value in OWN_RUN.items())
    return TraceQuery(PAGE_SIZE, wanted.after, where, wanted.any_span, wanted.text)


def _one(spans: Sequence[SpanData], span_id: str) -> SpanData:
    for span in spans:
        if span.span_id == span_id:
            return span
    raise GenkitError("NOT_FOUND", "The trace has no such span.")


def _is_young(tree: Tree) -> bool:
    return tree.status == "running" or time.time() * 1000 - tree.start < _LIVE_MINUTES * 60_000


screen = Screen("Traces", "/traces", "traces", order=20, routes=routes)
