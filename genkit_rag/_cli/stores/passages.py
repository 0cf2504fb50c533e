"""Shows retrieved documents: where each is from, how well it fits, and its best lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genkit_rag._cli.output import Output, one_line
from genkit_rag._cli.stores.snippets import snippet_of

if TYPE_CHECKING:
    from genkit_rag._documents.document import Document

BAR_CELLS = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def source_of(document: Document) -> str:
    """Return the place of a passage: `docs/auth.md:120` (its first character), `book.pdf p. 3`, or its id."""
    metadata = document.metadata
    source = metadata.get("source")
    if not isinstance(source, str) or not source:
        return one_line(document.id)
    if metadata.get("page") is not None:
        return one_line(f"{source} p. {metadata['page']}")
    if isinstance(metadata.get("start"), int):
        return one_line(f"{source}:{metadata['start']}")
    return one_line(source)


def headings_of(document: Document) -> str:
    """Return the headings of a passage, outermost first."""
    path = document.metadata.get("heading_path")
    return one_line(" › ".join(str(heading) for heading in path)) if isinstance(path, list) else ""  # pyright: ignore[reportUnknownVariableType]


def passage_data(document: Document, query: str) -> dict[str, Any]:
    """Convert a passage to JSON-compatible data."""
    return {
        "rank": (document.rank or 0) + 1,
        "id": document.id,
        "score": document.score,
        "source": document.metadata.get("source"),
        "snippet": snippet_of(document.text, query).text,
        "text": document.text,
        "metadata": document.metadata,
        **({"scores": document.scores} if document.scores else {}),
    }


def bar(share: float) -> str:
    """Draw a bar for a share from 0 to 1, in eighths of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(BAR_CELLS)


def show_passage(
    out: Output, label: str, document: Document, query: str, *, best: float | None = None, explained: str = ""
) -> None:
    """Print a passage for people: a head with bar, score and source, then the snippet.

    Args:
        out: The output.
        label: The rank or citation key.
        document: The passage.
        query: The query, whose words are set in bold.
        best: The best score of the list, which fills the bar; None for no score.
        explained: A line about its ranking.
    """
    from rich.text import Text

    head = Text.assemble((f"{label} ", "bold"))
    if best is not None and document.score is not None:
        share = document.score / best if best > 0 else 0.0
        head.append(bar(share), style="cyan").append(f" {document.score:.3f}  ")
    head.append(source_of(document), style="green")
    headings = headings_of(document)
    if headings:
        head.append(f"  {headings}", style="dim")
    out.show(head)
    indent = len(label) + 1
    if explained:
        out.show(Text(explained, style="dim"), indent=indent)
    snippet = snippet_of(document.text, query)
    body = Text(snippet.text)
    for start, end in snippet.spans:
        body.stylize("bold yellow", start, end)
    out.show(body, indent=indent)
