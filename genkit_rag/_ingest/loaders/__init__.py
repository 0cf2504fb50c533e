"""Loaders by suffix, open to more."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from genkit_rag._core.errors import invalid
from genkit_rag._ingest.loaders.archives import load_gzip, load_tar, load_zip
from genkit_rag._ingest.loaders.docx import load_docx
from genkit_rag._ingest.loaders.html import load_html
from genkit_rag._ingest.loaders.json_file import load_json, load_notebook
from genkit_rag._ingest.loaders.mail import load_eml, load_mbox
from genkit_rag._ingest.loaders.members import CONTAINERS, MemberContext
from genkit_rag._ingest.loaders.pdf import load_pdf
from genkit_rag._ingest.loaders.pptx import load_pptx
from genkit_rag._ingest.loaders.rows import load_csv, load_jsonl
from genkit_rag._ingest.loaders.sheets import load_sheets
from genkit_rag._ingest.loaders.text import LANGUAGES, load_code, load_markdown, load_text
from genkit_rag._ingest.loaders.unnamed import load_unnamed
from genkit_rag._ingest.loaders.xml import load_epub, load_xml
from genkit_rag._ingest.section import LoadContext, Loader, LoadLimits, Section, UnreadableFile

__all__ = ["Loaders"]

VERSION = "2"
"""Goes up when a loader gives other text for the same bytes: sources are then loaded again."""

_LOADERS: tuple[tuple[str, Loader], ...] = (
    (".txt .text .log .rst .adoc .org .tex .toml .yaml .yml .ini .cfg", load_text),
    (" ".join(LANGUAGES), load_code),
    (".", load_unnamed),
    (".md .markdown .mdx", load_markdown),
    (".html .htm .xhtml", load_html),
    (".xml", load_xml),
    (".pdf", load_pdf),
    (".docx .docm", load_docx),
    (".pptx .pptm", load_pptx),
    (".xlsx .xlsm .xlsb .xls .ods", load_sheets),
    (".epub", load_epub),
    (".csv .tsv", load_csv),
    (".jsonl .ndjson", load_jsonl),
    (".json", load_json),
    (".ipynb", load_notebook),
    (".eml", load_eml),
    (".mbox", load_mbox),
    (".zip", load_zip),
    (".tar", load_tar),
    (".gz .tgz", load_gzip),
)


class Loaders:
    """The loaders by file suffix; files without a suffix are recognised by content, mostly as text.

    Args:
        limits: Limits for every file.
        text_field: The field of JSON rows with the text; None for the first of `text`, `content`, `body`.
    """

    def __init__(self, limits: LoadLimits | None = None, *, text_field: str | None = None) -> None:
        self.limits = limits or LoadLimits()
        self.text_field = text_field
        self._by_suffix: dict[str, tuple[str, Loader]] = {
            suffix: (VERSION, loader) for suffixes, loader in _LOADERS for suffix in suffixes.split()
        }

    def register(self, suffix: str, loader: Loader, *, version: str = VERSION) -> None:
        """Register a loader for a suffix (`.recipe`); a changed version loads its files again."""
        if not suffix.startswith(".") or len(suffix) < 2:
            raise invalid("suffix", suffix, "must begin with a dot", hint="For example '.recipe'.")
        self._by_suffix[suffix.lower()] = (version, loader)

    def find(self, path: Path) -> Loader | None:
        """Return the loader for a file, or None."""
        found = self._by_suffix.get(_suffix(path))
        return found[1] if found else None

    def settings(self, path: Path) -> str:
        """Return the settings that affect this file's text; changed settings load it again."""
        suffix = _suffix(path)
        version, _ = self._by_suffix.get(suffix, ("", None))
        if suffix in CONTAINERS or suffix == ".":  # what they give depends on the other loaders
            every = sorted((suffix, version) for suffix, (version, _) in self._by_suffix.items())
            version += f"/{hashlib.blake2b(repr(every).encode(), digest_size=8).hexdigest()}"
        return f"loader {version}: text_field={self.text_field}"

    def load(self, path: Path, note: Callable[[str], None] = lambda _: None) -> Iterator[Section]:
        """Load a file and yield its sections; UnreadableFile with the reason, or any error of the loader."""
        loader = self.find(path)
        if loader is None:
            raise UnreadableFile(no_loader(path))
        size = path.stat().st_size
        if size > self.limits.max_file_bytes:
            raise UnreadableFile(f"{size:,} bytes, more than max_file_bytes={self.limits.max_file_bytes:,}")
        context = LoadContext(self.limits, note, self.text_field)
        yield from loader(path, MemberContext.around(context, self.find, size))


def no_loader(path: Path) -> str:
    """Return the reason for skipping a file of an unknown kind."""
    return f"no loader for `{path.suffix}` files (add one with `Loaders.register`)"


def _suffix(path: Path) -> str:
    return path.suffix.lower() or "."
