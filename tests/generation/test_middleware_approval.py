"""A tool that nobody has allowed asks before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from genkit_rag import Genkit, GenkitError, ModelResponse
from genkit_rag._generation.tools.interrupts import respond_to, restart
from genkit_rag.middleware import tool_approval
from genkit_rag.plugin_api import ToolRequest
from genkit_rag.testing import ScriptedModel


class World:
    def __init__(self, *answers: Any, allowed: Any = ("look",)) -> None:
        self.ai = Genkit()
        self.ran: list[Any] = []
        self.model = ScriptedModel("test/model", answers)

        def look(at: str) -> str:
            self.ran.append(("look", at))
            return f"saw {at}"

        def delete(what: str) -> str:
            self.ran.append(("delete", what))
            return f"{what} is gone"

        self.ai.define_tool(look)
        self.ai.define_tool(delete, name="files/delete")
        self.approval = tool_approval(allowed)

    async def run(self, *args: Any, **more: Any) -> ModelResponse:
        tools = ["look", "files/delete"]
        return await self.ai.generate(*args, model=self.model.action, tools=tools, use=[self.approval], **more)


LOOK = ToolRequest(name="look", input={"at": "a"}, ref="1")
DELETE = ToolRequest(name="delete", input={"what": "a"}, ref="2")


async def test_an_allowed_tool_runs_at_once() -> None:
    world = World([LOOK], "done")
    assert (await world.run("go")).text == "done"
    assert world.ran == [("look", "a")]


async def test_another_one_interrupts_and_runs_when_it_is_approved() -> None:
    world = World([LOOK, DELETE], "done")
    stopped = await world.run("go")
    assert stopped.finish_reason == "interrupted"
    assert world.ran == [("look", "a")]
    (asked,) = stopped.interrupts
    assert asked.metadata is not None
    assert "delete" in asked.metadata["interrupt"]["message"]
    assert asked.metadata["interrupt"]["tool"] == "files/delete"
    response = await world.run(messages=stopped.messages, resume=[restart(asked, {"toolApproved": True})])
    assert response.text == "done"
    assert world.ran == [("look", "a"), ("delete", "a")]


@pytest.mark.parametrize(
    "answer", [None, True, {}, {"toolApproved": False}, {"toolApproved": "true"}, {"toolApproved": 1}]
)
async def test_a_restart_without_an_approval_asks_again(answer: Any) -> None:
    world = World([DELETE], "done")
    stopped = await world.run("go")
    again = await world.run(messages=stopped.messages, resume=[restart(stopped.interrupts[0], answer)])
    assert again.finish_reason == "interrupted"
    assert world.ran == []


async def test_an_approval_is_for_one_call() -> None:
    world = World([DELETE], [DELETE.model_copy(update={"ref": "3"})])
    stopped = await world.run("go")
    again = await world.run(messages=stopped.messages, resume=[restart(stopped.interrupts[0], {"toolApproved": True})])
    assert world.ran == [("delete", "a")]
    assert [part.tool_request.ref for part in again.interrupts if part.tool_request] == ["3"]


async def test_what_is_refused_does_not_run_and_the_model_is_told() -> None:
    world = World([DELETE], "I see.")
    stopped = await world.run("go")
    response = await world.run(
        messages=stopped.messages, resume=[respond_to(stopped.interrupts[0], "The user said no.")]
    )
    assert response.text == "I see."
    assert world.ran == []


async def test_an_approval_with_another_input_runs_that() -> None:
    world = World([DELETE], "done")
    stopped = await world.run("go")
    part = restart(stopped.interrupts[0], {"toolApproved": True}, input={"what": "b"})
    await world.run(messages=stopped.messages, resume=[part])
    assert world.ran == [("delete", "b")]


@pytest.mark.parametrize("allowed", [["delete"], ["files/delete"], {"delete"}])
async def test_a_tool_is_allowed_by_either_of_its_names(allowed: Any) -> None:
    world = World([DELETE], "done", allowed=allowed)
    assert (await world.run("go")).text == "done"


@pytest.mark.parametrize("wrong", ["look", [1]])
def test_names_come_in_a_list(wrong: Any) -> None:
    with pytest.raises(GenkitError, match="allowed_tools"):
        tool_approval(wrong)
