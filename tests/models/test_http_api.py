"""The HTTP client of provider plugins: what it sends, and how failures become errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from genkit_rag._net.http_clients import HttpClients
from genkit_rag.plugin_api import ApiHints, ApiKey, GenkitError, HttpApi, split_lines

HINTS = ApiHints(
    not_json="Check the URL.",
    timeout="Raise the timeout.",
    unreachable="Start the server.",
    status={429: "Slow down."},
    server_error="Try later.",
)
KEY = "sk-very-secret"
URL = "http://ada:pass-word@api.test:8000/v1/?token=hidden"


@contextmanager
def answering(handler: Callable[[httpx.Request], httpx.Response]) -> Iterator[None]:
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))

    async def get(_: Any) -> httpx.AsyncClient:
        return client

    with patch.object(HttpClients, "get", get):
        yield


def api(url: str = "http://api.test:8000/v1", **key: Any) -> HttpApi:
    return HttpApi(url, 5.0, HINTS, key=ApiKey(KEY, "TEST_KEY", "Test(api_key=...)", **key))


async def failing(made: HttpApi, handler: Callable[[httpx.Request], httpx.Response]) -> GenkitError:
    with answering(handler), pytest.raises(GenkitError) as caught:
        await made.post("/chat", {"a": 1})
    assert KEY not in f"{caught.value}{caught.value!r}{made!r}"
    return caught.value


@pytest.mark.parametrize(
    ("key", "header", "value"),
    [({}, "authorization", f"Bearer {KEY}"), ({"header": "x-goog-api-key", "prefix": ""}, "x-goog-api-key", KEY)],
)
async def test_a_post_carries_the_body_and_the_key(key: dict[str, str], header: str, value: str) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"ok": True})

    with answering(answer):
        assert await api(**key).post("/chat", {"a": 1}) == {"ok": True}
    assert (str(seen[0].url), seen[0].read(), seen[0].headers[header]) == (
        "http://api.test:8000/v1/chat",
        b'{"a":1}',
        value,
    )


async def test_a_failure_has_status_hint_details_and_retry_after() -> None:
    body = {"error": {"message": f"too fast, {KEY}", "code": "insufficient_quota"}}
    headers = {"retry-after": "7", "request-id": "req_1"}
    error = await failing(api(), lambda _: httpx.Response(429, json=body, headers=headers))
    assert (error.status, error.hint, error.retry_after) == ("RESOURCE_EXHAUSTED", "Slow down.", 7.0)
    assert error.details == {"http_status": 429, "code": "insufficient_quota", "request_id": "req_1"}
    assert "too fast, ***" in error.message


@pytest.mark.parametrize(("code", "hint"), [(503, "Try later."), (418, None)])
async def test_only_failures_of_the_server_have_the_general_hint(code: int, hint: str | None) -> None:
    error = await failing(api(), lambda _: httpx.Response(code, text="no"))
    assert (error.hint, error.details) == (hint, {"http_status": code})


async def test_hints_of_one_request_come_first() -> None:
    with answering(lambda _: httpx.Response(429)), pytest.raises(GenkitError) as caught:
        await api().post("/chat", {}, status_hints={429: "Another model."})
    assert caught.value.hint == "Another model."


async def test_an_answer_that_is_not_json_is_quoted_without_the_key() -> None:
    error = await failing(api(), lambda _: httpx.Response(200, text=f"<html>{KEY}"))
    assert (error.status, error.hint) == ("INTERNAL", "Check the URL.")
    assert "'<html>***'" in error.message


@pytest.mark.parametrize(
    ("raised", "status", "hint"),
    [
        (httpx.ReadTimeout("slow"), "DEADLINE_EXCEEDED", "Raise the timeout."),
        (httpx.ConnectTimeout("slow"), "UNAVAILABLE", "Start the server."),
        (httpx.ConnectError(f"refused {KEY}"), "UNAVAILABLE", "Start the server."),
    ],
)
async def test_a_failed_connection_names_the_server_without_credentials(
    raised: Exception, status: str, hint: str
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise raised

    error = await failing(api(URL), answer)
    assert (error.status, error.hint) == (status, hint)
    assert "http://api.test:8000/v1" in error.message
    assert not [secret for secret in ("ada", "pass-word", "hidden") if secret in str(error)]


async def test_a_stream_maps_failures_of_the_server_and_of_its_items() -> None:
    async def items() -> list[Any]:
        async with api().stream("/chat", {}) as answer:
            return [answer.parse_json(line) async for line in split_lines(answer.chunks())]

    with answering(lambda _: httpx.Response(200, content=b'{"a": 1}\n2\n')):
        assert await items() == [{"a": 1}, 2]
    with answering(lambda _: httpx.Response(200, content=b'{"a": 1}\nhalf\n')), pytest.raises(GenkitError) as caught:
        await items()
    assert caught.value.status == "INTERNAL"
    busy = answering(lambda _: httpx.Response(503, headers={"retry-after": "2"}, text="busy"))
    with busy, pytest.raises(GenkitError, match="answered 503: busy") as caught:
        await items()
    assert caught.value.retry_after == 2.0


@pytest.mark.parametrize("url", ["ftp://x", "http://", "api.test", "http://[::"])
def test_an_invalid_url_is_an_invalid_argument(url: str) -> None:
    with pytest.raises(GenkitError, match="`base_url` must be an http or https URL") as caught:
        api(url)
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_missing_key_is_an_error_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    made = HttpApi("http://api.test", 5.0, HINTS, key=ApiKey(None, "TEST_KEY", "Test(api_key=...)", required=True))
    error = await failing(made, lambda _: httpx.Response(200, json={}))
    assert error.status == "FAILED_PRECONDITION"
    assert error.hint == "Set the environment variable TEST_KEY, or pass Test(api_key=...)."
    monkeypatch.setenv("TEST_KEY", "two\nlines")
    assert "line breaks" in (await failing(made, lambda _: httpx.Response(200, json={}))).message


def test_the_key_is_not_in_the_repr() -> None:
    assert KEY not in repr(ApiKey(KEY))
