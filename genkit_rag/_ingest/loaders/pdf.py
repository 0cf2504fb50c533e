"""PDF by pypdfium2: the text of each page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genkit_rag._core.errors import require_extra
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_HYPHENS = ("\ufffe\r\n", "\x02\r\n", "\ufffe", "\x02")
"""What PDFium gives for a hyphen that only the line's end put there."""

_pdfium_lock = threading.Lock()  # PDFium is not thread-safe, not even over different documents


def load_pdf(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each page with text, with `page` from 1 and the document's title."""
    require_extra("pdf", "pypdfium2")
    import pypdfium2 as pdfium

    with _pdfium_lock:
        document = _open(pdfium, path)
    try:
        with _pdfium_lock:
            pages = len(document)
            title = document.get_metadata_dict().get("Title", "").strip()
        if pages > context.limits.max_pages:
            raise UnreadableFile(f"{pages:,} pages, more than max_pages={context.limits.max_pages:,}")
        characters = 0
        for number in range(pages):
            try:
                with _pdfium_lock:
                    text = _page_text(document, number)
            except pdfium.PdfiumError as error:
                context.note(f"page {number + 1} is damaged ({error})")
                continue
            characters += len(text)
            if characters > context.limits.max_text_characters:
                raise UnreadableFile("its text is longer than max_text_characters")
            if text.strip():
                yield Section(text, {"page": number + 1} | ({"title": title} if title else {}))
        if not characters:
            context.note("no text on its pages: scanned images need OCR first")
    finally:
        with _pdfium_lock:
            document.close()


def _open(pdfium: Any, path: Path) -> Any:
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableFile("encrypted: save a copy without the password") from error
        raise UnreadableFile(f"damaged or not a PDF ({error})") from error


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            text: str = text_page.get_text_bounded()
        finally:
            text_page.close()
    finally:
        page.close()
    for hyphen in _HYPHENS:
        text = text.replace(hyphen, "")
    return text.replace("\0", "").replace("\r\n", "\n")
