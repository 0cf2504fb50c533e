"""Actions: typed and JSON calls, streams, contexts and the signatures of handlers."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag.plugin_api import (
    Action,
    ActionContext,
    ActionKind,
    ActionStream,
    GenkitError,
    adapt,
    current_context,
    run_in_thread,
)


class Order(BaseModel):
    item: str
    amounts: list[int]


async def total(order: Order, ctx: ActionContext) -> int:
    return sum(order.amounts)


def flow(fn: Any, **options: Any) -> Action[Any, Any, Any]:
    return Action(ActionKind.FLOW, "flow", adapt(fn), **options)


# -- calling


async def test_a_typed_input_reaches_the_handler_as_the_same_object() -> None:
    order = Order(item="tea", amounts=[1])
    assert await flow(lambda value: value)(order) is order


async def test_json_is_validated_and_the_output_is_json() -> None:
    async def double(order: Order, ctx: ActionContext) -> Order:
        return Order(item=order.item, amounts=order.amounts * 2)

    assert await flow(double, input_type=Order).run_json({"item": "tea", "amounts": [1]}) == {
        "item": "tea",
        "amounts": [1, 1],
    }


async def test_wrong_json_is_refused_with_the_path_of_the_mistake() -> None:
    with pytest.raises(GenkitError) as caught:
        await flow(total, input_type=Order).run_json({"item": "tea", "amounts": [1, "many"]})
    assert caught.value.status == "INVALID_ARGUMENT"
    assert "$.amounts[1]" in caught.value.message
    assert "/flow/flow" in caught.value.message
    assert caught.value.details["problems"][0]["path"] == "$.amounts[1]"


async def test_an_action_typed_by_a_json_schema_checks_its_input_too() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    action = flow(lambda value: value["n"], input_type=schema)
    assert await action.run_json({"n": 3}) == 3
    with pytest.raises(GenkitError, match=r"\$\.n") as caught:
        await action.run_json({"n": "three"})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_an_action_without_input_type_takes_anything() -> None:
    assert await flow(lambda value: value).run_json({"a": [None]}) == {"a": [None]}


def test_schemas_are_json_schemas_of_the_types() -> None:
    action = flow(total, input_type=Order, output_type=int)
    assert action.input_schema is not None
    assert set(action.input_schema["properties"]) == {"item", "amounts"}
    assert action.output_schema == {"type": "integer"}
    assert flow(total).input_schema is None


@pytest.mark.parametrize("name", ["", "/a", "a/", "a b", "a\n", "\x00"])
def test_names_that_no_key_could_hold_are_refused(name: str) -> None:
    with pytest.raises(GenkitError, match="INVALID_ARGUMENT: `name`"):
        Action("flow", name, total)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(GenkitError, match="retriever"):
        Action("retreiver", "x", total)


# -- streaming


async def count(value: int, ctx: ActionContext) -> str:
    for number in range(value):
        ctx.send_chunk(number)
        await asyncio.sleep(0)
    return "done"


async def test_a_stream_gives_the_chunks_in_order_and_then_the_output() -> None:
    stream = flow(count).stream(5)
    assert [chunk async for chunk in stream.stream] == [0, 1, 2, 3, 4]
    assert await stream.response == "done"


async def test_a_stream_that_nobody_iterates_still_gives_the_output() -> None:
    assert await flow(count).stream(3).response == "done"


async def test_chunks_that_were_sent_before_anybody_iterated_are_not_lost() -> None:
    stream = flow(count).stream(3)
    await stream.response
    assert [chunk async for chunk in stream] == [0, 1, 2]


async def test_without_a_listener_chunks_go_nowhere() -> None:
    seen: list[bool] = []

    async def ask(value: int, ctx: ActionContext) -> None:
        seen.append(ctx.streaming)
        ctx.send_chunk(1)

    await flow(ask)(1)
    await flow(ask)(1, on_chunk=lambda chunk: None)
    assert seen == [False, True]


async def test_json_callers_get_chunks_as_json() -> None:
    async def send(value: Any, ctx: ActionContext) -> None:
        ctx.send_chunk(Order(item="tea", amounts=[1]))

    chunks: list[Any] = []
    await flow(send).run_json(None, on_chunk=chunks.append)
    assert chunks == [{"item": "tea", "amounts": [1]}]


async def test_leaving_a_stream_early_cancels_the_call() -> None:
    ended = asyncio.Event()

    async def forever(value: Any, ctx: ActionContext) -> None:
        try:
            ctx.send_chunk("first")
            await asyncio.Event().wait()
        finally:
            ended.set()

    stream = flow(forever).stream(None)
    async for chunk in stream.stream:
        assert chunk == "first"
        break
    await asyncio.wait_for(ended.wait(), 5)
    with pytest.raises(asyncio.CancelledError):
        await stream.response


async def test_an_error_reaches_both_ends_of_a_stream_after_the_chunks() -> None:
    async def fail(value: Any, ctx: ActionContext) -> None:
        ctx.send_chunk(1)
        raise GenkitError("UNAVAILABLE", "The engine is off.")

    stream = flow(fail).stream(None)
    chunks: list[Any] = []
    with pytest.raises(GenkitError, match="off"):
        await _collect(stream, chunks)
    assert chunks == [1]
    with pytest.raises(GenkitError, match="off"):
        await stream.response


async def _collect(stream: ActionStream[Any, Any], chunks: list[Any]) -> None:
    async for chunk in stream:
        chunks.append(chunk)


async def test_a_handler_in_a_thread_streams_while_it_runs_and_its_listener_runs_in_the_loop() -> None:
    go_on = threading.Event()
    threads: list[int] = []

    def slow(value: Any, ctx: ActionContext) -> str:
        ctx.send_chunk("first")
        assert go_on.wait(5), "the first chunk did not arrive while the handler was running"
        ctx.send_chunk("second")
        return "done"

    def listen(chunk: str) -> None:
        threads.append(threading.get_ident())
        go_on.set()

    assert await flow(slow)(None, on_chunk=listen) == "done"
    assert threads == [threading.get_ident()] * 2

    go_on.clear()
    stream = flow(slow).stream(None)
    chunks = []
    async for chunk in stream.stream:
        chunks.append(chunk)
        go_on.set()
    assert chunks == ["first", "second"]


# -- context


async def test_context_is_inherited_by_inner_calls_and_can_be_replaced_for_one() -> None:
    seen: list[Any] = []

    async def inner(value: Any, ctx: ActionContext) -> None:
        seen.append((ctx.context, current_context()))

    async def outer(value: Any, ctx: ActionContext) -> None:
        await flow(inner)(None)
        await flow(inner)(None, context={"user": "b"})
        await flow(inner)(None)

    await flow(outer)(None, context={"user": "a"})
    assert seen == [({"user": name}, {"user": name}) for name in "aba"]
    assert current_context() == {}


async def test_concurrent_calls_keep_their_contexts_apart() -> None:
    async def who(value: Any, ctx: ActionContext) -> Any:
        await asyncio.sleep(0)
        return current_context()["user"]

    assert await asyncio.gather(*(flow(who)(None, context={"user": n}) for n in range(10))) == list(range(10))


async def test_a_handler_in_a_thread_sees_the_context() -> None:
    assert await flow(lambda value: current_context())(None, context={"user": "a"}) == {"user": "a"}


# -- threads


async def test_blocking_handlers_run_beside_the_loop_and_beside_each_other() -> None:
    barrier = threading.Barrier(12, timeout=10)
    loop_thread = threading.get_ident()

    def block(value: Any) -> bool:
        barrier.wait()  # passes only when all twelve run at the same time
        return threading.get_ident() != loop_thread

    assert await asyncio.gather(*(flow(block)(None) for _ in range(12))) == [True] * 12


async def test_stop_iteration_in_a_thread_is_an_error_and_no_hang() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(run_in_thread(next, iter([])), 5)


# -- signatures


class Callable_:
    async def __call__(self, value: int, ctx: ActionContext) -> Any:
        return value, ctx

    def method(self, value: int) -> Any:
        return value


async def _both(value: int, ctx: ActionContext) -> Any:
    return value, ctx


async def _swapped(ctx: ActionContext, value: int) -> Any:
    return value, ctx


async def _named(value: int, whatever: ActionContext) -> Any:
    return value, whatever


async def _keyword(value: int, *, ctx: Any) -> Any:
    return value, ctx


async def _default_between(value: int, times: int = 3, ctx: Any = None) -> Any:
    return value * times // 3, ctx


async def _unnamed_second(value: int, context: Any) -> Any:
    return value, context


def _sync(value: int, ctx: ActionContext) -> Any:
    return value, ctx


async def _star(*args: Any) -> Any:
    return args


@pytest.mark.parametrize(
    "fn",
    [
        _both,
        _swapped,
        _named,
        _keyword,
        _default_between,
        _unnamed_second,
        _sync,
        _star,
        Callable_(),
        functools.partial(_both),
        lambda value, ctx: _both(value, ctx),
    ],
)
async def test_a_handler_takes_input_and_context_in_any_way(fn: Any) -> None:
    value, ctx = await flow(fn)(7, context={"user": "a"})
    assert value == 7
    assert isinstance(ctx, ActionContext)
    assert ctx.context == {"user": "a"}


@pytest.mark.parametrize("fn", [lambda: 7, lambda value: value, Callable_().method, lambda value, **kw: value])
async def test_a_handler_may_take_less(fn: Any) -> None:
    assert await flow(fn)(7) == 7


async def test_a_parameter_with_a_default_that_is_not_the_context_keeps_it() -> None:
    async def times(value: int, factor: int = 3) -> int:
        return value * factor

    assert await flow(times)(7) == 21


class Request(BaseModel):
    query: str
    options: int


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda: "nothing", "nothing"),
        (lambda query: query, "q"),
        (lambda query, options: (query, options), ("q", 2)),
        (lambda text, opts=None: (text, opts), ("q", 2)),
        (lambda query, ctx: (query, ctx.context), ("q", {"user": "a"})),
        (lambda query, options, ctx: (query, options, ctx.context), ("q", 2, {"user": "a"})),
        (lambda query, options, anything: (query, options, anything.context), ("q", 2, {"user": "a"})),
    ],
)
async def test_with_fields_a_handler_takes_them_from_the_left(fn: Any, expected: Any) -> None:
    action = Action[Any, Any, Any]("custom", "x", adapt(fn, ("query", "options")))
    assert await action(Request(query="q", options=2), context={"user": "a"}) == expected


@pytest.mark.parametrize("fn", [lambda a, b, c: None, lambda a, ctx, b: None, lambda a, *, must: None])
def test_a_handler_that_wants_more_than_there_is_is_refused_at_once(fn: Any) -> None:
    with pytest.raises(GenkitError, match="more arguments") as caught:
        adapt(fn)
    assert caught.value.hint
    assert "(input, ctx)" in caught.value.hint
