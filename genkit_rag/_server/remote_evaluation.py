"""Evaluates an app in another process: its target and its evaluators run there, rows and report are made here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.schema import parse
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.document import to_document
from genkit_rag._documents.part import Message
from genkit_rag._evaluation.concurrency import CONCURRENCY, bounded_map
from genkit_rag._evaluation.reports.report import EvalReport, summarise
from genkit_rag._evaluation.reports.rows import EvalRow
from genkit_rag._evaluation.runs.runner import EvalProgress, EvaluateOptions, EvaluatorLike, evaluate
from genkit_rag._evaluation.runs.target import output_of
from genkit_rag._evaluation.types import (
    EvalDataPoint,
    EvalFnResponse,
    EvalRequest,
    EvaluatorAction,
    dataset_hash,
)
from genkit_rag._generation.model import ModelResponse
from genkit_rag._rag.retrieval import RetrieverRequest
from genkit_rag._server.runtimes import Runtimes, failure
from genkit_rag._server.telemetry import TraceStore, derive
from genkit_rag._server.telemetry.wire import SpanData

TRACE_SECONDS = 2.0
"""How long the trace of a row is waited for."""

MAX_PROBLEM_CHARS = 1000

_ANSWERS_AS_MODEL = ("model", "background-model", "executable-prompt")


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of an evaluation.

    Attributes:
        points: The rows, each with an id.
        target: The key of the action that runs on them; None evaluates the outputs that they have.
        evaluators: Names, without `/evaluator/`.
        options: The options of evaluators, by name.
        concurrency: The number of concurrent rows, 1 to 256.
        timeout: Seconds for the target of a row; None for no limit.
        name: The name of the run.
    """

    points: Sequence[EvalDataPoint]
    target: str | None
    evaluators: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    concurrency: int = CONCURRENCY
    timeout: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        EvaluateOptions(concurrency=self.concurrency, timeout=self.timeout)  # raises what is wrong with them
        if self.target is None and not self.evaluators:
            raise invalid("evaluators", [], "must name one where there is no target", hint="Choose one or several.")


class RemoteEvaluation:
    """One evaluation of the app under observation.

    Args:
        runtimes: The app.
        traces: Where its traces arrive; what retrievers found is read from them. None when they arrive nowhere.
        plan: What to do.
        on_progress: Called after every row of every stage.
    """

    def __init__(
        self, runtimes: Runtimes, traces: TraceStore | None, plan: Plan, on_progress: Callable[[EvalProgress], None]
    ) -> None:
        self._runtimes, self._plan, self._progress = runtimes, plan, on_progress
        self._found = None if traces is None else _Retrieved(traces)
        self._done = 0

    async def run(self, evaluators: Sequence[EvaluatorLike]) -> EvalReport:
        """Run the evaluation and return the report; a failed row does not stop the others.

        Args:
            evaluators: Actions, of the app (see `remote_evaluator`) or of this process, alone or with their options.
        """
        plan, began, created = self._plan, time.perf_counter(), datetime.now(UTC)
        rows = [EvalRow(data_point=point) for point in plan.points]
        if plan.target is not None:
            rows = await bounded_map(self._row, plan.points, plan.concurrency)
        options = EvaluateOptions(
            evaluators=evaluators, concurrency=plan.concurrency, name=plan.name, on_progress=self._progress
        )
        report = await evaluate(Registry(), [row.data_point for row in rows if row.error is None], options)
        scored = iter(report.rows)
        rows = [
            row if row.error is not None else row.model_copy(update={"scores": next(scored).scores}) for row in rows
        ]
        metrics = [metric.name for metric in report.metrics]
        return report.model_copy(
            update={
                "rows": rows,
                "target": plan.target,
                "created_at": created.isoformat(timespec="milliseconds"),
                "metrics": await run_in_thread(summarise, rows, metrics, report.seed),
                "dataset_hash": await run_in_thread(dataset_hash, plan.points),
                "duration_ms": (time.perf_counter() - began) * 1000,
            }
        )

    async def _row(self, point: EvalDataPoint) -> EvalRow:
        key, began = self._plan.target or "", time.perf_counter()
        changes: dict[str, Any] = {}
        problem, trace_id = None, ""
        try:
            async with asyncio.timeout(self._plan.timeout):
                outcome = await self._runtimes.call(key, target_input(key, point.input))
            trace_id = outcome.trace_id
            changes["output"], more = output_of(_typed(key, outcome.result))
            changes |= more
        except TimeoutError:
            problem = f"DEADLINE_EXCEEDED: the target took over {self._plan.timeout:g} s"
        except GenkitError as error:
            if error.status == "UNAVAILABLE" and await self._runtimes.current() is None:
                raise  # it would be the same for every row
            problem, trace_id = f"{error.status}: {error.message}", str(error.details.get("traceId") or "")
        elapsed = (time.perf_counter() - began) * 1000
        if trace_id:
            changes["trace_ids"] = [trace_id]
            if self._found is not None and problem is None:
                changes |= await self._found.of(trace_id)
        self._done += 1
        self._progress(EvalProgress(key, self._done, len(self._plan.points)))
        data_point = EvalDataPoint.model_validate({**point.to_wire(), **changes})
        return EvalRow(data_point=data_point, error=problem and problem[:MAX_PROBLEM_CHARS], duration_ms=elapsed)


def target_input(key: str, value: Any) -> Any:
    """Convert an input to the action's form: a retriever's query and a model's question may be plain text."""
    kind = key.split("/")[1]
    if isinstance(value, str) and kind == ActionKind.RETRIEVER:
        return RetrieverRequest(query=to_document(value)).to_wire()
    if isinstance(value, str) and kind in (ActionKind.MODEL, ActionKind.BACKGROUND_MODEL):
        return {"messages": [Message.user(value).to_wire()]}
    return value


def _typed(key: str, result: Any) -> Any:
    if key.split("/")[1] not in _ANSWERS_AS_MODEL or not isinstance(result, dict):
        return result
    return parse(ModelResponse, result, f"The answer of `{key}`")


def remote_evaluator(runtimes: Runtimes, name: str, described: Mapping[str, Any]) -> EvaluatorAction:
    """Wrap an evaluator of the app as an action of this process."""

    async def run(request: EvalRequest, ctx: ActionContext) -> list[EvalFnResponse]:
        if not request.dataset:  # nothing to judge, and foreign evaluators may refuse an empty list
            return []
        what = f"The answer of `{name}`"
        async with aclosing(runtimes.run(f"/evaluator/{name}", request.to_wire())) as events:
            async for event in events:
                if "chunk" in event:
                    ctx.send_chunk(parse(EvalFnResponse, event["chunk"], what))
                elif "error" in event:
                    raise failure(event["error"], 500)
                elif "result" in event:
                    answers: list[EvalFnResponse] = parse(list[EvalFnResponse], event["result"], what)
                    return answers
        raise GenkitError("DATA_LOSS", f"The evaluator `{name}` ended without a result.")

    return Action(
        ActionKind.EVALUATOR,
        name,
        run,
        input_type=EvalRequest,
        output_type=list[EvalFnResponse],
        chunk_type=EvalFnResponse,
        description=str(described.get("description") or name),
        metadata=dict(described.get("metadata") or {}),
    )


class _Retrieved:
    """What retrievers found on the way to an output, read from its trace."""

    def __init__(self, traces: TraceStore) -> None:
        self._traces = traces
        self._comes: bool | None = None  # whether this app's traces come to this store

    async def of(self, trace_id: str) -> dict[str, Any]:
        """Return `context` and `retrieved` of a data point; empty without a retriever or a trace."""
        spans = await self._spans(trace_id)
        documents = [
            document
            for span in spans
            if _is_outermost_retriever(span, spans)
            for document in derive.view(span).documents
        ]
        unique = list({(one.id or "", one.text): one for one in documents}.values())
        if not unique:
            return {}
        retrieved = [{**one.metadata, "id": one.id} for one in unique if one.id is not None]
        return {"context": [one.text or "" for one in unique], **({"retrieved": retrieved} if retrieved else {})}

    async def _spans(self, trace_id: str) -> list[SpanData]:
        due = time.monotonic() + (0 if self._comes is False else TRACE_SECONDS)
        while True:
            spans = await run_in_thread(self._traces.load, trace_id) or []
            if spans and all(span.end_time for span in spans):
                self._comes = True
                return spans
            if time.monotonic() >= due:
                self._comes = bool(self._comes)
                return spans
            await asyncio.sleep(0.02)


def _is_outermost_retriever(span: SpanData, spans: Sequence[SpanData]) -> bool:
    """Return whether this is a retriever that no other retriever called."""
    if derive.kind_of(span) != ActionKind.RETRIEVER:
        return False
    by_id = {one.span_id: one for one in spans}
    seen = {span.span_id}
    above = by_id.get(span.parent_span_id or "")
    while above is not None and above.span_id not in seen:
        if derive.kind_of(above) == ActionKind.RETRIEVER:
            return False
        seen.add(above.span_id)
        above = by_id.get(above.parent_span_id or "")
    return True
