"""Plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from genkit_rag._ingest.loaders.encoding import open_text
from genkit_rag._ingest.pieces import pieces
from genkit_rag._ingest.section import LoadContext, Section
from genkit_rag._ingest.splitters.markdown_outline import FRONT_MATTER

LANGUAGES = {
    suffix: language
    for language, suffixes in {
        "bash": ".sh .bash .zsh",
        "c": ".c .h",
        "clojure": ".clj",
        "cpp": ".cc .cpp .cxx .hh .hpp",
        "csharp": ".cs",
        "dart": ".dart",
        "elixir": ".ex .exs",
        "erlang": ".erl",
        "go": ".go",
        "graphql": ".graphql",
        "haskell": ".hs",
        "hcl": ".tf",
        "java": ".java",
        "javascript": ".js .mjs .cjs .jsx",
        "julia": ".jl",
        "kotlin": ".kt .kts",
        "lua": ".lua",
        "ocaml": ".ml",
        "perl": ".pl .pm",
        "php": ".php",
        "powershell": ".ps1",
        "proto": ".proto",
        "python": ".py .pyi",
        "r": ".r",
        "ruby": ".rb",
        "rust": ".rs",
        "scala": ".scala",
        "sql": ".sql",
        "svelte": ".svelte",
        "swift": ".swift",
        "tsx": ".tsx",
        "typescript": ".ts .mts .cts",
        "vue": ".vue",
    }.items()
    for suffix in suffixes.split()
}
"""Which language source code is in, by suffix; names as tree-sitter's grammars have them."""

_TITLE = re.compile(r"""^title:[ \t]*["']?(.+?)["']?[ \t\r]*$""", re.MULTILINE)
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#\r]*$", re.MULTILINE)


def load_text(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the file as one section, or a long one in pieces, so that memory is bounded."""
    with open_text(path, context) as file:
        for offset, text in pieces(file):
            yield Section(text, offset=offset)


def load_code(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the file as one section with its programming language."""
    with open_text(path, context) as file:
        yield Section(file.read(), language=LANGUAGES[path.suffix.lower()])


def load_markdown(path: Path, context: LoadContext) -> Iterator[Section]:
    """Yield the file as one section, with the title of its front matter or first heading."""
    with open_text(path, context) as file:
        text = file.read()
    front = FRONT_MATTER.match(text)
    found = (_TITLE.search(front[0]) if front else None) or _HEADING.search(text, 0, 10_000)
    yield Section(text, {"title": found[1]} if found else {}, markdown=True)
