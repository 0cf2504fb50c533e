"""Evaluator actions: a function of one data point, run over a whole dataset."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from genkit_rag._core import tracing
from genkit_rag._core.action import Action, ActionKind, adapt
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.schema import json_schema, parse
from genkit_rag._evaluation.concurrency import CONCURRENCY, bounded_map
from genkit_rag._evaluation.types import (
    EvalDataPoint,
    EvalFnResponse,
    EvalRequest,
    EvaluatorAction,
    Score,
    is_finite_number,
    verdict,
    with_ids,
)

MAX_ERROR_CHARS = 1000
"""How much of an error's text a score holds."""


@dataclass(frozen=True, slots=True)
class _Given:
    """The leading parameters of an evaluator's function."""

    datapoint: EvalDataPoint
    options: Any


def evaluator_action(
    name: str,
    fn: Callable[..., Any],
    *,
    display_name: str | None = None,
    definition: str | None = None,
    is_billed: bool = False,
    config_type: Any = None,
) -> EvaluatorAction:
    """Create an evaluator action.

    Args:
        name: The name of the action.
        fn: `(datapoint)`, `(datapoint, options)` or with a trailing `ctx`, sync or async. Returns a `Score`, a number,
            a flag (PASS or FAIL), a label, a list of these or an `EvalFnResponse`. An exception becomes a score with an
            `error` and the status UNKNOWN; other data points are not affected.
        display_name: A name for people; `name` by default.
        definition: One sentence about what is measured; the first line of the docstring by default.
        is_billed: Whether a run costs money: Genkit's tools ask before they start it.
        config_type: A type or JSON Schema of the options; None accepts any.
    """
    handler = adapt(fn, ("datapoint", "options"))
    shown = display_name or name
    described = definition or _first_line(fn) or shown

    async def run(request: EvalRequest, ctx: ActionContext) -> list[EvalFnResponse]:
        options = parse(config_type, {} if request.options is None else request.options, "`options`")

        async def one(point: EvalDataPoint) -> EvalFnResponse:
            answer = await _traced(handler, _Given(point, options), ctx)
            ctx.send_chunk(answer)
            return answer

        limit = ctx.metadata.get("concurrency", CONCURRENCY)
        points = [
            given if given.test_case_id else named
            for given, named in zip(request.dataset, with_ids(request.dataset), strict=True)
        ]
        return await bounded_map(one, points, limit)

    return Action(
        ActionKind.EVALUATOR,
        name,
        run,
        input_type=EvalRequest,
        output_type=list[EvalFnResponse],
        chunk_type=EvalFnResponse,
        description=described,
        metadata=evaluator_metadata(shown, described, is_billed, config_type),
    )


def evaluator_metadata(display_name: str, definition: str, is_billed: bool, config_type: Any) -> dict[str, Any]:
    """Return the metadata of an evaluator that Genkit's tools require."""
    facts: dict[str, Any] = {
        "evaluatorDisplayName": display_name,
        "evaluatorDefinition": definition,
        "evaluatorIsBilled": is_billed,
    }
    schema = json_schema(config_type)
    if schema is not None:
        facts["customOptions"] = schema
    return {"type": "evaluator", "info": {"label": display_name}, "evaluator": facts}


def _first_line(fn: Callable[..., Any]) -> str | None:
    lines = (fn.__doc__ or "").strip().splitlines()
    return lines[0] if lines else None


async def _traced(handler: Any, given: _Given, ctx: ActionContext) -> EvalFnResponse:
    point = given.datapoint
    case = cast(str, point.test_case_id)
    tracer = tracing.tracer()
    if tracer is None:
        try:
            return answer_of(case, await handler(given, ctx))
        except Exception as error:
            return EvalFnResponse(test_case_id=case, evaluation=failure(error))
    span = tracing.ActionSpan(tracer, tracing.Step(f"Test Case {case}"), point)
    ids: dict[str, Any] = {"trace_id": span.trace_id, "span_id": _span_id()}
    try:
        answer = answer_of(case, await handler(given, ctx))
        span.succeed(point, answer)
    except Exception as error:
        span.fail(point, error)
        answer = EvalFnResponse(test_case_id=case, evaluation=failure(error))
    except BaseException as error:
        span.fail(point, error)
        raise
    finally:
        span.end()
    return answer.model_copy(update={name: value for name, value in ids.items() if value})


def _span_id() -> str | None:
    context = sys.modules["opentelemetry.trace"].get_current_span().get_span_context()
    return format(context.span_id, "016x") if context.is_valid else None


def failure(error: BaseException) -> Score:
    """Return the score of a data point whose evaluation failed."""
    text = str(error) if isinstance(error, GenkitError) else f"{type(error).__name__}: {error}"
    return Score(error=text[:MAX_ERROR_CHARS], status="UNKNOWN")


def answer_of(test_case_id: str, raw: Any) -> EvalFnResponse:
    """Convert the result of an evaluator's function to the wire format; INTERNAL if it is not a valid result."""
    if isinstance(raw, EvalFnResponse):
        return raw.model_copy(update={"test_case_id": test_case_id})
    if isinstance(raw, Mapping) and "evaluation" in raw:
        known = cast("Mapping[str, Any]", raw)
        found: EvalFnResponse = parse(EvalFnResponse, {"testCaseId": test_case_id, **known}, "The evaluator's answer")
        return found.model_copy(update={"test_case_id": test_case_id})
    if isinstance(raw, list | tuple):
        items = cast("list[Any]", raw)
        return EvalFnResponse(test_case_id=test_case_id, evaluation=[_score(item) for item in items])
    return EvalFnResponse(test_case_id=test_case_id, evaluation=_score(raw))


def _score(raw: Any) -> Score:
    if isinstance(raw, Score):
        return raw
    if hasattr(raw, "item"):  # a number of numpy's
        raw = raw.item()
    if isinstance(raw, bool):
        return verdict(raw)
    if is_finite_number(raw) or isinstance(raw, str):
        return Score(score=raw)
    if isinstance(raw, Mapping):
        found: Score = parse(Score, raw, "The evaluator's score")
        return found
    raise GenkitError(
        "INTERNAL",
        f"The evaluator gave {raw!r:.100}, which is no score.",
        hint="Return a Score, a finite number, a flag, a label, or a list of these.",
    )
