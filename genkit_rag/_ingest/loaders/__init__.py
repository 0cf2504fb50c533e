"""Loaders by suffix, open to more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from genkit_rag._core.errors import invalid
from genkit_rag._ingest.loaders.html import load_html
from genkit_rag._ingest.loaders.pdf import load_pdf
from genkit_rag._ingest.loaders.rows import load_csv, load_jsonl
from genkit_rag._ingest.loaders.text import load_markdown, load_text
from genkit_rag._ingest.section import LoadContext, Loader, LoadLimits, Section, UnreadableFile

__all__ = ["Loaders"]

VERSION = "1"
"""Goes up when a loader gives other text for the same bytes: sources are then loaded again."""

_TEXT = (
    ".txt .text .log .rst .adoc .org .tex "
    ".py .pyi .js .mjs .ts .jsx .tsx .java .kt .scala .go .rs .c .h .cc .cpp .hpp .cs .swift .rb .php .pl .lua .r .jl "
    ".sh .bash .zsh .ps1 .sql .graphql .proto .toml .yaml .yml .ini .cfg .tf .vue .svelte "
    ".ex .exs .erl .hs .ml .clj .dart"
)


class Loaders:
    """Which loader reads which files: by suffix; files without one are read as text.

    Args:
        limits: Bounds for every file.
        text_field: The field of JSON Lines rows with the text; None takes the first of `text`, `content`, `body`.
    """

    def __init__(self, limits: LoadLimits | None = None, *, text_field: str | None = None) -> None:
        self.limits = limits or LoadLimits()
        self.text_field = text_field
        self._by_suffix: dict[str, tuple[str, Loader]] = {}
        for suffixes, loader in (
            (_TEXT, load_text), (".", load_text), (".md .markdown .mdx", load_markdown),
            (".html .htm .xhtml", load_html), (".pdf", load_pdf), (".csv .tsv", load_csv),
            (".jsonl .ndjson", load_jsonl),
        ):  # fmt: skip
            for suffix in suffixes.split():
                self._by_suffix[suffix] = (VERSION, loader)

    def register(self, suffix: str, loader: Loader, *, version: str = VERSION) -> None:
        """Makes a loader read files with the suffix (`.docx`); another version has them loaded again."""
        if not suffix.startswith(".") or len(suffix) < 2:
            raise invalid("suffix", suffix, "must begin with a dot", hint="For example '.docx'.")
        self._by_suffix[suffix.lower()] = (version, loader)

    def find(self, path: Path) -> Loader | None:
        """Returns the loader for a file, None when there is none."""
        found = self._by_suffix.get(path.suffix.lower() or ".")
        return found[1] if found else None

    def settings(self, path: Path) -> str:
        """Returns what distinguishes this file's text as loaded here from another way of loading it."""
        version, _ = self._by_suffix.get(path.suffix.lower() or ".", ("", None))
        return f"loader {version}: text_field={self.text_field}"

    def load(self, path: Path, note: Callable[[str], None] = lambda _: None) -> Iterator[Section]:
        """Yields the sections of a file; raises UnreadableFile with the reason, or whatever its loader raises."""
        loader = self.find(path)
        if loader is None:
            raise UnreadableFile(no_loader(path))
        size = path.stat().st_size
        if size > self.limits.max_file_bytes:
            raise UnreadableFile(f"{size:,} bytes, more than max_file_bytes={self.limits.max_file_bytes:,}")
        yield from loader(path, LoadContext(self.limits, note, self.text_field))


def no_loader(path: Path) -> str:
    """Returns the reason for leaving a file of an unknown kind out."""
    return f"no loader for `{path.suffix}` files (add one with `Loaders.register`)"
