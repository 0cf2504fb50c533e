"""The store screens: content, chunks of sources, metadata facets, and a map of the vectors."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genkit_rag._core.errors import GenkitError
from genkit_rag._server.dev_ui.screens._stores import PAGE, Json, Show, Where, all_stats, ask, store_names
from genkit_rag._server.dev_ui.ui import Screen, Ui

FACET_SAMPLE = 2000
SHOWN_FACETS, SHOWN_VALUES = 12, 8


class _Indexes:
    def __init__(self, ui: Ui) -> None:
        self._ui = ui

    async def stores(self, request: Request) -> Response:
        where = Where.of(request)
        actions = {} if await self._ui.runtimes.current() is None else await self._ui.runtimes.list_actions()
        stores = await all_stats(self._ui.runtimes, store_names(actions), where.context or None)
        return await self._ui.page(request, "indexes/stores.html", stores=stores, where=where, show=Show)

    async def documents(self, request: Request) -> Response:
        where = await self._known(request)
        page = {**where.scope, "limit": PAGE, "prefix": where.prefix, "count": True}
        if where.after:
            page["after"] = where.after
        facets = {**where.scope, "sample": FACET_SAMPLE, "values": SHOWN_VALUES}
        # Show invalid filters on the form instead of an error page, so that the user can correct them.
        (stats, found, seen), problem = await self._asked(where, ("stats", {}), ("page", page), ("facets", facets))
        return await self._ui.page(
            request,
            "indexes/documents.html",
            where=where,
            show=Show,
            stats=stats,
            found=found,
            problem=problem,
            facets=_telling(seen),
            seen=seen,
            embedders=await self._embedders(),
            can_compare=f"/util/{where.store}/neighbours" in await self._ui.runtimes.list_actions(),
            rows=[_row(document) for document in (found or {}).get("documents", [])],
        )

    async def source(self, request: Request) -> Response:
        where = await self._known(request)
        asked = {"source": where.source, "namespace": where.namespace}
        (stats, found), problem = await self._asked(where, ("stats", {}), ("source", asked))
        return await self._ui.page(
            request,
            "indexes/source.html",
            where=where,
            show=Show,
            stats=stats,
            found=found,
            problem=problem,
            rows=[_row(document) for document in (found or {}).get("unplaced", [])],
        )

    async def map(self, request: Request) -> Response:
        where = await self._known(request)
        facets = {**where.scope, "sample": FACET_SAMPLE, "values": 1}
        (stats, seen), problem = await self._asked(where, ("stats", {}), ("facets", facets))
        fields = [one["field"] for one in (seen or {}).get("facets", []) if one["distinct"] > 1]
        return await self._ui.page(
            request,
            "indexes/map.html",
            where=where,
            show=Show,
            stats=stats,
            problem=problem,
            fields=fields,
            query=request.query_params.get("query", ""),
            field=request.query_params.get("field", ""),
        )

    async def _known(self, request: Request) -> Where:
        where = Where.of(request)
        actions = await self._ui.runtimes.list_actions()
        if where.store not in store_names(actions):
            raise GenkitError(
                "NOT_FOUND", f"The app has no store {where.store!r}.", hint="See Indexes for those it has."
            )
        return where

    async def _embedders(self) -> list[str]:
        actions = await self._ui.runtimes.list_actions()
        return sorted(key[len("/embedder/") :] for key in actions if key.startswith("/embedder/"))

    async def _asked(self, where: Where, *verbs: tuple[str, Json]) -> tuple[list[Json | None], GenkitError | None]:
        """Return the result of each verb, None for those that failed, and the first error."""
        calls = (ask(self._ui.runtimes, where.store, verb, given, where.context or None) for verb, given in verbs)
        found: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, GenkitError):
                raise one
        failed = next((one for one in found if isinstance(one, GenkitError)), None)
        return [None if isinstance(one, GenkitError) else one for one in found], failed


def _telling(seen: Json | None) -> list[Json]:
    """Return the facets to show, those with few values first, since they are useful for selection."""
    found: list[Json] = (seen or {}).get("facets", [])
    return sorted(found, key=lambda one: one["distinct"] > SHOWN_VALUES and "lowest" in one)[:SHOWN_FACETS]


def _row(document: Json) -> Json:
    """Return the columns of a document's row."""
    metadata = dict(document.get("metadata") or {})
    texts = [part["text"] for part in document.get("content", []) if part.get("text")]
    media = sum(1 for part in document.get("content", []) if part.get("media"))
    identity = metadata.pop("id", "")
    return {
        "id": identity,
        "text": "".join(texts),
        "media": media,
        "metadata": metadata,
        "source": metadata.get("source") if isinstance(metadata.get("source"), str) else None,
    }


def routes(ui: Ui) -> list[Route]:
    """Create the routes of the screen."""
    pages = _Indexes(ui)
    return [
        Route("/indexes", pages.stores),
        Route("/indexes/store", pages.documents),
        Route("/indexes/source", pages.source),
        Route("/indexes/map", pages.map),
    ]


screen = Screen("Indexes", "/indexes", "index", order=40, routes=routes)
