"""Datasets, judgements and evaluation runs as files in a project's folder."""

from genkit_rag._server.datasets.runs import RunStore, RunSummary
from genkit_rag._server.datasets.store import Dataset, DatasetInfo, DatasetKind, DatasetStore

__all__ = ["Dataset", "DatasetInfo", "DatasetKind", "DatasetStore", "RunStore", "RunSummary"]
