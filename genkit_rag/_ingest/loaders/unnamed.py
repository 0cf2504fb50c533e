"""Files without a suffix, recognised by content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from genkit_rag._ingest.loaders.guard import open_zip
from genkit_rag._ingest.loaders.members import member_context
from genkit_rag._ingest.loaders.text import load_text
from genkit_rag._ingest.section import LoadContext, Section

_HEAD = 1024  # a PDF may have other bytes before its mark
_PARTS = {"word/document.xml": ".docx", "ppt/presentation.xml": ".pptx", "META-INF/container.xml": ".epub"}


def load_unnamed(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield a PDF, HTML page, Word document, presentation or e-book by its loader, anything else as text."""
    loader = member_context(context, path).find(Path(f"file{_kind(path, context)}"))
    yield from (loader or load_text)(path, context)


def _kind(path: Path, context: LoadContext) -> str:
    """Return the suffix that matches the file's content."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if b"%PDF-" in head:
        return ".pdf"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return ".html"
    if not head.startswith(b"PK\3\4"):
        return ".txt"
    with open_zip(path, "a zip archive", context.limits) as archive:
        names = set(archive.namelist())
    return next((suffix for part, suffix in _PARTS.items() if part in names), ".txt")
