"""Media of a request are downloaded from public servers only, once each, within bounds."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest

from genkit_rag import Document, Genkit, GenkitError, Media, Message, ModelRequest, Part
from genkit_rag._net.fetch import guarded_client
from genkit_rag.middleware import download_request_media
from genkit_rag.plugin_api import ToolResponse
from genkit_rag.testing import ScriptedModel
from tests.fakes.serving import serve
from tests.fakes.website import Answer, Internet, Website
from tests.net.test_guard import ADDRESSES, PUBLIC

pytestmark = pytest.mark.network

PIXEL = b"\x89PNG one pixel"
URI = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"


class World:
    """A site that is reached under every name and address that a test gives it."""

    def __init__(self, site: Website, url: str) -> None:
        self.site = site
        self.url = url
        self.internet = Internet(url, {"example.com": [PUBLIC], "intern.example": ["10.0.0.7"]})
        self.model = ScriptedModel("test/model", ["ok"] * 20)

    def client(self, policy: Any) -> Any:
        return guarded_client(policy, resolver=self.internet.resolve, network=self.internet)

    async def sent(self, *parts: Part, use: Any = None, **settings: Any) -> ModelRequest:
        made = use or download_request_media(client=self.client, **settings)
        self.response = await Genkit().generate(list(parts), model=self.model.action, use=[made])
        return self.model.requests[-1]

    async def refused(self, *parts: Part, **settings: Any) -> GenkitError:
        with pytest.raises(GenkitError) as caught:
            await self.sent(*parts, **settings)
        assert self.model.requests == []
        assert caught.value.response.messages[0].content == list(parts)
        return caught.value


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Website, str]]:
    site = Website()
    with serve(site) as url:
        yield site, url


@pytest.fixture
def world(served: tuple[Website, str]) -> World:
    site, url = served
    site.pages = {"/a.png": Answer(PIXEL, "image/png"), "/b.png": Answer(b"another", "image/png")}
    site.requests = []
    site.most_busy = 0
    return World(site, url)


def image(url: str = "http://example.com/a.png", content_type: str | None = None) -> Part:
    return Part(media=Media(url=url, content_type=content_type))


async def test_a_medium_of_a_real_server_becomes_a_data_uri(world: World) -> None:
    url = f"{world.url}/a.png"
    request = await world.sent(
        Part(text="What is it?"), image(url), use=download_request_media(allow_private_networks=True)
    )
    assert request.messages[0].content[1].media == Media(url=URI, content_type="image/png")
    assert request.messages[0].content[0].text == "What is it?"
    assert world.response.messages[0].content[1] == image(url)  # the conversation keeps the URL


async def test_this_machine_is_not_reached_when_nobody_allows_it(world: World) -> None:
    error = await world.refused(image(f"{world.url}/a.png"), use=download_request_media())
    assert error.status == "PERMISSION_DENIED"
    assert world.site.requests == []


@pytest.mark.parametrize("url", [url for url in ADDRESSES if url.lower().startswith(("http://", "https://"))])
async def test_an_attack_by_the_url_opens_no_socket(world: World, url: str) -> None:
    world.internet.names = {host: [PUBLIC] for host in ("example.com", "0", "localhost")}
    error = await world.refused(image(url))
    assert error.status in ("PERMISSION_DENIED", "INVALID_ARGUMENT")
    assert (world.internet.connected, world.internet.looked_up) == ([], [])


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.com/a", "gs://bucket/a", "data:image/png;base64,AA"]
)
async def test_what_is_no_http_url_stays_and_opens_no_socket(world: World, url: str) -> None:
    request = await world.sent(image(url))
    assert request.messages[0].content[0] == image(url)
    assert world.internet.connected == []


async def test_a_name_with_a_private_address_is_not_connected_to(world: World) -> None:
    error = await world.refused(image("http://intern.example/a.png"))
    assert error.status == "PERMISSION_DENIED"
    assert world.internet.connected == []


async def test_a_name_that_changes_its_address_is_connected_where_it_was_checked(world: World) -> None:
    world.internet.names = {"rebind.example": [[PUBLIC], ["127.0.0.1"]]}
    request = await world.sent(image("http://rebind.example/a.png"))
    assert request.messages[0].content[0].media == Media(url=URI, content_type="image/png")
    assert world.internet.connected == [(PUBLIC, 80)]


@pytest.mark.parametrize("hop", [1, 3])
@pytest.mark.parametrize("target", ["http://127.0.0.1/a.png", "http://intern.example/a.png", "file:///etc/passwd"])
async def test_a_redirect_to_a_private_address_is_not_followed(world: World, hop: int, target: str) -> None:
    for number in range(hop):
        to = target if number == hop - 1 else f"/{number + 1}"
        world.site.pages[f"/{number}"] = Answer(status=302, headers={"location": to})
    error = await world.refused(image("http://example.com/0"))
    assert error.status in ("PERMISSION_DENIED", "INVALID_ARGUMENT")
    assert {host for host, _ in world.internet.connected} == {PUBLIC}


async def test_a_redirect_to_a_public_address_is_followed(world: World) -> None:
    world.site.pages["/old"] = Answer(status=301, headers={"location": "/a.png"})
    request = await world.sent(image("http://example.com/old"))
    assert request.messages[0].content[0].media == Media(url=URI, content_type="image/png")


async def test_the_same_url_is_fetched_once(world: World) -> None:
    request = await world.sent(image(), image(), image("http://example.com/b.png"))
    assert [part.media.url == URI for part in request.messages[0].content if part.media] == [True, True, False]
    assert sorted(world.site.paths) == ["/a.png", "/b.png"]


async def test_downloads_run_at_the_same_time_but_not_all(world: World) -> None:
    world.site.pages |= {f"/{n}.png": Answer(b"x", "image/png", wait=0.05) for n in range(12)}
    await world.sent(*[image(f"http://example.com/{n}.png") for n in range(12)])
    assert 1 < world.site.most_busy <= 4


async def test_a_medium_that_is_too_large_is_refused(world: World) -> None:
    error = await world.refused(image(), max_bytes=5)
    assert error.status == "OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("server", "part", "becomes"),
    [
        ("image/png", None, "image/png"),
        ("image/jpeg", "image/png", "image/jpeg"),
        ("image/png", "image/*", "image/png"),
        ("application/octet-stream", "image/webp", "image/webp"),
        (None, "audio/mpeg", "audio/mpeg"),
        ("IMAGE/PNG; charset=binary", "image/png", "image/png"),
    ],
)
async def test_the_servers_word_on_the_type_counts(
    world: World, server: str | None, part: str | None, becomes: str
) -> None:
    world.site.pages["/x"] = Answer(PIXEL, server)
    request = await world.sent(image("http://example.com/x", part))
    media = request.messages[0].content[0].media
    assert media is not None
    assert media.content_type == becomes
    assert media.url.startswith(f"data:{becomes};base64,")


@pytest.mark.parametrize(
    ("server", "part"),
    [
        ("text/html", None),
        ("text/html", "image/png"),
        ("audio/mpeg", "image/png"),
        (None, None),
        ("application/octet-stream", None),
        ("application/json", None),
    ],
)
async def test_another_type_is_refused(world: World, server: str | None, part: str | None) -> None:
    world.site.pages["/x"] = Answer(b"secret", server)
    error = await world.refused(image("http://example.com/x", part))
    assert error.status == "FAILED_PRECONDITION"
    assert "secret" not in str(error)


async def test_other_types_are_taken_when_named(world: World) -> None:
    world.site.pages["/x"] = Answer("hello", "text/plain")
    request = await world.sent(image("http://example.com/x"), content_types=["text/plain"])
    assert request.messages[0].content[0].media == Media(
        url="data:text/plain;base64,aGVsbG8=", content_type="text/plain"
    )


@pytest.mark.parametrize(("status", "becomes"), [(404, "NOT_FOUND"), (403, "PERMISSION_DENIED"), (503, "UNAVAILABLE")])
async def test_an_answer_that_is_an_error_is_one(world: World, status: int, becomes: str) -> None:
    world.site.pages["/x?token=hidden"] = Answer("<html>", status=status)
    error = await world.refused(image("http://example.com/x?token=hidden"))
    assert error.status == becomes
    assert "hidden" not in str(error)


async def test_one_failure_ends_the_other_downloads(world: World) -> None:
    world.site.pages["/slow.png"] = Answer(b"x", "image/png", wait=30)
    async with asyncio.timeout(10):
        error = await world.refused(image("http://example.com/slow.png"), image("http://example.com/none.png"))
    assert error.status == "NOT_FOUND"


async def test_a_cancelled_call_ends_its_downloads(world: World) -> None:
    world.site.pages["/slow.png"] = Answer(b"x", "image/png", wait=30)
    running = asyncio.create_task(world.sent(image("http://example.com/slow.png")))
    for _ in range(1000):
        if world.site.requests:
            break
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 10)
    assert world.model.requests == []


async def test_a_filter_says_what_is_fetched(world: World) -> None:
    parts = image(), image("http://example.com/b.png", "image/png")
    request = await world.sent(*parts, filter=lambda part: part.media is not None and part.media.content_type is None)
    assert [part.media.url for part in request.messages[0].content if part.media] == [URI, "http://example.com/b.png"]
    assert world.site.paths == ["/a.png"]


async def test_media_of_documents_and_of_tools_are_fetched_too(world: World) -> None:
    made = download_request_media(client=world.client)
    content = [image().to_wire(), {"text": "beside"}]
    messages = [
        Message.user("Look."),
        Message(role="tool", content=[Part(tool_response=ToolResponse(name="look", output=1, content=content))]),
    ]
    doc = Document([Part(text="A pixel."), image()], {"page": 1}, id="d")
    model = ScriptedModel("test/model", ["ok"], supports={"context": True})
    response = await Genkit().generate(messages=messages, docs=[doc], model=model.action, use=[made])
    request = model.requests[0]
    tool = request.messages[1].content[0].tool_response
    assert tool is not None
    assert tool.content == [{"media": {"url": URI, "contentType": "image/png"}}, {"text": "beside"}]
    assert [(d.id, d.metadata, d.media) for d in request.docs or ()] == [
        ("d", {"page": 1}, [Media(url=URI, content_type="image/png")])
    ]
    assert doc.media == [image().media]
    assert response.messages[:2] == messages
    assert world.site.paths == ["/a.png"]


async def test_a_model_may_opt_in(world: World) -> None:
    from genkit_rag.plugin_api import ActionContext, attach_middleware, model_action

    async def describe(request: ModelRequest, ctx: ActionContext) -> Any:
        return await world.model.action(request)

    made = attach_middleware(model_action("test/eyes", describe), [download_request_media(client=world.client)])
    await Genkit().generate([image()], model=made)
    assert world.model.requests[0].messages[0].content[0].media == Media(url=URI, content_type="image/png")


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"content_types": "image/*"}, {"content_types": []}])
def test_wrong_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(GenkitError, match=next(iter(wrong))):
        download_request_media(**wrong)
