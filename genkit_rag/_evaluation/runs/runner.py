"""Runs a dataset through a target, then through evaluators."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from genkit_rag._core import tracing
from genkit_rag._core.action import Action, ActionKind
from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.registry import Registry
from genkit_rag._core.schema import dump
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.passages import passage_facts
from genkit_rag._evaluation.action import MAX_ERROR_CHARS, evaluator_action, failure
from genkit_rag._evaluation.concurrency import CONCURRENCY, bounded_map
from genkit_rag._evaluation.reports.report import EvalReport, summarise
from genkit_rag._evaluation.reports.report_data import EvaluatorInfo
from genkit_rag._evaluation.reports.rows import EvalRow
from genkit_rag._evaluation.runs.target import ResolvedTarget, Target, output_of, resolve_target
from genkit_rag._evaluation.types import (
    EvalDataPoint,
    EvalFnResponse,
    EvalRequest,
    EvaluatorAction,
    Score,
    dataset_hash,
)
from genkit_rag._rag.recording import recording

Evaluator = str | EvaluatorAction | Callable[..., Any]
EvaluatorLike = Evaluator | tuple[Evaluator, Any]
"""A name, an action or a function, alone or with its options."""


@dataclass(frozen=True, slots=True)
class EvalProgress:
    """How far an evaluation is.

    Attributes:
        stage: The target's name, then the evaluators' names.
        done: How many rows this stage has finished.
        total: How many it has to do.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `evaluate` takes; `Genkit.evaluate` says what each means."""

    target: Target | None = None
    target_options: Any = None
    evaluators: Sequence[EvaluatorLike] = ()
    concurrency: int = CONCURRENCY
    timeout: float | None = None
    name: str | None = None
    seed: int = 0
    on_progress: Callable[[EvalProgress], None] | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.concurrency, int) and not isinstance(self.concurrency, bool)
        if not whole or not 1 <= self.concurrency <= 256:
            raise invalid("concurrency", self.concurrency, "must be a whole number from 1 to 256")
        if self.timeout is not None and not (_is_number(self.timeout) and self.timeout > 0):
            raise invalid("timeout", self.timeout, "must be more than 0 seconds", hint="Leave it out for no limit.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise invalid("seed", self.seed, "must be a whole number from 0", hint="Leave it out for 0.")
        if self.name is not None and not isinstance(self.name, str):
            raise invalid("name", self.name, "must be text", hint="Leave it out for a run without a name.")
        if self.on_progress is not None and not callable(self.on_progress):
            raise invalid("on_progress", self.on_progress, "must be a function of an EvalProgress")
        if isinstance(self.evaluators, str) or not isinstance(self.evaluators, Sequence):
            raise invalid("evaluators", self.evaluators, "must be a list", hint="Put the one into a list.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


async def evaluate(registry: Registry, points: Sequence[EvalDataPoint], options: EvaluateOptions) -> EvalReport:
    """Evaluate data points that have ids and return the report; a row that fails does not stop the others."""
    started, created = time.perf_counter(), datetime.now(UTC)
    run_id = str(uuid.uuid4())
    evaluators = [await _resolve(registry, given) for given in options.evaluators]
    names = [action.name for action, _ in evaluators]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise invalid("evaluators", twice, "is there twice", hint="Define one of them under another name.")
    target = None
    if options.target is not None:
        target = await resolve_target(registry, options.target, options.target_options)
    for action, given in evaluators:
        if given is not None:  # wrong options are refused before the target costs anything
            await action(EvalRequest(dataset=[], eval_run_id=run_id, options=given))
    rows = await _run_target(target, points, options)
    metrics: list[str] = []
    for action, given in evaluators:
        metrics += await _run_evaluator(action, given, rows, run_id, options)
    return EvalReport(
        run_id=run_id,
        name=options.name,
        created_at=created.isoformat(timespec="milliseconds"),
        target=target.name if target else None,
        evaluators=[_info(action, given) for action, given in evaluators],
        dataset_hash=await run_in_thread(dataset_hash, points),
        seed=options.seed,
        metrics=await run_in_thread(summarise, rows, metrics, options.seed),
        rows=rows,
        duration_ms=(time.perf_counter() - started) * 1000,
    )


async def _resolve(registry: Registry, given: EvaluatorLike) -> tuple[EvaluatorAction, Any]:
    options: Any = None
    if isinstance(given, tuple):
        if len(given) != 2:
            raise invalid("evaluators", given, "must hold names, or pairs of a name and its options")
        given, options = given
    if isinstance(given, str):
        return await registry.get(ActionKind.EVALUATOR, given.removeprefix("/evaluator/")), options
    if isinstance(given, Action):
        if given.kind != ActionKind.EVALUATOR:
            raise invalid("evaluators", given, "must hold evaluators", hint="Use `target=` for what is evaluated.")
        return given, options
    if not callable(given):
        raise invalid("evaluators", given, "must hold names, evaluator actions or functions of a data point")
    return evaluator_action(getattr(given, "__name__", "evaluator").strip("<>"), given), options


def _info(action: EvaluatorAction, options: Any) -> EvaluatorInfo:
    facts: Mapping[str, Any] = action.metadata.get("evaluator", {})
    return EvaluatorInfo(
        name=action.name,
        display_name=facts.get("evaluatorDisplayName", action.name),
        definition=facts.get("evaluatorDefinition", action.description or ""),
        is_billed=bool(facts.get("evaluatorIsBilled")),
        options=dump(options),
    )


# ---- the target


async def _run_target(
    target: ResolvedTarget | None, points: Sequence[EvalDataPoint], options: EvaluateOptions
) -> list[EvalRow]:
    if target is None:
        return [EvalRow(data_point=point) for point in points]
    report = _counter(options, target.name, len(points))

    async def one(point: EvalDataPoint) -> EvalRow:
        row = await _run_row(target, point, options.timeout)
        report()
        return row

    return await bounded_map(one, points, options.concurrency)


async def _run_row(target: ResolvedTarget, point: EvalDataPoint, timeout: float | None) -> EvalRow:
    tracer = tracing.tracer()
    step = tracing.Step(f"Row {point.test_case_id}")
    span = None if tracer is None else tracing.ActionSpan(tracer, step, point.input)
    started = time.perf_counter()
    changes: dict[str, Any] = {"trace_ids": [span.trace_id]} if span is not None and span.trace_id else {}
    problem: str | None = None
    limit = asyncio.timeout(timeout)
    with recording() as found:
        try:
            async with limit:
                raw = await target.run(point.input)
            changes["output"], more = output_of(raw)
            changes |= more
            if span is not None:
                span.succeed(point.input, changes["output"])
        except Exception as error:
            if span is not None:
                span.fail(point.input, error)
            problem = _problem(error, timeout if limit.expired() else None)
        except BaseException as error:
            if span is not None:
                span.fail(point.input, error)
            raise
        finally:
            if span is not None:
                span.end()
    elapsed = (time.perf_counter() - started) * 1000
    documents = list({document.id: document for document in found}.values())
    if documents:
        changes["context"] = [document.text for document in documents]
        changes["retrieved"] = [{"id": document.id, **passage_facts(document)} for document in documents]
    return EvalRow(data_point=_updated(point, changes), error=problem, duration_ms=elapsed)


def _problem(error: Exception, timeout: float | None) -> str:
    if isinstance(error, TimeoutError) and timeout is not None:
        return f"DEADLINE_EXCEEDED: the target took over {timeout:g} s"
    text = str(error) if isinstance(error, GenkitError) else f"{type(error).__name__}: {error}"
    return text[:MAX_ERROR_CHARS]


def _updated(point: EvalDataPoint, changes: Mapping[str, Any]) -> EvalDataPoint:
    """Return a copy of the data point with changed values, keeping its further fields."""
    return EvalDataPoint.model_validate({**point.to_wire(), **changes})


def _counter(options: EvaluateOptions, stage: str, total: int) -> Callable[..., None]:
    done = 0

    def count(_answer: Any = None) -> None:
        nonlocal done
        done += 1
        if options.on_progress is not None:
            options.on_progress(EvalProgress(stage, done, total))

    return count


# ---- the evaluators


class _Listening:
    """Calls a progress listener and keeps its exception, which ends the evaluation."""

    def __init__(self, listener: Callable[..., None]) -> None:
        self._listener = listener
        self.raised: Exception | None = None

    def __call__(self, answer: Any) -> None:
        try:
            self._listener(answer)
        except Exception as error:
            self.raised = error
            raise


async def _run_evaluator(
    action: EvaluatorAction, options: Any, rows: Sequence[EvalRow], run_id: str, how: EvaluateOptions
) -> list[str]:
    """Write the scores of an evaluator into the rows and return the names of its metrics."""
    sound = [row for row in rows if row.error is None]
    if not sound:
        return [action.name]
    request = EvalRequest(dataset=[row.data_point for row in sound], eval_run_id=run_id, options=options)
    count = _Listening(_counter(how, action.name, len(sound)))
    metadata = {"concurrency": how.concurrency}
    nothing = Score(error="The evaluator gave no answer.", status="UNKNOWN")
    answers: dict[str, EvalFnResponse] = {}
    try:
        given = await action(request, on_chunk=count, metadata=metadata)
        answers = {answer.test_case_id: answer for answer in given}
    except Exception as error:  # what the target and the other evaluators gave must not be lost with it
        if count.raised is not None:
            raise count.raised from None
        nothing = failure(error)
    metrics: dict[str, None] = {}
    for row in sound:
        answer = answers.get(row.test_case_id)
        for score in answer.scores if answer else [nothing]:
            name = f"{action.name}:{score.id}" if score.id else action.name
            row.scores[name] = score
            if score.error is None:
                metrics[name] = None
    return list(metrics) or [action.name]
