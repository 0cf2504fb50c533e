"""The contract, over both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from genkit_rag.testing import VectorStoreContract
from genkit_rag_chroma import Chroma, ChromaStore
from tests.indexers.chroma_server import Server

_names = (f"s{number}" for number in count())


class TestEmbeddedChroma(VectorStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ChromaStore]:
        made = await Chroma([], path=tmp_path / "db").open_store("docs")
        yield made
        await made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("chroma") / "db")
    made.start()
    yield made
    made.stop()


@pytest.mark.network
class TestChromaServer(VectorStoreContract):
    @pytest.fixture
    async def store(self, server: Server) -> AsyncIterator[ChromaStore]:
        made = await Chroma([], url=server.url).open_store(next(_names))
        yield made
        await made.close()
