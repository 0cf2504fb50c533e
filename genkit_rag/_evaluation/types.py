"""The wire types of evaluation: data points, scores, what an evaluator takes and gives."""

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
    """Why a score is what it is; further fields are kept."""

    model_config = ConfigDict(extra="allow")

    reasoning: str | None = None


class Score(WireModel):
    """One judgement on one data point. Higher is better.

    Attributes:
        id: Tells several scores of one evaluator apart.
        score: A finite number, a flag or a label.
        status: `PASS`, `FAIL` or `UNKNOWN`; absent where a number alone says it all.
        error: Why there is no score.
        details: `reasoning` and whatever else the evaluator wants to say.
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
    """One row of a dataset. Fields beside these are kept.

    Attributes:
        input: What the target is given.
        output: What the target gave.
        context: What the target had to go by: the texts of the documents that were retrieved.
        reference: What is right: an answer, several, or `{"answer": ..., "relevant": ...}`.
        test_case_id: Names the row in reports and comparisons.
        trace_ids: The traces of the runs that gave the output.
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
        """Returns a field beside the declared ones; None when it is not there."""
        return (self.model_extra or {}).get(name)


class EvalRequest(WireModel):
    """The input of an evaluator action. Genkit's command line sends no options."""

    dataset: list[EvalDataPoint]
    eval_run_id: str
    options: Any = None


class EvalFnResponse(WireModel):
    """What an evaluator says of one data point."""

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
    """Returns a score with a status; the flag itself is the score unless one is given."""
    return Score(
        score=passed if score is None else score,
        status="PASS" if passed else "FAIL",
        details=ScoreDetails(reasoning=reasoning) if reasoning else None,
    )


def graded(score: float, threshold: float | None, reasoning: str | None = None) -> Score:
    """Returns a number as a score, with PASS or FAIL when there is a threshold to reach."""
    status: EvalStatus | None = None if threshold is None else "PASS" if score >= threshold - 1e-12 else "FAIL"
    return Score(score=score, status=status, details=ScoreDetails(reasoning=reasoning) if reasoning else None)


def unmeasured(reasoning: str) -> Score:
    """Returns a score without a value, for a data point that an evaluator has nothing to say of."""
    return Score(status="UNKNOWN", details=ScoreDetails(reasoning=reasoning))


def text_of(value: Any) -> str:
    """Returns what a person would read: a text as it is, the text of a message or document, else JSON."""
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
    """Returns the part of a reference that an evaluator needs: `answer` or `relevant` where the reference has parts."""
    reference = point.reference
    if isinstance(reference, Mapping) and {"answer", "relevant"} & reference.keys():
        return cast("Mapping[str, Any]", reference).get(name)
    return reference


def with_ids(points: Sequence[EvalDataPoint]) -> list[EvalDataPoint]:
    """Returns the points, every one with an id of its own: its own, else a hash of its input.

    The hash is the same in every run, so that runs can be compared; equal inputs are told apart by their order.
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
    """Returns a hash of the ids, inputs and references; the same for the same dataset."""
    return _digest([[point.test_case_id, dump(point.input), dump(point.reference)] for point in points])


def is_finite_number(value: Any) -> bool:
    """Returns whether a value is a number that can be averaged; a flag is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
