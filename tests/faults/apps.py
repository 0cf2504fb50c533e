"""An application over each embedded store, reached by its public verbs only."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from genkit_rag import Document, EmbedderInfo, Genkit, GenkitError
from genkit_rag.plugin_api import Batching, StorePlugin, VectorStore
from genkit_rag.testing import FakeEmbedder
from genkit_rag_faiss import Faiss
from genkit_rag_memory import Memory

Kind = Literal["memory", "faiss", "chroma"]
Embed = Callable[[list[Document]], Any]

both = pytest.mark.parametrize("kind", ["memory", "faiss"])
each = pytest.mark.parametrize("kind", ["memory", "faiss", "chroma"])


@dataclass
class App:
    """One application with one store, and the texts that its embedder was given."""

    ai: Genkit
    store: str
    words: FakeEmbedder
    calls: list[list[str]]

    async def index(self, documents: Any, **options: Any) -> list[str]:
        return (await self.ai.index(self.store, documents, options)).ids

    async def found(self, query: Any, **options: Any) -> list[str]:
        return [document.id for document in await self.ai.retrieve(self.store, query, options)]

    async def delete(self, **which: Any) -> int:
        return await self.ai.delete(self.store, **which)

    async def opened(self) -> VectorStore:
        return await self.ai.store(self.store)

    async def ids(self) -> list[str]:
        return sorted(await (await self.opened()).ids())

    async def get(self, name: str) -> Document:
        (document,) = await (await self.opened()).get([name])
        assert document is not None
        return document


def plugin(kind: Kind, path: Path, **options: Any) -> StorePlugin:
    if kind == "memory":
        return Memory(["docs"], embedder="own/own", **options)
    if kind == "faiss":
        return Faiss(["docs"], path=path, embedder="own/own", **options)
    from genkit_rag_chroma import Chroma

    return Chroma(["docs"], path=path, embedder="own/own", **options)


@asynccontextmanager
async def opened(
    kind: Kind, path: Path, embed: Embed | None = None, *, batching: Batching | None = None, **options: Any
) -> AsyncGenerator[App]:
    """Gives an application whose embedder is `embed`, or one that makes a direction of each word."""
    words = FakeEmbedder()
    calls: list[list[str]] = []

    async def recorded(documents: list[Document]) -> Any:
        calls.append([document.text for document in documents])
        if embed is None:
            return [words.vector(document.text) for document in documents]
        made = embed(documents)
        return await made if inspect.isawaitable(made) else made

    async with Genkit(plugins=[plugin(kind, path, **options)]) as ai:
        ai.define_embedder("own/own", recorded, info=EmbedderInfo(label="own"), batching=batching)
        yield App(ai, f"{kind}/docs", words, calls)


async def refused(call: Any, *words: str, status: str = "INVALID_ARGUMENT") -> GenkitError:
    """Awaits the refusal of a call; it names every word, and the fix."""
    with pytest.raises(GenkitError) as caught:
        await call
    assert caught.value.status == status
    assert caught.value.hint
    for word in words:
        assert word in str(caught.value)
    return caught.value
