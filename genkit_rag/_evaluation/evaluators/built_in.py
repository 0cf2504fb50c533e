"""The built-in evaluators, created at their first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from genkit_rag._core.action import Action, ActionKind, ActionMetadata
from genkit_rag._core.errors import invalid
from genkit_rag._core.registry import Plugin
from genkit_rag._evaluation.action import evaluator_action, evaluator_metadata
from genkit_rag._evaluation.evaluators import citations
from genkit_rag._evaluation.evaluators import text as texts
from genkit_rag._evaluation.evaluators.judge import JUDGED, Judge, JudgeOptions
from genkit_rag._evaluation.evaluators.retrieval import (
    METRICS,
    RankingOptions,
    parse_metric,
    ranking_evaluator,
)


class _BuiltIn(NamedTuple):
    make: Callable[[Judge], Callable[..., Any]]
    config_type: Any
    definition: str
    is_billed: bool = False


def _plain(fn: Callable[..., Any], config_type: Any) -> _BuiltIn:
    return _BuiltIn(lambda judge: fn, config_type, (fn.__doc__ or "").splitlines()[0])


_BUILT_IN = {
    "exact_match": _plain(texts.exact_match, texts.MatchOptions),
    "contains": _plain(texts.contains, texts.ContainsOptions),
    "regex": _plain(texts.regex, texts.RegexOptions),
    "json_match": _plain(texts.json_match, texts.JsonOptions),
    "citation_validity": _plain(citations.citation_validity, citations.CitationOptions),
    "citation_coverage": _plain(citations.citation_coverage, citations.CoverageOptions),
    **{
        name: _BuiltIn(make, JudgeOptions, (getattr(Judge, name).__doc__ or "").splitlines()[0], is_billed=True)
        for name, make in JUDGED.items()
    },
}

NAMES = (*_BUILT_IN, *(f"{metric}@10" for metric in METRICS))
"""The evaluators that are listed by default."""


def _find(name: str) -> _BuiltIn | None:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    metric = parse_metric(name)
    return None if metric is None else _plain(ranking_evaluator(*metric), RankingOptions)


class Evaluators(Plugin):
    """The built-in evaluators: `builtin/exact_match`, `builtin/ndcg@10`, `builtin/faithfulness` and so on.

    Every `Genkit` has them. Pass your own instance to set a judge, or to limit the listed ones: Genkit's command line
    runs all listed evaluators by default.

    Args:
        judge: The name of the model for `faithfulness`, `answer_relevance` and `answer_correctness`; the default model
            otherwise.
        listed: The listed names without `builtin/`; all by default. Others can still be used.
    """

    name = "builtin"

    def __init__(self, *, judge: str | None = None, listed: Sequence[str] | None = None) -> None:
        given: Any = NAMES if listed is None else listed
        if isinstance(given, str):
            raise invalid("listed", given, "must be a list of names", hint=f"Write [{given!r}].")
        unknown = [name for name in given if not isinstance(name, str) or _find(name) is None]
        if unknown:
            raise invalid("listed", unknown[0], "is no evaluator of ours", hint=f"There are {', '.join(NAMES)}.")
        self.judge = judge
        self.listed: tuple[str, ...] = tuple(given)

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        """Return the evaluator; `recall@5` and similar names work for any k up to 10,000."""
        short = name.removeprefix(f"{self.name}/")
        found = _find(short) if kind == ActionKind.EVALUATOR else None
        if found is None:
            return None
        return evaluator_action(
            name,
            found.make(Judge(self.registry, self.judge)),
            display_name=_title(short),
            definition=found.definition,
            is_billed=found.is_billed,
            config_type=found.config_type,
        )

    async def list_actions(self) -> Sequence[ActionMetadata]:
        """List the evaluators for Genkit's tools."""
        shown: list[ActionMetadata] = []
        for name in self.listed:
            found = _find(name)
            assert found is not None
            facts = evaluator_metadata(_title(name), found.definition, found.is_billed, found.config_type)
            shown.append(ActionMetadata(ActionKind.EVALUATOR, f"{self.name}/{name}", found.definition, facts))
        return shown


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()
