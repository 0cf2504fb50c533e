"""Which collections make a store: a catalog that says whose vectors they are, and one collection for each namespace.

`genkit_rag.<store>` is the catalog; it holds no rows. `genkit_rag.<store>.<generation>.<hash>` holds a namespace. A
change of the embedder fills collections of another generation and then changes the catalog: one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any

from genkit_rag.plugin_api import Fingerprint, GenkitError, fingerprint_mismatch, invalid
from genkit_rag_chroma._engine import Engine, Exists, Gone

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PAGE = 200

FREEZE_SECONDS = 60.0
"""How long writers of other processes wait at most for the last step of a change of the embedder."""


def check_store_name(name: str) -> str:
    """Return a name that is valid within a collection name of Chroma; INVALID_ARGUMENT for others."""
    if not _NAME.fullmatch(name):
        raise invalid(
            "stores",
            name,
            "must be 1 to 64 of A-Z a-z 0-9 _ - and begin with a letter or digit",
            hint="It becomes part of the collections' names; use a namespace for user-made names.",
        )
    return name


def new_id() -> str:
    """Return a unique id."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Head:
    """The content of the catalog.

    Attributes:
        fingerprint: The embedding model of the store.
        generation: The generation of the store's collections.
        next: The generation that a re-embedding fills; empty if there is none.
        next_fingerprint: The embedding model of that generation.
        previous: The replaced generation, until its collections are deleted.
        frozen_until: The time (seconds since 1970) until which writers wait for the end of a re-embedding.
    """

    fingerprint: Fingerprint
    generation: str
    next: str = ""
    next_fingerprint: Fingerprint | None = None
    previous: str = ""
    frozen_until: float = 0.0


class Catalog:
    """The catalog of one store, always read from Chroma: other processes change it too."""

    def __init__(self, engine: Engine, store: str, configuration: dict[str, Any]) -> None:
        self._engine = engine
        self._name = f"genkit_rag.{store}"
        self._configuration = configuration
        self._store = store

    async def load(self) -> Head | None:
        """Return the content; None if the store does not exist."""
        try:
            found = await self.named(self._name)
        except Gone:
            return None
        return _decoded(found.metadata)

    async def create(self, fingerprint: Fingerprint) -> Head:
        """Create the content with the fingerprint, unless another process was faster, and return it."""
        head = Head(fingerprint, new_id())
        try:
            await self._create(self._name, _encoded(head))
        except Exists:
            return await self.load() or head
        return head

    async def save(self, head: Head) -> None:
        """Replace the content atomically."""
        await self._engine.call(await self.named(self._name), "modify", metadata=_encoded(head))

    async def settled(self, bound: Fingerprint | None) -> Head:
        """Return the content when no change is about to end; raise if the store is bound to another embedding model."""
        while True:
            head = await self.load()
            if head is None:
                raise GenkitError(
                    "FAILED_PRECONDITION",
                    f"The store `{self._store}` is bound to no embedder.",
                    hint="Call `bind` first.",
                )
            if bound is not None and head.fingerprint != bound:
                raise fingerprint_mismatch(self._store, head.fingerprint, bound)
            if time.time() >= head.frozen_until:
                return head
            await asyncio.sleep(0.05)

    # -- the collections of namespaces

    def name_of(self, generation: str, namespace: str) -> str:
        """Return the name of a namespace's collection."""
        digest = hashlib.blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._name}.{generation}.{digest}"

    async def collection(self, generation: str, namespace: str) -> Any:
        """Return a namespace's collection; raise `Gone` if it does not exist."""
        return await self.named(self.name_of(generation, namespace))

    async def made(self, generation: str, namespace: str) -> Any:
        """Return a namespace's collection; create it if it does not exist."""
        with contextlib.suppress(Gone):
            return await self.collection(generation, namespace)
        try:
            return await self._create(self.name_of(generation, namespace), {"namespace": json.dumps(namespace)})
        except Exists:
            return await self.collection(generation, namespace)

    async def collections(self, generation: str) -> dict[str, Any]:
        """Return the collections of a generation by namespace."""
        return {namespace: found for namespace, found in await self._listed() if _generation(found) == generation}

    async def drop(self, generation: str) -> None:
        """Delete the collections of a generation."""
        for _, found in await self._listed():
            if _generation(found) == generation:
                await self.discard(found)

    async def discard(self, collection: Any) -> None:
        """Delete a collection that may not exist."""
        with contextlib.suppress(Gone):
            await self._engine.call(None, "delete_collection", name=collection.name)

    async def _listed(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        offset = 0
        while True:
            page = await self._engine.call(None, "list_collections", limit=_PAGE, offset=offset)
            found += [
                (json.loads(one.metadata["namespace"]), one) for one in page if one.name.startswith(f"{self._name}.")
            ]
            offset += len(page)
            if len(page) < _PAGE:
                return found

    async def named(self, name: str) -> Any:
        """Return the collection with this name; raise `Gone` if it does not exist."""
        return await self._engine.call(None, "get_collection", name=name, embedding_function=None)

    async def _create(self, name: str, metadata: dict[str, Any]) -> Any:
        return await self._engine.call(
            None,
            "create_collection",
            name=name,
            metadata=metadata,
            embedding_function=None,
            configuration=self._configuration,
        )


def _generation(collection: Any) -> str:
    return str(collection.name.split(".")[2])


def _encoded(head: Head) -> dict[str, Any]:
    return {"head": json.dumps(asdict(head))}


def _decoded(metadata: dict[str, Any]) -> Head:
    raw = json.loads(metadata["head"])
    raw["fingerprint"] = _fingerprint(raw["fingerprint"])
    raw["next_fingerprint"] = _fingerprint(raw["next_fingerprint"])
    return Head(**raw)


def _fingerprint(raw: dict[str, Any] | None) -> Any:
    if raw is None:
        return None
    raw["prefixes"] = tuple(raw["prefixes"])
    return Fingerprint(**raw)
