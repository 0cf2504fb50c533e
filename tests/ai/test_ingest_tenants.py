"""Ingestion into a store with rules: each caller's files are his, and what is unchanged costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.ingest import IngestOptions
from genkit_rag.plugin_api import EmbedResponse
from genkit_rag.testing import FakeEmbedder
from genkit_rag_memory import Memory


async def test_an_unchanged_file_of_a_tenant_is_not_embedded_again(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Rent\n\nThe rent is due on Friday.")
    embedder = FakeEmbedder()
    memory = Memory(["docs"], embedder=embedder.embedder, required_namespace=lambda ctx: ctx.context["tenant"])
    async with Genkit(plugins=[embedder, memory]) as ai:
        for tenant in ("ada", "bob"):
            for embedded in (1, 0):
                report = await ai.ingest(
                    [tmp_path / "a.md"],
                    indexer="memory/docs",
                    options=IngestOptions(base=tmp_path),
                    context={"tenant": tenant},
                )
                assert report.chunks_added == embedded
        store = await ai.store("memory/docs")
        assert [await store.count(namespace=space) for space in ("ada", "bob", "")] == [1, 1, 0]
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            await ai.ingest([tmp_path / "a.md"], indexer="memory/docs", options=IngestOptions(base=tmp_path))


async def test_a_chunk_of_another_tenant_is_neither_taken_for_ones_own_nor_changed(tmp_path: Path) -> None:
    embedder = FakeEmbedder()
    memory = Memory(["docs"], embedder=embedder.embedder, required_filter=lambda ctx: {"tenant": ctx.context["tenant"]})
    async with Genkit(plugins=[embedder, memory]) as ai:
        for tenant in ("ada", "bob"):
            documents = [Document("The same words.", {"source": "s", "tenant": tenant})]
            options = IngestOptions(base=tmp_path, name=tenant)
            run = ai.ingest(documents=documents, indexer="memory/docs", options=options, context={"tenant": tenant})
            if tenant == "ada":
                assert (await run).chunks_added == 1
            else:
                with pytest.raises(Exception, match="PERMISSION_DENIED"):
                    await run
        (kept,) = await ai.retrieve("memory/docs", "words", context={"tenant": "ada"})
        assert kept.metadata["tenant"] == "ada"


async def test_entries_of_a_document_with_several_vectors_are_not_written_over_anothers(tmp_path: Path) -> None:
    words = FakeEmbedder()
    memory = Memory(["docs"], embedder="several", required_filter=lambda ctx: {"tenant": ctx.context["tenant"]})
    async with Genkit(plugins=[memory]) as ai:

        @ai.embedder("several")
        async def several(documents: list[Document]) -> EmbedResponse:
            rows = [words.vector(word) for document in documents for word in document.text.split()]
            owners = [n for n, document in enumerate(documents) for _ in document.text.split()]
            return EmbedResponse(rows, None if len(rows) == len(documents) else owners)

        await ai.index("memory/docs", [Document("red fox", {"tenant": "ada"}, id="x")], context={"tenant": "ada"})
        with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
            await ai.index("memory/docs", [Document("blue dog", {"tenant": "bob"}, id="x")], context={"tenant": "bob"})
        found = await ai.retrieve("memory/docs", "fox", context={"tenant": "ada"})
        assert {document.text for document in found} == {"red fox"}
        assert len(found) == 2
