"""Evaluation: data points, scores, evaluators, reports."""

from genkit_rag._blocks.evaluation.action import evaluator_action
from genkit_rag._blocks.evaluation.built_in import Evaluators
from genkit_rag._blocks.evaluation.compare import Comparison, MetricDelta, RowDelta
from genkit_rag._blocks.evaluation.dataset import Judgement, judged_points, load_dataset
from genkit_rag._blocks.evaluation.report import EvalReport, EvaluatorInfo
from genkit_rag._blocks.evaluation.rows import EvalRow, MetricSummary
from genkit_rag._blocks.evaluation.runner import EvalProgress
from genkit_rag._blocks.evaluation.types import (
    EvalDataPoint,
    EvalFnResponse,
    EvalRequest,
    EvalStatus,
    EvaluatorAction,
    Score,
    ScoreDetails,
)

__all__ = [
    "Comparison",
    "EvalDataPoint",
    "EvalFnResponse",
    "EvalProgress",
    "EvalReport",
    "EvalRequest",
    "EvalRow",
    "EvalStatus",
    "EvaluatorAction",
    "EvaluatorInfo",
    "Evaluators",
    "Judgement",
    "MetricDelta",
    "MetricSummary",
    "RowDelta",
    "Score",
    "ScoreDetails",
    "evaluator_action",
    "judged_points",
    "load_dataset",
]
