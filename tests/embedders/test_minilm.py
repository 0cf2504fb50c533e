from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.plugin_api import EmbedderAction, EmbedRequest, TextEncoder
from genkit_rag.testing import EmbedderContract
from genkit_rag_minilm import MiniLM

NAME = "minilm/all-minilm-l6-v2"
needs_weights = pytest.mark.weights("all-minilm-l6-v2")


async def embedder_of(plugin: MiniLM) -> EmbedderAction:
    (embedder,) = await plugin.init()
    return embedder


@needs_weights
class TestContract(EmbedderContract):
    tolerance = 1e-5  # only the weights are quantised; the activations are float32

    @pytest.fixture
    async def embedder(self) -> Any:
        return await embedder_of(_PLUGIN)


_PLUGIN = MiniLM()  # one for the module: loading takes a third of a second


@pytest.fixture
async def ai() -> AsyncIterator[Genkit]:
    async with Genkit(plugins=[MiniLM()]) as made:
        yield made


async def vectors_of(ai: Genkit, *texts: str) -> Any:
    found = await ai.embed_many(NAME, texts)
    return np.array([embeddings[0].embedding for embeddings in found])


@needs_weights
async def test_close_meanings_get_close_vectors(ai: Genkit) -> None:
    cat, kitten, car = await vectors_of(ai, "cat", "kitten", "car")
    assert cat @ kitten == pytest.approx(0.788, abs=0.01)  # of the published float32 model
    assert cat @ car == pytest.approx(0.463, abs=0.01)


@needs_weights
async def test_what_is_beyond_256_tokens_does_not_count(ai: Genkit) -> None:
    kept, longer, shorter = await vectors_of(ai, "cat " * 254, "cat " * 254 + "dog " * 50, "cat " * 200 + "dog " * 54)
    np.testing.assert_allclose(kept, longer, atol=1e-6)
    assert not np.allclose(kept, shorter, atol=1e-3)


@needs_weights
async def test_tokens_are_those_of_the_model(ai: Genkit) -> None:
    embedder = await embedder_of(_PLUGIN)
    assert embedder.count_tokens is not None
    assert embedder.count_tokens("") == 2  # the two special tokens
    assert embedder.count_tokens("Hello, embeddings!") == 2 + len(["hello", ",", "em", "##bed", "##ding", "##s", "!"])


@needs_weights
async def test_a_closed_plugin_loads_again_when_asked(ai: Genkit) -> None:
    before = await vectors_of(ai, "cat")
    await ai.registry.plugins[0].close()
    np.testing.assert_array_equal(before, await vectors_of(ai, "cat"))


async def test_it_says_what_it_is_without_loading_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path))
    embedder = await embedder_of(MiniLM(name="mine"))
    assert embedder.name == "mine/all-minilm-l6-v2"
    assert (embedder.info.dimensions, embedder.info.max_tokens, embedder.info.normalized) == (384, 256, True)
    assert embedder.fingerprint(384).revision.startswith("8199be6f")


async def test_missing_weights_say_which_command_fetches_them(
    ai: Genkit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENKIT_RAG_CACHE", str(tmp_path))
    with pytest.raises(GenkitError) as caught:
        await ai.embed(NAME, "text")
    assert caught.value.status == "FAILED_PRECONDITION"
    assert caught.value.hint == "Run: genkit-rag models pull all-minilm-l6-v2"


async def test_an_image_is_refused(ai: Genkit) -> None:
    with pytest.raises(GenkitError) as caught:
        await ai.embed(NAME, Document.from_media("data:image/png;base64,AA==", "image/png"))
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_other_dimensions_are_refused_and_not_ignored(ai: Genkit) -> None:
    with pytest.raises(GenkitError) as caught:
        await ai.embed(NAME, "text", {"dimensions": 128})
    assert caught.value.status == "UNIMPLEMENTED"


def test_threads_must_be_positive() -> None:
    with pytest.raises(GenkitError):
        MiniLM(threads=0)


@needs_weights
@pytest.mark.parametrize("count", [1, 3, 40])
async def test_runs_of_any_size_keep_the_order(count: int) -> None:
    texts = ["word " * (7 * i % 97 + 1) for i in range(count)]
    embedder = await embedder_of(_PLUGIN)
    response = await embedder(EmbedRequest(input=[Document(text) for text in texts]))
    for text, vector in zip(texts, response.vectors, strict=True):
        alone = (await embedder(EmbedRequest(input=[Document(text)]))).vectors[0]
        np.testing.assert_allclose(vector, alone, atol=1e-5)


@needs_weights
def test_token_vectors_are_one_a_token_without_the_special_ones() -> None:
    encoder = TextEncoder("all-minilm-l6-v2")
    empty, cat, long = encoder.embed_tokens(["", "a cat sleeps", "cat " * 400])
    assert (empty.shape, cat.shape, long.shape) == ((0, 384), (3, 384), (254, 384))
    np.testing.assert_allclose(np.linalg.norm(cat, axis=1), 1, atol=1e-5)
