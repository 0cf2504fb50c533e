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
    """Run an evaluation and return the report; unknown evaluators raise before anything runs.

    Args:
        runtimes: The app; None only if the plan has no target and no evaluator needs it.
        plan: The plan.
        traces: The trace store's file, which may not exist.
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
    """Create a registry with the built-in evaluators."""
    registry = Registry()
    add_built_in_evaluators(registry)
    return registry


async def runs_here(registry: Registry, name: str) -> EvaluatorAction | None:
    """Return an evaluator that needs no app; None for one that does, such as a judge with a model."""
    for full in (name, BUILT_IN + name):
        try:
            found = await registry.get("evaluator", full)
        except GenkitError:
            continue
        if not found.metadata.get("evaluator", {}).get("evaluatorIsBilled"):
            return found
    return None


async def refuse_unknown(registry: Registry, names: Sequence[str]) -> None:
    """Raise NOT_FOUND for an unknown name similar to a built-in evaluator."""
    known = await _described(registry)
    for name in names:
        if not {f"/evaluator/{name}", f"/evaluator/{BUILT_IN}{name}"} & known.keys():
            error = no_action(name, known, "evaluator")
            if (error.hint or "").startswith("Did you mean"):
                raise error


async def _evaluators(runtimes: Runtimes | None, names: Sequence[str]) -> list[EvaluatorAction]:
    """Return the app's evaluators with these names, otherwise the built-in ones."""
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
