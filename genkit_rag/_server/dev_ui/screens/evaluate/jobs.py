"""Evaluations that are running, or have lately ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._evaluation.runs.runner import EvalProgress, EvaluatorLike
from genkit_rag._server.datasets import RunStore
from genkit_rag._server.dev_ui.ui import Ui, error_wire
from genkit_rag._server.remote_evaluation import Plan, RemoteEvaluation, remote_evaluator
from genkit_rag._server.runtimes import Runtimes

logger = logging.getLogger("genkit_rag.dev_ui")

TARGET_KINDS = ("flow", "executable-prompt", "retriever", "model", "background-model", "agent", "tool")
"""What can be evaluated: actions that make an output of an input alone."""

State = Literal["running", "done", "failed", "cancelled"]

MAX_RUNNING = 4
"""Evaluations that may run at a time."""

KEPT = 20
"""Ended evaluations whose end can still be asked for."""


@dataclass
class Job:
    """A running or finished evaluation.

    Attributes:
        id: The id of the job.
        title: The name of the run, or its target.
        dataset_id: The dataset.
        dataset_version: The version of the dataset.
        stages: The progress of each stage: the target, then the evaluators.
        state: `running` until it has ended.
        run_id: The report, after success.
        error: The error, after a failure.
    """

    title: str
    dataset_id: str
    dataset_version: int
    stages: dict[str, EvalProgress] = field(default_factory=dict[str, EvalProgress])
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "running"
    run_id: str | None = None
    error: dict[str, Any] | None = None
    task: asyncio.Task[None] | None = None

    def to_wire(self) -> dict[str, Any]:
        """Convert to the form for the page."""
        stages = [{"stage": one.stage, "done": one.done, "total": one.total} for one in self.stages.values()]
        return {
            "id": self.id,
            "title": self.title,
            "datasetId": self.dataset_id,
            "state": self.state,
            "stages": stages,
            "runId": self.run_id,
            "error": self.error,
        }


class Jobs:
    """The evaluations of one server; they end with it."""

    def __init__(self, ui: Ui, runs: RunStore) -> None:
        self._ui, self._runs = ui, runs
        self._jobs: dict[str, Job] = {}
        ui.closers.append(self.close)

    async def close(self) -> None:
        """Cancel the running jobs and wait for their end."""
        tasks = [job.task for job in self.running() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def running(self) -> list[Job]:
        """Return the running jobs, newest first."""
        return [job for job in reversed(self._jobs.values()) if job.state == "running"]

    def get(self, job_id: str) -> Job:
        """Return a job; NOT_FOUND if it is unknown or forgotten."""
        if job_id not in self._jobs:
            raise GenkitError("NOT_FOUND", "This evaluation is not running.", hint="Its report is among the runs.")
        return self._jobs[job_id]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and return it."""
        job = self.get(job_id)
        if job.task is not None:
            job.task.cancel()
        return job

    async def start(self, plan: Plan, dataset_id: str, version: int) -> Job:
        """Start an evaluation in the background; raise errors of the plan before it begins."""
        if len(self.running()) >= MAX_RUNNING:
            raise GenkitError("RESOURCE_EXHAUSTED", f"{MAX_RUNNING} evaluations are running.", hint="Wait for one.")
        job = Job(plan.name or plan.target or "stored outputs", dataset_id, version)
        for stage in ([plan.target] if plan.target else []) + list(plan.evaluators):
            job.stages[stage] = EvalProgress(stage, 0, len(plan.points))

        def on_progress(progress: EvalProgress) -> None:
            job.stages[progress.stage] = progress

        remote = RemoteEvaluation(self._ui.runtimes, self._ui.store, plan, on_progress)
        evaluators = await _checked(self._ui.runtimes, plan)
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job, remote, evaluators), name=f"genkit_rag evaluation {job.id}")
        for old in [one.id for one in self._jobs.values() if one.state != "running"][:-KEPT]:
            del self._jobs[old]
        return job

    async def _run(self, job: Job, remote: RemoteEvaluation, evaluators: list[EvaluatorLike]) -> None:
        try:
            report = await remote.run(evaluators)
            await run_in_thread(
                lambda: self._runs.save(report, dataset_id=job.dataset_id, dataset_version=job.dataset_version)
            )
            job.state, job.run_id = "done", report.run_id
        except asyncio.CancelledError:
            job.state = "cancelled"
            raise
        except Exception as error:
            job.state = "failed"
            if not isinstance(error, GenkitError):
                logger.error("an evaluation failed", exc_info=error)
                error = GenkitError("INTERNAL", "The evaluation failed; the log of the server says why.")
            job.error = error_wire(error)


async def _checked(runtimes: Runtimes, plan: Plan) -> list[EvaluatorLike]:
    """Return the evaluators; NOT_FOUND, before anything runs, for names that the app does not have."""
    actions = await runtimes.list_actions()
    if plan.target is not None and plan.target not in actions:
        raise GenkitError("NOT_FOUND", f"The app has no `{plan.target}`.", hint="The form lists what it has.")
    if plan.target is not None and plan.target.split("/")[1] not in TARGET_KINDS:
        raise invalid("target", plan.target, f"must be one of the kinds {', '.join(TARGET_KINDS)}")
    missing = [name for name in plan.evaluators if f"/evaluator/{name}" not in actions]
    if missing:
        raise GenkitError("NOT_FOUND", f"The app has no evaluator `{missing[0]}`.", hint="The form lists them.")
    return [
        (remote_evaluator(runtimes, name, actions[f"/evaluator/{name}"]), plan.options.get(name))
        for name in plan.evaluators
    ]
