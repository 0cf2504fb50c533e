"""Resources."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from genkit_rag import ActionContext, Genkit
from genkit_rag._generation.resource import ResourceInput, ResourceOutput, resolve_resources, resource_action
from genkit_rag.plugin_api import (
    Action,
    ActionMetadata,
    GenkitError,
    Media,
    Message,
    Part,
    Plugin,
    Registry,
    Resource,
)
from genkit_rag.testing import ScriptedModel


def ask(*uris: str) -> list[Message]:
    return [Message.system("s"), Message.user(["Read:", *(Part(resource=Resource(uri=uri)) for uri in uris), "Go."])]


def texts(messages: list[Message]) -> list[str | None]:
    return [part.text for part in messages[-1].content]


async def test_a_model_gets_the_content_in_place_of_the_reference() -> None:
    ai = Genkit()

    @ai.resource(uri="docs://start")
    def start() -> str:
        """The first page."""
        return "Welcome."

    @ai.resource(template="docs://{shelf}/{+path}", name="library", metadata={"own": 1})
    async def page(shelf: str, path: str, uri: str, ctx: ActionContext) -> list[str | Part]:
        return [f"{shelf}|{path}|{uri}|{ctx.context['user']}", Part(media=Media(url="data:,x"), metadata={"m": 1})]

    model = ScriptedModel("test/m", ["done"])
    parts = [Part(text="Read:"), *(Part(resource=Resource(uri=uri)) for uri in ("docs://start", "docs://law/a%20b/c"))]
    response = await ai.generate(parts, model=model.action, context={"user": "anna"})
    sent = model.requests[0].messages[-1].content
    whole = {"uri": "docs://law/a%20b/c", "template": "docs://{shelf}/{+path}"}
    assert [part.to_wire() for part in sent] == [
        {"text": "Read:"},
        {"text": "Welcome.", "metadata": {"resource": {"uri": "docs://start"}}},
        {"text": "law|a b/c|docs://law/a%20b/c|anna", "metadata": {"resource": whole}},
        {"media": {"url": "data:,x"}, "metadata": {"m": 1, "resource": whole}},
    ]
    assert response.messages[0].content == sent
    assert (start.name, start.key, start.description) == ("docs://start", "/resource/docs://start", "The first page.")
    assert page.metadata == {"own": 1, "type": "resource", "resource": {"template": "docs://{shelf}/{+path}"}}


async def test_a_resource_answers_over_the_wire() -> None:
    action = resource_action(lambda n: Part(data={"n": n}), template="n:{n}")
    assert await action.run_json({"uri": "n:7"}) == {
        "content": [{"data": {"n": "7"}, "metadata": {"resource": {"uri": "n:7", "template": "n:{n}"}}}]
    }
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*`n:\{n\}`"):
        await action.run_json({"uri": "m:7"})


async def test_values_have_the_type_of_their_parameter() -> None:
    def order(number: int, verbose: bool = False, **more: Any) -> str:
        return f"{number + 1} {verbose} {more}"

    action = resource_action(order, template="order:{number}")
    assert (await action(ResourceInput(uri="order:41"))).content[0].text == "42 False {}"
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*`number` of the URI"):
        await action(ResourceInput(uri="order:x"))


async def test_a_function_that_is_not_async_runs_in_a_worker_thread() -> None:
    action = resource_action(lambda: threading.current_thread().name, uri="a:b")
    assert (await action(ResourceInput(uri="a:b"))).content[0].text != threading.main_thread().name


async def test_the_calls_resources_come_first_and_the_first_match_wins() -> None:
    registry = Registry()
    registry.register(resource_action(lambda: "registered", uri="a:b"))
    registry.register(resource_action(lambda x: f"by template {x}", template="a:{x}"))
    registry.register(resource_action(lambda: "named", name="other", template="{+all}"))
    assert texts(await resolve_resources(registry, ask("a:b", "a:c"))) == [
        "Read:",
        "registered",
        "by template c",
        "Go.",
    ]
    own = [resource_action(lambda: "own", uri="a:b"), resource_action(lambda x: "second", template="a:{x}")]
    assert texts(await resolve_resources(registry, ask("a:b"), own)) == ["Read:", "own", "Go."]
    assert texts(await resolve_resources(registry, ask("a:b"), ["other"])) == ["Read:", "named", "Go."]
    assert texts(await resolve_resources(registry.child(), ask("a:b"), ["/resource/other"]))[1] == "named"
    with pytest.raises(GenkitError, match=r"NOT_FOUND.*`nope`"):
        await resolve_resources(registry, ask("a:b"), ["nope"])
    wrong: Any = [lambda: "no URI"]
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*resource_action"):
        await resolve_resources(registry, ask("a:b"), wrong)


async def test_messages_without_a_reference_come_back_as_they_are() -> None:
    messages = [Message.user("hi"), Message.model("hello")]
    assert await resolve_resources(Registry(), messages, ["nobody looks this up"]) is messages
    mixed = [messages[0], *ask("a:b")]
    found = await resolve_resources(Registry(), mixed, [resource_action(lambda: "x", uri="a:b")])
    assert found[0] is messages[0]
    assert found[1] is mixed[1]
    assert mixed[2].content[1].resource is not None, "the caller's message has changed"


class Shelf(Plugin):
    """A plugin that lists resources and loads them when they are asked for."""

    name = "shelf"

    def __init__(self) -> None:
        self.listed = 0

    async def list_actions(self) -> list[ActionMetadata]:
        self.listed += 1
        about = {"page": "shelf:{page}", "odd": "{?what}"}
        return [ActionMetadata("resource", f"shelf/{n}", None, {"resource": {"template": t}}) for n, t in about.items()]

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        if (kind, name) != ("resource", "shelf/page"):
            return None
        return resource_action(lambda page: f"page {page}", name=name, template="shelf:{page}")


async def test_a_plugins_resources_are_found_and_asked_for_only_when_nothing_nearer_matches() -> None:
    shelf = Shelf()
    ai = Genkit(plugins=[shelf])
    ai.define_resource(lambda: "near", uri="a:b")
    assert texts(await resolve_resources(ai.registry, ask("a:b")))[1] == "near"
    assert shelf.listed == 0
    assert texts(await resolve_resources(ai.registry, ask("shelf:3")))[1] == "page 3"
    with pytest.raises(GenkitError, match=r"NOT_FOUND.*'c:d'.*There is: a:b, shelf:\{page\}, \{\?what\}"):
        await resolve_resources(ai.registry, ask("c:d"))
    with pytest.raises(GenkitError, match=r"NOT_FOUND.*Define one"):
        await resolve_resources(Registry(), ask("c:d"))


async def test_a_failing_resource_says_its_name() -> None:
    def broken() -> str:
        raise OSError("disk")

    def refused() -> str:
        raise GenkitError("PERMISSION_DENIED", "no")

    own = [
        resource_action(broken, name="broken", uri="a:1"),
        resource_action(refused, uri="a:2"),
        resource_action(lambda: 7, uri="a:3"),
    ]
    with pytest.raises(GenkitError, match=r"INTERNAL.*`broken`.*'a:1'.*disk") as first:
        await resolve_resources(Registry(), ask("a:1"), own)
    assert isinstance(first.value.__cause__, OSError)
    with pytest.raises(GenkitError, match="PERMISSION_DENIED") as second:
        await resolve_resources(Registry(), ask("a:2"), own)
    assert [error.value.details["resource"] for error in (first, second)] == ["broken", "a:2"]
    with pytest.raises(GenkitError, match=r"INTERNAL.*`a:3` gave 7"):
        await resolve_resources(Registry(), ask("a:3"), own)


async def test_resources_are_read_at_the_same_time_and_each_once() -> None:
    meeting = asyncio.Barrier(3)
    reads: list[str] = []

    async def read(x: str) -> str:
        reads.append(x)
        await meeting.wait()
        return x

    own = [resource_action(read, template="a:{x}")]
    async with asyncio.timeout(10):
        messages = await resolve_resources(Registry(), ask("a:1", "a:2", "a:3", "a:1"), own)
    assert texts(messages)[1:-1] == ["1", "2", "3", "1"]
    assert sorted(reads) == ["1", "2", "3"]


async def test_the_first_failure_ends_the_others() -> None:
    ended: list[str] = []

    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")
        return ""

    async def broken() -> str:
        await asyncio.sleep(0)
        raise OSError("disk")

    with pytest.raises(GenkitError, match="disk"):
        await resolve_resources(
            Registry(), ask("a:1", "a:2"), [resource_action(slow, uri="a:1"), resource_action(broken, uri="a:2")]
        )
    assert ended == ["slow"]


async def test_a_part_that_came_from_another_resource_keeps_its_origin_and_gets_a_parent() -> None:
    inner = resource_action(lambda: "x", uri="in:1")

    async def outer(name: str) -> list[Part]:
        return (await inner(ResourceInput(uri="in:1"))).content

    found: ResourceOutput = await resource_action(outer, template="out:{name}")(ResourceInput(uri="out:2"))
    assert found.content[0].metadata == {
        "resource": {"uri": "in:1", "parent": {"uri": "out:2", "template": "out:{name}"}}
    }


def test_a_resource_needs_one_uri_or_one_template_and_values_for_its_parameters() -> None:
    both: Any = {"uri": "a:b", "template": "a:{b}"}
    neither: Any = {}
    for wrong in (neither, both):
        with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*`template`"):
            resource_action(lambda: "x", **wrong)
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*template="):
        resource_action(lambda: "x", uri="a:{b}")
    with pytest.raises(GenkitError, match=r"INVALID_ARGUMENT.*'other'.*It may take b, uri, ctx"):
        resource_action(lambda other: "x", template="a:{b}")
