"""`genkit-rag query`: search a store for a text, best first."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genkit_rag._cli.failures import WrongUsage
from genkit_rag._cli.options import DEFAULT_FOLDER, Embedder, Folder, Json, Store, examples
from genkit_rag._cli.output import Output
from genkit_rag._cli.stores.plugins import action_name
from genkit_rag._cli.stores.project import Opened, Project, opened

if TYPE_CHECKING:
    from genkit_rag._documents.document import Document

Mode = Literal["hybrid", "vector", "text"]

RERANK_CANDIDATES = 50
"""How many passages a reranker looks at, unless more are asked for."""

K = Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="How many passages.")]
Rerank = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        "--reranker",
        help="A reranker, such as late-interaction or mmr; the default of genkit_rag.toml, or none.",
    ),
]
Filter = Annotated[
    str | None, typer.Option("--filter", help="""Conditions on the metadata, such as '{"year": {"$gte": 2020}}'.""")
]


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for, and how."""

    text: str
    k: int
    mode: Mode | None = None
    filter: dict[str, Any] | None = None
    reranker: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        documents: The passages, best first.
        notices: The notices of the retriever.
        before: The retrieved rank and score of each id, before a reranker.
        seconds: The duration of each stage.
    """

    documents: list[Document]
    notices: list[str]
    before: dict[str, tuple[int, float]]
    seconds: dict[str, float]


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "query",
        epilog=examples(
            'genkit-rag query "how are tokens renewed?"',
            """genkit-rag query "refunds" --k 3 --mode text --filter '{"source": {"$in": ["terms.md"]}}'""",
            'echo "refunds" | genkit-rag query - --rerank mmr --explain',
        ),
    )(query)


def query(  # noqa: PLR0913 - each is an option of the command line
    text: Annotated[str, typer.Argument(help="What to look for; - reads it from stdin.")],
    k: K = 5,
    mode: Annotated[
        Mode | None,
        typer.Option("--mode", help="Vector search, keyword search (text), or both; hybrid if the store supports it."),
    ] = None,
    filter: Filter = None,
    rerank: Rerank = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the score of each stage.")] = False,
    store: Store = None,
    folder: Folder = DEFAULT_FOLDER,
    embedder: Embedder = None,
    json: Json = False,
) -> None:
    """Search for passages.

    They are ranked, with their scores, sources and best lines.
    """
    project = Project(folder, store, embedder)
    search = Search(read_text(text), k, mode, parsed_filter(filter), reranker_name(project, rerank))
    asyncio.run(_query(project, search, Output(json=json), explain=explain))


def read_text(text: str) -> str:
    """Return the text of an argument, or of stdin for `-`; it must not be blank."""
    if text == "-":
        text = sys.stdin.read()
    if not text.strip():
        raise WrongUsage("The text is empty.", hint='Say what to look for: genkit-rag query "..."')
    return text.strip()


def parsed_filter(raw: str | None) -> dict[str, Any] | None:
    """Parse a metadata filter; WrongUsage for anything else."""
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise WrongUsage(
            f"`--filter` is not JSON: {error}.", hint="""For example: --filter '{"lang": "en"}'"""
        ) from error
    from genkit_rag._core.errors import GenkitError
    from genkit_rag._documents.filters import parse_filter

    try:
        parse_filter(value)
    except GenkitError as error:
        raise WrongUsage(f"`--filter`: {error.message}", hint=error.hint or "See the filter language.") from error
    return value  # type: ignore[no-any-return]


def reranker_name(project: Project, given: str | None) -> str | None:
    """Resolve `--rerank` to the full name of a reranker; None for `none`."""
    given = given or project.config.defaults.reranker or "none"
    return None if given == "none" else action_name(project.config, given, "reranker", "--rerank")


async def find(place: Opened, project: Project, search: Search) -> Found:
    """Search, rerank if requested, and return the passages."""
    many = max(search.k, RERANK_CANDIDATES) if search.reranker else search.k
    options: dict[str, Any] = {"k": many}
    if search.mode is not None:
        options["mode"] = search.mode
    if search.filter is not None:
        options["filter"] = search.filter
    started = time.perf_counter()
    response = await place.ai.retrieve(project.action, search.text, options)
    seconds = {"retrieved": time.perf_counter() - started}
    before = {document.id: (document.rank or 0, document.score or 0.0) for document in response}
    documents = list(response)
    if search.reranker and documents:
        started = time.perf_counter()
        documents = await place.ai.rerank(search.reranker, search.text, documents, {"k": search.k})
        seconds["reranked"] = time.perf_counter() - started
    return Found(documents, response.notices, before, seconds)


async def _query(project: Project, search: Search, out: Output, *, explain: bool) -> None:
    from genkit_rag._cli.stores.open_store import default_mode
    from genkit_rag._cli.stores.passages import passage_data, show_passage

    async with opened(project, embeds=search.mode != "text") as place:
        search = replace(search, mode=search.mode or default_mode(place.store))
        found = await find(place, project, search)
        for notice in found.notices:
            out.say(notice)
        if out.json:
            hits = [passage_data(document, search.text) for document in found.documents]
            for hit, document in zip(hits, found.documents, strict=True):
                hit["stages"] = stages(document, search, found)
            out.data(
                {
                    "query": search.text,
                    "store": project.label,
                    "mode": search.mode,
                    "hits": hits,
                    "seconds": found.seconds,
                }
            )
            return
        if not found.documents:
            out.say(f"Nothing found among {place.info.count} passages of `{project.label}`.")
        best = max((document.score or 0.0 for document in found.documents), default=0.0)
        width = len(str(len(found.documents)))
        for rank, document in enumerate(found.documents, 1):
            explained = explanation(document, search, found) if explain else ""
            show_passage(out, str(rank).rjust(width), document, search.text, best=best, explained=explained)
        if explain:
            out.say(", ".join(f"{stage} in {value * 1000:.0f} ms" for stage, value in found.seconds.items()))


def stages(document: Document, search: Search, found: Found) -> dict[str, float]:
    """Return the score of each stage, in order."""
    result = {name: score for name, score in (document.scores or {}).items() if name in ("vector", "text")}
    if document.id in found.before:
        result["fused" if search.mode == "hybrid" else str(search.mode)] = found.before[document.id][1]
    if search.reranker and document.score is not None:
        result[search.reranker] = document.score
    return result


def explanation(document: Document, search: Search, found: Found) -> str:
    """Format the stages for people, with the rank before a reranker."""
    parts: list[str] = []
    for name, score in stages(document, search, found).items():
        place = (
            f" (rank {found.before[document.id][0] + 1})" if search.reranker and name in ("fused", search.mode) else ""
        )
        parts.append(f"{name} {score:.3f}{place}")
    return " · ".join(parts)
