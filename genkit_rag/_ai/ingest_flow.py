"""Ingestion as a flow. It can be called remotely, so its definition fixes which files it may read."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import PublicError, invalid
from genkit_rag._core.threads import run_in_thread
from genkit_rag._documents.wire import WireModel
from genkit_rag._rag.vector_store import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from genkit_rag._ingest.events import Event, IngestReport
    from genkit_rag._ingest.sink import IngestOptions
    from genkit_rag._ingest.source import Given

_MAX_LISTED = 1000
_MAGIC = re.compile(r"[*?\[]")

PageSource = Callable[[list[str]], "AsyncIterable[Given]"]
"""A function that returns the documents of URLs, for example `web_pages`."""

Ingest = Callable[..., "Awaitable[IngestReport]"]


class IngestRequest(WireModel):
    """The input of an ingestion flow.

    Attributes:
        paths: Files, folders and glob patterns, relative to the flow's base.
        urls: Web pages and sitemaps, if the flow allows them.
        namespace: The namespace to write to, if the flow allows it.
        dry_run: Change nothing, and report what would be done.
    """

    paths: list[str] = Field(default_factory=list, max_length=_MAX_LISTED)
    urls: list[str] = Field(default_factory=list, max_length=_MAX_LISTED)
    namespace: str = DEFAULT_NAMESPACE
    dry_run: bool = False


def ingest_flow(
    ingest: Ingest,
    *,
    indexer: str,
    base: str | Path,
    allow_urls: bool | PageSource,
    namespaces: Collection[str] | None,
    options: IngestOptions | None,
) -> Callable[[IngestRequest, ActionContext], Awaitable[dict[str, Any]]]:
    """Build the function of an ingestion flow; see `Genkit.define_ingest_flow`.

    Args:
        ingest: `Genkit.ingest`.
        indexer: The name of a store, for example `faiss/docs`.
        base: The folder that paths are relative to.
        allow_urls: Whether web pages may be named, or the function that fetches them.
        namespaces: The namespaces that a caller may name besides the default; None for any.
        options: Ingestion options; the flow sets `base` and `dry_run`.
    """
    folder = Path(base).absolute()
    if not folder.is_dir():
        raise invalid("base", str(base), "must be a folder that exists")
    pages = _page_source(allow_urls)
    allowed = None if namespaces is None else frozenset((DEFAULT_NAMESPACE, *namespaces))

    async def run(request: IngestRequest, ctx: ActionContext) -> dict[str, Any]:
        from genkit_rag._ingest.sink import IngestOptions

        request = IngestRequest.model_validate(request)  # a caller in this process may pass a mapping
        if allowed is not None and request.namespace not in allowed:
            raise _refused("namespace", request.namespace, "is not one that this flow writes to")
        paths = [await run_in_thread(_checked, folder, path) for path in request.paths]
        documents: AsyncIterable[Given] | None = _pages(pages, request.urls)
        if not paths and documents is None:
            raise PublicError("INVALID_ARGUMENT", "`paths` or `urls` must name something.", hint="Name a file.")
        report = await ingest(
            paths,
            indexer=indexer,
            documents=documents,
            namespace=request.namespace,
            options=replace(options or IngestOptions(), base=folder, dry_run=request.dry_run),
            progress=(lambda event: ctx.send_chunk(event_data(event))) if ctx.streaming else None,
        )
        return report.to_dict()

    run.__doc__ = f"Bring the store `{indexer}` in step with files and web pages."
    return run


def event_data(event: Event) -> dict[str, Any]:
    """Convert an event to JSON-compatible data with its `type`."""
    return {"type": type(event).__name__, **asdict(event)}


def _page_source(allow_urls: bool | PageSource) -> PageSource | None:
    if allow_urls is False:
        return None
    if allow_urls is not True:
        return allow_urls
    from genkit_rag._ingest.web import web_pages

    return web_pages


def _pages(source: PageSource | None, urls: list[str]) -> AsyncIterable[Given] | None:
    if not urls:
        return None
    if source is None:
        raise _refused("urls", urls[0], "is not read: this flow takes no URLs")
    return source(urls)


def _checked(base: Path, given: str) -> str:
    """Return an absolute path or pattern below the base; PERMISSION_DENIED for one that leads or could lead outside."""
    parts = re.split(r"[/\\]", given)
    if not given or "\0" in given or given.startswith("~") or os.path.isabs(given) or re.match(r"[A-Za-z]:", given):
        raise _refused("paths", given, "must be relative to the folder of this flow")
    if any(part.startswith(".") and part != "." for part in parts) or "\\" in given:
        raise _refused("paths", given, "must not lead out of the folder of this flow, nor to what is hidden")
    fixed = base
    for part in parts:
        if _MAGIC.search(part):
            break
        fixed = fixed / part
    # Also through symbolic links on the way; those found within a folder are not followed out of it.
    if not fixed.resolve().is_relative_to(base.resolve()):
        raise _refused("paths", given, "must not lead out of the folder of this flow")
    if not (_MAGIC.search(given) or os.path.lexists(fixed)):
        raise PublicError("NOT_FOUND", f"`paths`: there is no {given!r}.", hint="Paths start at the flow's folder.")
    return str(base / given)


def _refused(argument: str, value: str, problem: str) -> PublicError:
    return PublicError(
        "PERMISSION_DENIED",
        f"`{argument}`: {value[:200]!r} {problem}.",
        hint="What a flow may read is said where it is defined.",
        details={"argument": argument},
    )
