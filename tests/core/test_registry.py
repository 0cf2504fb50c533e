"""The registry: lazy plugins, lookups, errors and closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from genkit_rag.plugin_api import Action, ActionMetadata, GenkitError, Plugin, Registry, adapt


def action(name: str, kind: str = "flow") -> Action[Any, Any, Any]:
    return Action(kind, name, adapt(lambda value: value))


class Shop(Plugin):
    """Gives `shop/tea` at once and resolves `shop/*` on demand; counts what is asked of it."""

    def __init__(self, name: str = "shop", closed: list[str] | None = None) -> None:
        self.name = name
        self.inits = 0
        self.fail: BaseException | None = None
        self.gate: Any = None
        self.closed = closed if closed is not None else []
        self.fail_closing = False

    async def init(self) -> Sequence[Action[Any, Any, Any]]:
        self.inits += 1
        if self.gate is not None:
            await self.gate()
        if self.fail is not None:
            raise self.fail
        return [action(f"{self.name}/tea")]

    async def resolve(self, kind: str, name: str) -> Action[Any, Any, Any] | None:
        return action(name) if kind == "flow" and not name.endswith("/none") else None

    async def list_actions(self) -> Sequence[ActionMetadata]:
        return [ActionMetadata("flow", f"{self.name}/on-demand")]

    async def close(self) -> None:
        self.closed.append(self.name)
        if self.fail_closing:
            raise RuntimeError(f"{self.name} cannot close")


def registry(*plugins: Plugin) -> Registry:
    made = Registry()
    for plugin in plugins:
        made.add_plugin(plugin)
    return made


async def test_a_plugin_runs_when_first_asked_for_and_only_once() -> None:
    shop, other = Shop(), Shop("other")
    made = registry(shop, other)
    assert shop.inits == 0
    for _ in range(3):
        assert (await made.get("flow", "shop/tea")).name == "shop/tea"
    assert (shop.inits, other.inits) == (1, 0)


async def test_concurrent_lookups_start_a_plugin_once() -> None:
    shop = Shop()
    shop.gate = lambda: asyncio.sleep(0.01)
    made = registry(shop)
    found = await asyncio.gather(*(made.get("flow", "shop/tea") for _ in range(20)))
    assert shop.inits == 1
    assert len({id(one) for one in found}) == 1


def test_threads_with_their_own_event_loops_start_a_plugin_once() -> None:
    shop = Shop()
    both_inside = threading.Event()

    async def wait() -> None:
        await asyncio.get_running_loop().run_in_executor(None, both_inside.wait, 5)

    shop.gate = wait
    made = registry(shop)
    found: list[Any] = []

    def work() -> None:
        found.append(asyncio.run(made.get("flow", "shop/tea")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    both_inside.set()
    for thread in threads:
        thread.join(10)
    assert shop.inits == 1
    assert len(found) == 4
    assert len({id(one) for one in found}) == 1


async def test_an_action_that_init_did_not_give_is_resolved_once() -> None:
    made = registry(Shop())
    first = await made.get("flow", "shop/coffee")
    assert await made.get("flow", "shop/coffee") is first
    assert await made.resolve("flow", "shop/none") is None
    assert await made.resolve("flow", "nobody/none") is None


async def test_a_plugin_that_failed_to_start_is_started_again_at_the_next_lookup() -> None:
    shop = Shop()
    shop.fail = RuntimeError("no key")
    made = registry(shop)
    results = await asyncio.gather(*(made.get("flow", "shop/tea") for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["no key"] * 3
    assert shop.inits <= 3
    shop.fail = None
    assert await made.get("flow", "shop/tea")


async def test_when_the_one_who_starts_a_plugin_is_cancelled_another_one_goes_on() -> None:
    shop = Shop()
    gate = asyncio.Event()
    shop.gate = gate.wait
    made = registry(shop)
    first = asyncio.create_task(made.get("flow", "shop/tea"))
    await asyncio.sleep(0)
    others = [asyncio.create_task(made.get("flow", "shop/tea")) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    found = await asyncio.wait_for(asyncio.gather(*others), 5)
    assert len({id(one) for one in found}) == 1
    assert shop.inits == 2


async def test_cancelling_one_who_waits_for_a_plugin_disturbs_nobody() -> None:
    shop = Shop()
    gate = asyncio.Event()
    shop.gate = gate.wait
    made = registry(shop)
    tasks = [asyncio.create_task(made.get("flow", "shop/tea")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[0] is results[2]
    assert shop.inits == 1


async def test_a_plugin_may_look_things_up_while_it_starts() -> None:
    class Curious(Shop):
        async def init(self) -> Sequence[Action[Any, Any, Any]]:
            with pytest.raises(GenkitError, match="NOT_FOUND"):
                await self.registry.get("embedder", "nobody/none")
            return await super().init()

    made = registry(Curious())
    assert await asyncio.wait_for(made.get("flow", "shop/tea"), 5)


# -- names


def test_a_key_or_plugin_name_that_is_taken_is_refused() -> None:
    made = registry(Shop())
    made.register(action("x"))
    made.register(action("x", "tool"))
    with pytest.raises(GenkitError, match="ALREADY_EXISTS"):
        made.register(action("x"))
    with pytest.raises(GenkitError, match="ALREADY_EXISTS"):
        made.add_plugin(Shop())
    with pytest.raises(GenkitError, match="no name"):
        made.add_plugin(Shop(""))


async def test_what_is_not_found_is_answered_with_what_there_is_and_the_closest_name() -> None:
    made = registry(Shop())
    made.register(action("greet"))
    made.register(action("a-tool", "tool"))
    with pytest.raises(GenkitError) as caught:
        await made.get("flow", "gret")
    assert caught.value.status == "NOT_FOUND"
    assert caught.value.hint == "Did you mean `greet`? Registered flows: `greet`, `shop/on-demand`, `shop/tea`."
    assert caught.value.details["names"] == ["greet", "shop/on-demand", "shop/tea"]


async def test_when_there_is_nothing_of_a_kind_the_error_says_what_to_do() -> None:
    with pytest.raises(GenkitError, match=r"No model is registered.*plugins="):
        await Registry().get("model", "x/y")


async def test_a_name_of_a_plugin_that_is_not_loaded_names_the_class_to_add() -> None:
    with pytest.raises(GenkitError) as caught:
        await registry(Shop()).get("model", "openai/gpt-4.1-mini")
    assert caught.value.message == "Unknown model `openai/gpt-4.1-mini`: no plugin named `openai` is loaded."
    assert caught.value.hint == "Add `OpenAI()` to `Genkit(plugins=[...])`."
    with pytest.raises(GenkitError, match=r"Add `MiniLM\(\)`"):
        await registry(Shop()).child().get("embedder", "minilm/all-minilm-l6-v2")


async def test_what_is_not_found_is_said_even_when_another_plugin_cannot_start() -> None:
    broken = Shop("broken")
    broken.fail = RuntimeError("no server")
    made = registry(broken)
    made.register(action("greet"))
    with pytest.raises(GenkitError, match="Did you mean `greet`"):
        await made.get("flow", "gret")


async def test_a_listing_has_registered_and_resolvable_actions_once_and_sorted() -> None:
    made = registry(Shop())
    made.register(action("zebra"))
    await made.get("flow", "shop/on-demand")
    keys = [item.key for item in await made.list_actions()]
    assert keys == ["/flow/shop/on-demand", "/flow/shop/tea", "/flow/zebra"]


# -- children


async def test_a_child_sees_its_parent_and_keeps_its_own_to_itself() -> None:
    made = registry(Shop())
    made.register(action("shared"))
    child = made.child()
    own = child.register(action("own"))
    shadow = child.register(action("shared"))
    assert await child.get("flow", "own") is own
    assert await child.get("flow", "shared") is shadow
    assert await child.get("flow", "shop/tea") is await made.get("flow", "shop/tea")
    assert made.lookup("flow", "own") is None
    assert made.lookup("flow", "shared") is not shadow
    assert "/flow/own" in [item.key for item in await child.list_actions()]


# -- closing


async def test_plugins_close_in_reverse_order_and_all_of_them_even_when_one_fails() -> None:
    closed: list[str] = []
    plugins = [Shop(name, closed) for name in ("a", "b", "c")]
    plugins[1].fail_closing = True
    with pytest.raises(RuntimeError, match="b cannot close"):
        await registry(*plugins).close()
    assert closed == ["c", "b", "a"]
