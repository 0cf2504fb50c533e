"""Rules of a store hold for whatever is built on it."""

from __future__ import annotations

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder
from genkit_rag_hybrid import Hybrid
from genkit_rag_memory import Memory
from genkit_rag_parents import Parents, ParentsConfig


async def test_a_hybrid_and_parents_see_what_their_caller_may_see() -> None:
    embedder = FakeEmbedder()
    memory = Memory(["docs"], embedder=embedder.embedder, required_filter=lambda ctx: {"tenant": ctx.context["tenant"]})
    plugins = [
        embedder,
        memory,
        Hybrid({"both": ["memory/docs", "parents/docs"]}),
        Parents({"docs": ParentsConfig("memory/docs", window=1)}),
    ]
    async with Genkit(plugins=plugins) as ai:
        for tenant in ("ada", "bob"):
            chunks = [
                Document(
                    f"{tenant} fox {i}",
                    {"tenant": tenant, "source": "a.md", "chunk": i, "start": i * 10, "end": i * 10 + 9},
                    id=f"{tenant}{i}",
                )
                for i in range(3)
            ]
            await ai.index("memory/docs", chunks, context={"tenant": tenant})
        for retriever in ("hybrid/both", "parents/docs"):
            found = await ai.retrieve(retriever, "fox", {"k": 10}, context={"tenant": "ada"})
            assert found
            assert all("bob" not in document.text for document in found)
            with pytest.raises(GenkitError, match="PERMISSION_DENIED"):
                await ai.retrieve(retriever, "fox")
