"""The HTTP reranker against a server that speaks the documented protocols, and misbehaves on request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError, Media, Part
from genkit_rag._net.retry_after import retry_after
from genkit_rag.plugin_api import RerankerRequest
from genkit_rag.testing import RerankerContract
from genkit_rag_http_rerank import HttpRerank
from genkit_rag_http_rerank._protocols import PROTOCOLS
from tests.fakes.rerank_api import FakeRerank, score
from tests.fakes.serving import closed_port, serve

pytestmark = pytest.mark.network

KEY = "co-secret-0123456789"
QUERY = "cats sleep long"
TEXTS = ["interest rates rose", "cats sleep", "cats sleep long", "git merge", "cats"]
ORDER = [2, 1, 4, 0, 3]


@pytest.fixture(scope="module")
def fake() -> FakeRerank:
    return FakeRerank(KEY)


@pytest.fixture(scope="module")
def base_url(fake: FakeRerank) -> Iterator[str]:
    with serve(fake.app) as url:
        yield url


@pytest.fixture(autouse=True)
def fresh(fake: FakeRerank, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.requests.clear()
    fake.most, fake.tei_model, fake.retry_after = 0, "good", "0"
    for protocol in PROTOCOLS.values():
        monkeypatch.delenv(protocol.key_variable, raising=False)


def plugin(base_url: str, api: str = "cohere", **options: Any) -> HttpRerank:
    options = {"timeout": 0.5, "api_key": KEY, "model": "good", **options}
    return HttpRerank(api, base_url=base_url, name="rr", **options)


async def rerank(made: HttpRerank, texts: Any = TEXTS, model: str = "good", **options: Any) -> list[Document]:
    documents = [text if isinstance(text, Document) else Document(text, id=str(i)) for i, text in enumerate(texts)]
    async with Genkit(plugins=[made]) as ai:
        return await ai.rerank(f"rr/{model}", QUERY, documents, options)


async def refused(made: HttpRerank, **arguments: Any) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await rerank(made, **arguments)
    shown = f"{caught.value!r} {caught.value} {caught.value.details} {caught.value.__cause__!r}"
    assert KEY not in shown
    return caught.value


class _Contract(RerankerContract):
    api = ""

    @pytest.fixture
    async def reranker(self, base_url: str) -> AsyncIterator[Any]:
        made = plugin(base_url, self.api)
        (reranker,) = await made.init()
        yield reranker
        await made.close()


class TestCohere(_Contract):
    api = "cohere"


class TestJina(_Contract):
    api = "jina"


class TestVllm(_Contract):
    api = "vllm"


class TestLlamaCpp(_Contract):
    api = "llama.cpp"


class TestTextEmbeddingsInference(_Contract):
    api = "tei"


# ---- the scores


@pytest.mark.parametrize("api", PROTOCOLS)
async def test_scores_are_those_of_the_server(base_url: str, api: str) -> None:
    found = await rerank(plugin(base_url, api))
    assert [int(document.id) for document in found] == ORDER
    assert [document.score for document in found] == [score(QUERY, TEXTS[i]) for i in ORDER]


@pytest.mark.parametrize("api", PROTOCOLS)
@pytest.mark.parametrize("max_documents", [1, 2, 3, 5])
async def test_batches_give_what_one_request_gives(
    base_url: str, fake: FakeRerank, api: str, max_documents: int
) -> None:
    found = await rerank(plugin(base_url, api, max_documents=max_documents))
    assert [int(document.id) for document in found] == ORDER
    assert len(fake.requests) == -(-len(TEXTS) // max_documents)


async def test_more_documents_than_the_servers_limit_are_sent_in_parts(base_url: str, fake: FakeRerank) -> None:
    texts = [f"cats sleep {i}" for i in range(70)]
    assert len(await rerank(plugin(base_url, "tei"), texts)) == 70
    assert sorted(len(body["texts"]) for body in fake.requests) == [6, 32, 32]


async def test_the_requests_of_one_call_run_side_by_side_but_not_all_at_once(base_url: str, fake: FakeRerank) -> None:
    await rerank(plugin(base_url, max_documents=1, max_concurrency=3), TEXTS * 3)
    assert fake.most in (2, 3)


@pytest.mark.parametrize("max_documents", [2, 5])
@pytest.mark.parametrize("k", [1, 2, 4])
async def test_k_is_asked_of_the_server_and_kept(base_url: str, fake: FakeRerank, k: int, max_documents: int) -> None:
    found = await rerank(plugin(base_url, max_documents=max_documents), k=k)
    assert [int(document.id) for document in found] == ORDER[:k]
    assert all(body["top_n"] <= k for body in fake.requests)


async def test_long_texts_are_cut(base_url: str, fake: FakeRerank) -> None:
    (found,) = await rerank(plugin(base_url, max_characters=4), ["cats sleep long"])
    assert fake.requests[0]["documents"] == ["cats"]
    assert found.text == "cats sleep long"


async def test_documents_without_text_come_last_in_their_order_and_are_not_sent(
    base_url: str, fake: FakeRerank
) -> None:
    picture = Document([Part(media=Media(url="data:image/png;base64,AA==", content_type="image/png"))], id="p")
    found = await rerank(plugin(base_url), [picture, Document(" ", id="blank"), *TEXTS[1:3], "no match"])
    assert [document.id for document in found] == ["3", "2", "4", "p", "blank"]
    assert found[0].score is not None
    assert found[3].score == found[4].score
    assert (found[3].score or 0) < (found[2].score or 0)
    assert fake.requests[0]["documents"] == [*TEXTS[1:3], "no match"]


async def test_a_query_or_documents_without_text_are_not_sent(base_url: str, fake: FakeRerank) -> None:
    async with Genkit(plugins=[plugin(base_url)]) as ai:
        found = await ai.rerank("rr/good", " ", [Document("b", id="1"), Document("a", id="0")])
        assert [document.id for document in found] == ["1", "0"]
        assert len(await ai.rerank("rr/good", "cats", [Document(""), Document(" ")])) == 2
    assert fake.requests == []


async def test_any_text_can_be_sent(base_url: str) -> None:
    assert len(await rerank(plugin(base_url), ["half a pair \ud83d", "\x00", '"}]', "猫 😴"])) == 4


@pytest.mark.parametrize("api", ["cohere", "tei"])
async def test_documents_that_the_answer_leaves_out_come_last(
    base_url: str, fake: FakeRerank, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake.tei_model = "short"
    with caplog.at_level(logging.WARNING):
        found = await rerank(plugin(base_url, api), model="short")
    assert [int(document.id) for document in found] == ORDER
    assert (found[-1].score or 0) < (found[-2].score or 0)
    assert "left documents out" in caplog.text


@pytest.mark.parametrize("model", ["twice", "beyond", "negative", "nan", "huge", "true", "words", "empty", "html"])
@pytest.mark.parametrize("api", ["cohere", "tei"])
async def test_an_answer_that_is_no_ranking_is_refused(base_url: str, fake: FakeRerank, api: str, model: str) -> None:
    fake.tei_model = model
    error = await refused(plugin(base_url, api), model=model)
    assert error.status == "INTERNAL"
    assert error.hint is not None
    assert len(fake.requests) == 1  # asking again would not help


RESULT = st.fixed_dictionaries({"index": st.integers(-2, 6), "relevance_score": st.floats() | st.none() | st.text()})


@given(
    answer=st.recursive(
        st.none() | st.integers(),
        lambda inner: st.lists(inner) | st.fixed_dictionaries({"results": st.lists(RESULT, max_size=5) | inner}),
    ),
    count=st.integers(0, 5),
)
def test_any_answer_gives_finite_scores_or_an_error(answer: Any, count: int) -> None:
    with contextlib.suppress(GenkitError):
        scores = PROTOCOLS["jina"].scores(answer, count)
        listed = answer["results"] if isinstance(answer, dict) else answer
        said = {item["index"]: item["relevance_score"] for item in listed}
        assert len(scores) == count
        assert {i: value for i, value in enumerate(scores) if value is not None} == said
        assert all(math.isfinite(value) for value in said.values())


# ---- failures


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("status-400", "INVALID_ARGUMENT"),
        ("status-403", "PERMISSION_DENIED"),
        ("unknown", "NOT_FOUND"),
        ("status-413", "INVALID_ARGUMENT"),
        ("status-422", "INVALID_ARGUMENT"),
        ("status-501", "UNIMPLEMENTED"),
    ],
)
async def test_what_is_wrong_with_the_request_is_said_at_once(
    base_url: str, fake: FakeRerank, model: str, status: str
) -> None:
    error = await refused(plugin(base_url), model=model)
    assert error.status == status
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("model", "status"),
    [("status-429", "RESOURCE_EXHAUSTED"), ("status-503", "UNAVAILABLE"), ("status-500", "INTERNAL")],
)
async def test_what_may_pass_is_tried_again_and_then_said(
    base_url: str, fake: FakeRerank, model: str, status: str
) -> None:
    error = await refused(plugin(base_url, max_retries=1, max_delay=0.01), model=model)
    assert error.status == status
    assert len(fake.requests) == 2


async def test_a_server_that_recovers_is_enough(base_url: str, fake: FakeRerank) -> None:
    assert len(await rerank(plugin(base_url, max_delay=0.01), model="flaky-2")) == len(TEXTS)
    assert len(fake.requests) == 3


async def test_the_pause_is_what_the_server_asks_for_and_never_longer_than_allowed(
    base_url: str, fake: FakeRerank, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float, *rest: Any) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr("asyncio.sleep", sleep)
    fake.retry_after = "7"
    error = await refused(plugin(base_url), model="status-429")
    assert (error.retry_after, [pause for pause in pauses if pause > 1]) == (7.0, [7.0, 7.0])
    fake.requests.clear()
    fake.retry_after = "31"  # more than max_delay: it is the caller's to decide
    assert (await refused(plugin(base_url), model="status-429")).retry_after == 31.0
    assert len(fake.requests) == 1


@pytest.mark.parametrize(("header", "seconds"), [("3", 3), ("0.5", 0.5), ("-1", 0)])
def test_retry_after_may_be_seconds(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    now = time.time()
    assert 3000 < (retry_after(formatdate(now + 3600, usegmt=True)) or 0) <= 3600
    assert retry_after(formatdate(now - 3600, usegmt=True)) == 0


@pytest.mark.parametrize("header", [None, "", "soon", "nan", "inf"])
def test_a_retry_after_that_says_nothing_is_none(header: str | None) -> None:
    assert retry_after(header) is None


async def test_a_server_that_sends_nothing_is_given_up(base_url: str, fake: FakeRerank) -> None:
    assert (await refused(plugin(base_url, timeout=0.05), model="stall")).status == "DEADLINE_EXCEEDED"
    assert len(fake.requests) == 1


async def test_a_connection_that_breaks_is_tried_again(base_url: str, fake: FakeRerank) -> None:
    error = await refused(plugin(base_url, max_retries=1, max_delay=0.01), model="reset")
    assert error.status == "UNAVAILABLE"
    assert len(fake.requests) == 2


async def test_a_server_that_is_not_there_is_named() -> None:
    url = f"http://user:pass@127.0.0.1:{closed_port()}"
    made = plugin(url, max_retries=0)
    error = await refused(made)
    assert error.status == "UNAVAILABLE"
    assert "127.0.0.1" in error.message
    assert "pass" not in f"{error} {made!r}".replace("password", "")


async def test_one_failing_batch_fails_the_call(base_url: str) -> None:
    error = await refused(plugin(base_url, max_documents=2, max_retries=0), model="status-503")
    assert error.status == "UNAVAILABLE"


# ---- keys


async def test_a_wrong_key_is_refused_and_not_shown(base_url: str, fake: FakeRerank) -> None:
    made = plugin(base_url, api_key="wrong-key-123")
    with pytest.raises(GenkitError) as caught:
        await rerank(made)
    assert caught.value.status == "UNAUTHENTICATED"
    assert "wrong-key-123" not in f"{caught.value} {caught.value.details} {made!r}"


@pytest.mark.parametrize("api", PROTOCOLS)
async def test_the_key_of_the_environment_is_used(base_url: str, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROTOCOLS[api].key_variable, f" {KEY}\n")
    assert len(await rerank(plugin(base_url, api, api_key=None))) == len(TEXTS)


async def test_a_providers_server_needs_a_key() -> None:
    async with Genkit(plugins=[HttpRerank("cohere", "rerank-v3.5"), HttpRerank("jina")]) as ai:
        for name, variable in (("cohere/rerank-v3.5", "CO_API_KEY"), ("jina/m0", "JINA_API_KEY")):
            with pytest.raises(GenkitError) as caught:
                await ai.rerank(name, QUERY, [Document("a")])
            assert caught.value.status == "FAILED_PRECONDITION"
            assert variable in (caught.value.hint or "")


async def test_a_key_with_a_line_break_is_refused(base_url: str) -> None:
    error = await refused(plugin(base_url, api_key="two\nlines"))
    assert error.status == "FAILED_PRECONDITION"


async def test_the_key_is_in_no_span(base_url: str, spans: Any) -> None:
    await rerank(plugin(base_url))
    await refused(plugin(base_url, max_retries=0), model="status-503")
    seen = [span for span in spans.get_finished_spans() if span.attributes.get("gen_ai.operation.name") == "rerank"]
    assert len(seen) == 2
    assert all(KEY not in span.to_json() for span in spans.get_finished_spans())


# ---- names and arguments


async def test_a_model_is_found_by_name_and_a_server_with_one_model_by_its_own() -> None:
    async with Genkit(plugins=[HttpRerank("jina", "m0"), HttpRerank("tei", base_url="http://127.0.0.1:9")]) as ai:
        for name in ("jina/m0", "jina/other", "tei", "tei/other"):
            assert (await ai.registry.get("reranker", name)).name == name
        with pytest.raises(GenkitError):
            await ai.registry.get("reranker", "jina")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"api": "coher"}, "api"),
        ({"api": "vllm"}, "base_url"),
        ({"api": "cohere", "base_url": "localhost:80"}, "base_url"),
        ({"api": "cohere", "max_documents": 0}, "max_documents"),
        ({"api": "cohere", "max_character": 5}, "max_character"),
        ({"api": "cohere", "timeout": float("nan")}, "timeout"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(GenkitError) as caught:
        HttpRerank(**arguments)
    assert caught.value.details == {"argument": named}
    assert caught.value.hint


async def test_one_plugin_serves_several_event_loops(base_url: str) -> None:
    made = plugin(base_url)
    (reranker,) = await made.init()
    request = RerankerRequest(query=Document(QUERY), documents=[Document(text) for text in TEXTS])

    async def call() -> list[float | None]:
        return [document.score for document in (await reranker(request)).documents]

    async def call_and_close() -> list[float | None]:
        scores = await call()
        await made.close()  # this loop's connections and those of the one that waits for us
        return scores

    assert await call() == await asyncio.to_thread(lambda: asyncio.run(call_and_close())) == await call()
    await made.close()
