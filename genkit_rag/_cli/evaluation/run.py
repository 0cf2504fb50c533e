"""An evaluation whose target and evaluators may be in another process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genkit_rag._ai.evaluation import add_built_in_evaluators
from genkit_rag._cli.apps.connect import no_action
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._evaluation.runs.runner import EvaluateOptions, evaluate
from genkit_rag._server.remote_evaluation import Plan, RemoteEvaluation, remote_evaluator
from genkit_rag._server.runtimes import Runtimes
from genkit_rag._server.telemetry import TraceStore
from genkit_rag.evaluation import EvalProgress, EvalReport, EvaluatorAction

BUILT_IN = "builtin/"


async def run_evaluation(
    runtimes: Runtimes | None, plan: Plan, traces: Path, progress: Callable[[EvalProgress], None]
) -> EvalReport:
    """Returns the report. Unknown evaluators are refused before anything is run.

    Args:
        runtimes: The app; None only where the plan has no target and no evaluator needs it.
        plan: What to do.
        traces: The trace store's file, which need not be there.
        progress: Called after every row of every stage.
    """
    evaluators = await _evaluators(runtimes, plan.evaluators)
    if runtimes is None:
        options = EvaluateOptions(
            evaluators=evaluators, concurrency=plan.concurrency, name=plan.name, on_progress=progress
        )
        return await evaluate(Registry(), plan.points, options)
    with _opened(traces if plan.target is not None else None) as store:
        return await RemoteEvaluation(runtimes, store, plan, progress).run(evaluators)


@contextmanager
def _opened(traces: Path | None) -> Generator[TraceStore | None]:
    if traces is None or not traces.exists():
        yield None
        return
    store = TraceStore(traces)
    try:
        yield store
    finally:
        store.close()


def built_in_registry() -> Registry:
    """Returns a registry with the evaluators that come along."""
    registry = Registry()
    add_built_in_evaluators(registry)
    return registry


async def runs_here(registry: Registry, name: str) -> EvaluatorAction | None:
    """Returns an evaluator that needs no app; None for one that does, as a judge that asks a model."""
    for full in (name, BUILT_IN + name):
        try:
            found = await registry.get("evaluator", full)
        except GenkitError:
            continue
        if not found.metadata.get("evaluator", {}).get("evaluatorIsBilled"):
            return found
    return None


async def refuse_unknown(registry: Registry, names: Sequence[str]) -> None:
    """Raises NOT_FOUND for a name that resembles an evaluator that comes along, and is none."""
    known = await _described(registry)
    for name in names:
        if not {f"/evaluator/{name}", f"/evaluator/{BUILT_IN}{name}"} & known.keys():
            error = no_action(name, known, "evaluator")
            if (error.hint or "").startswith("Did you mean"):
                raise error


async def _evaluators(runtimes: Runtimes | None, names: Sequence[str]) -> list[EvaluatorAction]:
    """Returns the app's evaluators of these names; where it has none, those that come along."""
    registry = built_in_registry()
    actions = await runtimes.list_actions() if runtimes is not None else {}
    found: list[EvaluatorAction] = []
    for name in names:
        full = next((one for one in (name, BUILT_IN + name) if f"/evaluator/{one}" in actions), None)
        if full is not None and runtimes is not None:
            found.append(remote_evaluator(runtimes, full, actions[f"/evaluator/{full}"]))
            continue
        local = await runs_here(registry, name)
        if local is None:
            raise no_action(name, {**await _described(registry), **actions}, "evaluator")
        found.append(local)
    return found


async def _described(registry: Registry) -> dict[str, dict[str, Any]]:
    return {item.key: {} for item in await registry.list_actions()}
