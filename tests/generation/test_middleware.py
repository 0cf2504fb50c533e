from dataclasses import replace
from typing import Any

import pytest

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.document import Document
from genkit_rag._documents.part import Message, ToolRequest
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.middleware import GenerateParams, Middleware, ModelParams, ToolParams
from genkit_rag._generation.model import ModelRequest, ModelResponse
from genkit_rag.testing._scripted_model import ScriptedModel


def double(n: int) -> int:
    return 2 * n


async def run(use: list[Any], *answers: Any, **more: Any) -> tuple[ModelResponse, ScriptedModel]:
    model = ScriptedModel("test/scripted", answers)
    options = GenerateOptions(model=model.action, prompt="hi", tools=[double], use=use, **more)
    return await generate(Registry(), options, context={"user": "ada"}), model


ASK = [ToolRequest(name="double", input={"n": 1})]


class Log(Middleware):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def wrap_generate(self, params: GenerateParams, next: Any, /) -> ModelResponse:
        self.log.append(f"{self.name} generate {params.turn} of {len(params.request.messages)}")
        response: ModelResponse = await next(params)
        self.log.append(f"{self.name} generated {params.turn}")
        return response

    async def wrap_model(self, params: ModelParams, next: Any, /) -> ModelResponse:
        self.log.append(f"{self.name} model {params.turn} {params.model.name}")
        response: ModelResponse = await next(params)
        self.log.append(f"{self.name} modelled {params.turn}")
        return response

    async def wrap_tool(self, params: ToolParams, next: Any, /) -> Any:
        self.log.append(f"{self.name} tool {params.turn} {params.tool.name} {params.request.input}")
        output = await next(params)
        self.log.append(f"{self.name} ran {output}")
        return output


async def test_the_first_is_outermost_and_every_hook_of_every_turn_is_wrapped() -> None:
    log: list[str] = []
    await run([Log("a", log), Log("b", log)], ASK, "done")
    assert log == [
        "a generate 0 of 1",
        "b generate 0 of 1",
        "a model 0 test/scripted",
        "b model 0 test/scripted",
        "b modelled 0",
        "a modelled 0",
        "a tool 0 double {'n': 1}",
        "b tool 0 double {'n': 1}",
        "b ran 2",
        "a ran 2",
        "a generate 1 of 3",
        "b generate 1 of 3",
        "a model 1 test/scripted",
        "b model 1 test/scripted",
        "b modelled 1",
        "a modelled 1",
        "b generated 1",
        "a generated 1",
        "b generated 0",
        "a generated 0",
    ]


async def test_a_hook_that_is_not_overridden_passes_everything_on() -> None:
    response, _ = await run([Middleware()], ASK, "done")
    assert response.text == "done"


async def test_a_plain_function_wraps_the_model_call() -> None:
    seen: list[Any] = []

    async def note(request: ModelRequest, ctx: ActionContext, next: Any) -> ModelResponse:
        seen.append((len(request.messages), ctx.context["user"]))
        response: ModelResponse = await next()
        return response

    async def politely(request: ModelRequest, ctx: ActionContext, next: Any) -> ModelResponse:
        changed = request.model_copy(update={"messages": [Message.system("be polite"), *request.messages]})
        response: ModelResponse = await next(changed)
        return response

    response, model = await run([note, politely], ASK, "done")
    assert seen == [(1, "ada"), (3, "ada")]
    assert [len(request.messages) for request in model.requests] == [2, 4]
    assert [message.role for message in response.messages] == ["user", "model", "tool", "model"]


async def test_a_middleware_may_answer_by_itself() -> None:
    class Cache(Middleware):
        async def wrap_generate(self, params: GenerateParams, next: Any, /) -> ModelResponse:
            return self.answer

        answer = ModelResponse(message=Message.model("cached"))

    response, model = await run([Cache()])
    assert response.text == "cached"
    assert [message.text for message in response.messages] == ["hi", "cached"]
    assert model.requests == []
    assert Cache.answer.request is None


async def test_what_wrap_generate_changes_holds_for_the_later_turns() -> None:
    class AddDocs(Middleware):
        async def wrap_generate(self, params: GenerateParams, next: Any, /) -> ModelResponse:
            request = params.request
            if params.turn == 0:
                request = ModelRequest(messages=request.messages, tools=request.tools, docs=["found"])  # type: ignore[list-item]
            response: ModelResponse = await next(replace(params, request=request))
            return response

    response, model = await run([AddDocs()], ASK, "as [1] says")
    assert all("found" in request.messages[0].text for request in model.requests)
    assert [citation.document.text for citation in response.citations] == ["found"]


async def test_docs_that_a_middleware_found_are_put_before_the_model_and_cited() -> None:
    async def find(request: ModelRequest, ctx: ActionContext, next: Any) -> ModelResponse:
        response: ModelResponse = await next(request.model_copy(update={"docs": [Document("found")]}))
        return response

    response, model = await run([find], "as [1] says")
    assert "found" in model.requests[0].messages[0].text
    assert [citation.document.text for citation in response.citations] == ["found"]


async def test_wrap_generate_sees_the_conversation_in_the_response() -> None:
    seen: list[int] = []

    class Count(Middleware):
        async def wrap_generate(self, params: GenerateParams, next: Any, /) -> ModelResponse:
            response = await super().wrap_generate(params, next)
            seen.append(len(response.messages))
            return response

        async def wrap_model(self, params: ModelParams, next: Any, /) -> ModelResponse:
            return await super().wrap_model(params, next)

        async def wrap_tool(self, params: ToolParams, next: Any, /) -> Any:
            return await super().wrap_tool(params, next)

    await run([Count()], ASK, "done")
    assert seen == [4, 4]


async def test_a_wrap_generate_that_returns_nothing_is_told_so() -> None:
    class Forgetful(Middleware):
        async def wrap_generate(self, params: GenerateParams, next: Any, /) -> Any:
            await next(params)

    with pytest.raises(GenkitError, match="wrap_generate") as caught:
        await run([Forgetful()], "done")
    assert caught.value.status == "INTERNAL"


async def test_many_turns_take_no_stack_unless_they_are_wrapped() -> None:
    response, _ = await run([], *[ASK] * 500, "done", max_turns=500)
    assert len(response.messages) == 1002


async def test_a_tools_input_and_output_may_be_changed() -> None:
    class Change(Middleware):
        async def wrap_tool(self, params: ToolParams, next: Any, /) -> Any:
            request = params.request.model_copy(update={"input": {"n": 10}})
            return {"doubled": await next(replace(params, request=request))}

    response, _ = await run([Change()], [ToolRequest(name="double", input={"n": "wrong"})], "done")
    part = response.messages[2].content[0].tool_response
    assert part is not None
    assert part.output == {"doubled": 20}


async def test_the_context_may_be_changed_for_what_runs_inside() -> None:
    seen: list[Any] = []

    class Become(Middleware):
        async def wrap_model(self, params: ModelParams, next: Any, /) -> ModelResponse:
            response: ModelResponse = await next(replace(params, ctx=ActionContext({"user": "model's"})))
            return response

        async def wrap_tool(self, params: ToolParams, next: Any, /) -> Any:
            return await next(replace(params, ctx=ActionContext({"user": "tool's"})))

    def double(n: int, ctx: ActionContext) -> int:
        seen.append(ctx.context["user"])
        return n

    def answer(request: ModelRequest, ctx: ActionContext) -> Any:
        seen.append(ctx.context["user"])
        return ASK if len(request.messages) == 1 else "done"

    model = ScriptedModel("test/scripted", [answer, answer])
    options = GenerateOptions(model=model.action, prompt="hi", tools=[double], use=[Become()])
    await generate(Registry(), options, context={"user": "ada"})
    assert seen == ["model's", "tool's", "model's"]


async def test_another_model_may_be_put_in_and_the_request_is_fitted_to_it() -> None:
    other = ScriptedModel("test/other", ["{}"], supports={"context": True, "constrained": "all"})

    class Route(Middleware):
        async def wrap_model(self, params: ModelParams, next: Any, /) -> ModelResponse:
            response: ModelResponse = await next(replace(params, model=other.action))
            return response

    response, model = await run([Route()], docs=["passage"], output_schema={"type": "object"})
    assert response.output == {}
    assert model.requests == []
    assert other.requests[0].messages == [Message.user("hi")]
    assert other.requests[0].output is not None
    assert other.requests[0].docs is not None


@pytest.mark.parametrize("hook", ["wrap_generate", "wrap_model", "wrap_tool"])
async def test_an_exception_of_a_middleware_is_a_genkit_error_with_the_conversation(hook: str) -> None:
    async def fail(self: Any, params: Any, next: Any, /) -> Any:
        raise KeyError("missing")

    broken = type("Broken", (Middleware,), {hook: fail})()
    with pytest.raises(GenkitError) as caught:
        await run([broken], ASK, "done")
    assert caught.value.status == "INTERNAL"
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.response.messages[0] == Message.user("hi")


async def test_a_middleware_sees_the_exception_as_it_was_raised() -> None:
    seen: list[BaseException] = []

    async def catch(request: ModelRequest, ctx: ActionContext, next: Any) -> ModelResponse:
        try:
            response: ModelResponse = await next()
        except TimeoutError as error:
            seen.append(error)
            response = ModelResponse(message=Message.model("too slow"))
        return response

    response, _ = await run([catch], TimeoutError("after 1 s"))
    assert response.text == "too slow"
    assert len(seen) == 1


async def test_what_is_no_middleware_is_refused_with_the_fix() -> None:
    def not_async(request: Any, ctx: Any, next: Any) -> Any: ...

    for wrong, fix in ((Middleware, "Middleware()"), (not_async, "async def"), (7, "use")):
        with pytest.raises(GenkitError) as caught:
            await run([wrong], "never")
        assert caught.value.status == "INVALID_ARGUMENT"
        assert fix in str(caught.value)
