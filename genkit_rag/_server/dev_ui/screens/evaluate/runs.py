"""Evaluations: starting them, watching them, their reports, and two of them side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

from genkit_rag._core.errors import GenkitError, invalid, require_extra
from genkit_rag._core.threads import run_in_thread
from genkit_rag._evaluation.concurrency import CONCURRENCY
from genkit_rag._evaluation.reports.compare import Comparison
from genkit_rag._evaluation.reports.report import EvalReport
from genkit_rag._evaluation.reports.rows import EvalRow
from genkit_rag._evaluation.types import EvalDataPoint
from genkit_rag._server.datasets import DatasetStore, RunStore
from genkit_rag._server.dev_ui.screens.evaluate.datasets import download, whole
from genkit_rag._server.dev_ui.screens.evaluate.jobs import TARGET_KINDS, Jobs
from genkit_rag._server.dev_ui.screens.evaluate.store import text_field
from genkit_rag._server.dev_ui.ui import Ui, json_object, json_response
from genkit_rag._server.remote_evaluation import Plan

with require_extra("dev", "starlette"):
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PAGE_ROWS = 50
FILTERS = ("all", "failed", "passed", "regressed")

_EXPORTS: dict[str, tuple[str, str, Callable[[EvalReport], str]]] = {
    "json": ("json", "application/json", lambda report: report.to_json(indent=2)),
    "html": ("html", "text/html", EvalReport.to_html),
    "junit": ("xml", "application/xml", EvalReport.to_junit),
    "markdown": ("md", "text/markdown", EvalReport.to_markdown),
    "csv": ("csv", "text/csv", EvalReport.to_csv),
}


class RunRoutes:
    """The routes of evaluations."""

    def __init__(self, ui: Ui, datasets: DatasetStore, runs: RunStore) -> None:
        self._ui, self._datasets, self._runs = ui, datasets, runs
        self._jobs = Jobs(ui, runs)

    def routes(self) -> list[Route]:
        """Create the routes."""
        return [
            Route("/evaluate", self.index, methods=["GET"]),
            Route("/evaluate/new", self.new, methods=["GET"]),
            Route("/evaluate/compare", self.compare, methods=["GET"]),
            Route("/evaluate/runs", self.start, methods=["POST"]),
            Route("/evaluate/runs/{run_id}", self.page, methods=["GET"]),
            Route("/evaluate/runs/{run_id}", self.delete, methods=["DELETE"]),
            Route("/evaluate/runs/{run_id}/export", self.export, methods=["GET"]),
            Route("/evaluate/jobs/{job_id}", self.job, methods=["GET"]),
            Route("/evaluate/jobs/{job_id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def index(self, request: Request) -> Response:
        """Show the running jobs, the finished runs, and the datasets."""
        return await self._ui.page(
            request,
            "evaluate/index.html",
            jobs=self._jobs.running(),
            runs=await run_in_thread(self._runs.list),
            datasets=await run_in_thread(self._datasets.list),
        )

    async def new(self, request: Request) -> Response:
        """Show the form that starts an evaluation; UNAVAILABLE without an app."""
        actions = await self._ui.runtimes.list_actions()
        evaluators = [_evaluator(one) for key, one in actions.items() if key.startswith("/evaluator/")]
        return await self._ui.page(
            request,
            "evaluate/new.html",
            datasets=await run_in_thread(self._datasets.list),
            targets=_targets(actions),
            evaluators=sorted(evaluators, key=lambda one: one["name"]),
            concurrency=CONCURRENCY,
            chosen=request.query_params.get("dataset", ""),
            aimed=request.query_params.get("target", ""),
        )

    async def start(self, request: Request) -> Response:
        """Start an evaluation and return its job."""
        body = await json_object(request)
        dataset = await run_in_thread(self._datasets.get, cast(str, body.get("datasetId")))
        points = await run_in_thread(dataset.points)
        if not points:
            raise GenkitError("FAILED_PRECONDITION", "The dataset has no rows.", hint="Add some first.")
        plan = _plan(body, points)
        job = await self._jobs.start(plan, dataset.dataset_id, dataset.version)
        return json_response(job.to_wire(), 202)

    async def job(self, request: Request) -> Response:
        """Tells how far an evaluation is."""
        return json_response(self._jobs.get(request.path_params["job_id"]).to_wire())

    async def cancel(self, request: Request) -> Response:
        """Cancel an evaluation; its results are discarded."""
        return json_response(self._jobs.cancel(request.path_params["job_id"]).to_wire())

    async def page(self, request: Request) -> Response:
        """Show a page of a report; `?against=` marks regressions from another run."""
        wanted = request.query_params
        report = await run_in_thread(self._runs.get, request.path_params["run_id"])
        shown, page = wanted.get("filter", "all"), whole(wanted.get("page", "1"), "page")
        if shown not in FILTERS:
            raise invalid("filter", shown, f"must be one of {', '.join(FILTERS)}")
        comparison: Comparison | None = None
        if against := wanted.get("against"):
            comparison = await run_in_thread(report.compare, await run_in_thread(self._runs.get, against))
        worse = {one.test_case_id for one in comparison.regressions} if comparison else set[str]()
        search = wanted.get("q", "")[:200]
        rows = await run_in_thread(_chosen, report, shown, search, worse)
        summaries = await run_in_thread(self._runs.list)
        summary = next((one for one in summaries if one.run_id == report.run_id), None)
        return await self._ui.page(
            request,
            "evaluate/run.html",
            report=report,
            summary=summary,
            shown=shown,
            search=search,
            page=page,
            rows=rows[(page - 1) * PAGE_ROWS : page * PAGE_ROWS],
            total=len(rows),
            pages=max(1, -(-len(rows) // PAGE_ROWS)),
            against=against,
            worse=worse,
            others=_others(summaries, report),
            count=len(report.failed_rows),
        )

    async def export(self, request: Request) -> Response:
        """Send a report as a file."""
        wanted = request.query_params.get("format", "json")
        if wanted not in _EXPORTS:
            raise invalid("format", wanted, f"must be one of {', '.join(_EXPORTS)}")
        report = await run_in_thread(self._runs.get, request.path_params["run_id"])
        ending, media, made = _EXPORTS[wanted]
        return download(await run_in_thread(made, report), f"evaluation-{report.run_id}.{ending}", media)

    async def delete(self, request: Request) -> Response:
        """Delete a report."""
        await run_in_thread(self._runs.delete, request.path_params["run_id"])
        return json_response({"deleted": True})

    async def compare(self, request: Request) -> Response:
        """Show two runs side by side, the earlier one first unless `before` and `after` are given."""
        wanted = request.query_params
        ids = [wanted["before"], wanted["after"]] if {"before", "after"} <= wanted.keys() else wanted.getlist("run")
        if len(ids) != 2 or ids[0] == ids[1]:
            raise invalid("run", ids, "must name two runs", hint="Choose two in the list of runs.")
        before, after = [await run_in_thread(self._runs.get, one) for one in ids]
        if "run" in wanted and before.created_at > after.created_at:
            before, after = after, before
        made: Comparison = await run_in_thread(after.compare, before)
        if wanted.get("format") == "json":
            return download(made.to_json(indent=2), f"comparison-{after.run_id}.json", "application/json")
        olds, news = ({row.test_case_id: row for row in one.rows} for one in (before, after))
        return await self._ui.page(
            request,
            "evaluate/compare.html",
            before=before,
            after=after,
            comparison=made,
            olds=olds,
            news=news,
            span=_span(made),
        )


def _plan(body: dict[str, Any], points: list[EvalDataPoint]) -> Plan:
    names: Any = body.get("evaluators", [])
    options: Any = body.get("options") or {}
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid("evaluators", names, "must be a list of names")
    if not isinstance(options, dict):
        raise invalid("options", options, "must be an object of options by evaluator")
    evaluators = [name.removeprefix("/evaluator/") for name in names]
    concurrency, seconds = body.get("concurrency", CONCURRENCY), _seconds(body.get("timeout"))
    return Plan(
        points, text_field(body, "target", 500), evaluators, options, concurrency, seconds, text_field(body, "name")
    )


def _targets(keys: Iterable[str]) -> list[tuple[str, list[dict[str, str]]]]:
    """Return the possible targets by kind."""
    split = [key.split("/", 2) for key in sorted(keys)]
    found = {kind: [{"key": "/".join(one), "name": one[2]} for one in split if one[1] == kind] for kind in TARGET_KINDS}
    return [(kind, group) for kind, group in found.items() if group]


def _evaluator(described: dict[str, Any]) -> dict[str, Any]:
    facts = (described.get("metadata") or {}).get("evaluator") or {}
    name = described["key"].removeprefix("/evaluator/")
    return {
        "name": name,
        "title": facts.get("evaluatorDisplayName") or name,
        "definition": facts.get("evaluatorDefinition") or described.get("description") or "",
        "billed": bool(facts.get("evaluatorIsBilled")),
        "options": facts.get("customOptions"),
    }


def _seconds(value: Any) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise invalid("timeout", value, "must be a number of seconds")


def _chosen(report: EvalReport, shown: str, search: str, worse: set[str]) -> list[EvalRow]:
    def is_shown(row: EvalRow) -> bool:
        if shown == "failed":
            return row.failed
        if shown == "passed":
            return not row.failed
        return shown == "all" or row.test_case_id in worse

    rows = [row for row in report.rows if is_shown(row)]
    if not search:
        return rows
    wanted = search.casefold()
    return [row for row in rows if wanted in json.dumps(row.to_wire(), ensure_ascii=False).casefold()]


def _others(summaries: list[Any], report: EvalReport) -> list[Any]:
    """Return the other runs, those over the same rows first."""
    others = [one for one in summaries if one.run_id != report.run_id]
    return sorted(others, key=lambda one: one.dataset_hash != report.dataset_hash)[:50]


def _span(made: Comparison) -> float:
    """Return the largest absolute bound of the intervals, for the scale of the charts."""
    ends = [abs(end) for one in made.metrics for end in (one.low, one.high, one.delta) if end is not None]
    return max(ends, default=0.0) or 1.0
