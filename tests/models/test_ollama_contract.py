"""The Ollama plugin keeps the contract of models, against a server that speaks the documented API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from genkit_rag.testing._models import ModelContract, ModelUnderTest
from genkit_rag_ollama import Ollama
from tests.fakes.ollama_api import FakeOllama
from tests.fakes.serving import closed_port, serve

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with serve(FakeOllama().app) as url:
        yield url


class TestOllama(ModelContract):
    @pytest.fixture
    async def model(self, host: str) -> AsyncIterator[ModelUnderTest]:  # type: ignore[override]
        there, gone = Ollama(host, timeout=0.5), Ollama(f"http://127.0.0.1:{closed_port()}")
        yield ModelUnderTest(
            action=await there.resolve("model", "ollama/echo"),
            tools=True,
            json_schema=True,
            several_calls=await there.resolve("model", "ollama/two-calls"),
            empty=await there.resolve("model", "ollama/empty"),
            broken={
                "UNAVAILABLE": await there.resolve("model", "ollama/cut"),
                "DEADLINE_EXCEEDED": await there.resolve("model", "ollama/stall"),
                "INTERNAL": await there.resolve("model", "ollama/broken"),
            },
            unknown=await there.resolve("model", "ollama/llama9"),
            unreachable=await gone.resolve("model", "ollama/echo"),
        )
        await there.close()
        await gone.close()
