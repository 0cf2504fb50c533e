"""Middleware by name: defined, listed, configured over the wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag import Genkit, GenkitError, ModelResponse
from genkit_rag.middleware import Cache, Middleware, MiddlewareRef, Retry, retry
from genkit_rag.plugin_api import ModelRequest, ToolRequest, attach_middleware, model_action
from genkit_rag.testing import ScriptedModel


@dataclass(frozen=True)
class Tag(Middleware):
    """Writes a word behind the question. More of it."""

    word: str = "please"
    how_often: int = 1
    on_tag: Callable[[], None] | None = None
    log_file: Path | None = None

    async def wrap_model(self, params: Any, next: Any, /) -> Any:
        params.request.messages[-1].content[0].text += f" {self.word}" * self.how_often
        return await next(params)


class World:
    def __init__(self, *answers: Any) -> None:
        self.ai = Genkit()
        self.model = ScriptedModel("test/model", answers or ["ok"] * 9)
        self.ai.registry.register(self.model.action)

    async def run(self, *use: Any, **more: Any) -> ModelResponse:
        return await self.ai.generate("hi", model="test/model", use=use, **more)

    async def asked(self, *use: Any) -> str:
        await self.run(*use)
        return self.model.requests[-1].messages[-1].text


async def refused(run: Any, status: str = "INVALID_ARGUMENT") -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await run
    assert caught.value.status == status, str(caught.value)
    return caught.value


async def test_a_class_is_known_by_its_name_with_and_without_settings() -> None:
    world = World()
    world.ai.define_middleware(Tag)
    assert await world.asked("tag") == "hi please"
    assert await world.asked(MiddlewareRef("tag", {"word": "now", "howOften": 2})) == "hi now now"
    assert await world.asked(MiddlewareRef("tag", {"how_often": 2})) == "hi please please"


async def test_functions_and_objects_have_names_too() -> None:
    world = World()

    def shout(times: int = 1) -> Middleware:
        return Tag("!", times)

    world.ai.define_middleware(shout)
    world.ai.define_middleware(Tag("thanks"), name="thankful")

    @world.ai.middleware
    async def ask_twice(request: Any, ctx: Any, next: Any) -> Any:
        await next()
        return await next()

    assert await world.asked(MiddlewareRef("shout", {"times": 3})) == "hi ! ! !"
    assert await world.asked("thankful") == "hi thanks"
    before = len(world.model.requests)
    await world.run("ask_twice")
    assert len(world.model.requests) == before + 2
    error = await refused(world.run(MiddlewareRef("thankful", {"word": "x"})))
    assert "no settings" in error.message


async def test_the_decorator_gives_back_what_it_decorates() -> None:
    ai = Genkit()

    @ai.middleware(name="other", description="Says nothing.")
    class Silent(Middleware):
        pass

    assert issubclass(Silent, Middleware)
    assert ai.list_middleware()["other"] == {"name": "other", "description": "Says nothing."}


async def test_a_config_schema_says_what_the_settings_are() -> None:
    class Settings(BaseModel):
        word: str

    world = World()
    world.ai.define_middleware(Tag, name="typed", config_schema=Settings)
    schema = {"type": "object", "properties": {"howOften": {"type": "integer"}}, "additionalProperties": False}
    world.ai.define_middleware(Tag, name="schemed", config_schema=schema)
    assert await world.asked(MiddlewareRef("typed", {"word": "so"})) == "hi so"
    assert await world.asked(MiddlewareRef("schemed", {"howOften": 2})) == "hi please please"
    assert "$.word" in (await refused(world.run("typed"))).message
    assert "$.howOften" in (await refused(world.run(MiddlewareRef("schemed", {"howOften": "x"})))).message
    assert world.ai.list_middleware()["schemed"]["configSchema"] == schema


async def test_functions_and_paths_are_not_set_by_a_config() -> None:
    world = World()
    world.ai.define_middleware(Tag, metadata={"team": "docs"})
    listed = world.ai.list_middleware()["tag"]
    assert set(listed["configSchema"]["properties"]) == {"word", "howOften"}
    assert listed["description"] == "Writes a word behind the question. More of it."
    assert listed["metadata"] == {"team": "docs"}
    for setting in ("logFile", "log_file", "onTag"):
        error = await refused(world.run(MiddlewareRef("tag", {setting: "/tmp/x"})))
        assert f"$.{setting}" in error.message


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        ("cache", ["path", "vary_by", "clock"]),
        ("retry", ["on_error", "sleep", "uniform"]),
        ("fallback", ["on_error", "registry"]),
        ("redact", ["custom"]),
        ("rate_limit", ["count_tokens"]),
        ("download_request_media", ["filter", "allow_private_networks", "client"]),
        ("augment_with_context", ["item_template", "count_tokens"]),
        ("simulate_constrained_generation", ["instructions_renderer"]),
    ],
)
async def test_only_what_is_safe_is_set_over_the_wire(name: str, forbidden: list[str]) -> None:
    world = World()
    needed = {"fallback": {"models": ["test/model"]}}.get(name, {})
    for setting in forbidden:
        for value in ("x", True):
            await refused(world.run(MiddlewareRef(name, {**needed, setting: value})))
    assert world.model.requests == []


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (MiddlewareRef("retry", {"maxRetries": "many"}), "$.maxRetries"),
        (MiddlewareRef("retry", {"maxRetries": -1}), "$.maxRetries"),
        (MiddlewareRef("retry", {"initialDelayMs": float("nan")}), "$.initialDelayMs"),
        (MiddlewareRef("retry", {"tries": 3}), "$.tries"),
        (MiddlewareRef("retry", {"statuses": ["BROKEN"]}), "$.statuses[0]"),
        (MiddlewareRef("retry", [3]), "$:"),
        (MiddlewareRef("fallback"), "$.models"),
        (MiddlewareRef("fallback", {"models": []}), "$.models"),
        (MiddlewareRef("tool_approval"), "$.allowedTools"),
        (MiddlewareRef("rate_limit"), "$.requestsPerMinute"),
        (MiddlewareRef("cache", {"ttlSeconds": 0}), "$.ttlSeconds"),
        (MiddlewareRef("redact", {"patterns": ["names"]}), "$.patterns[0]"),
        (MiddlewareRef("download_request_media", {"maxBytes": 0}), "$.maxBytes"),
    ],
)
async def test_a_config_that_does_not_match_is_refused_with_its_path(ref: MiddlewareRef, path: str) -> None:
    world = World()
    error = await refused(world.run(ref))
    assert path in error.message
    assert f"`{ref.name}`" in error.message
    assert world.model.requests == []


async def test_an_unknown_name_is_told_with_what_there_is() -> None:
    world = World()
    world.ai.define_middleware(Tag)
    error = await refused(world.run("retyr"), "NOT_FOUND")
    assert "Did you mean `retry`?" in (error.hint or "")
    assert "tag" in error.details["names"]
    assert "cache" in error.details["names"]


@pytest.mark.parametrize("taken", ["retry", "tag"])
def test_a_name_is_given_once(taken: str) -> None:
    ai = Genkit()
    ai.define_middleware(Tag)
    with pytest.raises(GenkitError, match="ALREADY_EXISTS"):
        ai.define_middleware(Retry, name=taken)


@pytest.mark.parametrize("wrong", [None, 3, "retry"])
def test_what_is_no_middleware_is_refused(wrong: Any) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT"):
        Genkit().define_middleware(wrong)


def test_an_object_needs_a_name_and_has_no_settings() -> None:
    ai = Genkit()
    with pytest.raises(GenkitError, match="Pass `name=`"):
        ai.define_middleware(Retry())
    with pytest.raises(GenkitError, match="config_schema"):
        ai.define_middleware(Retry(), name="mine", config_schema={})


def test_a_parameter_that_no_config_can_give_is_refused_at_once() -> None:
    def make(hook: Callable[[], None]) -> Middleware:
        return Middleware()

    with pytest.raises(GenkitError, match="`hook` has no default and cannot be set from JSON"):
        Genkit().define_middleware(make)


def test_names_belong_to_one_genkit() -> None:
    first, second = Genkit(), Genkit()
    first.define_middleware(Tag)
    assert "tag" in first.list_middleware()
    assert "tag" not in second.list_middleware()


def test_children_of_a_registry_see_its_middleware_and_keep_their_own() -> None:
    from genkit_rag._generation.middleware import define_middleware, middleware_descriptions, to_middleware

    ai = Genkit()
    ai.define_middleware(Tag)
    child = ai.registry.child()
    define_middleware(child, Retry(max_retries=9), name="patient")
    assert {"tag", "patient", "retry"} <= set(middleware_descriptions(child))
    assert "patient" not in ai.list_middleware()
    assert to_middleware(["tag"], child)[0] is to_middleware(["tag"], ai.registry)[0]


async def test_a_name_with_the_same_config_is_the_same_object_so_that_a_cache_is_shared() -> None:
    world, other = World(), World()
    for _ in range(3):
        await world.run("cache")
    await world.run(MiddlewareRef("cache", {"maxEntries": 5}))
    assert len(world.model.requests) == 2
    await other.run("cache")  # another Genkit has models of its own
    assert len(other.model.requests) == 1


async def test_generate_over_the_wire_takes_names_and_configs() -> None:
    world = World("ok", GenkitError("UNAVAILABLE", "Not now."), "ok again")
    world.ai.define_middleware(Tag)
    action = await world.ai.registry.get("util", "generate")
    options = {"model": "test/model", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    use = [{"name": "retry", "config": {"initialDelayMs": 1, "noJitter": True}}, {"name": "tag"}]
    response = await action.run_json({**options, "use": use[1:]})
    assert response["message"]["content"] == [{"text": "ok"}]
    assert world.model.requests[0].messages[-1].text == "hi please"
    assert (await action.run_json({**options, "use": use[:1]}))["message"]["content"] == [{"text": "ok again"}]
    with pytest.raises(GenkitError, match=r"\$\.use\[0\]"):
        await action.run_json({**options, "use": [{"title": "retry"}]})


async def test_a_middleware_brings_tools_of_its_own() -> None:
    def today() -> str:
        """Says which day it is."""
        return "Monday"

    class Calendar(Middleware):
        def tools(self) -> Any:
            return [today]

    world = World([ToolRequest(name="today")], "It is Monday.")
    response = await world.run(Calendar())
    assert response.text == "It is Monday."
    assert [tool.name for tool in world.model.requests[0].tools or []] == ["today"]
    assert response.messages[-2].content[0].tool_response is not None
    assert response.messages[-2].content[0].tool_response.output == "Monday"


async def test_a_model_may_have_middleware_of_its_own_whoever_calls_it() -> None:
    seen: list[ModelRequest] = []
    model = ScriptedModel("inner/model", [GenkitError("UNAVAILABLE", "Not now."), "ok", "ok"])

    async def answer(request: ModelRequest, ctx: Any) -> ModelResponse:
        seen.append(request)
        return await model.action(request, on_chunk=ctx.send_chunk if ctx.streaming else None)

    made = attach_middleware(model_action("test/wrapped", answer), [retry(initial_delay_ms=0), Tag("please")])
    chunks: list[Any] = []
    response = await made(
        ModelRequest.model_validate({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}),
        on_chunk=chunks.append,
    )
    assert response.text == "ok"
    assert len(seen) == 2
    assert [chunk.text for chunk in chunks] == ["ok"]
    assert (await Genkit().generate("hi", model=made)).text == "ok"
    with pytest.raises(GenkitError, match="`use` must contain"):
        attach_middleware(model_action("test/named", answer), ["retry"])  # type: ignore[list-item]


@pytest.mark.parametrize("use", [retry(), "retry", MiddlewareRef("retry")])
async def test_a_single_middleware_is_no_list(use: Any) -> None:
    error = await refused(World().ai.generate("hi", model="test/model", use=use))
    assert "list" in error.message


def test_the_objects_behind_names_are_bounded() -> None:
    from genkit_rag._generation.middleware import to_middleware

    ai = Genkit()
    first = to_middleware([MiddlewareRef("cache", {"maxEntries": 1})], ai.registry)[0]
    for size in range(1, 200):
        made = to_middleware([MiddlewareRef("cache", {"maxEntries": size})], ai.registry)[0]
        assert isinstance(made, Cache)
        assert made.max_entries == size
    assert len(ai.registry.values["middlewareObjects"]) == 128
    assert to_middleware([MiddlewareRef("cache", {"maxEntries": 1})], ai.registry)[0] is not first
