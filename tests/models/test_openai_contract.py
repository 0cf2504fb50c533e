"""The OpenAI plugin keeps the contract of models, against a server that speaks the documented protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from genkit_rag.testing._models import ModelContract, ModelUnderTest
from genkit_rag_openai import OpenAI
from tests.fakes.openai_api import FakeOpenAI
from tests.fakes.serving import closed_port, serve

KEY = "sk-right-0123456789"
WRONG = "sk-wrong-9876543210"

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serve(FakeOpenAI(api_key=KEY).app) as url:
        yield f"{url}/v1"


class TestOpenAI(ModelContract):
    @pytest.fixture
    async def model(self, base_url: str) -> AsyncIterator[ModelUnderTest]:  # type: ignore[override]
        right = OpenAI(base_url=base_url, api_key=KEY, timeout=0.5)
        wrong = OpenAI(base_url=base_url, api_key=WRONG)
        gone = OpenAI(base_url=f"http://127.0.0.1:{closed_port()}/v1")
        yield ModelUnderTest(
            action=await right.resolve("model", "openai/echo"),
            tools=True,
            tool_choice=True,
            json_schema=True,
            several_calls=await right.resolve("model", "openai/two-calls"),
            empty=await right.resolve("model", "openai/empty"),
            broken={
                "UNAVAILABLE": await right.resolve("model", "openai/cut"),
                "DEADLINE_EXCEEDED": await right.resolve("model", "openai/stall"),
                "INTERNAL": await right.resolve("model", "openai/broken"),
            },
            unknown=await right.resolve("model", "openai/gpt-17"),
            unreachable=await gone.resolve("model", "openai/echo"),
            wrong_key=await wrong.resolve("model", "openai/echo"),
            key=WRONG,
        )
        for plugin in (right, wrong, gone):
            await plugin.close()
