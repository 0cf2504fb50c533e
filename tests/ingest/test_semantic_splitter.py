from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from genkit_rag import Genkit, GenkitError
from genkit_rag.ingest import IngestOptions, SemanticSplitter, ingest
from genkit_rag.testing import FakeEmbedder

from .conftest import MemorySink

CATS = "Cats purr softly. Cats chase mice. Cats sleep on warm cats. Cats purr and cats sleep."
TAXES = "Taxes fall due yearly. Taxes pay for roads. Late taxes cost interest. Roads and taxes fall due."
TEXT = f"{CATS} {TAXES}"


def starts(splitter: SemanticSplitter, text: str) -> list[str]:
    return [chunk.text.split()[0] for chunk in splitter.chunks(text)]


def test_a_chunk_ends_where_the_subject_changes() -> None:
    fake = FakeEmbedder()
    splitter = SemanticSplitter(lambda texts: [fake.vector(text) for text in texts], percentile=85, window=1)
    assert [chunk.text for chunk in splitter.chunks(TEXT)] == [CATS, TAXES]


def test_chunks_never_exceed_the_size_whatever_the_subject() -> None:
    fake = FakeEmbedder()
    splitter = SemanticSplitter(lambda texts: [fake.vector(text) for text in texts], size=60, count=len)
    chunks = list(splitter.chunks(TEXT * 5))
    assert max(len(chunk.text) for chunk in chunks) <= 60


def test_embedding_is_batched_and_nothing_is_embedded_twice() -> None:
    fake, calls = FakeEmbedder(), list[list[str]]()

    def embed(texts: list[str]) -> object:
        calls.append(texts)
        return [fake.vector(text) for text in texts]

    splitter = SemanticSplitter(embed, batch_size=3, window=1)
    first = list(splitter.chunks(TEXT + " Cats purr softly."))
    assert [len(call) for call in calls] == [3, 3, 2]
    assert list(splitter.chunks(TEXT + " Cats purr softly.")) == first
    assert len(calls) == 3


async def test_an_asynchronous_embedder_is_awaited_on_the_ingestions_loop(tmp_path: Path) -> None:
    loop, loops = asyncio.get_running_loop(), set[object]()
    async with Genkit(plugins=[fake := FakeEmbedder()]) as ai:

        async def embed(texts: list[str]) -> object:
            loops.add(asyncio.get_running_loop())
            return await ai.embed_many(fake.embedder, texts)

        (tmp_path / "a.txt").write_text(TEXT)
        sink = MemorySink()
        splitter = SemanticSplitter(embed, percentile=85, window=1, embedder=fake.embedder)
        await ingest("a.txt", sink=sink, options=IngestOptions(base=tmp_path, splitter=splitter))
        assert sink.embedded == [CATS, TAXES]
        assert loops == {loop}
        with pytest.raises(GenkitError, match="event loop's own thread") as caught:
            list(splitter.chunks("Other text. Not seen before. At all."))
        assert "to_thread" in str(caught.value.hint)


def test_an_asynchronous_embedder_works_without_a_loop() -> None:
    fake = FakeEmbedder()

    async def embed(texts: list[str]) -> object:
        return [fake.vector(text) for text in texts]

    assert starts(SemanticSplitter(embed, percentile=85, window=1), TEXT) == ["Cats", "Taxes"]


@pytest.mark.parametrize("given", [[[1.0]], [1.0, 2.0], [[float("nan")]] * 8])
def test_a_wrong_number_of_vectors_is_refused(given: object) -> None:
    with pytest.raises(GenkitError, match="`embed` gave"):
        list(SemanticSplitter(lambda _: given).chunks(TEXT))


@pytest.mark.weights("all-minilm-l6-v2")
async def test_a_real_embedder_finds_the_change_of_subject(tmp_path: Path) -> None:
    from genkit_rag_minilm import MiniLM

    solar = (
        "The sun is a star at the centre of the solar system. The sun shines by nuclear fusion of hydrogen. "
        "The planets orbit around the sun. Light from the sun reaches the earth in eight minutes."
    )
    bread = (
        "Bread dough is made of flour, water and yeast. Knead the bread dough for ten minutes. "
        "Let the dough rise for an hour. Bake the bread in a hot oven until it is brown."
    )
    async with Genkit(plugins=[MiniLM()]) as ai:
        splitter = SemanticSplitter(lambda texts: ai.embed_many("minilm/all-minilm-l6-v2", texts), percentile=85)
        (tmp_path / "a.txt").write_text(f"{solar} {bread}")
        sink = MemorySink()
        await ingest("a.txt", sink=sink, options=IngestOptions(base=tmp_path, splitter=splitter))
    assert sink.embedded == [solar, bread]
