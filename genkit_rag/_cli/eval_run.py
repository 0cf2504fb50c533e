"""An evaluation whose target and evaluators may be in another process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genkit_rag._cli.dev_folder import TRACES
from genkit_rag._cli.flow import text_of
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.threads import run_in_thread

if TYPE_CHECKING:
    from genkit_rag._core.registry import Registry
    from genkit_rag._server.runtimes import Runtimes
    from genkit_rag._server.telemetry import TraceStore
    from genkit_rag._server.telemetry.wire import SpanData
    from genkit_rag.evaluation import EvalDataPoint, EvalProgress, EvalReport, EvalRow, EvaluatorAction

TRACE_SECONDS = 2.0
"""How long a run's trace is waited for; Genkit's tools wait as long."""

BUILT_IN = "builtin/"


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """What to evaluate, and how.

    Attributes:
        points: The rows.
        evaluators: Names.
        target: The key of the action that is run on the rows; None takes the outputs that they have.
        name: What the run is called.
        concurrency: How many rows are worked on at a time.
        folder: Where the traces are.
        progress: Called after every row of every stage.
    """

    points: Sequence[EvalDataPoint]
    evaluators: Sequence[str]
    target: str | None
    name: str | None
    concurrency: int
    folder: Path
    progress: Callable[[EvalProgress], None]


async def run_evaluation(runtimes: Runtimes | None, plan: EvalPlan) -> EvalReport:
    """Returns the report. Unknown evaluators are refused before anything is run."""
    from genkit_rag._blocks.evaluation.report import summarise
    from genkit_rag._blocks.evaluation.runner import EvaluateOptions, evaluate
    from genkit_rag._blocks.evaluation.types import dataset_hash
    from genkit_rag.evaluation import EvalRow

    began, created = time.perf_counter(), datetime.now(UTC)
    registry = built_in_registry()
    evaluators = await _evaluators(registry, runtimes, plan.evaluators)
    rows = [EvalRow(data_point=point) for point in plan.points]
    if plan.target is not None and runtimes is not None:
        rows = await _run_target(runtimes, plan)
    options = EvaluateOptions(evaluators=evaluators, concurrency=plan.concurrency, name=plan.name,
                              on_progress=plan.progress)  # fmt: skip
    report = await evaluate(registry, [row.data_point for row in rows if row.error is None], options)
    scored = iter(report.rows)
    merged = [row if row.error is not None else row.model_copy(update={"scores": next(scored).scores}) for row in rows]
    names = [metric.name for metric in report.metrics]
    more = {
        "rows": merged, "target": plan.target, "created_at": created.isoformat(timespec="milliseconds"),
        "metrics": await run_in_thread(summarise, merged, names, report.seed),
        "dataset_hash": await run_in_thread(dataset_hash, plan.points),
        "duration_ms": (time.perf_counter() - began) * 1000,
    }  # fmt: skip
    return report.model_copy(update=more)


# -- the evaluators


def built_in_registry() -> Registry:
    """Returns a registry with the evaluators that come along."""
    from genkit_rag._ai.evaluation import add_built_in_evaluators
    from genkit_rag._core.registry import Registry

    registry = Registry()
    add_built_in_evaluators(registry)
    return registry


async def runs_here(registry: Registry, name: str) -> str | None:
    """Returns the full name of an evaluator that needs no app; None for one that does, as a judge that asks a model."""
    short = name.removeprefix("/evaluator/")
    for full in (short, BUILT_IN + short):
        try:
            found = await registry.get("evaluator", full)
        except GenkitError:
            continue
        if not found.metadata.get("evaluator", {}).get("evaluatorIsBilled"):
            return full
    return None


async def refuse_unknown(registry: Registry, names: Sequence[str]) -> None:
    """Raises NOT_FOUND for a name that resembles an evaluator that comes along, and is none."""
    from genkit_rag._cli.apps import no_action

    known = {item.key: dict[str, Any]() for item in await registry.list_actions()}
    for given in names:
        short = given.removeprefix("/evaluator/")
        if not {f"/evaluator/{short}", f"/evaluator/{BUILT_IN}{short}"} & known.keys():
            error = no_action(short, known, "evaluator")
            if (error.hint or "").startswith("Did you mean"):
                raise error


async def _evaluators(registry: Registry, runtimes: Runtimes | None, names: Sequence[str]) -> list[Any]:
    from genkit_rag._cli.apps import no_action

    actions = await runtimes.list_actions() if runtimes is not None else {}
    found: list[Any] = []
    for given in names:
        short = given.removeprefix("/evaluator/")
        full = next((one for one in (short, BUILT_IN + short) if f"/evaluator/{one}" in actions), None)
        if full is not None and runtimes is not None:
            found.append(_remote(runtimes, full, actions[f"/evaluator/{full}"]))
            continue
        local = await runs_here(registry, short)
        if local is None:
            listed = {item.key: dict[str, Any]() for item in await registry.list_actions()}
            raise no_action(short, {**listed, **actions}, "evaluator")
        found.append(local)
    return found


def _remote(runtimes: Runtimes, name: str, described: Mapping[str, Any]) -> EvaluatorAction:
    """Returns an evaluator of the app as one of ours."""
    from genkit_rag._blocks.evaluation.types import EvalFnResponse, EvalRequest
    from genkit_rag._core.action import Action
    from genkit_rag._core.context import ActionContext
    from genkit_rag._core.schema import parse

    async def run(request: EvalRequest, _ctx: ActionContext) -> list[EvalFnResponse]:
        outcome = await runtimes.call(f"/evaluator/{name}", request.to_wire())
        answers = outcome.result if isinstance(outcome.result, list) else []
        return [parse(EvalFnResponse, answer, f"The answer of `{name}`") for answer in answers]

    return Action(
        "evaluator", name, run, input_type=EvalRequest, output_type=list[EvalFnResponse],
        description=str(described.get("description") or name), metadata=dict(described.get("metadata") or {}),
    )  # fmt: skip


# -- the target


async def _run_target(runtimes: Runtimes, plan: EvalPlan) -> list[EvalRow]:
    from genkit_rag._blocks.evaluation.concurrency import bounded_map
    from genkit_rag._server.telemetry import TraceStore
    from genkit_rag.evaluation import EvalProgress

    path = plan.folder / TRACES
    traces = _Traces(TraceStore(path)) if path.exists() else None
    done = 0

    async def one(point: EvalDataPoint) -> EvalRow:
        nonlocal done
        row = await _run_row(runtimes, plan.target or "", point, traces)
        done += 1
        plan.progress(EvalProgress(plan.target or "", done, len(plan.points)))
        return row

    try:
        return await bounded_map(one, plan.points, plan.concurrency)
    finally:
        if traces is not None:
            traces.close()


async def _run_row(runtimes: Runtimes, key: str, point: EvalDataPoint, traces: _Traces | None) -> EvalRow:
    from genkit_rag.evaluation import EvalDataPoint, EvalRow

    began = time.perf_counter()
    changes: dict[str, Any] = {}
    problem = None
    try:
        outcome = await runtimes.call(key, _input(key, point.input))
        changes["output"] = text_of(outcome.result) if key.startswith("/model/") else outcome.result
        trace_id = outcome.trace_id
    except GenkitError as error:
        if error.status == "UNAVAILABLE":  # it would be the same for every row
            raise
        problem, trace_id = f"{error.status}: {error.message}"[:1000], str(error.details.get("traceId", ""))
    elapsed = (time.perf_counter() - began) * 1000
    if trace_id:
        changes["trace_ids"] = [trace_id]
        if traces is not None and problem is None:
            changes |= await traces.context(trace_id)
    data_point = EvalDataPoint.model_validate({**point.to_wire(), **changes})
    return EvalRow(data_point=data_point, error=problem, duration_ms=elapsed)


def _input(key: str, value: Any) -> Any:
    """Returns the input in the action's own form: the rows of a dataset are often plain questions."""
    if isinstance(value, str):
        part = {"text": value}
        if key.startswith("/retriever/"):
            return {"query": {"content": [part]}}
        if key.startswith("/model/"):
            return {"messages": [{"role": "user", "content": [part]}]}
    return value


class _Traces:
    """What retrievers found on the way to an output, read from its trace."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        self._comes: bool | None = None  # whether this app's traces come to this store

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    async def context(self, trace_id: str) -> dict[str, Any]:
        """Returns `context` and `retrieved` of a data point; empty when no retriever ran, or the trace is elsewhere."""
        from genkit_rag._server.telemetry import derive

        spans = await self._spans(trace_id)
        documents = [
            document for span in spans if _is_outermost_retriever(span, spans)
            for document in derive.view(span).documents
        ]  # fmt: skip
        if not documents:
            return {}
        retrieved = [{"id": one.id, **one.metadata} for one in documents if one.id is not None]
        return {"context": [one.text or "" for one in documents], **({"retrieved": retrieved} if retrieved else {})}

    async def _spans(self, trace_id: str) -> list[SpanData]:
        due = time.monotonic() + (0 if self._comes is False else TRACE_SECONDS)
        while True:
            spans = await run_in_thread(self._store.load, trace_id) or []
            if spans and all(span.end_time for span in spans):
                self._comes = True
                return spans
            if time.monotonic() >= due:
                self._comes = bool(self._comes)
                return spans
            await asyncio.sleep(0.02)


def _is_outermost_retriever(span: SpanData, spans: Sequence[SpanData]) -> bool:
    """Returns whether this is a retriever that no other one asked."""
    from genkit_rag._server.telemetry import derive

    if derive.kind_of(span) != "retriever":
        return False
    by_id = {one.span_id: one for one in spans}
    seen = {span.span_id}
    parent = by_id.get(span.parent_span_id or "")
    while parent is not None and parent.span_id not in seen:
        if derive.kind_of(parent) == "retriever":
            return False
        seen.add(parent.span_id)
        parent = by_id.get(parent.parent_span_id or "")
    return True
