"""What the screens about stores ask of the app: always through actions `/util/<store>/<verb>`."""

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
    """Returns the names of the stores that can be looked into."""
    return sorted(key[len("/util/") : -len("/stats")] for key in actions if is_verb(key, "stats"))


def is_verb(key: str, verb: str) -> bool:
    """Returns whether an action's key is that of a store's verb."""
    return key.startswith("/util/") and key.endswith(f"/{verb}") and key.count("/") >= 4


async def ask(runtimes: Runtimes, store: str, verb: str, request: Json, context: Json | None = None) -> Json:
    """Returns what a store's verb gives."""
    outcome = await runtimes.call(f"/util/{store}/{verb}", request, context=context, labels=OWN_RUN)
    return cast(Json, outcome.result)


async def all_stats(runtimes: Runtimes, stores: list[str], context: Json | None) -> list[Json]:
    """Returns what each store says of itself; of one that refuses, why."""
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
    """What the address says is looked at.

    Attributes:
        store: The store's name.
        namespace: The partition.
        filter: A filter on the metadata.
        prefix: What ids begin with.
        after: Where the page begins.
        source: The source that is shown.
        context: Who looks, for stores with rules: the context of the calls.
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
        """Returns what a request's address says; INVALID_ARGUMENT for JSON that is none."""
        given = request.query_params
        texts = {name: given.get(name, "") for name in ("store", "namespace", "prefix", "after", "source")}
        return cls(**texts, filter=_object(request, "filter"), context=_object(request, "context"))

    def url(self, path: str = "/indexes/store", **changes: Any) -> str:
        """Returns the address of a page with other values; another view begins at its first page."""
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
        """Returns the address that also asks for a value of a field, or no more when it is asked for already."""
        terms = dict(self.filter)
        if name in terms and terms[name] == value and type(terms[name]) is type(value):
            del terms[name]
        else:
            terms[name] = value
        return self.url(filter=terms)

    def asks_for(self, name: str, value: Any) -> bool:
        """Returns whether the filter asks for a value of a field, and for no other."""
        return name in self.filter and self.filter[name] == value and type(self.filter[name]) is type(value)

    @property
    def scope(self) -> Json:
        """The part of a verb's input that says what is looked at."""
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
        """Returns a value as JSON in one line."""
        return json.dumps(value, ensure_ascii=False)

    @staticmethod
    def value(value: Any) -> str:
        """Returns a string as it is and any other value as JSON."""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    @staticmethod
    def clip(text: str, characters: int) -> str:
        """Returns a text, cut when it is longer."""
        return text if len(text) <= characters else text[:characters] + "…"

    @staticmethod
    def anchor(name: str) -> str:
        """Returns an id for an element that stands for a document."""
        return "d-" + hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @staticmethod
    def number(value: float) -> str:
        """Returns a number without needless digits."""
        return f"{value:.6g}" if value % 1 else str(int(value))
