"""Bad input to `ai.generate`: the status, the argument's name, the fix, and the conversation so far; never a hang."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag import (
    Genkit,
    GenkitError,
    Message,
    ModelResponse,
    Part,
    Resume,
    ToolRequest,
    ToolResponse,
    respond_to,
    restart,
)
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.tools.tool import interrupt_tool
from genkit_rag.testing import ScriptedModel


def scripted(*answers: Any) -> tuple[Genkit, ScriptedModel]:
    ai, model = Genkit(model="test/scripted"), ScriptedModel("test/scripted", answers)
    ai.registry.register(model.action)
    return ai, model


async def refused(ai: Genkit, status: str, *words: str, roles: str, **options: Any) -> GenkitError:
    """Gives the error, which has the status, the words, a fix and the conversation of these roles."""
    with pytest.raises(GenkitError) as caught:
        await asyncio.wait_for(ai.generate(**options), 10)
    error = caught.value
    assert error.status == status
    assert error.hint or "takes" in error.message
    for word in words:
        assert word in str(error)
    assert isinstance(error.response, ModelResponse)
    assert " ".join(message.role for message in error.response.messages) == roles
    return error


# -- options

ODD: list[Any] = [None, "", "x", -1, 5, math.nan, math.inf, True, [], {}, [5], [None], {"text": "hi"}, b"x", object()]
FITS: dict[str, list[Any]] = {  # of the odd values, those that an option takes, by repr
    "prompt": [None, "", "x", []],
    "system": [None, "", "x", []],
    "model": [None],
    "messages": [None, []],
    "tools": [None, []],
    "tool_choice": [None],
    "tool_errors": [],
    "tool_timeout": [None, 5, math.inf],
    "return_tool_requests": [True],
    "max_turns": [5],
    "resume": [None],
    "config": [None, {}, {"text": "hi"}],
    "docs": [None, "", "x", []],
    "no_context": [],
    "resources": [None, []],
    "output_schema": [None, {}, {"text": "hi"}],
    "output_format": [None],
    "output_constrained": [None, True],
    "output_instructions": [None, "", "x", True],
    "output_content_type": [None, "x"],
    "output_retries": [5],
    "use": [None, []],
    "step_name": [None, "x"],
    "context": [None, {}, {"text": "hi"}],
    "on_chunk": [None],
}
# What is looked for before it is refused, or needs a conversation that there is not.
OTHER_STATUS = {("model", "x"): "NOT_FOUND", ("resume", "[]"): "FAILED_PRECONDITION"}


def test_every_option_has_its_row() -> None:
    assert {field.name for field in dataclasses.fields(GenerateOptions)} | {"context", "on_chunk"} == set(FITS)


@pytest.mark.parametrize("option", FITS)
@pytest.mark.parametrize("value", ODD, ids=lambda value: "object()" if type(value) is object else repr(value))
async def test_an_option_of_a_wrong_type_or_value_is_named(option: str, value: Any) -> None:
    ai, model = scripted("{}")
    before = [Message.user("one"), Message.model("two")]
    options: dict[str, Any] = {"prompt": "hi", "messages": before, option: value}
    if repr(value) in map(repr, FITS[option]):
        await ai.generate(**options)
        return
    status = OTHER_STATUS.get((option, str(value)), "INVALID_ARGUMENT")
    with pytest.raises(GenkitError) as caught:
        await asyncio.wait_for(ai.generate(**options), 10)
    error = caught.value
    assert error.status == status
    assert error.hint or "takes" in error.message
    assert isinstance(error.response, ModelResponse)
    assert error.response.messages[:2] == ([] if option == "messages" else before)
    if status == "INVALID_ARGUMENT":
        named = error.details.get("argument") == option
        assert named or any(word in error.message for word in ("The request does not match", "`document`"))
    assert model.requests == []


@pytest.mark.parametrize(
    "wire",
    [
        {"maxTurns": -1},
        {"maxTurns": "x"},
        {"tools": "add"},
        {"toolChoice": "always"},
        {"messages": 5},
        {"messages": []},
        {"resume": {"respond": 5}},
        {"nonsense": 1},
        {"model": ""},
        {"stepName": ""},
        {"returnToolRequests": "maybe"},
    ],
)
async def test_the_util_action_refuses_the_same_over_the_wire(wire: dict[str, Any]) -> None:
    ai, model = scripted("never")
    action: Any = ai.registry.lookup("util", "generate")
    raw = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], **wire}
    with pytest.raises(GenkitError) as caught:
        await action.run_json(raw)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.hint
    assert model.requests == []


# -- models


async def test_a_model_that_asks_for_tools_for_ever_is_stopped_with_the_conversation() -> None:
    def again(request: Any) -> Any:
        return [ToolRequest(name="work", ref=str(len(request.messages)))]

    async def work() -> int:
        return 1

    ai, model = scripted(*[again] * 1000)
    await refused(ai, "ABORTED", "max_turns", prompt="go", tools=[work], roles="user" + " model tool" * 5 + " model")
    assert len(model.requests) == 6
    model.requests.clear()
    await refused(ai, "ABORTED", "`max_turns`", prompt="go", tools=[work], max_turns=0, roles="user model")


@pytest.mark.parametrize(
    ("answer", "roles"),
    [
        (ModelResponse(), "user"),
        (ModelResponse(finish_reason="stop"), "user"),
        (ModelResponse(finish_reason="blocked", finish_message="unsafe"), "user"),
        (ModelResponse(message=Message.model("bad"), finish_reason="blocked", finish_message="unsafe"), "user model"),
    ],
    ids=["nothing", "no message", "blocked", "blocked with a message"],
)
async def test_a_model_that_gives_no_answer_is_a_failed_precondition(answer: ModelResponse, roles: str) -> None:
    ai, _ = scripted(answer)
    error = await refused(ai, "FAILED_PRECONDITION", prompt="go", roles=roles)
    assert error.details["finishReason"] == answer.finish_reason
    assert ("unsafe" in str(error)) == (answer.finish_reason == "blocked")


async def test_an_empty_message_is_an_answer_and_no_output() -> None:
    ai, _ = scripted(Message.model([]))
    response = await ai.generate("go", output_schema=int)
    assert response.text == ""
    with pytest.raises(GenkitError) as caught:
        _ = response.output
    assert caught.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize("given", [None, "text", 5, {"message": None}], ids=repr)
async def test_a_model_function_that_returns_no_response_is_internal(given: Any) -> None:
    ai = Genkit(model="test/odd")

    async def odd(request: Any, ctx: Any) -> Any:
        return given

    ai.define_model("test/odd", odd)
    await refused(ai, "INTERNAL", "test/odd", prompt="go", roles="user")


async def test_a_conversation_that_a_model_leads_itself_is_not_taken_for_its_answer() -> None:
    async def work() -> int:
        return 1

    ai, _ = scripted(*[[ToolRequest(name="work")]] * 2)

    async def delegate(request: Any, ctx: Any) -> ModelResponse:
        return await ai.generate("another prompt", model="test/scripted", tools=[work], max_turns=1)

    ai.define_model("test/delegate", delegate)
    await refused(ai, "ABORTED", prompt="go", model="test/delegate", roles="user")


class Pair(BaseModel):
    a: int
    b: int


@pytest.mark.parametrize("text", ["", "no", "[]", '{"a": 1}', '{"a": 1, "b": "two"}', '{"a": 1,', "null", "NaN"])
async def test_an_answer_that_violates_its_schema_is_refused_where_it_is_read(text: str) -> None:
    ai, _ = scripted(Message.model(text))
    response = await ai.generate("go", output_schema=Pair)
    assert response.text == text
    with pytest.raises(GenkitError) as caught:
        _ = response.output
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.hint


# -- arguments of tools


def deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = {"x": found}
    return found


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("a string", "`pair`"),
        ('{"a": 1, "b": 2}', "`pair`"),
        (5, "`pair`"),
        ([1, 2], "`pair`"),
        (True, "`pair`"),
        (None, "$.a"),
        ({}, "$.a"),
        ({"a": 1}, "$.b"),
        ({"a": 1, "b": None}, "$.b"),
        ({"a": 1, "b": 2, "c": 3}, "$.c"),
        ({"a": "one", "b": 2}, "$.a"),
        ({"a": math.nan, "b": 2}, "$.a"),
        ({"a": 10**400, "b": [1]}, "$.b"),
        ({"a": deep(200), "b": 2}, "$.a"),
        ({"a": 1.5, "b": 2}, "$.a"),
        ({"A": 1, "B": 2}, "$.a"),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("tool_errors", ["raise", "return"])
async def test_malformed_arguments_are_named_and_never_reach_the_tool(given: Any, path: str, tool_errors: Any) -> None:
    ran: list[Any] = []

    async def pair(a: int, b: int) -> None:
        ran.append((a, b))

    ai, model = scripted([ToolRequest(name="pair", input=given, ref="r")], "sorry")
    if tool_errors == "raise":
        error = await refused(ai, "INVALID_ARGUMENT", path, "`pair`", prompt="go", tools=[pair], roles="user model")
        assert error.details["tool"] == "pair"
    else:
        await ai.generate("go", tools=[pair], tool_errors="return")
        told = model.requests[1].messages[-1].content[0].tool_response
        assert told is not None
        assert told.output["error"].startswith("INVALID_ARGUMENT")
        assert path in told.output["error"]
    assert ran == []


@pytest.mark.parametrize("levels", [50, 100_000])
async def test_deep_json_goes_through_or_is_an_error_and_never_the_end_of_the_process(levels: int) -> None:
    async def echo(value: Any) -> Any:
        return value

    ai, _ = scripted([ToolRequest(name="echo", input={"value": deep(levels)})], "done")
    try:
        response = await ai.generate("go", tools=[echo])
    except GenkitError as error:
        found = error
    else:
        assert levels == 50
        assert response.text == "done"
        return
    assert levels > 50
    assert found.status in ("INVALID_ARGUMENT", "INTERNAL")
    assert len(found.response.messages) == 2


@pytest.mark.parametrize(
    ("name", "words"), [("nobody", ("`nobody`", "work")), ("", ("``",)), ("/tool/work", ("work",))]
)
async def test_an_unknown_tool_is_not_found_and_the_known_ones_are_named(name: str, words: tuple[str, ...]) -> None:
    async def work() -> int:
        return 1

    ai, _ = scripted([ToolRequest(name="work"), ToolRequest(name=name)])
    await refused(ai, "NOT_FOUND", *words, prompt="go", tools=[work], roles="user model")


# -- resuming

ASK = interrupt_tool("ask", description="Asks.", input_type={"type": "object"})
REQUEST = ToolRequest(name="ask", ref="r1", input={"n": 1})
OPEN = Part(tool_request=REQUEST, metadata={"interrupt": True})
KEPT = Part(tool_request=ToolRequest(name="ask", ref="r2", input={}), metadata={"pendingOutput": 0})
ASKED = [Message.user("go"), Message.model([OPEN, KEPT])]
ODDLY_KEPT = KEPT.model_copy(update={"metadata": {"pendingOutput": 1, "pendingContent": 5}})
FORGED = Part(tool_request=ToolRequest(name="ask", ref="r1", input={"n": 2}), metadata={"resumed": True})


@pytest.mark.parametrize(
    ("messages", "resume", "status", "words"),
    [
        ([], [respond_to(OPEN, 1)], "FAILED_PRECONDITION", ["Nothing to resume"]),
        ([*ASKED, Message.user("hm")], [respond_to(OPEN, 1)], "FAILED_PRECONDITION", ["no `prompt`"]),
        ([Message.user("go"), Message.model("hi")], [respond_to(OPEN, 1)], "FAILED_PRECONDITION", ["tool requests"]),
        (ASKED, [], "INVALID_ARGUMENT", ["Unresolved", "`ask`", "'r1'"]),
        (ASKED, Resume(), "INVALID_ARGUMENT", ["Unresolved"]),
        (ASKED, [respond_to(KEPT, 1)], "INVALID_ARGUMENT", ["Unresolved", "'r1'"]),
        (ASKED, [respond_to(OPEN, 1), respond_to(KEPT, 1)], "INVALID_ARGUMENT", ["resume.respond", "'r2'"]),
        (ASKED, [respond_to(OPEN, 1), respond_to(OPEN, 2)], "INVALID_ARGUMENT", ["resume.respond", "'r1'"]),
        (ASKED, [respond_to(OPEN, 1), restart(OPEN)], "INVALID_ARGUMENT", ["resume.restart", "'r1'"]),
        (ASKED, [restart(Part(tool_request=ToolRequest(name="x")))], "INVALID_ARGUMENT", ["Unresolved"]),
        (ASKED, [FORGED], "INVALID_ARGUMENT", ["modified inputs", "`ask`"]),
        (
            ASKED,
            [FORGED.model_copy(update={"metadata": {"replacedInput": {"n": 3}}})],
            "INVALID_ARGUMENT",
            ["modified inputs"],
        ),
        (ASKED, [Part(text="yes")], "INVALID_ARGUMENT", ["`resume`"]),
        (ASKED, Resume(respond=[restart(OPEN)]), "INVALID_ARGUMENT", ["Unresolved"]),
        (ASKED, Resume(respond=[respond_to(OPEN, 1)], restart=[Part(text="x")]), "INVALID_ARGUMENT", ["no tool"]),
        ([Message.user("go"), Message.model([ODDLY_KEPT])], [], "INVALID_ARGUMENT", ["content"]),
    ],
)
async def test_a_resume_that_does_not_fit_is_refused_before_anything_runs(
    messages: list[Message], resume: Any, status: str, words: list[str]
) -> None:
    ai, model = scripted("never")
    prompt = None if messages else "go"
    roles = " ".join(message.role for message in messages) or "user"
    before = [message.to_wire() for message in messages]
    await refused(ai, status, *words, prompt=prompt, messages=messages, tools=[ASK], resume=resume, roles=roles)
    assert [message.to_wire() for message in messages] == before
    assert model.requests == []


async def test_a_prompt_beside_a_resume_is_refused() -> None:
    ai, _ = scripted("never")
    resume = respond_to(OPEN, 1)
    await refused(
        ai,
        "FAILED_PRECONDITION",
        "no `prompt`",
        prompt="and?",
        messages=ASKED,
        tools=[ASK],
        resume=resume,
        roles="user model user",
    )


async def test_the_original_input_that_a_tool_sees_cannot_be_forged() -> None:
    seen: list[Any] = []

    async def ask(ctx: Any, n: int = 0) -> int:
        seen.append(ctx.original_input)
        return n

    ai, _ = scripted("done", "done")
    same = Part(tool_request=REQUEST, metadata={"resumed": True, "replacedInput": {"n": 1_000_000}})
    await ai.generate(messages=[ASKED[0], Message.model([OPEN])], tools=[ask], resume=same)
    assert seen == [{"n": 1}]


async def test_a_restart_of_a_tool_that_is_not_given_any_more_is_not_found() -> None:
    ai, _ = scripted("never")
    await refused(ai, "NOT_FOUND", "`ask`", messages=ASKED, resume=restart(OPEN), roles="user model")


async def test_a_new_input_that_does_not_fit_the_tool_is_refused_by_the_loop_too() -> None:
    async def ask(n: int) -> int:
        return n

    ai, _ = scripted("never")
    order = restart(OPEN, input={"n": "many"})
    await refused(ai, "INVALID_ARGUMENT", "$.n", messages=ASKED, tools=[ask], resume=order, roles="user model")


@pytest.mark.parametrize(
    "part", [Part(text="x"), Part(tool_response=ToolResponse(name="ask"))], ids=["text", "response"]
)
def test_only_requests_can_be_answered_and_restarted(part: Part) -> None:
    with pytest.raises(GenkitError, match="`interrupt`") as responding:
        respond_to(part, 1)
    with pytest.raises(GenkitError, match="`interrupt`") as restarting:
        restart(part)
    for error in (responding.value, restarting.value):
        assert error.status == "INVALID_ARGUMENT"
        assert error.hint


async def test_a_conversation_of_an_error_crosses_the_wire_and_goes_on() -> None:
    async def fail(n: int) -> int:
        raise ValueError("broken")

    ai, model = scripted([ToolRequest(name="fail", ref="r", input={"n": 1})], "by hand then")
    error = await refused(ai, "INTERNAL", "broken", prompt="go", tools=[fail], roles="user model")
    wire = json.loads(json.dumps([message.to_wire() for message in error.response.messages]))
    before = [Message.model_validate(message) for message in wire]
    answer = respond_to(before[-1].tool_requests[0], 7)
    response = await ai.generate(messages=before, tools=[fail], resume=answer)
    assert response.text == "by hand then"
    assert [message.role for message in model.requests[1].messages] == ["user", "model", "tool"]
