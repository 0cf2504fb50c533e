"""Evaluators, and the verb that runs them over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from genkit_rag._core.context import context_variable, current_context
from genkit_rag._core.registry import Registry
from genkit_rag._evaluation.action import evaluator_action
from genkit_rag._evaluation.evaluators.built_in import Evaluators
from genkit_rag._evaluation.types import EvaluatorAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genkit_rag._evaluation.dataset import DatasetLike
    from genkit_rag._evaluation.reports.report import EvalReport
    from genkit_rag._evaluation.runs.runner import EvalProgress, EvaluatorLike
    from genkit_rag._evaluation.runs.target import Target

Fn = TypeVar("Fn", bound=Callable[..., Any])


class EvaluateKwargs(TypedDict, total=False):
    """The further options of `Genkit.evaluate`, for the type checkers."""

    target_options: Any
    concurrency: int
    timeout: float | None
    name: str | None
    seed: int
    on_progress: Callable[[EvalProgress], None] | None


def add_built_in_evaluators(registry: Registry) -> None:
    """Register the built-in evaluators unless a plugin has their name; they are created at their first use."""
    if all(plugin.name != Evaluators.name for plugin in registry.plugins):
        registry.add_plugin(Evaluators())


class Evaluation:
    """The part of `Genkit` that measures."""

    registry: Registry

    def define_evaluator(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        display_name: str | None = None,
        definition: str | None = None,
        is_billed: bool = False,
        config_type: Any = None,
    ) -> EvaluatorAction:
        """Define an evaluator: your function of one data point, run over whole datasets.

        Args:
            name: The name of the evaluator.
            fn: `(datapoint)`, `(datapoint, options)` or with a trailing `ctx`, sync or async. Returns a `Score`, a
                number, a flag (PASS or FAIL), a label, a list of these or an `EvalFnResponse`. An exception becomes the
                error of that data point's score.
            display_name: A name for people; `name` by default.
            definition: One sentence about what is measured; the first line of the docstring by default.
            is_billed: Whether a run costs money.
            config_type: A type or JSON Schema of the options; None accepts any.
        """
        return self.registry.register(
            evaluator_action(
                name, fn, display_name=display_name, definition=definition, is_billed=is_billed, config_type=config_type
            )
        )

    def evaluator(
        self,
        name: str,
        *,
        display_name: str | None = None,
        definition: str | None = None,
        is_billed: bool = False,
        config_type: Any = None,
    ) -> Callable[[Callable[..., Any]], EvaluatorAction]:
        """Decorate a function as an evaluator. See `define_evaluator`."""
        return lambda fn: self.define_evaluator(
            name, fn, display_name=display_name, definition=definition, is_billed=is_billed, config_type=config_type
        )

    async def evaluate(
        self,
        dataset: DatasetLike,
        *,
        target: Target | None = None,
        evaluators: Sequence[EvaluatorLike],
        context: Mapping[str, Any] | None = None,
        **options: Unpack[EvaluateKwargs],
    ) -> EvalReport:
        """Run a target over a dataset, score its outputs, and summarise each metric.

        A row whose target or evaluator raises has an error in the report; the other rows continue.

        Args:
            dataset: Data points (`EvalDataPoint`s, mappings with `input` and `reference`, or plain inputs), or the path
                of a `.json`, `.jsonl` or `.csv` file.
            target: A key such as `/flow/answer`, an action (flow, retriever, model, ...), a prompt or a function of the
                input. None evaluates the outputs in the dataset.
            evaluators: Names such as `builtin/exact_match`, actions or functions of a data point; or pairs of one of
                these and its options.
            context: Facts about the caller for the target and the evaluators; never sent to a model.
            **options: All following options, by name.
            target_options: The options of a retriever, or the config of a model.
            concurrency: The number of concurrent rows; 4 by default.
            timeout: Seconds for the target of a row; no limit by default.
            name: The name of the run.
            seed: The seed of the confidence intervals; 0 by default.
            on_progress: A function that is called with an `EvalProgress` after every row of every stage.

        Raises:
            GenkitError: NOT_FOUND for an unknown target or evaluator, INVALID_ARGUMENT for wrong options or a wrong
                dataset, both before anything runs. Errors of the target, also about `target_options`, are errors of the
                rows.
        """
        from genkit_rag._core.threads import run_in_thread
        from genkit_rag._evaluation.dataset import to_points
        from genkit_rag._evaluation.runs.runner import EvaluateOptions, evaluate

        wanted = EvaluateOptions(target=target, evaluators=evaluators, **options)
        points = await run_in_thread(to_points, dataset)
        variable = context_variable()
        token = variable.set(current_context() if context is None else context)
        try:
            return await evaluate(self.registry, points, wanted)
        finally:
            variable.reset(token)
