"""The retrievers over a real embedder and a real store."""

from __future__ import annotations

from pathlib import Path

import pytest

from genkit_rag import Document, Genkit
from genkit_rag.ingest import Splitter
from genkit_rag.testing import ScriptedModel
from genkit_rag_boost import Boost, BoostConfig, Decay
from genkit_rag_faiss import Faiss
from genkit_rag_hybrid import Hybrid, HybridConfig
from genkit_rag_hyde import Hyde
from genkit_rag_minilm import MiniLM
from genkit_rag_multi_query import MultiQuery
from genkit_rag_parents import Parents, ParentsConfig
from genkit_rag_router import ByEmbedding, RouteConfig, Router

MINILM = "minilm/all-minilm-l6-v2"
GUIDE = """\
# Printer

## Paper

Fill the tray with paper of the right size. Fan the sheets first, so that they do not stick together.

## Errors

Error E42 means that the paper tray is empty. Error E43 means that the toner is empty.

# Telephone

## Voice mail

Dial the star key twice to hear your messages. Press seven to delete one of them.
"""


@pytest.mark.weights("all-minilm-l6-v2")
async def test_all_of_them_nest_over_faiss_and_minilm(tmp_path: Path) -> None:
    passage, queries = "Dial the star key twice to hear messages.", "listen to messages\nvoice mail"
    model = ScriptedModel("writer", [passage, queries, queries])  # the inner one rewrites query and passage
    legs = HybridConfig({"meaning": ("faiss/docs", {"mode": "vector"}), "words": ("faiss/docs", {"mode": "text"})})
    plugins = [
        MiniLM(),
        Faiss(["docs"], path=tmp_path, embedder=MINILM),
        Hybrid({"docs": legs}),
        Parents({"near": ParentsConfig("hybrid/docs", window=1, store="faiss/docs"), "whole": "faiss/docs"}),
        MultiQuery({"docs": "parents/near"}, model="writer"),
        Hyde({"docs": "multi-query/docs"}, model="writer"),
        Boost({"docs": BoostConfig("parents/near", Decay("year", 365.0), boosts={"source": {"guide.md": 2.0}})}),
        Router(
            {
                "phone": RouteConfig("hyde/docs", "telephone, calls and voice mail"),
                "printer": RouteConfig("boost/docs", "printer, paper, toner and errors"),
            },
            choose=ByEmbedding(MINILM),
        ),
    ]
    async with Genkit(plugins=plugins) as ai:
        ai.registry.register(model.action)
        document = Document(GUIDE, {"source": "guide.md", "content_type": "text/markdown"})
        await ai.index("faiss/docs", list(Splitter(120, 0, len).split(document)))

        found = await ai.retrieve("router", "how do I hear what callers said?", {"k": 2})
        assert found.notices[0].startswith("ROUTES: phone (")
        assert "star key" in found[0].text
        assert len(model.requests) == 3
        assert any("QUERIES: query-1 'listen to messages'" in notice for notice in found.notices)

        found = await ai.retrieve("router", "the printer says error E43", {"k": 1, "candidates": 1})
        assert found.notices[0].startswith("ROUTES: printer (")
        assert "toner is empty" in found[0].text
        start, end = found[0].metadata["start"], found[0].metadata["end"]
        assert found[0].text.split() == GUIDE[start:end].split()

        whole = await ai.retrieve("parents/whole", "toner", {"k": 1})
        assert whole[0].text.split() == GUIDE.split()
