"""Background models and their operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from genkit_rag import Genkit
from genkit_rag._generation.background import background_model
from genkit_rag._generation.model import model_info
from genkit_rag._generation.operation import Operation, OperationError
from genkit_rag.plugin_api import (
    Action,
    ActionContext,
    GenkitError,
    Media,
    Message,
    ModelInfo,
    ModelRequest,
    ModelResponse,
    ModelSupports,
    Part,
    Plugin,
)

KEY = "/background-model/studio/video"


class Studio:
    """A provider whose videos are ready after some checks."""

    def __init__(self, checks: int = 2, error: str | None = None) -> None:
        self.checks, self.error = checks, error
        self.asked: list[Operation] = []
        self.cancelled: list[str] = []
        self.request: ModelRequest | None = None

    async def start(self, request: ModelRequest, ctx: ActionContext) -> Operation:
        self.request = request
        return Operation(id="job-1", done=False, metadata={"user": ctx.context.get("user")})

    def check(self, operation: Operation) -> Operation:  # not async: it runs in a worker thread
        self.asked.append(operation)
        if len(self.asked) < self.checks:
            return Operation(id=operation.id, metadata={"progress": len(self.asked)})
        if self.error:
            return Operation(id=operation.id, done=True, error=OperationError(message=self.error))
        message = Message.model([Part(media=Media(url="https://x/video.mp4"))])
        return Operation(id=operation.id, done=True, output=ModelResponse(message=message, finish_reason="stop"))

    async def cancel(self, operation: Operation) -> Operation:
        self.cancelled.append(operation.id)
        return operation.model_copy(update={"done": True})


def studio_app(studio: Studio, *, cancel: bool = True) -> Genkit:
    ai = Genkit()
    ai.define_background_model("studio/video", studio.start, studio.check, studio.cancel if cancel else None)
    return ai


@pytest.mark.parametrize("name", ["studio/video", KEY])
async def test_generate_returns_the_operation_at_once(name: str) -> None:
    studio = Studio()
    ai = studio_app(studio)
    response = await ai.generate("A cat.", model=name, context={"user": "anna"})
    assert (response.text, response.message) == ("", None)
    assert response.operation == Operation(id="job-1", done=False, action=KEY, metadata={"user": "anna"})
    assert [message.text for message in response.messages] == ["A cat."]
    assert studio.request is not None
    assert studio.asked == []


async def test_an_operation_is_checked_until_it_is_done() -> None:
    studio = Studio(checks=2)
    ai = studio_app(studio)
    operation = (await ai.generate("A cat.", model="studio/video")).operation
    assert operation is not None
    first = await ai.check_operation(operation)
    assert (first.done, first.metadata, first.action) == (None, {"progress": 1}, operation.action)
    last = await ai.check_operation(first)
    assert last.done
    assert isinstance(last.output, ModelResponse)
    assert last.output.media[0].url == "https://x/video.mp4"


async def test_an_operation_survives_as_json() -> None:
    studio = Studio(checks=1)
    ai = studio_app(studio)
    response = await ai.generate("A cat.", model="studio/video")
    stored = response.to_wire()["operation"]
    last = await ai.check_operation(stored)
    assert last.output.media[0].url == "https://x/video.mp4"
    again = Operation.model_validate(last.to_wire())
    assert again.output["message"]["content"] == [{"media": {"url": "https://x/video.mp4"}}]
    typed = await background_model("a/b", studio.start, lambda _operation: again).check(again)
    assert isinstance(typed.output, ModelResponse)


async def test_waiting_ends_with_the_output_or_with_the_error() -> None:
    studio = Studio(checks=3)
    ai = studio_app(studio)
    operation = await ai.wait_for_operation(Operation(id="j", action=KEY), poll_seconds=0.001)
    assert (len(studio.asked), operation.output.finish_reason) == (3, "stop")
    assert await ai.wait_for_operation(operation) is operation
    assert len(studio.asked) == 3
    failing = studio_app(Studio(error="too violent"))
    failed = await failing.wait_for_operation({"id": "j", "action": KEY}, poll_seconds=0.001, timeout=10)
    assert failed.done
    assert failed.error is not None
    assert (failed.error.message, failed.output) == ("too violent", None)


async def test_waiting_no_longer_than_the_timeout_leaves_the_operation_running() -> None:
    studio = Studio(checks=10**9)
    ai = studio_app(studio)
    with pytest.raises(GenkitError, match=r"DEADLINE_EXCEEDED.*'j'.*0.05 seconds") as caught:
        await ai.wait_for_operation({"id": "j", "action": KEY}, poll_seconds=0.01, timeout=0.05)
    assert caught.value.details["operation"]["id"] == "j"
    assert studio.cancelled == []


async def test_a_timeout_of_the_provider_is_not_ours() -> None:
    def check(_operation: Operation) -> Operation:
        raise TimeoutError("the provider's")

    ai = Genkit()
    ai.define_background_model("a", lambda _request: Operation(id="j"), check)
    with pytest.raises(TimeoutError, match="the provider's"):
        await ai.wait_for_operation({"id": "j", "action": "/background-model/a"}, timeout=10)


@pytest.mark.parametrize("wrong", [{"poll_seconds": 0}, {"poll_seconds": float("nan")}, {"timeout": -1}])
async def test_seconds_are_numbers_above_zero(wrong: dict[str, float]) -> None:
    with pytest.raises(GenkitError, match=f"INVALID_ARGUMENT.*`{next(iter(wrong))}`"):
        await studio_app(Studio()).wait_for_operation({"id": "j", "action": KEY}, **wrong)


async def test_cancelling_asks_the_provider() -> None:
    studio = Studio()
    ai = studio_app(studio)
    operation = (await ai.generate("A cat.", model="studio/video")).operation
    assert operation is not None
    ended = await ai.cancel_operation(operation)
    assert (ended.done, ended.action, studio.cancelled) == (True, operation.action, ["job-1"])


async def test_where_nothing_can_be_cancelled_the_error_says_so() -> None:
    ai = studio_app(Studio(), cancel=False)
    with pytest.raises(GenkitError, match=r"UNIMPLEMENTED.*`/background-model/studio/video`.*check_operation"):
        await ai.cancel_operation({"id": "j", "action": KEY})


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"id": "j"}, "INVALID_ARGUMENT"),
        ({"id": "j", "action": "studio/video"}, "INVALID_ARGUMENT"),
        ({"id": "j", "action": "/flow/studio/video"}, "INVALID_ARGUMENT"),
        ({"id": "j", "action": "/background-model/"}, "INVALID_ARGUMENT"),
        ({"action": KEY}, "INVALID_ARGUMENT"),
        ({"id": "j", "action": "/background-model/studio/vidoe"}, "NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("verb", ["check_operation", "cancel_operation"])
async def test_an_operation_that_nobody_started_is_refused(verb: str, operation: dict[str, Any], status: str) -> None:
    ai = studio_app(Studio())
    act: Callable[[Any], Any] = getattr(ai, verb)
    with pytest.raises(GenkitError) as caught:
        await act(operation)
    assert caught.value.status == status


async def test_the_actions_have_genkits_keys_and_the_model_says_that_it_runs_long() -> None:
    info = ModelInfo(label="Video", supports=ModelSupports(media=True))
    made = background_model("studio/video", Studio().start, Studio().check, Studio().cancel, info=info)
    assert [action.key for action in made.actions] == [
        KEY,
        "/check-operation/studio/video/check",
        "/cancel-operation/studio/video/cancel",
    ]
    shown = model_info(made.start).supports
    assert shown is not None
    assert (shown.long_running, shown.media) == (True, True)
    assert info.supports is not None
    assert info.supports.long_running is None
    started = await made.start.run_json({"messages": [{"role": "user", "content": [{"text": "A cat."}]}]})
    assert started == {
        "id": "job-1",
        "done": False,
        "action": KEY,
        "metadata": {"user": None},
    }
    assert (await made.check.run_json(started))["action"] == KEY


async def test_a_plugin_brings_a_background_model() -> None:
    class StudioPlugin(Plugin):
        name = "studio"

        async def init(self) -> list[Action[Any, Any, Any]]:
            studio = Studio(checks=1)
            return background_model("studio/video", studio.start, studio.check).actions

    async with Genkit(plugins=[StudioPlugin()]) as ai:
        operation = await ai.wait_for_operation({"id": "j", "action": KEY})
        assert operation.output.media


async def test_a_start_that_gives_no_operation_is_an_error_of_the_model() -> None:
    ai = Genkit()
    wrong: Any = lambda _request: "job-1"  # noqa: E731
    action = ai.define_background_model("a", wrong, wrong)
    with pytest.raises(GenkitError, match=r"INTERNAL.*'job-1', not an Operation"):
        await action(ModelRequest(messages=[]))
