"""`genkit-rag ingest`: keeps a store in step with files and web pages."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from genkit_rag._cli.failures import FAILED, WrongUsage
from genkit_rag._cli.options import DEFAULT_FOLDER, Embedder, Folder, Json, Store, examples
from genkit_rag._cli.output import Output
from genkit_rag._cli.stores.project import Project, opened
from genkit_rag._cli.stores.web import (
    AllowHosts,
    Depth,
    Exclude,
    IgnoreRobots,
    Include,
    MaxPages,
    Rate,
    UserAgent,
    WebPlan,
    split_urls,
    web_documents,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from genkit_rag.ingest import IngestReport, Progress, Splitter

SHOWN_PROBLEMS = 20
Prune = Annotated[
    bool | None,
    typer.Option(
        "--prune/--no-prune",
        help="Whether deleted sources leave the store; by default files do, unless none is left, and web pages do not.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ingest, and how."""

    paths: list[str]
    web: WebPlan = field(default_factory=WebPlan)
    chunk_tokens: int | None = None
    overlap: int | None = None
    prune: bool | None = None
    dry_run: bool = False


def register(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "ingest",
        epilog=examples(
            "genkit-rag ingest docs/",
            "genkit-rag ingest docs/ README.md --store handbook --chunk-tokens 200 --overlap 24",
            "genkit-rag ingest https://docs.example.com/ --depth 2 --max-pages 200",
            "genkit-rag ingest https://docs.example.com/sitemap.xml notes/ --dry-run --json",
        ),
    )(ingest)


def ingest(  # noqa: PLR0913 - each is an option of the command line
    paths: Annotated[list[str], typer.Argument(help="Files, folders, quoted glob patterns; web pages and sitemaps.")],
    store: Store = None,
    folder: Folder = DEFAULT_FOLDER,
    embedder: Embedder = None,
    chunk_tokens: Annotated[
        int | None, typer.Option("--chunk-tokens", min=1, help="The most tokens in a chunk; 240 by default.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option("--overlap", min=0, help="About how many tokens of a chunk the next one repeats.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    prune: Prune = None,
    depth: Depth = 0,
    max_pages: MaxPages = 1000,
    include: Include = None,
    exclude: Exclude = None,
    rate: Rate = 2.0,
    user_agent: UserAgent = "genkit-rag",
    ignore_robots: IgnoreRobots = False,
    allow_host: AllowHosts = None,
    json: Json = False,
) -> None:
    """Index files, folders and web pages.

    New sources are added, changed ones are replaced, deleted ones are removed.

    Unchanged sources cost nothing. A run may be stopped at any time: completed work is kept, the next run continues.
    """
    out = Output(json=json)
    web = WebPlan(
        depth=depth,
        max_pages=max_pages,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        rate=rate,
        user_agent=user_agent,
        ignore_robots=ignore_robots,
        allow_hosts=tuple(allow_host or ()),
    )
    plan = Plan(paths, web, chunk_tokens, overlap, prune, dry_run)
    project = Project(folder, store, embedder)
    report = asyncio.run(_ingest(project, plan, out))
    _summary(report, project.label, out)
    if report.failed and not (report.added or report.changed or report.unchanged):
        raise typer.Exit(FAILED)


async def _ingest(project: Project, plan: Plan, out: Output) -> IngestReport:
    from genkit_rag.ingest import IngestOptions

    paths, urls = split_urls(plan.paths)
    # A dry run writes nothing, so it has no memory of pages either.
    cache = None if plan.dry_run else project.folder.absolute() / "web" / f"{project.state_name}.db"
    options = IngestOptions(
        splitter=_splitter(plan),
        base=project.folder.absolute().parent,
        state_dir=project.folder.absolute() / "ingest",
        name=project.state_name,
        prune=plan.prune,
        dry_run=plan.dry_run,
    )
    async with opened(project, create=True, write=not plan.dry_run) as place:
        with _progress(out) as progress:
            return await place.ai.ingest(
                paths,
                indexer=project.action,
                documents=web_documents(urls, plan.web, cache),
                options=options,
                progress=progress,
            )


def _splitter(plan: Plan) -> Splitter:
    from genkit_rag.ingest import Splitter

    defaults = Splitter()
    size = defaults.size if plan.chunk_tokens is None else plan.chunk_tokens
    overlap = min(defaults.overlap, size // 8) if plan.overlap is None else plan.overlap
    if overlap >= size:
        raise WrongUsage(
            f"`--overlap` must be smaller than a chunk ({size} tokens), got {overlap}.",
            hint=f"An eighth is common: --overlap {size // 8}",
        )
    return Splitter(size, overlap)


@contextmanager
def _progress(out: Output) -> Generator[Progress]:
    from genkit_rag._cli.stores.progress import IngestBar, IngestLines

    if not out.live:
        yield IngestLines(out)
        return
    with IngestBar(out) as progress:
        yield progress


def _summary(report: IngestReport, store: str, out: Output) -> None:
    for problem in report.failed[:SHOWN_PROBLEMS]:
        out.say(f"failed: {problem.source}: {problem.reason}")
    for problem in report.notes[:SHOWN_PROBLEMS]:
        out.say(f"note: {problem.source}: {problem.reason}")
    if out.json:
        out.data({"store": store, **report.to_dict()})
        return
    heads = ["would be" if report.dry_run else "", "files", "chunks"]
    rows = [
        ["added", f"{report.added:,}", f"{report.chunks_added:,}"],
        ["changed", f"{report.changed:,}", ""],
        ["unchanged", f"{report.unchanged:,}", f"{report.chunks_kept:,}"],
        ["removed", f"{report.removed:,}", f"{report.chunks_deleted:,}"],
        ["skipped", f"{len(report.skipped):,}", ""],
        ["failed", f"{len(report.failed):,}", ""],
    ]
    out.table(heads, rows)
    for problem in report.skipped[:SHOWN_PROBLEMS]:
        out.say(f"skipped: {problem.source}: {problem.reason}")
    hidden = sum(max(0, len(listed) - SHOWN_PROBLEMS) for listed in (report.failed, report.notes, report.skipped))
    if hidden:
        out.say(f"{hidden:,} more are listed with --json.")
    rate = report.chunks_added / report.seconds if report.seconds > 0 else 0.0
    out.say(f"{store}: {report.seconds:.1f} s, {rate:,.0f} chunks/s embedded")
