from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from genkit_rag_faiss import FaissStore

from genkit_rag.testing import VectorStoreContract


class TestFaissStore(VectorStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[FaissStore]:
        store = await FaissStore.open(tmp_path / "docs")
        yield store
        await store.close()
