"""XML by defusedxml: the text of its elements. E-books: XML and HTML in a zip archive."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from genkit_rag._core.errors import require_extra
from genkit_rag._ingest.loaders.encoding import decode
from genkit_rag._ingest.loaders.guard import BLOCK, Budget, is_encrypted, open_zip, readable
from genkit_rag._ingest.loaders.html import html_to_markdown
from genkit_rag._ingest.loaders.markdown import one_line
from genkit_rag._ingest.loaders.members import member_context
from genkit_rag._ingest.section import LoadContext, Section, UnreadableFile

_BOOK = "an EPUB book"
_CONTAINER = "META-INF/container.xml"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_PAGES = ("application/xhtml+xml", "text/html")


def load_xml(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the text of all elements as one section; adjacent elements are on separate lines.

    Entities and external document types raise UnreadableFile.
    """
    with path.open("rb") as file, readable("XML"):
        text = _Text()
        parser = _parser(text)
        while block := file.read(BLOCK):
            parser.feed(block)
        parser.close()
    yield Section("\n".join(line.strip() for line in "".join(text.pieces).split("\n") if line.strip()))


class _Text:
    """Collects text. Expat reports the tree as events, so that neither its size nor its depth matters."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._closed = False

    def start(self, _tag: str, _attributes: dict[str, str]) -> None:
        if self._closed:
            self.pieces.append("\n")
        self._closed = False

    def end(self, _tag: str) -> None:
        self._closed = True

    def data(self, text: str) -> None:
        self.pieces.append(text)
        self._closed = False

    def close(self) -> None:
        pass


def _parser(target: Any = None) -> Any:
    require_extra("xml", "defusedxml")
    from defusedxml.ElementTree import DefusedXMLParser

    return DefusedXMLParser(target=target, forbid_dtd=False, forbid_entities=True, forbid_external=True)


def load_epub(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield each document of the book in reading order as Markdown, with `chapter` from 1, `title` and `author`."""
    budget = member_context(context, path).budget
    limit = context.limits.max_tree_bytes
    with readable(_BOOK), open_zip(path, _BOOK, context.limits) as archive:
        container = _tree(archive, _CONTAINER, budget, limit)
        package = container.find(".//{*}rootfile").get("full-path")
        book = _tree(archive, package, budget, limit)
        metadata = _metadata(book)
        items = {item.get("id"): item for item in book.iterfind(".//{*}manifest/{*}item")}
        for number, entry in enumerate(book.iterfind(".//{*}spine/{*}itemref"), 1):
            item = items.get(entry.get("idref"))
            if item is None or item.get("media-type") not in _PAGES:
                continue
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(item.get("href", ""))))
            try:
                page = _read(archive, name, budget, limit)
            except (KeyError, zipfile.BadZipFile, EOFError) as error:
                context.note(f"chapter {number} is missing or damaged ({error})")
                continue
            _, text = html_to_markdown(decode(page, context))
            if text:
                yield Section(text, {**metadata, "chapter": number}, markdown=True)


def _metadata(book: Any) -> dict[str, Any]:
    found = {"title": book.find(f".//{_DUBLIN_CORE}title"), "author": book.find(f".//{_DUBLIN_CORE}creator")}
    return {name: one_line(part.text)[:1000] for name, part in found.items() if part is not None and part.text}


def _tree(archive: zipfile.ZipFile, name: str, budget: Budget, limit: int) -> Any:
    parser = _parser()
    parser.feed(_read(archive, name, budget, limit))
    return parser.close()


def _read(archive: zipfile.ZipFile, name: str, budget: Budget, limit: int) -> bytes:
    entry = archive.getinfo(name)
    if is_encrypted(entry):
        raise UnreadableFile("protected by a password")
    if entry.file_size > limit:
        raise UnreadableFile(f"{name!r} has more than max_tree_bytes={limit:,}")
    budget.spend(entry.file_size)
    stream: IO[bytes]
    with archive.open(entry) as stream:
        return stream.read()
