"""The OpenAI plugin against a real OpenAI-compatible server: llama.cpp's, with a small model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from genkit_rag.plugin_api import GenkitError, ModelInfo, ModelSupports, weights_path
from genkit_rag.testing._models import ModelContract, ModelUnderTest, ask
from genkit_rag_openai import OpenAI

xllamacpp = pytest.importorskip("xllamacpp")

KEY = "sk-right-0123456789"
WRONG = "sk-wrong-9876543210"

pytestmark = [pytest.mark.network, pytest.mark.weights]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    try:
        path = weights_path("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf")
    except GenkitError as error:
        pytest.skip(str(error))
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 1024
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.verbosity = -1
    params.cache_ram_mib = 0
    params.api_keys = [KEY]
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


class TestOpenAIWithLlamaServer(ModelContract):
    @pytest.fixture
    async def model(self, base_url: str) -> AsyncIterator[ModelUnderTest]:  # type: ignore[override]
        can = ModelSupports(tools=False, tool_choice=False, constrained="all")  # it is too small for tools
        right = OpenAI(base_url=base_url, api_key=KEY, models={"smollm2": ModelInfo(supports=can)})
        wrong = OpenAI(base_url=base_url, api_key=WRONG)
        action, refused = await right.resolve("model", "openai/smollm2"), await wrong.resolve("model", "openai/smollm2")
        assert action is not None
        yield ModelUnderTest(action=action, json_schema=True, wrong_key=refused, key=WRONG)
        await right.close()
        await wrong.close()

    async def test_a_prompt_beyond_the_context_is_refused_in_the_servers_words(self, model: ModelUnderTest) -> None:
        with pytest.raises(GenkitError, match="exceeds the available context size") as caught:
            await model.action(ask("word " * 1500))
        assert caught.value.status == "INVALID_ARGUMENT"
