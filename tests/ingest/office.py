"""Writes office files, archives and books for the tests of loaders."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import docx
import openpyxl
import pptx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn


def make_docx() -> bytes:
    """Returns a document with headings, lists, tables, a tracked change, a link and a content control."""
    document: Any = docx.Document()
    document.core_properties.title = "The report"
    document.core_properties.author = "Ada"
    document.add_heading("The report", 0)
    document.add_heading("First part", 1)
    paragraph = document.add_paragraph("Before ")
    inserted = OxmlElement("w:ins")
    inserted.append(_run("inserted"))
    deleted = OxmlElement("w:del")
    gone = OxmlElement("w:delText")
    gone.text = "deleted"
    deleted.append(OxmlElement("w:r"))
    deleted[0].append(gone)
    paragraph._p.extend([inserted, deleted])
    table = document.add_table(rows=3, cols=2)
    for row, cells in zip(table.rows, [("name", "pri|ce"), ("small", "5"), ("merged", "")], strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    table.cell(2, 0).merge(table.cell(2, 1))
    document.add_paragraph("between")
    for text in ("one", "two"):
        document.add_paragraph(text, style="List Bullet")
    document.add_paragraph("three", style="List Number")
    document.add_heading("Second part", 2)
    control, content = OxmlElement("w:sdt"), OxmlElement("w:sdtContent")
    inner = OxmlElement("w:p")
    inner.append(_run("in a control"))
    content.append(inner)
    control.append(content)
    document.element.body.insert(len(document.element.body) - 1, control)
    return _saved(document)


def _run(text: str) -> Any:
    run, piece = OxmlElement("w:r"), OxmlElement("w:t")
    piece.text = text
    piece.set(qn("xml:space"), "preserve")
    run.append(piece)
    return run


def make_pptx(title: str = "") -> bytes:
    """Returns a presentation of three slides: one with points, a table and notes, an empty one, one with a text box."""
    presentation: Any = pptx.Presentation()
    presentation.core_properties.title = title
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Plans"
    frame = first.placeholders[1].text_frame
    frame.text = "small"
    inner = frame.add_paragraph()
    inner.text, inner.level = "cheap", 1
    grid = first.shapes.add_table(2, 2, 0, 0, 100, 100).table
    for place, text in {(0, 0): "plan", (0, 1): "price", (1, 0): "small", (1, 1): "5"}.items():
        grid.cell(*place).text = text
    first.notes_slide.notes_text_frame.text = "Say it slowly."
    presentation.slides.add_slide(presentation.slide_layouts[6])
    last = presentation.slides.add_slide(presentation.slide_layouts[6])
    last.shapes.add_textbox(0, 0, 100, 100).text_frame.text = "The end"
    return _saved(presentation)


def make_xlsx(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """Returns a workbook with the rows of its sheets."""
    book = openpyxl.Workbook()
    assert book.active is not None
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    return _saved(book)


def make_ods(rows: Sequence[Sequence[str | float | date]]) -> bytes:
    """Returns an OpenDocument spreadsheet of one sheet."""
    lines: list[str] = []
    for row in rows:
        cells = ""
        for cell in row:
            if isinstance(cell, date):
                cells += f'<table:table-cell office:value-type="date" office:date-value="{cell.isoformat()}"/>'
            elif isinstance(cell, str):
                cells += f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>'
            else:
                cells += f'<table:table-cell office:value-type="float" office:value="{cell}"/>'
        lines.append(f"<table:table-row>{cells}</table:table-row>")
    return make_zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": "<manifest:manifest "
            'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
            "content.xml": ods_content("".join(lines)),
        }
    )


def ods_content(rows: str) -> str:
    """Returns the XML of a sheet named `S`."""
    names = {"office": "office", "table": "table", "text": "text"}
    spaces = " ".join(f'xmlns:{k}="urn:oasis:names:tc:opendocument:xmlns:{v}:1.0"' for k, v in names.items())
    return (
        f'<?xml version="1.0"?><office:document-content {spaces}><office:body><office:spreadsheet>'
        f'<table:table table:name="S">{rows}</table:table></office:spreadsheet></office:body></office:document-content>'
    )


def make_epub(chapters: Mapping[str, str]) -> bytes:
    """Returns a book; a chapter with an empty text is named but missing."""
    items = "".join(
        f'<item id="i{number}" href="{name}" media-type="application/xhtml+xml"/>'
        for number, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="i{number}"/>' for number in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:title>The book</dc:title><dc:creator>Ada</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    pages = {f"OEBPS/{name.replace('%20', ' ')}": text for name, text in chapters.items() if text}
    return make_zip({"META-INF/container.xml": container, "OEBPS/book.opf": package, **pages})


def make_zip(members: Mapping[str, str | bytes]) -> bytes:
    """Returns an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_part(package: bytes, name: str, content: str | bytes) -> bytes:
    """Returns an office file with another part in the place of one."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        parts: dict[str, str | bytes] = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    return make_zip({**parts, name: content})


def make_tar(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """Returns an uncompressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()
