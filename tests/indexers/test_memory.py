from __future__ import annotations

import pytest

from genkit_rag.testing import VectorStoreContract
from genkit_rag_memory import MemoryStore


class TestMemoryStore(VectorStoreContract):
    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore()
