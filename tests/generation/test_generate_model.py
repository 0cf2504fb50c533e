"""Random tool plans through `ai.generate`, side by side with a small model of what must come out.

The model foretells messages and their metadata, chunks, finish reason, statuses and which tools run with what;
afterwards nothing may be left open: no task, no span, no registered tool.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from genkit_rag import (
    ActionContext,
    Genkit,
    GenkitError,
    Message,
    ModelRequest,
    ModelResponse,
    ModelResponseChunk,
    Part,
    Resume,
    ToolOutput,
    ToolRequest,
    Usage,
    current_context,
    respond_to,
    restart,
)
from genkit_rag.plugin_api import tool_action
from tests.generation.generate_reference import EXTRAS, METADATA, REPLIES, Deed, Expected, Plan, Reference, Reply, plans

# -- the real thing

CONTEXT = {"user": "ada"}


class World:
    """The library set up to play a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ai = Genkit(model="test/planned")
        self.next_turn = self.asked = self.open = 0
        self.runs: Counter[int] = Counter()
        self.ran: list[tuple[int, str, Any, Any]] = []
        self.calls = {call.number: call for _, calls in plan.turns for call in calls}
        self.ai.define_model("test/planned", self._model)
        self.ai.define_tool(self.work)
        hang = tool_action(self.hang, timeout=0.001)
        self.tools: list[Any] = ["work", tool_action(self.block), tool_action(self.parts), hang]  # three for the call

    async def _model(self, request: ModelRequest, ctx: ActionContext) -> ModelResponse:
        await asyncio.sleep(0)
        self.asked += 1
        pieces, calls = self.plan.turns[self.next_turn] if self.next_turn < len(self.plan.turns) else (("end",), ())
        self.next_turn += 1
        for piece in pieces:
            ctx.send_chunk(ModelResponseChunk(content=[Part(text=piece)]))
        content = [Part(text="".join(pieces))] if pieces else []
        content += [Part(tool_request=ToolRequest(name=c.name, input=c.input, ref=c.ref)) for c in calls]
        message = Message(role="model", content=content)
        return ModelResponse(message=message, finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2))

    def _deed(self, number: int, note: str, ctx: ActionContext) -> Deed:
        assert ctx.context == current_context() == CONTEXT
        self.ran.append((number, note, ctx.resumed, ctx.original_input))
        self.runs[number] += 1
        deeds = self.calls[number].deeds
        return deeds[min(self.runs[number], len(deeds)) - 1]

    def _do(self, deed: Deed, ctx: ActionContext) -> Any:
        if deed.does == "interrupt":
            ctx.interrupt(deed.value)
        if deed.does == "refuse":
            raise GenkitError("PERMISSION_DENIED", "Not you.")
        if deed.does == "crash":
            raise ValueError("broken")
        return deed.value

    async def work(self, number: int, ctx: ActionContext, note: str = "") -> Any:
        deed = self._deed(number, note, ctx)
        self.open += 1
        try:
            for _ in range(deed.ticks):
                await asyncio.sleep(0)
            return self._do(deed, ctx)
        finally:
            self.open -= 1

    def block(self, number: int, ctx: ActionContext, note: str = "") -> Any:
        return self._do(self._deed(number, note, ctx), ctx)

    async def parts(self, number: int, ctx: ActionContext, note: str = "") -> ToolOutput:
        return ToolOutput(
            output=await self.work(number, ctx, note), content=[Part(text="seen")], metadata={"by": "parts"}
        )

    async def hang(self, number: int, ctx: ActionContext, note: str = "") -> None:
        self._deed(number, note, ctx)
        await asyncio.sleep(60)

    async def generate(self, expected: Expected, *, streaming: bool = True, **more: Any) -> ModelResponse:
        """Gives the response, of an error too, after comparing it with what was expected."""
        self.asked, self.ran = 0, []
        chunks: list[ModelResponseChunk] = []
        registered = [action.key for action in await self.ai.registry.list_actions()]
        options = {"tools": self.tools, "context": CONTEXT, **self.plan.options, **more}
        options["on_chunk"] = chunks.append if streaming else None
        status, hint = None, None
        try:
            response = await self.ai.generate(**options)
        except GenkitError as error:
            status, hint, response = error.status, error.hint, error.response
        assert hint or status in (None, "PERMISSION_DENIED")
        assert (status in expected.statuses) if expected.statuses else status is None
        assert [_plain(message) for message in response.messages] == expected.messages
        if status is None:
            assert response.finish_reason == expected.finish
            assert bool(response.finish_message) == (expected.finish == "interrupted")
            assert response.request is not None
            assert response.request.messages == response.messages[:-1]
        interrupts = [p for p in response.messages[-1].content if (p.metadata or {}).get("interrupt")]
        assert response.interrupts == interrupts or status is not None
        seen = [(c.role, c.index, _plain(c)["content"]) for c in chunks]
        assert seen == (expected.chunks if streaming else [])
        assert self.asked == expected.asked
        assert (response.usage.input_tokens if response.usage else 0) == 3 * expected.asked
        ran, foretold = Counter(map(repr, self.ran)), Counter(map(repr, expected.ran))
        assert ran <= foretold if status else ran == foretold  # a failure may come before another one's thread starts
        assert [action.key for action in await self.ai.registry.list_actions()] == registered
        self.check_nothing_is_left()
        return response

    def check_nothing_is_left(self) -> None:
        assert self.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert current_context() == {}


def _plain(model: Any) -> Any:
    """Gives the wire data; of errors that the model was told the status only."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            if list(value) == ["error"]:
                return {"error": value["error"].split(":")[0]}
            return {key: short(item) for key, item in value.items()}
        return [short(item) for item in value] if isinstance(value, list) else value

    return short(model.to_wire())


class Spans(SpanProcessor):
    def __init__(self) -> None:
        self.started = self.ended = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended += 1


@pytest.fixture(scope="module", autouse=True)
def traced() -> Iterator[Spans]:
    """Every generation of this file is traced, and in the end every span that was started has ended."""
    provider, counted = TracerProvider(), Spans()
    provider.add_span_processor(counted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer_provider", lambda: provider)
        patch.setattr(trace, "get_tracer", lambda *args, **more: provider.get_tracer("test"))
        yield counted
    assert counted.started == counted.ended > 0


# -- the properties


@given(plans(), st.data())
@settings(max_examples=250, deadline=None)
def test_a_generation_and_its_resumes_are_what_the_model_foretells(
    traced: Spans, plan: Plan, data: st.DataObject
) -> None:
    async def play() -> None:
        world, reference = World(plan), Reference(plan)
        streaming = data.draw(st.booleans())
        expected = reference.start()
        response = await world.generate(expected, prompt="go", streaming=streaming)
        for _ in range(3):
            if expected.finish != "interrupted" or expected.statuses:
                break
            response, expected = await resumed(world, reference, response, streaming)

    async def resumed(
        world: World, reference: Reference, response: ModelResponse, streaming: bool
    ) -> tuple[ModelResponse, Expected]:
        """Answers every interrupt, at times wrongly: then nothing has run, and the same question stays."""
        before = response.messages
        if data.draw(st.booleans()):
            before = [Message.model_validate(item) for item in json.loads(json.dumps([m.to_wire() for m in before]))]
        replies = {n: data.draw(REPLIES) for n, p in enumerate(before[-1].content) if "interrupt" in (p.metadata or {})}
        resume = _resume(before[-1].content, replies, data.draw(METADATA))
        plain, extra = [_plain(message) for message in before], data.draw(EXTRAS)
        wrong = any(reply.kind == "missing" for reply in replies.values())
        if wrong or _add_extra(resume, before[-1].content, extra):
            refused = Expected(plain, statuses={"INVALID_ARGUMENT"})
            await world.generate(refused, messages=before, resume=resume, streaming=streaming)
            replies = dict.fromkeys(replies, Reply("respond", "in the end"))
            resume = _resume(before[-1].content, replies, resume.metadata)
        expected = reference.resume(plain, replies, resume.metadata)
        after = await world.generate(expected, messages=before, resume=resume, streaming=streaming)
        assert [_plain(message) for message in before] == plain  # the caller's messages stay as they were
        return after, expected

    asyncio.run(play())
    assert traced.started == traced.ended


def _resume(content: Sequence[Part], replies: dict[int, Reply], metadata: Any) -> Resume:
    found = Resume(respond=[], restart=[], metadata=metadata)
    assert found.respond is not None
    assert found.restart is not None
    for position, reply in reversed(replies.items()):  # the order of the answers does not matter
        part = content[position]
        if reply.kind == "respond":
            found.respond.append(respond_to(part, reply.payload))
        elif reply.kind == "restart":
            assert part.tool_request is not None
            more = {"input": {**part.tool_request.input, "note": "new"}} if reply.new_input else {}
            found.restart.append(restart(part, reply.payload, **more))
    return found


def _add_extra(resume: Resume, content: Sequence[Part], extra: str | None) -> bool:
    """Adds an answer that must be refused; False where the message offers no occasion."""
    open_ = [part for part in content if "interrupt" in (part.metadata or {})]
    pending = [part for part in content if "pendingOutput" in (part.metadata or {})]
    assert resume.respond is not None
    assert resume.restart is not None
    if extra == "stranger":
        resume.respond.append(respond_to(Part(tool_request=ToolRequest(name="stranger", ref="r0")), 1))
    elif extra == "twice":
        resume.respond += [respond_to(open_[0], 1), respond_to(open_[0], 2)]
    elif extra == "pending" and pending:
        resume.respond.append(respond_to(pending[0], 1))
    elif extra == "forged" and resume.restart:
        forged = resume.restart[0].model_copy(deep=True)
        assert forged.tool_request is not None
        assert forged.metadata is not None
        forged.tool_request.input = {"number": 10_000}
        forged.metadata.pop("replacedInput", None)
        resume.restart[0] = forged
    else:
        return False
    return True


@given(plans(quick=True), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_generation_that_is_cancelled_anywhere_leaves_nothing_behind(
    traced: Spans, plan: Plan, streaming: bool
) -> None:
    async def play() -> None:
        for ticks in range(10_000):
            world = World(plan)
            options = {"tools": world.tools, **plan.options, "on_chunk": (lambda chunk: None) if streaming else None}
            task = asyncio.ensure_future(world.ai.generate("go", context=CONTEXT, **options))
            for _ in range(ticks):
                await asyncio.sleep(0)
            cancelled = task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                assert cancelled
            except GenkitError:
                assert not cancelled
            world.check_nothing_is_left()
            assert traced.started == traced.ended
            if not cancelled:
                return

    asyncio.run(play())
