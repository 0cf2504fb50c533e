"""Ingestion: load, split, and keep an index in step with its sources."""

from genkit_rag._ingest.events import (
    ChunksDone,
    Event,
    Finished,
    IngestReport,
    IngestStopped,
    Note,
    Problem,
    Progress,
    SourceDone,
    SourceStatus,
    Started,
)
from genkit_rag._ingest.loaders import Loaders
from genkit_rag._ingest.pipeline import ingest
from genkit_rag._ingest.section import LoadContext, Loader, LoadLimits, Section, UnreadableFile
from genkit_rag._ingest.sink import IngestOptions, Sink
from genkit_rag._ingest.splitter import Chunk, Count, Splitter, estimate_tokens, split_text

__all__ = [
    "Chunk",
    "ChunksDone",
    "Count",
    "Event",
    "Finished",
    "IngestOptions",
    "IngestReport",
    "IngestStopped",
    "LoadContext",
    "LoadLimits",
    "Loader",
    "Loaders",
    "Note",
    "Problem",
    "Progress",
    "Section",
    "Sink",
    "SourceDone",
    "SourceStatus",
    "Splitter",
    "Started",
    "UnreadableFile",
    "estimate_tokens",
    "ingest",
    "split_text",
]
