"""The wire types of evaluation: data points, scores, requests and responses of evaluators."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

from pydantic import ConfigDict

from genkit_rag._core.action import Action
from genkit_rag._core.schema import dump
from genkit_rag._documents.wire import DataWireModel, WireModel

EvalStatus = Literal["UNKNOWN", "PASS", "FAIL"]


class ScoreDetails(DataWireModel):
    """The reasons for a score; further fields are kept."""

    model_config = ConfigDict(extra="allow")

    reasoning: str | None = None


class Score(WireModel):
    """One judgement of one data point. Higher is better.

    Attributes:
        id: Distinguishes several scores of one evaluator.
        score: A finite number, a flag or a label.
        status: `PASS`, `FAIL` or `UNKNOWN`; absent for a plain number.
        error: The reason for a missing score.
        details: `reasoning` and other fields of the evaluator.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    id: str | None = None
    score: bool | int | float | str | None = None
    status: EvalStatus | None = None
    error: str | None = None
    details: ScoreDetails | None = None

    @property
    def reasoning(self) -> str | None:
        """The words that explain the score."""
        return self.details.reasoning if self.details else None

    @property
    def value(self) -> float | None:
        """The score as a number: of a flag 0 or 1, of a label or nothing that of the status; None without either."""
        if self.error is not None:
            return None
        if isinstance(self.score, bool | int | float):
            return float(self.score)
        return {"PASS": 1.0, "FAIL": 0.0}.get(self.status or "")


class EvalDataPoint(DataWireModel):
    """One row of a dataset. Further fields are kept.

    Attributes:
        input: The input of the target.
        output: The output of the target.
        context: The texts of the retrieved documents.
        reference: The expected output: an answer, several, or `{"answer": ..., "relevant": ...}`.
        test_case_id: The id of the row in reports and comparisons.
        trace_ids: The traces of the runs that produced the output.
    """

    model_config = ConfigDict(extra="allow")
    nulls: ClassVar[tuple[str, ...]] = ("input", "output", "reference")

    input: Any = None
    output: Any = None
    context: list[Any] | None = None
    reference: Any = None
    test_case_id: str | None = None
    trace_ids: list[str] | None = None

    def further(self, name: str) -> Any:
        """Return an undeclared field; None if it is absent."""
        return (self.model_extra or {}).get(name)


class EvalRequest(WireModel):
    """The input of an evaluator action. Genkit's command line sends no options."""

    dataset: list[EvalDataPoint]
    eval_run_id: str
    options: Any = None


class EvalFnResponse(WireModel):
    """The result of an evaluator for one data point."""

    sample_index: int | float | None = None
    test_case_id: str
    trace_id: str | None = None
    span_id: str | None = None
    evaluation: Score | list[Score]

    @property
    def scores(self) -> list[Score]:
        """The scores as a list, whether there is one or several."""
        return self.evaluation if isinstance(self.evaluation, list) else [self.evaluation]


EvaluatorAction = Action[EvalRequest, list[EvalFnResponse], EvalFnResponse]


def verdict(passed: bool, reasoning: str | None = None, *, score: float | bool | None = None) -> Score:
    """Create a score with a status; its value is the flag unless a score is given."""
    return Score(
        score=passed if score is None else score,
        status="PASS" if passed else "FAIL",
        details=ScoreDetails(reasoning=reasoning) if reasoning else None,
    )


def graded(score: float, threshold: float | None, reasoning: str | None = None) -> Score:
    """Create a score from a number, with PASS or FAIL if there is a threshold."""
    status: EvalStatus | None = None if threshold is None else "PASS" if score >= threshold - 1e-12 else "FAIL"
    return Score(score=score, status=status, details=ScoreDetails(reasoning=reasoning) if reasoning else None)


def unmeasured(reasoning: str) -> Score:
    """Create a score without a value, for a data point that the evaluator cannot measure."""
    return Score(status="UNKNOWN", details=ScoreDetails(reasoning=reasoning))


def text_of(value: Any) -> str:
    """Return a readable text: a string itself, the text of a message or document, otherwise JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        known = cast("Mapping[str, Any]", value)
        for name in ("text", "answer"):
            if isinstance(known.get(name), str):
                return cast(str, known[name])
        inner: Any = known.get("message", known)
        parts: Any = inner.get("content") if isinstance(inner, Mapping) else None
        if isinstance(parts, list) and any("text" in part for part in parts if isinstance(part, Mapping)):
            return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
    return "" if value is None else json.dumps(dump(value), ensure_ascii=False)


def reference_of(point: EvalDataPoint, name: str) -> Any:
    """Return the part of a reference that an evaluator needs: `answer` or `relevant` if the reference has parts."""
    reference = point.reference
    if isinstance(reference, Mapping) and {"answer", "relevant"} & reference.keys():
        return cast("Mapping[str, Any]", reference).get(name)
    return reference


def with_ids(points: Sequence[EvalDataPoint]) -> list[EvalDataPoint]:
    """Return the points, each with an id: its own, otherwise a hash of its input.

    The hash is stable across runs, so that runs can be compared; equal inputs are numbered.
    """
    seen: dict[str, int] = {}
    named: list[EvalDataPoint] = []
    for point in points:
        wished = point.test_case_id or _digest(point.input if point.input is not None else point.output)
        count = seen[wished] = seen.get(wished, 0) + 1
        name = wished if count == 1 else f"{wished}-{count}"
        while count > 1 and name in seen:
            count += 1
            name = f"{wished}-{count}"
        seen.setdefault(name, 1)
        named.append(point if point.test_case_id == name else point.model_copy(update={"test_case_id": name}))
    return named


def _digest(value: Any) -> str:
    text = json.dumps(dump(value), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def dataset_hash(points: Sequence[EvalDataPoint]) -> str:
    """Hash the ids, inputs and references of a dataset."""
    return _digest([[point.test_case_id, dump(point.input), dump(point.reference)] for point in points])


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a finite number; a flag is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
