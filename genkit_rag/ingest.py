"""Ingestion: load, split, and keep an index in step with its sources."""

from genkit_rag._ingest.events import (
    ChunksDone,
    Duplicate,
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
from genkit_rag._ingest.source import UnreadableSource
from genkit_rag._ingest.splitters.by_kind import Splitters
from genkit_rag._ingest.splitters.chunk import Chunk, Count, TextSplitter, estimate_tokens, with_count
from genkit_rag._ingest.splitters.chunking import split_document
from genkit_rag._ingest.splitters.code import CodeSplitter
from genkit_rag._ingest.splitters.semantic import SemanticSplitter
from genkit_rag._ingest.splitters.sentence import SentenceSplitter
from genkit_rag._ingest.splitters.sentence_boundaries import sentence_spans
from genkit_rag._ingest.splitters.text import Splitter, split_text
from genkit_rag._ingest.web import WebOptions, WebPages, web_pages
from genkit_rag._net import FetchPolicy

__all__ = [
    "Chunk",
    "ChunksDone",
    "CodeSplitter",
    "Count",
    "Duplicate",
    "Event",
    "FetchPolicy",
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
    "SemanticSplitter",
    "SentenceSplitter",
    "Sink",
    "SourceDone",
    "SourceStatus",
    "Splitter",
    "Splitters",
    "Started",
    "TextSplitter",
    "UnreadableFile",
    "UnreadableSource",
    "WebOptions",
    "WebPages",
    "estimate_tokens",
    "ingest",
    "sentence_spans",
    "split_document",
    "split_text",
    "web_pages",
    "with_count",
]
