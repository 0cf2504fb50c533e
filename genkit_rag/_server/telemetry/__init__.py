"""The telemetry server: a trace store in SQLite, its wire formats, live updates, and the exporter that feeds it."""

from genkit_rag._server.telemetry.query import Condition, TraceQuery
from genkit_rag._server.telemetry.store import Page, StoreLimits, TraceStore, TraceSummary

__all__ = ["Condition", "Page", "StoreLimits", "TraceQuery", "TraceStore", "TraceSummary"]
