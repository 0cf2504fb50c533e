from __future__ import annotations

import pytest
from genkit_rag_memory import MemoryStore

from genkit_rag.testing import VectorStoreContract


class TestMemoryStore(VectorStoreContract):
    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore()
