"""Requests of the store screens to the app, through actions `/util/<store>/<verb>`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request

from genkit_rag._core.errors import GenkitError, invalid
from genkit_rag._server.dev_ui.ui import OWN_RUN
from genkit_rag._server.runtimes import Runtimes

Json = dict[str, Any]

PAGE = 50
_AT_ONCE = 8
MAX_QUERY = 20_000
"""Characters of JSON in an address."""


def store_names(actions: Mapping[str, Json]) -> list[str]:
    """Return the names of the stores that can be inspected."""
    return sorted(key[len("/util/") : -len("/stats")] for key in actions if is_verb(key, "stats"))


def is_verb(key: str, verb: str) -> bool:
    """Return whether an action's key is that of a store's verb."""
    return key.startswith("/util/") and key.endswith(f"/{verb}") and key.count("/") >= 4


async def ask(runtimes: Runtimes, store: str, verb: str, request: Json, context: Json | None = None) -> Json:
    """Call a verb of a store and return its result."""
    outcome = await runtimes.call(f"/util/{store}/{verb}", request, context=context, labels=OWN_RUN)
    return cast(Json, outcome.result)


async def all_stats(runtimes: Runtimes, stores: list[str], context: Json | None) -> list[Json]:
    """Return the statistics of each store, or the error of a store that fails."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(store: str) -> Json:
        async with gate:
            try:
                return await ask(runtimes, store, "stats", {}, context)
            except GenkitError as error:
                status = "private" if error.status == "PERMISSION_DENIED" else "unavailable"
                health = {"status": status, "problems": [error.message], "hint": error.hint}
                return {"name": store, "health": health, "embedder": "", "modes": []}

    return list(await asyncio.gather(*(one(store) for store in stores)))


@dataclass(frozen=True)
class Where:
    """The view that a URL selects.

    Attributes:
        store: The name of the store.
        namespace: The namespace.
        filter: A metadata filter.
        prefix: A prefix of ids.
        after: The start of the page.
        source: The source to show.
        context: The caller context, for stores with access rules.
    """

    store: str
    namespace: str = ""
    filter: Json = field(default_factory=dict[str, Any])
    prefix: str = ""
    after: str = ""
    source: str = ""
    context: Json = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, request: Request) -> Where:
        """Parse the query string of a request; INVALID_ARGUMENT for invalid JSON."""
        given = request.query_params
        texts = {name: given.get(name, "") for name in ("store", "namespace", "prefix", "after", "source")}
        return cls(**texts, filter=_object(request, "filter"), context=_object(request, "context"))

    def url(self, path: str = "/indexes/store", **changes: Any) -> str:
        """Return the URL of a page with changed values; another view begins at its first page."""
        there = replace(self, **{"after": "", **changes})
        values = {
            name: getattr(there, name)
            for name in ("store", "namespace", "filter", "prefix", "after", "source", "context")
        }
        shown = {
            name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items() if value
        }
        return f"{path}?{urlencode(shown)}"

    def narrowed(self, name: str, value: Any) -> str:
        """Return the URL that toggles a field's value in the filter."""
        terms = dict(self.filter)
        if name in terms and terms[name] == value and type(terms[name]) is type(value):
            del terms[name]
        else:
            terms[name] = value
        return self.url(filter=terms)

    def asks_for(self, name: str, value: Any) -> bool:
        """Return whether the filter selects this value of a field and no other."""
        return name in self.filter and self.filter[name] == value and type(self.filter[name]) is type(value)

    @property
    def scope(self) -> Json:
        """Return the part of a verb's input that selects the view."""
        scope: Json = {"namespace": self.namespace}
        return scope | {"filter": self.filter} if self.filter else scope


def _object(request: Request, name: str) -> Json:
    text = request.query_params.get(name, "")
    if not text.strip():
        return {}
    try:
        found = json.loads(text[:MAX_QUERY])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid(name, text[:80], "must be a JSON object", hint='For example {"lang": "en"}.')
    return cast(Json, found)


class Show:
    """How the templates show values."""

    @staticmethod
    def json(value: Any) -> str:
        """Format a value as JSON on one line."""
        return json.dumps(value, ensure_ascii=False)

    @staticmethod
    def value(value: Any) -> str:
        """Return a string unchanged and any other value as JSON."""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    @staticmethod
    def clip(text: str, characters: int) -> str:
        """Cut a long text."""
        return text if len(text) <= characters else text[:characters] + "…"

    @staticmethod
    def anchor(name: str) -> str:
        """Return the HTML id of a document's element."""
        return "d-" + hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @staticmethod
    def number(value: float) -> str:
        """Format a number without needless digits."""
        return f"{value:.6g}" if value % 1 else str(int(value))
