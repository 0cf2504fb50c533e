"""An embedder or reranker that fails: its error reaches the caller as it is, and nothing else changes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, GenkitError
from genkit_rag.plugin_api import Batching
from genkit_rag.testing import FakeEmbedder
from genkit_rag_hybrid import Hybrid
from tests.faults.apps import Kind, both, opened

MODES: list[dict[str, Any]] = [{"mode": "vector"}, {"mode": "hybrid"}, {"mmr_lambda": 0.5}]
PETS = [Document("cats purr", id="cat"), Document("dogs bark", id="dog")]


class Broken(Exception):
    pass


def unavailable() -> GenkitError:
    try:
        raise ConnectionResetError("reset by peer")
    except ConnectionResetError as error:
        return GenkitError("UNAVAILABLE", "The provider is away.", hint="Try again.", cause=error)


class Embedder:
    """Makes directions of words until it is told to fail."""

    def __init__(self) -> None:
        self.words = FakeEmbedder()
        self.error: BaseException | None = None

    async def __call__(self, batch: list[Document]) -> Any:
        await asyncio.sleep(0)
        if self.error is not None and any("bad" in document.text for document in batch):
            raise self.error
        return [self.words.vector(document.text) for document in batch]


@both
@pytest.mark.parametrize("error", [unavailable(), Broken("a defect"), TimeoutError(), MemoryError()], ids=repr)
async def test_an_embedders_error_reaches_the_caller_and_nothing_is_written(
    kind: Kind, error: Exception, tmp_path: Path
) -> None:
    embedder = Embedder()
    async with opened(kind, tmp_path, embedder, batching=Batching(max_texts=1, concurrency=3)) as app:
        await app.index(PETS)
        embedder.error = error
        new = [Document(f"new {'bad' if n == 3 else n}", id=f"new {n}") for n in range(6)]
        with pytest.raises(type(error)) as caught:
            await app.index(new)
        assert caught.value is error
        if isinstance(error, GenkitError):
            assert isinstance(error.__cause__, ConnectionResetError)
        assert await app.ids() == ["cat", "dog"]
        assert (await app.found("cats"))[0] == "cat"
        embedder.error = None
        assert len(await app.index(new)) == 6


@both
async def test_a_failing_query_fails_those_who_shared_its_call_and_is_not_remembered(
    kind: Kind, tmp_path: Path
) -> None:
    embedder = Embedder()
    async with opened(kind, tmp_path, embedder) as app:
        await app.index(PETS)
        for error in (unavailable(), Broken("a defect")):
            query = f"bad cats {type(error).__name__}"
            for options in MODES:
                embedder.error = error
                calls = [app.found(query, **options) for _ in range(5)]
                results = await asyncio.gather(*calls, app.found("good cats"), return_exceptions=True)
                assert all(result is error for result in results)
            assert await app.found(query, mode="text") == ["cat"]  # words need no embedder
            embedder.error = None
            for options in MODES:
                assert (await app.found(query, **options))[0] == "cat"


@both
@pytest.mark.parametrize("policy", ["raise", "degrade"])
async def test_a_leg_that_fails_is_raised_or_left_out_with_a_notice(kind: Kind, policy: Any, tmp_path: Path) -> None:
    error = unavailable()

    async def broken(query: Document) -> list[Document]:
        raise error

    async with opened(kind, tmp_path) as app:
        await app.index(PETS)
        app.ai.define_retriever("own/broken", broken)
        app.ai.registry.add_plugin(Hybrid({"both": [app.store, "own/broken"]}, on_error=policy))
        if policy == "raise":
            with pytest.raises(GenkitError) as caught:
                await app.ai.retrieve("hybrid/both", "cats")
            assert caught.value is error
        else:
            found = await app.ai.retrieve("hybrid/both", "cats")
            assert found[0].id == "cat"
            assert any("own/broken" in notice for notice in found.notices)
        assert await app.ids() == ["cat", "dog"]


@both
@pytest.mark.parametrize("error", [unavailable(), Broken("a defect")], ids=repr)
async def test_a_rerankers_error_reaches_the_caller_and_leaves_the_documents_as_they_were(
    kind: Kind, error: Exception, tmp_path: Path
) -> None:
    async def broken(query: Document, documents: list[Document]) -> Any:
        for document in documents:
            document.metadata["seen"] = True
            document.score = 0.0
        raise error

    async with opened(kind, tmp_path) as app:
        await app.index(PETS)
        app.ai.define_reranker("own/broken", broken)
        found = await app.ai.retrieve(app.store, "cats")
        before = [document.to_wire() for document in found]
        with pytest.raises(type(error)) as caught:
            await app.ai.rerank("own/broken", "cats", found)
        assert caught.value is error
        assert [document.to_wire() for document in found] == before
        assert [document.metadata for document in await app.ai.retrieve(app.store, "cats")] == [{}, {}]
