"""The HTTP reranker against a real server, llama.cpp's, with a small cross-encoder of random weights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import RerankerContract
from genkit_rag_http_rerank import HttpRerank

xllamacpp = pytest.importorskip("xllamacpp")
pytest.importorskip("torch", reason="needs torch: make test TORCH=1")
from tests.fakes.tiny_bert import save_classifier  # noqa: E402
from tests.fakes.tiny_gguf import save_gguf  # noqa: E402

KEY = "sk-right-0123456789"
QUERY = "does a cat sleep"
TEXTS = ["a cat sleeps on the stove", "git merge a branch", "the kitten", "how does a kitten sleep", "cat"]
CHARACTERS = 25  # the model has 64 positions, and knows so few words that a letter may be a token

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def base_url(classifier: Path) -> Iterator[str]:
    params = xllamacpp.CommonParams()
    params.model.path = str(save_gguf(classifier, classifier.parent / "tiny.gguf"))
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.verbosity = -1
    params.cache_ram_mib = 0
    params.api_keys = [KEY]
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


class _Contract(RerankerContract):
    api = ""

    @pytest.fixture
    async def reranker(self, base_url: str) -> AsyncIterator[Any]:
        made = HttpRerank(self.api, "tiny", base_url=base_url, api_key=KEY, max_characters=CHARACTERS)
        (reranker,) = await made.init()
        yield reranker
        await made.close()


class TestLlamaServer(_Contract):
    api = "llama.cpp"


class TestTextEmbeddingsInferenceOfLlamaServer(_Contract):
    api = "tei"


def expected(classifier: Path) -> list[float]:
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    tokenizer: Any = AutoTokenizer.from_pretrained(classifier)
    model: Any = BertForSequenceClassification.from_pretrained(classifier).train(False)
    pairs = [tokenizer(QUERY, text)["input_ids"] for text in TEXTS]
    with torch.inference_mode():  # llama.cpp does not tell the two texts apart by their types
        return [float(model(torch.tensor([ids])).logits[0, 0]) for ids in pairs]


@pytest.mark.parametrize("api", ["llama.cpp", "jina", "vllm", "tei"])
async def test_scores_are_those_of_the_model(base_url: str, classifier: Path, api: str) -> None:
    async with Genkit(plugins=[HttpRerank(api, base_url=base_url, api_key=KEY, name="rr")]) as ai:
        found = await ai.rerank("rr/tiny", QUERY, [Document(text) for text in TEXTS])
    by_text = {document.text: document.score for document in found}
    # It computes in half precision where transformers does not.
    assert [by_text[text] for text in TEXTS] == pytest.approx(expected(classifier), abs=0.05)
    assert len({round(score, 1) for score in expected(classifier)}) > 3  # else the order would prove nothing


async def test_a_wrong_key_is_refused(base_url: str) -> None:
    async with Genkit(plugins=[HttpRerank("llama.cpp", base_url=base_url, api_key="wrong")]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank("llama.cpp", QUERY, [Document("cat")])
    assert caught.value.status == "UNAUTHENTICATED"


async def test_a_text_beyond_the_context_is_refused_in_the_servers_words_and_can_be_cut(base_url: str) -> None:
    long = [Document("cat " * 200)]
    async with Genkit(plugins=[HttpRerank("llama.cpp", base_url=base_url, api_key=KEY)]) as ai:
        with pytest.raises(GenkitError, match="larger than the max context size") as caught:
            await ai.rerank("llama.cpp", QUERY, long)
    assert caught.value.status == "INVALID_ARGUMENT"
    async with Genkit(plugins=[HttpRerank("llama.cpp", base_url=base_url, api_key=KEY, max_characters=100)]) as ai:
        assert len(await ai.rerank("llama.cpp", QUERY, long)) == 1


async def test_a_protocol_that_the_server_does_not_speak_is_said(base_url: str) -> None:
    async with Genkit(plugins=[HttpRerank("cohere", "tiny", base_url=base_url, api_key=KEY)]) as ai:
        with pytest.raises(GenkitError) as caught:
            await ai.rerank("cohere/tiny", QUERY, [Document("cat")])
    assert caught.value.status == "NOT_FOUND"
    assert "api" in (caught.value.hint or "")
