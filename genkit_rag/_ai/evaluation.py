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
    """Adds the evaluators that come along, unless a plugin of their name is there; they are made at their first use."""
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
        """Returns an evaluator: your function of one data point, run over whole datasets.

        Args:
            name: Its name.
            fn: `(datapoint)`, `(datapoint, options)` or with a trailing `ctx`, sync or async. It gives a `Score`, a
                number, a flag (PASS or FAIL), a label, a list of these or an `EvalFnResponse`. What it raises becomes
                the error of that data point's score.
            display_name: For people; the name by default.
            definition: One sentence that says what is measured; the docstring's first line by default.
            is_billed: Whether a run costs money.
            config_type: A type or JSON Schema of the options; None takes any.
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
        """Decorates a function to be an evaluator. See `define_evaluator`."""
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
        """Returns a report: the target's output for every row, the evaluators' scores, and a summary of each metric.

        A row whose target or evaluator raises has an error in the report, and stops nothing.

        Args:
            dataset: Data points (`EvalDataPoint`s, mappings with `input` and `reference`, or plain inputs), or the path
                of a `.json`, `.jsonl` or `.csv` file.
            target: What is evaluated: a key such as `/flow/answer`, an action (flow, retriever, model, ...), a prompt
                or a function of the input. None takes the outputs that the dataset holds.
            evaluators: Names such as `builtin/exact_match`, actions or functions of a data point; a pair of one of
                these and its options.
            context: Facts about the caller for the target and the evaluators; never sent to a model.
            **options: All that follows, by name.
            target_options: The options of a retriever, or the config of a model.
            concurrency: How many rows are worked on at a time; 4 by default.
            timeout: Seconds that the target may take for a row; none by default.
            name: What the run is called.
            seed: Of the intervals' random samples; 0 by default.
            on_progress: Called with an `EvalProgress` after every row of every stage.

        Raises:
            GenkitError: NOT_FOUND for an unknown target or evaluator, INVALID_ARGUMENT for options or a dataset that
                are wrong; all before anything is run. What a target refuses is an error of its rows, `target_options`
                too.
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
