"""Presentations by python-pptx, a section of Markdown per slide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genkit_rag._core.errors import require_extra
from genkit_rag._ingest.loaders.docx import core_metadata
from genkit_rag._ingest.loaders.guard import check_package, readable, storable
from genkit_rag._ingest.loaders.markdown import heading, join_blocks, one_line, table
from genkit_rag._ingest.loaders.members import member_context
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_KIND = "a PowerPoint presentation"
_NO_TITLE = "PowerPoint Presentation"


def load_pptx(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each slide with text: its title as a heading, text, tables and notes, with `page` from 1 and `title`.

    The title is the presentation's, where it has none the slide's.
    """
    require_extra("office", "pptx")
    import pptx

    with readable(_KIND):
        check_package(path, _KIND, context.limits, member_context(context, path).budget)
        with path.open("rb") as file:
            presentation: Any = pptx.Presentation(file)
        metadata = core_metadata(presentation.core_properties)
        if metadata.get("title") == _NO_TITLE:
            del metadata["title"]
        if len(presentation.slides) > context.limits.max_pages:
            raise UnreadableFile(f"more slides than max_pages={context.limits.max_pages:,}")
        for number, slide in enumerate(presentation.slides, 1):
            title = _title(slide)
            text = join_blocks(_blocks(slide, title))
            if text:
                own = {"title": title} if title else {}
                yield Section(text, {**own, **metadata, "page": number}, markdown=True)


def _title(slide: Any) -> str:
    shape = slide.shapes.title
    return storable(one_line(shape.text_frame.text)[:1000]) if shape is not None else ""


def _blocks(slide: Any, title: str) -> Iterator[tuple[str, bool]]:
    """Yield each block of a slide, and whether it is a list item."""
    if title:
        yield heading(1, title), False
    head = slide.shapes.title
    pending: list[Any] = [*reversed(list(slide.shapes))]
    while pending:
        shape = pending.pop()
        if head is not None and shape.shape_id == head.shape_id:
            continue
        if hasattr(shape, "shapes"):
            pending += reversed(list(shape.shapes))
        elif getattr(shape, "has_table", False):
            rows = [[storable(cell.text_frame.text) for cell in row.cells] for row in shape.table.rows]
            yield table(rows), False
        elif shape.has_text_frame:
            yield from _paragraphs(shape)
    if slide.has_notes_slide:
        frame = slide.notes_slide.notes_text_frame
        notes = storable(frame.text).strip() if frame is not None else ""
        if notes:
            yield f"Notes: {notes}", False


def _paragraphs(shape: Any) -> Iterator[tuple[str, bool]]:
    """Yield paragraphs: those of a slide's body are list items, those of a text box are plain."""
    body = shape.is_placeholder and shape.placeholder_format.idx != 0
    for paragraph in shape.text_frame.paragraphs:
        text = storable(paragraph.text.replace("\v", "\n"))
        if text.strip():
            yield (f"{'  ' * paragraph.level}- {one_line(text)}", True) if body else (text.strip(), False)
