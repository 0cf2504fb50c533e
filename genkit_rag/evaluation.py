"""Evaluation: data points, scores, evaluators, reports."""

from genkit_rag._evaluation.action import evaluator_action
from genkit_rag._evaluation.dataset import Judgement, judged_points, load_dataset
from genkit_rag._evaluation.evaluators.built_in import Evaluators
from genkit_rag._evaluation.reports.compare import Comparison
from genkit_rag._evaluation.reports.deltas import MetricDelta, RowDelta
from genkit_rag._evaluation.reports.report import EvalReport
from genkit_rag._evaluation.reports.report_data import EvaluatorInfo
from genkit_rag._evaluation.reports.rows import EvalRow, MetricSummary
from genkit_rag._evaluation.runs.runner import EvalProgress
from genkit_rag._evaluation.types import (
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
