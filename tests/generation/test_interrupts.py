"""Interrupts: a tool stops the generation to ask, and the generation goes on with the answers."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag import (
    ActionContext,
    Genkit,
    GenkitError,
    Interrupt,
    Message,
    Middleware,
    ModelResponse,
    ModelResponseChunk,
    Part,
    Resume,
    Tool,
    ToolOutput,
    ToolRequest,
    respond_to,
    restart,
)
from genkit_rag._generation.middleware.base import GenerateParams, ToolParams
from genkit_rag._generation.tools.tool import interrupt_tool
from genkit_rag.plugin_api import ModelParams, tool_action
from genkit_rag.testing import ScriptedModel

FINISH_MESSAGE = "One or more tool calls resulted in interrupts."


class Order(BaseModel):
    amount: int
    to: str = "ada"


def call(name: str, ref: str | None = None, /, **arguments: Any) -> ToolRequest:
    return ToolRequest(name=name, input=arguments, ref=ref)


def scripted(ai: Genkit, *answers: Any) -> ScriptedModel:
    model = ScriptedModel("test/scripted", answers)
    ai.registry.register(model.action)
    return model


@pytest.fixture
def ai() -> Genkit:
    return Genkit(model="test/scripted")


@pytest.fixture
def pay(ai: Genkit) -> Tool[str]:
    """A tool that asks before it pays."""

    @ai.tool
    def pay(order: Order, ctx: ActionContext) -> str:
        if not ctx.resumed:
            ctx.interrupt({"amount": order.amount})
        return f"paid {order.amount} ({ctx.resumed}, {ctx.original_input})"

    return pay


def request(response: ModelResponse, position: int = 0) -> Part:
    return response.tool_requests[position]


def outputs(message: Message) -> list[Any]:
    return [part.tool_response.output for part in message.content if part.tool_response]


def over_the_wire(messages: Sequence[Message]) -> list[Message]:
    return [Message.model_validate(item) for item in json.loads(json.dumps([m.to_wire() for m in messages]))]


# -- stopping


async def test_an_interrupt_ends_the_generation_with_the_question(ai: Genkit, pay: Tool[str]) -> None:
    model = scripted(ai, ["Let me see.", call("pay", "r1", amount=5)])
    response = await ai.generate("pay 5", tools=[pay])
    assert (response.finish_reason, response.finish_message) == ("interrupted", FINISH_MESSAGE)
    assert response.text == "Let me see."
    assert [part.to_wire() for part in response.interrupts] == [
        {
            "toolRequest": {"name": "pay", "input": {"amount": 5}, "ref": "r1"},
            "metadata": {"interrupt": {"amount": 5}},
        }
    ]
    assert [message.role for message in response.messages] == ["user", "model"]
    assert len(model.requests) == 1


@pytest.mark.parametrize(("metadata", "stands"), [(None, True), ({}, True), ({"a": None}, {"a": None})])
async def test_what_stands_on_the_interrupt_is_what_the_tool_said(ai: Genkit, metadata: Any, stands: Any) -> None:
    async def ask(ctx: ActionContext) -> None:
        ctx.interrupt(metadata)

    scripted(ai, [call("ask")])
    response = await ai.generate("go", tools=[ask])
    assert response.interrupts[0].metadata == {"interrupt": stands}


async def test_what_a_tool_says_of_its_interrupt_crosses_the_wire(ai: Genkit) -> None:
    def ask() -> None:
        raise Interrupt({"until": datetime.date(2026, 1, 2), "order": Order(amount=1), "who": {"ada"}})

    scripted(ai, [call("ask")])
    response = await ai.generate("go", tools=[ask])
    said = {"until": "2026-01-02", "order": {"amount": 1, "to": "ada"}, "who": ["ada"]}
    assert response.interrupts[0].metadata == {"interrupt": said}
    assert json.loads(json.dumps(response.to_wire()))["message"]["content"][0]["metadata"] == {"interrupt": said}


async def test_an_interrupt_that_cannot_cross_the_wire_is_an_error_with_the_conversation(ai: Genkit) -> None:
    def ask() -> None:
        raise Interrupt({"lock": asyncio.Lock()})

    scripted(ai, [call("ask")])
    with pytest.raises(GenkitError, match="Lock") as caught:
        await ai.generate("go", tools=[ask])
    assert caught.value.status == "INTERNAL"
    assert [message.role for message in caught.value.response.messages] == ["user", "model"]


@pytest.mark.parametrize("falsy", [0, False, "", None, [], {}])
async def test_what_other_tools_gave_is_kept_beside_their_requests(ai: Genkit, falsy: Any) -> None:
    ran: list[str] = []

    async def give(name: str) -> Any:
        await asyncio.sleep(0)
        ran.append(name)
        return falsy

    ask = interrupt_tool("ask", description="Asks.")
    model = scripted(ai, [call("give", "r1", name="a"), call("ask", "r2"), call("give", "r3", name="b")], "done")
    stopped = await ai.generate("go", tools=[give, ask])
    assert [part.metadata for part in stopped.tool_requests] == [
        {"pendingOutput": falsy},
        {"interrupt": True},
        {"pendingOutput": falsy},
    ]
    response = await ai.generate(
        tools=[give, ask], messages=over_the_wire(stopped.messages), resume=ask.respond(stopped.interrupts[0], "yes")
    )
    assert response.text == "done"
    assert ran == ["a", "b"]
    answered = model.requests[1].messages[-1]
    assert outputs(answered) == [falsy, "yes", falsy]
    assert [part.metadata for part in answered.content] == [
        {"source": "pending"},
        {"interruptResponse": True},
        {"source": "pending"},
    ]
    assert [part.metadata for part in model.requests[1].messages[-2].content] == [
        None,
        {"resolvedInterrupt": True},
        None,
    ]


async def test_tools_in_threads_interrupt_too_and_a_multipart_output_is_kept_whole(ai: Genkit) -> None:
    async def look() -> ToolOutput:
        return ToolOutput(output=None, content=[Part(text="a picture"), Part(data={"n": None})], metadata={"by": "eye"})

    def ask(ctx: ActionContext) -> None:
        ctx.interrupt()

    model = scripted(ai, [call("look"), call("ask")], "done")
    stopped = await ai.generate("go", tools=[look, ask])
    before = over_the_wire(stopped.messages)
    await ai.generate(tools=[look, ask], messages=before, resume=respond_to(stopped.interrupts[0], 1))
    assert model.requests[1].messages[-1].content[0].to_wire() == {
        "toolResponse": {"name": "look", "output": None, "content": [{"text": "a picture"}, {"data": {"n": None}}]},
        "metadata": {"by": "eye", "source": "pending"},
    }


async def test_an_interrupt_in_a_flow_that_a_tool_calls_stops_the_generation(ai: Genkit) -> None:
    @ai.flow
    async def approve(amount: int, ctx: ActionContext) -> None:
        ctx.interrupt({"amount": amount})

    async def spend(amount: int) -> None:
        await approve(amount)

    scripted(ai, [call("spend", amount=3)])
    response = await ai.generate("go", tools=[spend])
    assert response.interrupts[0].metadata == {"interrupt": {"amount": 3}}


async def test_a_generation_inside_of_a_tool_hands_its_question_on(ai: Genkit, pay: Tool[str]) -> None:
    async def shop(ctx: ActionContext) -> str:
        before = [Message.model_validate(item) for item in (ctx.resumed or {}).get("messages", [])]
        resume = Part.model_validate(ctx.resumed["answer"]) if before else None
        inner = await ai.generate(None if before else "buy", messages=before, tools=["pay"], resume=resume)
        if inner.interrupts:
            ctx.interrupt({"messages": [m.to_wire() for m in inner.messages], "asks": inner.interrupts[0].to_wire()})
        return inner.text

    model = scripted(ai, [call("shop")], [call("pay", amount=9)], "bought", "all done")
    stopped = await ai.generate("go", tools=[shop])
    asked = (stopped.interrupts[0].metadata or {})["interrupt"]
    answer = pay.restart(Part.model_validate(asked["asks"])).to_wire()
    order = restart(stopped.interrupts[0], {"messages": asked["messages"], "answer": answer})
    response = await ai.generate(tools=[shop], messages=over_the_wire(stopped.messages), resume=order)
    assert response.text == "all done"
    assert outputs(response.messages[-2]) == ["bought"]
    assert outputs(model.requests[2].messages[-1]) == ["paid 9 (True, None)"]


@pytest.mark.parametrize("place", ["model", "wrap_model"])
async def test_only_tools_interrupt(ai: Genkit, place: str) -> None:
    async def stop(request: Any, ctx: ActionContext, next: Any) -> Any:
        ctx.interrupt()

    scripted(ai, Interrupt() if place == "model" else "never")
    with pytest.raises(GenkitError) as caught:
        await ai.generate("go", use=[stop] if place == "wrap_model" else [])
    assert caught.value.status == "INTERNAL"
    assert isinstance(caught.value.__cause__, Interrupt)


@pytest.mark.parametrize("tool_errors", ["raise", "return"])
async def test_an_error_beside_an_interrupt_is_an_error_like_any_other(ai: Genkit, tool_errors: Any) -> None:
    def fail() -> None:
        raise ValueError("broken")

    ask = interrupt_tool("ask", description="Asks.")
    scripted(ai, [call("ask"), call("fail")])
    if tool_errors == "raise":
        with pytest.raises(GenkitError, match="broken"):
            await ai.generate("go", tools=[ask, fail])
    else:
        response = await ai.generate("go", tools=[ask, fail], tool_errors="return")
        assert "broken" in (request(response, 1).metadata or {})["pendingOutput"]["error"]


# -- going on


async def test_an_answer_stands_in_for_the_tool(ai: Genkit, pay: Tool[str]) -> None:
    model = scripted(ai, [call("pay", "r1", amount=5)], "thanks")
    stopped = await ai.generate("pay", tools=[pay])
    answer = pay.respond(stopped.interrupts[0], "no", {"by": "eve"})
    chunks: list[ModelResponseChunk] = []
    response = await ai.generate(messages=stopped.messages, tools=[pay], resume=[answer], on_chunk=chunks.append)
    assert response.text == "thanks"
    assert response.interrupts == []
    assert [message.to_wire() for message in model.requests[1].messages[1:]] == [
        {
            "role": "model",
            "content": [
                {
                    "toolRequest": {"name": "pay", "input": {"amount": 5}, "ref": "r1"},
                    "metadata": {"resolvedInterrupt": {"amount": 5}},
                }
            ],
        },
        {
            "role": "tool",
            "content": [
                {
                    "toolResponse": {"name": "pay", "ref": "r1", "output": "no"},
                    "metadata": {"interruptResponse": {"by": "eve"}},
                }
            ],
            "metadata": {"resumed": True},
        },
    ]
    assert [(c.role, c.index, c.text) for c in chunks] == [("tool", 0, ""), ("model", 1, "thanks")]
    assert chunks[0].content == model.requests[1].messages[-1].content
    assert [m.to_wire() for m in stopped.messages][-1]["content"][0]["metadata"] == {"interrupt": {"amount": 5}}


async def test_a_restart_runs_the_tool_with_what_was_said(ai: Genkit, pay: Tool[str]) -> None:
    model = scripted(ai, [call("pay", amount=5), call("pay", "r2", amount=6), call("pay", "r3", amount=7)], "done")
    stopped = await ai.generate("pay", tools=[pay])
    one, two, three = stopped.interrupts
    orders = [pay.restart(one), pay.restart(two, {"by": "ada"}), pay.restart(three, input=Order(amount=1))]
    await ai.generate(messages=stopped.messages, tools=[pay], resume=Resume(restart=orders, metadata={"at": 12}))
    asked, answered = model.requests[1].messages[-2:]
    assert outputs(answered) == ["paid 5 (True, None)", "paid 6 ({'by': 'ada'}, None)", "paid 1 (True, {'amount': 7})"]
    assert answered.metadata == {"resumed": {"at": 12}}
    assert [part.metadata for part in asked.content] == [
        {"resolvedInterrupt": {"amount": 5}, "resumed": True},
        {"resolvedInterrupt": {"amount": 6}, "resumed": {"by": "ada"}},
        {"resolvedInterrupt": {"amount": 7}, "resumed": True, "replacedInput": {"amount": 7}},
    ]
    assert asked.content[2].tool_request is not None
    assert asked.content[2].tool_request.input == {"amount": 1, "to": "ada"}


async def test_a_restart_may_ask_once_more_and_every_input_goes_back_to_the_models(ai: Genkit) -> None:
    async def pay(amount: int, ctx: ActionContext) -> str:
        if amount > 1:
            ctx.interrupt({"amount": amount})
        return f"{amount} instead of {ctx.original_input}"

    model = scripted(ai, [call("pay", amount=3)], "done")
    response = await ai.generate("pay", tools=[pay])
    for amount in (2, 1):
        order = restart(response.interrupts[0], input={"amount": amount})
        before = over_the_wire(response.messages)
        response = await ai.generate(messages=before, tools=[pay], resume=order)
        if amount == 2:
            assert (response.finish_reason, response.finish_message) == ("interrupted", FINISH_MESSAGE)
            assert response.interrupts[0].metadata == {
                "interrupt": {"amount": 2},
                "resolvedInterrupt": {"amount": 3},
                "resumed": True,
                "replacedInput": {"amount": 3},
            }
    assert response.text == "done"
    assert len(model.requests) == 2
    assert outputs(model.requests[1].messages[-1]) == ["1 instead of {'amount': 3}"]


async def test_answers_find_their_requests_by_ref_in_any_order_and_without_refs_in_order(ai: Genkit) -> None:
    ask = interrupt_tool("ask", description="Asks.", input_type={})
    model = scripted(ai, [call("ask", "a"), call("ask", "b"), call("ask", n=1), call("ask", n=2)], "done")
    stopped = await ai.generate("go", tools=[ask])
    answers = [respond_to(part, n) for n, part in enumerate(stopped.interrupts)]
    resume = [answers[1], answers[2], answers[0], answers[3]]
    await ai.generate(messages=stopped.messages, tools=[ask], resume=resume)
    assert outputs(model.requests[1].messages[-1]) == [0, 1, 2, 3]


async def test_a_model_cannot_pretend_that_somebody_agreed(ai: Genkit, pay: Tool[str]) -> None:
    wish = Part(tool_request=call("pay", amount=5), metadata={"resumed": True, "replacedInput": {"amount": 1}})
    scripted(ai, Message.model([wish]))
    response = await ai.generate("pay", tools=[pay])
    assert response.finish_reason == "interrupted"
    assert (response.interrupts[0].metadata or {})["interrupt"] == {"amount": 5}


async def test_requests_that_were_returned_may_be_answered_by_hand(ai: Genkit, pay: Tool[str]) -> None:
    scripted(ai, [call("pay", amount=5)], "thanks")
    returned = await ai.generate("pay", tools=[pay], return_tool_requests=True)
    assert returned.interrupts == []
    answer = respond_to(request(returned), "done by hand")
    response = await ai.generate(messages=returned.messages, tools=[pay], resume=answer)
    assert outputs(response.messages[-2]) == ["done by hand"]


async def test_a_failing_restart_leaves_a_conversation_that_can_be_resumed_again(ai: Genkit) -> None:
    async def flaky(ctx: ActionContext) -> str:
        if ctx.resumed is None:
            ctx.interrupt()
        if ctx.resumed == {"try": 1}:
            raise GenkitError("UNAVAILABLE", "Not yet.")
        return "at last"

    scripted(ai, [call("flaky")], "done")
    stopped = await ai.generate("go", tools=[flaky])
    order = restart(stopped.interrupts[0], {"try": 1})
    with pytest.raises(GenkitError) as caught:
        await ai.generate(messages=stopped.messages, tools=[flaky], resume=order)
    assert caught.value.status == "UNAVAILABLE"
    assert caught.value.response.messages == stopped.messages
    order = restart(caught.value.response.messages[-1].tool_requests[0], {"try": 2})
    response = await ai.generate(messages=caught.value.response.messages, tools=[flaky], resume=order)
    assert response.text == "done"


async def test_turns_are_counted_anew_after_an_interrupt(ai: Genkit, pay: Tool[str]) -> None:
    scripted(ai, [call("pay", amount=5)], [call("pay", amount=6)])
    stopped = await ai.generate("pay", tools=[pay], max_turns=1)
    order = pay.restart(stopped.interrupts[0])
    again = await ai.generate(messages=stopped.messages, tools=[pay], resume=order, max_turns=1)
    assert again.interrupts[0].metadata == {"interrupt": {"amount": 6}}
    assert [message.role for message in again.messages] == ["user", "model", "tool", "model"]


async def test_a_resumed_generation_over_the_wire_is_the_same(ai: Genkit, pay: Tool[str]) -> None:
    script = [[call("pay", "r1", amount=5), call("pay", "r2", amount=6)], "done"]
    scripted(ai, *script, *script)
    action: Any = ai.registry.lookup("util", "generate")
    start = {"model": "test/scripted", "tools": ["pay"]}
    raw = await action.run_json({**start, "messages": [Message.user("pay").to_wire()]})
    assert raw["finishReason"] == "interrupted"
    content = raw["message"]["content"]
    resume = {
        "respond": [{"toolResponse": {"name": "pay", "ref": "r2", "output": "no"}}],
        "restart": [{"toolRequest": content[0]["toolRequest"], "metadata": {"resumed": {"by": "ada"}}}],
        "metadata": {"at": 12},
    }
    messages = [*raw["request"]["messages"], raw["message"]]
    chunks: list[Any] = []
    wire = await action.run_json({**start, "messages": messages, "resume": resume}, on_chunk=chunks.append)
    stopped = await ai.generate("pay", tools=[pay])
    one, two = stopped.interrupts
    same = Resume(respond=[respond_to(two, "no")], restart=[restart(one, {"by": "ada"})], metadata={"at": 12})
    response = await ai.generate(messages=stopped.messages, tools=[pay], resume=same)
    assert wire["request"]["messages"] == json.loads(json.dumps([m.to_wire() for m in response.messages[:-1]]))
    assert wire["message"] == {"role": "model", "content": [{"text": "done"}]}
    assert [chunk["role"] for chunk in chunks] == ["tool", "model"]


# -- the helpers


async def test_an_answer_is_checked_against_the_tools_output(ai: Genkit) -> None:
    ask = ai.define_interrupt("ask", description="Asks.", input_type={}, output_type=Order)
    scripted(ai, [call("ask")], "done")
    part = (await ai.generate("go", tools=["ask"])).interrupts[0]
    answer = ask.respond(part, Order(amount=2))
    assert answer.to_wire() == {
        "toolResponse": {"name": "ask", "output": {"amount": 2, "to": "ada"}},
        "metadata": {"interruptResponse": True},
    }
    with pytest.raises(GenkitError, match=r"\$\.amount") as caught:
        ask.respond(part, {"amount": "much"})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_new_input_is_checked_against_the_tools_schema(ai: Genkit, pay: Tool[str]) -> None:
    scripted(ai, [call("pay", amount=5)])
    part = (await ai.generate("go", tools=["pay"])).interrupts[0]
    with pytest.raises(GenkitError, match=r"\$\.amount") as caught:
        pay.restart(part, input={"amount": None})
    assert caught.value.status == "INVALID_ARGUMENT"


async def test_a_question_of_another_tool_is_refused(ai: Genkit, pay: Tool[str]) -> None:
    other = interrupt_tool("ask", description="Asks.")
    scripted(ai, [call("pay", amount=5)])
    part = (await ai.generate("go", tools=["pay"])).interrupts[0]
    for tool, question in ((other, part), (pay, Part(text="x"))):
        with pytest.raises(GenkitError, match=r"response\.interrupts"):
            tool.respond(question, 1)
        with pytest.raises(GenkitError, match=r"response\.interrupts"):
            tool.restart(question)


async def test_an_interrupt_may_say_more_by_a_function_of_its_input(ai: Genkit) -> None:
    ai.define_interrupt(
        "ask", description="Asks.", input_type=Order, metadata=lambda order: {"cents": order.amount * 100}
    )
    scripted(ai, [call("ask", amount=2)])
    response = await ai.generate("go", tools=["ask"])
    assert response.interrupts[0].metadata == {"interrupt": {"cents": 200}}


# -- middleware


class Approval(Middleware):
    """Interrupts every tool until somebody says yes; sees what goes by."""

    def __init__(self) -> None:
        self.finishes: list[tuple[int, Any]] = []
        self.tools_seen: list[Any] = []
        self.models = 0

    async def wrap_generate(self, params: GenerateParams, next: Any, /) -> ModelResponse:
        response: ModelResponse = await next(params)
        self.finishes.append((params.turn, response.finish_reason))
        return response

    async def wrap_model(self, params: ModelParams, next: Any, /) -> ModelResponse:
        self.models += 1
        answer: ModelResponse = await next(params)
        return answer

    async def wrap_tool(self, params: ToolParams, next: Any, /) -> Any:
        self.tools_seen.append(params.metadata.get("resumed"))
        if not params.metadata.get("resumed"):
            raise Interrupt({"allow": params.request.name})
        return f"{await next(replace(params, metadata={}))}!"


async def test_a_middleware_may_interrupt_a_tool_and_sees_the_resume(ai: Genkit) -> None:
    seen: list[Any] = []

    async def act(n: int, ctx: ActionContext) -> int:
        seen.append(ctx.resumed)
        return n

    approval = Approval()
    scripted(ai, [call("act", n=1)], "done")
    stopped = await ai.generate("go", tools=[act], use=[approval])
    assert seen == []
    assert stopped.interrupts[0].metadata == {"interrupt": {"allow": "act"}}
    assert approval.finishes == [(0, "interrupted")]
    order = restart(stopped.interrupts[0], {"ok": True})
    response = await ai.generate(messages=stopped.messages, tools=[act], use=[approval], resume=order)
    assert outputs(response.messages[-2]) == ["1!"]
    assert seen == [None]  # it was taken off by the middleware
    assert approval.tools_seen == [None, {"ok": True}]
    assert approval.models == 2
    assert approval.finishes[-1] == (0, "stop")


async def test_a_middleware_brings_tools_that_may_interrupt(ai: Genkit) -> None:
    ask = interrupt_tool("ask", description="Asks.")

    class Asking(Middleware):
        def tools(self) -> Sequence[Any]:
            return [ask]

    model = scripted(ai, [call("ask")], "done")
    stopped = await ai.generate("go", use=[Asking()])
    assert [tool.name for tool in model.requests[0].tools or ()] == ["ask"]
    response = await ai.generate(
        messages=stopped.messages, use=[Asking()], resume=ask.respond(stopped.interrupts[0], 1)
    )
    assert response.text == "done"
    assert ai.registry.lookup("tool", "ask") is None
    with pytest.raises(GenkitError, match="`ask`"):
        await ai.generate("go", tools=[ask], use=[Asking()])


async def test_a_middleware_that_starts_over_resumes_again(ai: Genkit, pay: Tool[str]) -> None:
    class Twice(Middleware):
        async def wrap_generate(self, params: GenerateParams, next: Any, /) -> ModelResponse:
            if params.turn == 0:
                await next(params)
            answer: ModelResponse = await next(params)
            return answer

    scripted(ai, [call("pay", amount=5)], "one", "two")
    stopped = await ai.generate("pay", tools=[pay])
    order = pay.restart(stopped.interrupts[0])
    response = await ai.generate(messages=stopped.messages, tools=[pay], use=[Twice()], resume=order)
    assert response.text == "two"
    assert [message.role for message in response.messages] == ["user", "model", "tool", "model"]


# -- time


@pytest.mark.parametrize("own", [True, False])
async def test_a_tool_that_takes_too_long_is_cancelled(ai: Genkit, own: bool) -> None:
    cleaned: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append("hang")

    tool = tool_action(hang, timeout=0.001 if own else None)
    options: Any = {"tool_timeout": 60 if own else 0.001}
    scripted(ai, [call("hang"), call("hang")], [call("hang")], "sorry")
    with pytest.raises(GenkitError, match=r"longer than 0\.001 s") as caught:
        await ai.generate("go", tools=[tool], **options)
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert caught.value.details["tool"] == "hang"
    assert [message.role for message in caught.value.response.messages] == ["user", "model"]
    assert cleaned == ["hang"] * 2
    response = await ai.generate("go", tools=[tool], tool_errors="return", **options)
    assert response.text == "sorry"
    assert outputs(response.messages[-2])[0]["error"].startswith("DEADLINE_EXCEEDED")


async def test_a_tools_own_timeout_error_is_a_failure_like_any_other(ai: Genkit) -> None:
    async def ask_server() -> None:
        raise TimeoutError("no answer")

    scripted(ai, [call("ask_server")])
    with pytest.raises(GenkitError, match="no answer") as caught:
        await ai.generate("go", tools=[ask_server], tool_timeout=60)
    assert caught.value.status == "INTERNAL"


# -- names


async def test_a_multipart_tool_is_found_by_name_and_key_and_gives_parts_to_the_model(ai: Genkit) -> None:
    @ai.tool(name="eyes/look")
    async def look() -> ToolOutput:
        return ToolOutput(output={"n": 0}, content=[Part(text="a picture")], metadata={"by": "eye"})

    def plain() -> dict[str, Any]:
        return {"output": 1, "content": [{"text": "from data"}]}

    ai.define_tool(plain, multipart=True)
    model = scripted(ai, [call("look", "r1"), call("plain")], "one", [call("look")], "two")
    await ai.generate("go", tools=["eyes/look", "plain"])
    assert [part.to_wire() for part in model.requests[1].messages[-1].content] == [
        {
            "toolResponse": {"name": "look", "ref": "r1", "output": {"n": 0}, "content": [{"text": "a picture"}]},
            "metadata": {"by": "eye"},
        },
        {"toolResponse": {"name": "plain", "output": 1, "content": [{"text": "from data"}]}},
    ]
    await ai.generate("go", tools=["/tool.v2/eyes/look"])
    definition = (model.requests[0].tools or [])[0]
    assert (definition.key, definition.metadata) == ("/tool.v2/eyes/look", {"originalName": "eyes/look"})


async def test_a_plain_tool_and_a_multipart_tool_of_one_short_name_clash(ai: Genkit) -> None:
    async def look() -> str:
        return "plain"

    ai.define_tool(look, name="a/look")
    ai.define_tool(look, name="b/look", multipart=True)
    scripted(ai, "never")
    with pytest.raises(GenkitError, match="two tools with the same name for the model, `look`") as caught:
        await ai.generate("go", tools=["a/look", "b/look"])
    assert caught.value.status == "INVALID_ARGUMENT"
