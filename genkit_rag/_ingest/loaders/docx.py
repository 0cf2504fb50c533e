"""Word documents by python-docx, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genkit_rag._core.errors import require_extra
from genkit_rag._ingest.loaders.guard import check_package, readable, storable
from genkit_rag._ingest.loaders.markdown import heading, join_blocks, one_line, table
from genkit_rag._ingest.loaders.members import member_context
from genkit_rag._ingest.section import LoadContext, Section

_KIND = "a Word document"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_BREAKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_HEADING_NAME = re.compile(r"heading ([1-9])\Z", re.IGNORECASE)
_DEEPEST = 200  # of what contains what: libxml2 itself stops at 256


def load_docx(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the document as one section of Markdown: headings, lists and tables in order, with title and author.

    Headers, footers, footnotes and comments are left out, as is text that a tracked change has deleted.
    """
    require_extra("office", "docx")
    import docx

    with readable(_KIND):
        check_package(path, _KIND, context.limits, member_context(context, path).budget)
        with path.open("rb") as file:
            document: Any = docx.Document(file)
        text = join_blocks(_Writer(document).blocks(document.element.body))
        metadata = core_metadata(document.core_properties)
    yield Section(storable(text), metadata, markdown=True)


def core_metadata(properties: Any) -> dict[str, Any]:
    """Return title and author from the document's properties."""
    found = {"title": properties.title, "author": properties.author}
    return {name: storable(one_line(value)[:1000]) for name, value in found.items() if value and value.strip()}


@dataclass(frozen=True, slots=True)
class _Style:
    """How paragraphs of a style are written: as headings of a level (0: none), or as items of a list."""

    level: int = 0
    numbering: tuple[str, int] | None = None


class _Writer:
    """Walks a document's XML: python-docx's own paragraphs lack insertions, text boxes and content controls."""

    def __init__(self, document: Any) -> None:
        self._elements = {style.style_id: style.element for style in document.styles}
        self._styles: dict[str, _Style] = {}
        self._formats = _number_formats(document)

    def blocks(self, parent: Any) -> Iterator[tuple[str, bool]]:
        """Yield each block of a body or a cell, and whether it is a list item."""
        pending: list[Any] = [parent]
        while pending:
            element = pending.pop()
            if element.tag == f"{_W}p":
                yield self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                yield table(list(self._rows(element))), False
            elif element.tag not in (f"{_W}sectPr", f"{_W}sdtPr"):
                pending += reversed(list(element.iterchildren("*")))

    def _rows(self, element: Any) -> Iterator[list[str]]:
        for row in element.iter(f"{_W}tr"):
            if next(row.iterancestors(f"{_W}tbl")) is not element:
                continue  # of a table in a cell
            cells: list[str] = []
            for cell in row.iter(f"{_W}tc"):
                if next(cell.iterancestors(f"{_W}tr")) is row:
                    merged = _value(cell, "tcPr", "vMerge", missing="continue") == "continue"
                    cells.append("" if merged else " ".join(_text(part) for part in cell.iter(f"{_W}p")))
                    span = _value(cell, "tcPr", "gridSpan") or "1"
                    cells += [""] * (min(int(span), 64) - 1)
            yield cells

    def _paragraph(self, element: Any) -> tuple[str, bool]:
        text = _text(element)
        if not text.strip():
            return "", False
        style = self._style(_value(element, "pPr", "pStyle") or "Normal")
        if style.level:
            return heading(style.level, text), False
        own = element.find(f"{_W}pPr/{_W}numPr")
        numbering = _numbering(own, style.numbering) if own is not None else style.numbering
        if numbering is None or numbering[0] == "0":
            return text.strip(), False
        number, level = numbering
        mark = "-" if self._formats.get((number, level), "bullet") in ("bullet", "none") else "1."
        return f"{'  ' * level}{mark} {one_line(text)}", True

    def _style(self, style_id: str) -> _Style:
        if style_id not in self._styles:
            self._styles[style_id] = self._resolve(style_id)
        return self._styles[style_id]

    def _resolve(self, style_id: str) -> _Style:
        """Return a style's own or inherited properties; built-in names are English in every language."""
        numbering: tuple[str, int] | None = None
        seen: set[str] = set()
        while style_id in self._elements and style_id not in seen:
            seen.add(style_id)
            element = self._elements[style_id]
            name = _value(element, "name") or ""
            named = _HEADING_NAME.match(name)
            outline = _value(element, "pPr", "outlineLvl")
            if named or name.lower() == "title":
                return _Style(level=int(named[1]) if named else 1)
            if outline is not None and outline.isdigit() and int(outline) < 9:
                return _Style(level=int(outline) + 1)
            own = element.find(f"{_W}pPr/{_W}numPr")
            if own is not None and numbering is None:
                numbering = _numbering(own, None)
            style_id = _value(element, "basedOn") or ""
        return _Style(numbering=numbering)


def _text(paragraph: Any) -> str:
    """Return a paragraph's text, with text boxes once, without their fallback for old programs."""
    pieces: list[str] = []
    for element in paragraph.iter(f"{_W}t", *_BREAKS):
        if next(element.iterancestors(_FALLBACK), None) is None:
            pieces.append(_BREAKS.get(element.tag) or element.text or "")
    return "".join(pieces)


def _value(element: Any, *path: str, missing: str | None = None) -> str | None:
    """Return the `val` of a descendant; `missing` if it has none."""
    found = element.find("/".join(f"{_W}{name}" for name in path))
    return None if found is None else found.get(f"{_W}val", missing)


def _numbering(element: Any, inherited: tuple[str, int] | None) -> tuple[str, int]:
    number = _value(element, "numId") or (inherited[0] if inherited else "")
    level = _value(element, "ilvl") or "0"
    return number, min(int(level), 8) if level.isdigit() else 0


def _number_formats(document: Any) -> dict[tuple[str, int], str]:
    """Return the number format of each list and level, such as `bullet` and `decimal`."""
    relations = document.part.rels.values()
    part = next((rel.target_part for rel in relations if rel.reltype.endswith("/numbering")), None)
    if part is None:
        return {}
    abstract: dict[str | None, Any] = {e.get(f"{_W}abstractNumId"): e for e in part.element.iter(f"{_W}abstractNum")}
    formats: dict[tuple[str, int], str] = {}
    for number in part.element.iter(f"{_W}num"):
        definition = abstract.get(_value(number, "abstractNumId"))
        for level in definition.iter(f"{_W}lvl") if definition is not None else ():
            index = level.get(f"{_W}ilvl", "")
            if index.isdigit():
                formats[number.get(f"{_W}numId", ""), int(index)] = _value(level, "numFmt") or "decimal"
    return formats
