import asyncio
from typing import Any

import pytest

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Media, Message, Part, ToolRequest
from genkit_rag._generation.generate import DEFAULT_MODEL, GenerateOptions, generate, generate_action
from genkit_rag._generation.model import ModelRequest, ModelResponse, Usage
from genkit_rag._generation.tools.function import tool_action
from genkit_rag.testing._scripted_model import ScriptedModel


def scripted(*answers: Any, **supports: Any) -> ScriptedModel:
    return ScriptedModel("test/scripted", answers, supports=supports or None)


async def run(model: ScriptedModel, registry: Registry | None = None, **options: Any) -> ModelResponse:
    options.setdefault("prompt", "hi")
    return await generate(registry or Registry(), GenerateOptions(model=model.action, **options))


async def failing(model: ScriptedModel, registry: Registry | None = None, **options: Any) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await run(model, registry, **options)
    assert isinstance(caught.value.response, ModelResponse)
    assert caught.value.response.request is not None
    return caught.value


def roles(messages: list[Message]) -> list[str]:
    return [message.role for message in messages]


def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


def call(name: str, ref: str | None = None, **arguments: Any) -> ToolRequest:
    return ToolRequest(name=name, input=arguments, ref=ref)


# -- messages and models


async def test_messages_stand_in_the_order_system_messages_prompt() -> None:
    model = scripted("ok")
    before = [Message.user("one"), Message.model("two")]
    response = await run(model, system="be brief", messages=before, prompt="three")
    assert [m.text for m in model.requests[0].messages] == ["be brief", "one", "two", "three"]
    assert roles(response.messages) == ["system", "user", "model", "user", "model"]
    assert response.text == "ok"


async def test_messages_may_be_wire_data() -> None:
    model = scripted("ok")
    await run(model, messages=[{"role": "user", "content": [{"text": "hi"}]}], prompt=None)
    assert model.requests[0].messages == [Message.user("hi")]


async def test_the_callers_list_of_messages_stays_as_it_was() -> None:
    before = [Message.user("one")]
    await run(scripted([call("add", a=1)], "ok"), messages=before, tools=[add], docs=["x"], output_schema=int)
    assert before == [Message.user("one")]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prompt": None}, "no message"),
        ({"prompt": 5}, "`prompt`"),
        ({"messages": 5}, "`messages`"),
        ({"messages": [{"role": "nobody"}]}, "role"),
        ({"max_turns": -1}, "`max_turns`"),
        ({"max_turns": 1.5}, "`max_turns`"),
        ({"tool_errors": "ignore"}, "`tool_errors`"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tools": [5]}, "`tools`"),
        ({"use": [5]}, "`use`"),
        ({"output_format": "yaml"}, "`output_format`"),
        ({"output_format": "text", "output_schema": int}, "`output_format`"),
        ({"docs": [5]}, "wrong type"),
    ],
)
async def test_options_that_do_not_fit_are_named(options: dict[str, Any], named: str) -> None:
    model = scripted("never")
    error = await failing(model, **options)
    assert error.status == "INVALID_ARGUMENT"
    assert named in str(error).replace("toolChoice", "tool_choice")
    assert model.requests == []


async def test_a_model_is_found_by_name_and_by_key() -> None:
    registry, model = Registry(), scripted("one", "two")
    registry.register(model.action)
    for name in ("test/scripted", "/model/test/scripted"):
        await generate(registry, GenerateOptions(model=name, prompt="hi"))
    assert len(model.requests) == 2


async def test_the_default_model_of_a_parent_registry_is_used() -> None:
    registry, model = Registry(), scripted("ok")
    registry.register(model.action)
    registry.values[DEFAULT_MODEL] = "test/scripted"
    response = await generate(registry.child(), GenerateOptions(prompt="hi"))
    assert response.text == "ok"


async def test_no_model_at_all_is_an_invalid_argument_with_the_conversation() -> None:
    with pytest.raises(GenkitError, match="no default model") as caught:
        await generate(Registry(), GenerateOptions(prompt="hi"))
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.response.messages == [Message.user("hi")]


async def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(GenkitError) as caught:
        await generate(Registry(), GenerateOptions(model="no/such", prompt="hi"))
    assert caught.value.status == "NOT_FOUND"
    assert caught.value.response.messages == [Message.user("hi")]


async def test_config_and_tool_choice_reach_the_model_in_every_turn() -> None:
    model = scripted([call("add", a=1)], "ok")
    await run(model, tools=[add], config={"temperature": 11}, tool_choice="required")
    assert [r.config for r in model.requests] == [{"temperature": 11}] * 2
    assert [r.tool_choice for r in model.requests] == ["required"] * 2


# -- tools


async def test_a_tool_round_trip_gives_the_whole_conversation() -> None:
    model = scripted([call("add", "r1", a=2, b=3)], "five")
    response = await run(model, tools=[add])
    assert response.text == "five"
    assert roles(response.messages) == ["user", "model", "tool", "model"]
    assert response.request is not None
    assert response.request.to_wire()["messages"][2] == {
        "role": "tool",
        "content": [{"toolResponse": {"name": "add", "output": 5, "ref": "r1"}}],
    }
    assert [len(r.messages) for r in model.requests] == [1, 3]
    assert model.requests[0].tools is not None
    assert model.requests[0].tools[0].to_wire() == {
        "name": "add",
        "key": "/tool/add",
        "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "outputSchema": {"type": "integer"},
    }


async def test_tools_may_be_names_keys_actions_and_functions() -> None:
    registry = Registry()
    registry.register(tool_action(add, name="math/add"))
    registry.register(tool_action(add, name="other"))

    def fresh() -> str:
        return "made for this call"

    model = scripted([call("add", a=1), call("other", a=2), call("mine", a=3), call("fresh")], "ok")
    tools = ["math/add", "/tool/other", tool_action(add, name="mine"), fresh]
    response = await run(model, registry, tools=tools)
    outputs = [part.tool_response.output for part in response.messages[2].content if part.tool_response]
    assert outputs == [2, 3, 4, "made for this call"]
    assert registry.lookup("tool", "mine") is None
    assert registry.lookup("tool", "fresh") is None
    assert model.requests[0].tools is not None
    assert model.requests[0].tools[0].metadata == {"originalName": "math/add"}
    assert model.requests[0].tools[0].key == "/tool/math/add"


async def test_a_function_shadows_a_registered_tool_of_its_name_for_one_call() -> None:
    registry = Registry()
    registry.register(tool_action(lambda: "registered", name="say"))

    def say() -> str:
        return "mine"

    response = await run(scripted([call("say")], "ok"), registry, tools=[say])
    assert response.messages[2].content[0].tool_response is not None
    assert response.messages[2].content[0].tool_response.output == "mine"


async def test_two_tools_with_one_short_name_are_refused() -> None:
    error = await failing(scripted(), tools=[tool_action(add, name="a/add"), tool_action(add, name="b/add")])
    assert error.status == "INVALID_ARGUMENT"
    assert "`add`" in error.message


async def test_an_unknown_tool_name_is_not_found_before_the_model_is_asked() -> None:
    model = scripted()
    error = await failing(model, tools=["nope"])
    assert error.status == "NOT_FOUND"
    assert model.requests == []


async def test_responses_stand_in_the_order_of_the_requests_however_long_each_takes() -> None:
    finished: list[int] = []

    async def wait(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        finished.append(turns)
        return turns

    response = await run(scripted([call("wait", turns=n) for n in (9, 1, 5)], "ok"), tools=[wait])
    assert finished == [1, 5, 9]
    outputs = [part.tool_response.output for part in response.messages[2].content if part.tool_response]
    assert outputs == [9, 1, 5]


async def test_eight_blocking_tools_run_at_the_same_time() -> None:
    import threading

    barrier = threading.Barrier(8, timeout=10)

    def meet() -> int:
        return barrier.wait() * 0 + 1

    response = await run(scripted([call("meet")] * 8, "ok"), tools=[meet])
    assert len(response.messages[2].content) == 8


async def test_return_tool_requests_runs_nothing() -> None:
    ran: list[int] = []
    response = await run(
        scripted([call("note", n=1)]),
        tools=[tool_action(ran.append, name="note", input_type={})],
        return_tool_requests=True,
    )
    assert [part.tool_request.name for part in response.tool_requests if part.tool_request] == ["note"]
    assert ran == []


@pytest.mark.parametrize("max_turns", [0, 1, 3])
async def test_beyond_max_turns_it_is_aborted_with_the_conversation(max_turns: int) -> None:
    model = scripted(*[[call("add", a=n)] for n in range(10)])
    error = await failing(model, tools=[add], max_turns=max_turns)
    assert error.status == "ABORTED"
    assert "max_turns" in str(error)
    assert len(model.requests) == max_turns + 1
    assert roles(error.response.messages) == ["user", *["model", "tool"] * max_turns, "model"]


async def test_five_turns_are_allowed_by_default() -> None:
    model = scripted(*[[call("add", a=n)] for n in range(5)], "done")
    assert (await run(model, tools=[add])).text == "done"
    assert (await failing(scripted(*[[call("add", a=n)] for n in range(6)]), tools=[add])).status == "ABORTED"


async def test_tools_and_models_see_the_context_of_the_call() -> None:
    seen: list[Any] = []

    def who(ctx: ActionContext) -> str:
        seen.append(ctx.context["user"])
        return "ok"

    def answer(request: ModelRequest, ctx: ActionContext) -> Any:
        seen.append(ctx.context["user"])
        return [call("who")] if len(request.messages) == 1 else "ok"

    model = scripted(answer, answer)
    options = GenerateOptions(model=model.action, prompt="hi", tools=[who])
    await generate(Registry(), options, context={"user": "ada"})
    assert seen == ["ada"] * 3


# -- tools that fail


def explode(x: int) -> int:
    raise ValueError(f"no {x}")


class Unserialisable:
    pass


def opaque() -> Any:
    return Unserialisable()


def circular() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


async def refuse() -> None:
    raise GenkitError("PERMISSION_DENIED", "Not you.", hint="Ask somebody.")


FAILURES = [
    (call("explode", x=3), "INTERNAL", "ValueError: no 3"),
    (call("refuse"), "PERMISSION_DENIED", "Not you. Ask somebody."),
    (
        call("nope"),
        "NOT_FOUND",
        "Unknown tool `nope`. Tools of this generation: add, explode, refuse, opaque, circular.",
    ),
    (call("add", a="many"), "INVALID_ARGUMENT", "$.a:"),
    (call("add", b=1), "INVALID_ARGUMENT", "$.a:"),
    (call("add", a=1, c=2), "INVALID_ARGUMENT", "$.c:"),
    (ToolRequest(name="add", input="{broken"), "INVALID_ARGUMENT", "`add`"),
    (ToolRequest(name="add"), "INVALID_ARGUMENT", "$.a:"),
    (call("opaque"), "INTERNAL", "Unserialisable"),
    (call("circular"), "INTERNAL", "Circular"),
]
ALL = [add, explode, refuse, opaque, circular]


@pytest.mark.parametrize(("request_", "status", "text"), FAILURES)
async def test_a_failing_tool_ends_the_generation_with_the_conversation(
    request_: ToolRequest, status: str, text: str
) -> None:
    error = await failing(scripted([request_]), tools=ALL)
    assert error.status == status
    assert text in str(error)
    assert error.details["tool"] == request_.name
    assert roles(error.response.messages) == ["user", "model"]
    if request_.name == "explode":
        assert isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize(("request_", "status", "text"), FAILURES)
async def test_a_failing_tool_is_told_to_the_model_when_errors_are_returned(
    request_: ToolRequest, status: str, text: str
) -> None:
    model = scripted([call("add", "r1", a=1), request_], "sorry")
    response = await run(model, tools=ALL, tool_errors="return")
    assert response.text == "sorry"
    good, bad = (part.tool_response for part in response.messages[2].content)
    assert good is not None
    assert bad is not None
    assert (good.output, good.ref) == (2, "r1")
    assert bad.name == request_.name
    assert list(bad.output) == ["error"]
    assert bad.output["error"].startswith(f"{status}: ")
    assert text in bad.output["error"]


async def test_no_tools_at_all_is_said_to_a_model_that_asks_for_one() -> None:
    error = await failing(scripted([call("add", a=1)]))
    assert "This generation has no tools." in str(error)


async def test_the_first_failure_cancels_the_other_tools_and_waits_for_them() -> None:
    events: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            events.append("cleaned up")
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("first")

    error = await failing(scripted([call("slow"), call("fails"), call("slow")]), tools=[slow, fails])
    assert "first" in error.message
    assert events == ["cleaned up"] * 2


async def test_tool_outputs_are_json_compatible_when_they_reach_the_model() -> None:
    def facts() -> dict[str, Any]:
        return {"doc": Document("text", id="d1"), "nan": float("nan"), "set": {1}, "usage": Usage(input_tokens=1)}

    model = scripted([call("facts")], "ok")
    await run(model, tools=[facts])
    part = model.requests[1].messages[2].content[0]
    assert part.tool_response is not None
    assert part.tool_response.output == {
        "doc": {"content": [{"text": "text"}], "metadata": {"id": "d1"}},
        "nan": None,
        "set": [1],
        "usage": {"inputTokens": 1},
    }


@pytest.mark.parametrize("falsy", [0, False, "", None, [], {}])
async def test_falsy_outputs_survive(falsy: Any) -> None:
    response = await run(scripted([call("give")], "ok"), tools=[tool_action(lambda: falsy, name="give")])
    part = response.messages[2].content[0].tool_response
    assert part is not None
    assert part.output == falsy
    assert type(part.output) is type(falsy)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("tool_errors", ["raise", "return"])
def test_what_ends_a_task_or_process_is_never_swallowed(error: BaseException, tool_errors: str) -> None:
    async def end() -> None:
        raise error

    with pytest.raises(type(error)):
        asyncio.run(run(scripted([call("end")], "no"), tools=[end], tool_errors=tool_errors))
    with pytest.raises(type(error)):
        asyncio.run(run(scripted(error), tool_errors=tool_errors))


# -- answers that are none


async def test_a_blocked_answer_is_a_failed_precondition() -> None:
    blocked = ModelResponse(message=Message.model("part"), finish_reason="blocked", finish_message="safety")
    error = await failing(scripted(blocked))
    assert error.status == "FAILED_PRECONDITION"
    assert "safety" in error.message
    assert error.response.finish_reason == "blocked"
    assert error.response.text == "part"


async def test_an_absent_answer_is_a_failed_precondition() -> None:
    error = await failing(scripted(ModelResponse(finish_reason="other", raw={"choices": []})))
    assert error.status == "FAILED_PRECONDITION"
    assert error.response.raw == {"choices": []}
    assert roles(error.response.messages) == ["user"]


async def test_an_exception_of_a_model_is_internal_with_its_cause() -> None:
    error = await failing(scripted([call("add", a=1)], ValueError("boom")), tools=[add])
    assert error.status == "INTERNAL"
    assert "test/scripted" in error.message
    assert "boom" in error.message
    assert isinstance(error.__cause__, ValueError)
    assert roles(error.response.messages) == ["user", "model", "tool"]


async def test_a_models_own_error_keeps_its_status() -> None:
    own = GenkitError("RESOURCE_EXHAUSTED", "Too much.", retry_after=7)
    error = await failing(scripted(own))
    assert error is own
    assert error.retry_after == 7


async def test_something_else_than_a_response_is_internal() -> None:
    async def forgetful(request: Any, ctx: Any, next: Any) -> Any:
        await next()

    error = await failing(scripted("ok"), use=[forgetful])
    assert error.status == "INTERNAL"
    assert "next" in str(error)


# -- figures


async def test_usage_is_the_sum_over_turns_with_characters_counted() -> None:
    first = ModelResponse(message=Message.model([Part(tool_request=call("add", a=1))]), usage=Usage(input_tokens=10))
    second = ModelResponse(
        message=Message.model("done"), usage=Usage(input_tokens=20, output_tokens=3, output_characters=9)
    )
    image = Part(media=Media(url="data:image/png;base64,AA"))
    response = await run(scripted(first, second), prompt=["four", image], tools=[add])
    assert response.usage == Usage(
        input_tokens=30, output_tokens=3, input_characters=8, output_characters=9, input_images=2
    )
    assert first.usage == Usage(input_tokens=10)


async def test_the_time_of_the_whole_call_is_given() -> None:
    response = await run(scripted("ok"))
    assert response.latency_ms is not None
    assert response.latency_ms > 0


async def test_a_response_that_a_model_gives_twice_stays_its_own() -> None:
    shared = ModelResponse(message=Message.model("ok [1]"))
    model = scripted(shared, shared)
    one = await run(model, docs=["x"], output_format="json")
    two = await run(model, prompt="other")
    assert shared.request is None
    assert shared.usage is None
    assert len(one.citations) == 1
    assert two.citations == []


# -- on the wire


async def test_the_util_action_takes_wire_data_and_gives_wire_data() -> None:
    registry, model = Registry(), scripted([call("add", a=1)], '{"n": 2}')
    registry.register(model.action)
    registry.register(tool_action(add))
    action = generate_action(registry)
    raw = {
        "model": "test/scripted",
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "tools": ["add"],
        "docs": [{"content": [{"text": "passage"}]}],
        "output": {"jsonSchema": {"type": "object"}, "format": "json", "instructions": "JSON!"},
        "maxTurns": 1,
        "toolChoice": "auto",
    }
    out = await action.run_json(raw)
    assert action.key == "/util/generate"
    assert out["message"] == {"role": "model", "content": [{"text": '{"n": 2}'}]}
    assert [m["role"] for m in out["request"]["messages"]] == ["user", "model", "tool"]
    assert out["request"]["docs"] == [{"content": [{"text": "passage"}]}]
    assert model.requests[0].messages[0].content[-1].text == "JSON!"
    with pytest.raises(GenkitError) as caught:
        await action.run_json({**raw, "maxTurns": 0, "model": "nope"})
    assert caught.value.status == "NOT_FOUND"
    with pytest.raises(GenkitError) as caught:
        await action.run_json({**raw, "maxTurns": -1})
    assert "$.maxTurns" in caught.value.message
