import asyncio
from typing import Any

import pytest

from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._core.registry import Registry
from genkit_rag._documents.part import Part
from genkit_rag._generation.generate import GenerateOptions, generate
from genkit_rag._generation.middleware import Fallback, Retry, fallback
from genkit_rag._generation.model import ModelRequest, ModelResponse, ModelResponseChunk
from genkit_rag.testing._scripted_model import ScriptedModel


class World:
    """Three models, `test/a` to `test/c`, with a script each."""

    def __init__(self, **scripts: Any) -> None:
        self.registry = Registry()
        self.models = {name: ScriptedModel(f"test/{name}", script) for name, script in scripts.items()}
        for model in self.models.values():
            self.registry.register(model.action)

    async def run(self, use: list[Any], on_chunk: Any = None, **more: Any) -> ModelResponse:
        options = GenerateOptions(model="test/a", prompt="hi", use=use, **more)
        return await generate(self.registry, options, on_chunk=on_chunk)

    @property
    def calls(self) -> str:
        return "".join(name * len(model.requests) for name, model in self.models.items())


def error(status: Any = "UNAVAILABLE") -> GenkitError:
    return GenkitError(status, f"This is {status}.")


async def test_no_other_model_is_asked_when_the_first_answers() -> None:
    world = World(a=["from a"], b=["from b"])
    assert (await world.run([Fallback(["test/b"])])).text == "from a"
    assert world.calls == "a"


@pytest.mark.parametrize(
    "status",
    ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "NOT_FOUND", "UNIMPLEMENTED"],
)
async def test_the_next_model_is_asked_after_a_failure(status: Any) -> None:
    world = World(a=[error(status)], b=[error(status)], c=["from c"])
    assert (await world.run([Fallback(["test/b", "test/c"])])).text == "from c"
    assert world.calls == "abc"


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED"])
async def test_other_errors_are_raised_at_once(status: Any) -> None:
    world = World(a=[error(status)], b=["from b"])
    with pytest.raises(GenkitError) as caught:
        await world.run([Fallback(["test/b"])])
    assert caught.value.status == status
    assert world.calls == "a"


async def test_the_last_error_is_raised_when_all_fail() -> None:
    world = World(a=[error()], b=[error("RESOURCE_EXHAUSTED")])
    with pytest.raises(GenkitError, match="RESOURCE_EXHAUSTED") as caught:
        await world.run([Fallback(["test/b"])])
    assert caught.value.response.messages[0].text == "hi"


async def test_a_name_that_is_not_registered_is_passed_over() -> None:
    world = World(a=[error()], c=["from c"])
    assert (await world.run([Fallback(["test/gone", "test/c"])])).text == "from c"


async def test_on_error_hears_of_every_failure_that_is_followed() -> None:
    heard: list[tuple[str, int]] = []
    world = World(a=[error()], b=[ValueError("odd")], c=["from c"])
    use = [Fallback(["test/b", "test/c"], on_error=lambda e, attempt: heard.append((str(e), attempt)))]
    await world.run(use)
    assert heard == [("UNAVAILABLE: This is UNAVAILABLE.", 1), ("odd", 2)]


@pytest.mark.parametrize(("isolate", "config"), [(False, {"temperature": 1}), (True, None)])
async def test_the_config_may_be_kept_from_the_others(isolate: bool, config: Any) -> None:
    world = World(a=[error()], b=["from b"])
    await world.run([Fallback(["test/b"], isolate_config=isolate)], config={"temperature": 1})
    assert world.models["a"].requests[0].config == {"temperature": 1}
    assert world.models["b"].requests[0].config == config


async def test_docs_and_output_are_fitted_to_the_model_that_answers() -> None:
    native = ScriptedModel("test/native", ['{"a": 1}'], supports={"context": True, "constrained": "all"})
    world = World(a=[error()])
    use = [Fallback([native.action])]
    await world.run(use, docs=["passage"], output_schema={"type": "object"})
    assert len(world.models["a"].requests[0].messages[0].content) == 3
    assert len(native.requests[0].messages[0].content) == 1
    assert native.requests[0].output is not None


async def test_no_second_voice_after_a_chunk_was_streamed() -> None:
    def partly(request: ModelRequest, ctx: ActionContext) -> Any:
        ctx.send_chunk(ModelResponseChunk(content=[Part(text="half")]))
        raise error()

    world = World(a=[partly], b=["from b"])
    with pytest.raises(GenkitError, match="UNAVAILABLE"):
        await world.run([Fallback(["test/b"])], on_chunk=lambda chunk: None)
    assert world.calls == "a"


async def test_the_names_are_looked_up_in_the_registry_that_was_given() -> None:
    other = World(b=["from elsewhere"])
    world = World(a=[error()])
    assert (await world.run([fallback(other.registry, models=["test/b"])])).text == "from elsewhere"


async def test_retry_inside_of_fallback_retries_every_model() -> None:
    async def at_once(seconds: float) -> None: ...

    world = World(a=[error()] * 2, b=[error(), "from b"])
    use = [Fallback(["test/b"]), Retry(max_retries=1, sleep=at_once)]
    assert (await world.run(use)).text == "from b"
    assert world.calls == "aabb"


async def test_cancellation_passes_straight_through() -> None:
    world = World(a=[asyncio.CancelledError], b=["from b"])
    with pytest.raises(asyncio.CancelledError):
        await world.run([Fallback(["test/b"])])
    assert world.calls == "a"


@pytest.mark.parametrize("models", [[], "test/b"])
def test_models_must_be_a_list_with_something_in_it(models: Any) -> None:
    with pytest.raises(GenkitError, match="models"):
        Fallback(models)
