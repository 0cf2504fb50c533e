"""The web pages of `genkit-rag ingest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genkit_rag._ingest.web import WebPages

_PANEL = "Web pages"

Depth = Annotated[
    int, typer.Option("--depth", min=0, help="How many links away from a given page to go.", rich_help_panel=_PANEL)
]
MaxPages = Annotated[
    int, typer.Option("--max-pages", min=1, help="How many pages are fetched at most.", rich_help_panel=_PANEL)
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        help="Follow links that match this pattern only, such as '/docs/*'; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Leave links that match this pattern out; may be repeated.", rich_help_panel=_PANEL),
]
Rate = Annotated[float, typer.Option("--rate", min=0.01, help="Requests a second to one host.", rich_help_panel=_PANEL)]
UserAgent = Annotated[str, typer.Option("--user-agent", help="What servers are told.", rich_help_panel=_PANEL)]
IgnoreRobots = Annotated[
    bool, typer.Option("--ignore-robots", help="Fetch what robots.txt forbids: your own site.", rich_help_panel=_PANEL)
]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        help="A host that may be in a private network, such as localhost:8000; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPlan:
    """How to crawl."""

    depth: int = 0
    max_pages: int = 1000
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rate: float = 2.0
    user_agent: str = "genkit-rag"
    ignore_robots: bool = False
    allow_hosts: tuple[str, ...] = ()


def split_urls(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """Split arguments into absolute paths and URLs."""
    urls = [argument for argument in arguments if "://" in argument]
    return [Path(given).expanduser().absolute() for given in arguments if given not in urls], urls


def web_documents(urls: list[str], plan: WebPlan, cache: Path | None) -> WebPages | None:
    """Return the web pages; None without URLs."""
    if not urls:
        return None
    from genkit_rag._ingest.web import WebOptions, web_pages
    from genkit_rag._net.policy import FetchPolicy

    options = WebOptions(
        requests_per_second=plan.rate,
        user_agent=plan.user_agent,
        obey_robots=not plan.ignore_robots,
        policy=FetchPolicy(allow_hosts=plan.allow_hosts),
    )
    return web_pages(
        urls,
        depth=plan.depth,
        max_pages=plan.max_pages,
        include=plan.include,
        exclude=plan.exclude,
        cache=cache,
        options=options,
    )
