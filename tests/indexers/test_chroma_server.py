"""The server: typed errors while it is away, at work again when it is back; nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genkit_rag import Genkit
from genkit_rag.plugin_api import Document, GenkitError, parse_filter
from genkit_rag.testing import FakeEmbedder
from genkit_rag.testing._stores import unit_vectors
from genkit_rag_chroma import Chroma
from tests.indexers.chroma_server import Server
from tests.indexers.test_chroma_reindex import FINGERPRINT

pytestmark = pytest.mark.network


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "db")
    yield made
    made.stop()


async def unavailable(call: Any, url: str) -> None:
    with pytest.raises(GenkitError) as caught:
        await call
    assert caught.value.status == "UNAVAILABLE"
    assert url in str(caught.value)
    assert "chroma run" in str(caught.value.hint)


async def test_a_server_that_is_away_is_unavailable_and_is_used_again_when_it_is_back(server: Server) -> None:
    store = await Chroma([], url=server.url).open_store("docs")
    await unavailable(store.bind(FINGERPRINT), server.url)
    server.start()
    await store.bind(FINGERPRINT)
    await store.upsert([Document("a fox", {"n": 1}, id="a")], unit_vectors(1))
    server.stop()
    await unavailable(store.search(unit_vectors(1), 1), server.url)
    await unavailable(store.upsert([Document("b", id="b")], unit_vectors(1)), server.url)
    server.start()
    assert [hit.id for hit in (await store.search(unit_vectors(1), 5))[0]] == ["a"]
    assert [hit.id for hit in await store.search_text("foxes", 5, filter=parse_filter({"n": 1}))] == ["a"]
    await store.close()


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = await Chroma([], url=url, timeout=0.3).open_store("docs")
        await unavailable(store.bind(FINGERPRINT), url)
        await store.close()


async def test_another_application_that_stands_there_is_no_chroma(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        store = await Chroma([], url=f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}").open_store("docs")
        with pytest.raises(GenkitError):
            await store.bind(FINGERPRINT)
        await store.close()


async def test_a_batch_that_is_too_long_for_one_request_is_refused_whole(server: Server) -> None:
    server.start()
    store = await Chroma([], url=server.url).open_store("docs")
    await store.bind(FINGERPRINT)
    with pytest.raises(GenkitError, match="batch_size"):
        await store.upsert([Document("t", id=str(i)) for i in range(6000)], unit_vectors(6000))
    assert await store.count() == 0
    await store.close()


async def test_two_clients_see_each_other_and_have_their_own_headers(server: Server) -> None:
    server.start()
    stores = [await Chroma([], url=server.url, headers={"x-who": name}).open_store("docs") for name in "ab"]
    for store in stores:
        await store.bind(FINGERPRINT)
    await stores[0].upsert([Document("t", id="x")], unit_vectors(1))
    await stores[1].upsert([Document("t", id="y")], unit_vectors(1))
    assert [await store.count() for store in stores] == [2, 2]
    await stores[0].close()
    assert await stores[1].count() == 2
    await stores[1].close()


async def test_a_database_of_an_embedded_store_can_be_served_later(server: Server, tmp_path: Path) -> None:
    embedded = await Chroma([], path=tmp_path / "db").open_store("docs")
    await embedded.bind(FINGERPRINT)
    await embedded.upsert([Document(str(i), {"i": i}, id=str(i)) for i in range(250)], unit_vectors(250))
    await embedded.upsert([Document(str(i), {"i": -i}, id=str(i)) for i in range(250)], unit_vectors(250))
    await embedded.close()
    server.start()
    store = await Chroma([], url=server.url).open_store("docs")
    await store.bind(FINGERPRINT)
    await store.upsert([Document("new", {"i": 1000}, id="7")], unit_vectors(1))
    assert await store.count() == 250
    assert await store.ids(filter=parse_filter({"i": {"$gt": 0}})) == ["7"]
    await store.close()


async def test_an_application_indexes_and_retrieves_over_a_server(server: Server) -> None:
    server.start()
    async with Genkit(plugins=[FakeEmbedder(), Chroma(["docs"], url=server.url, embedder="fake/words")]) as ai:
        await ai.index("chroma/docs", ["the fox runs", "the dog sleeps"])
        for mode in ("vector", "text", "hybrid"):
            found = await ai.retrieve("chroma/docs", "fox", options={"mode": mode, "k": 1})
            assert [one.text for one in found] == ["the fox runs"]
