import functools
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from genkit_rag._core.action import Action
from genkit_rag._core.context import ActionContext
from genkit_rag._core.errors import GenkitError
from genkit_rag._documents.document import Document
from genkit_rag._generation.tools.function import to_tool, tool_action
from genkit_rag._generation.tools.tool import short_name, tool_definition, tool_input


def search(query: str, limit: Annotated[int, Field(ge=1, description="How many.")] = 3, *, exact: bool = False) -> str:
    """Searches the catalogue.

    More about it, which is for people.

    Args:
        query: What to look for,
            in plain words.
        limit: Not this one.
        exact (bool): Whole words: yes or no.

    Returns:
        What was found.
    """
    return f"{query}/{limit}/{exact}"


async def test_several_parameters_become_one_object() -> None:
    tool = tool_action(search)
    assert tool.key == "/tool/search"
    assert tool.description == "Searches the catalogue."
    assert tool.input_schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for, in plain words."},
            "limit": {"type": "integer", "default": 3, "minimum": 1, "description": "How many."},
            "exact": {"type": "boolean", "default": False, "description": "Whole words: yes or no."},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    assert tool.output_schema == {"type": "string"}


async def test_a_tool_is_callable_in_process_and_on_the_wire() -> None:
    tool = tool_action(search)
    assert await tool({"query": "a", "exact": True}) == "a/3/True"
    assert await tool(tool_input(tool, {"query": "a", "limit": 1})) == "a/1/False"
    assert await tool.run_json({"query": "a"}) == "a/3/False"
    for wrong, path in (({"query": 1}, "$.query"), ({"query": "a", "limit": 0}, "$.limit"), ({}, "$.query")):
        with pytest.raises(GenkitError) as caught:
            await tool(wrong)
        assert path in caught.value.message


class Point(BaseModel):
    x: int
    y: int = 0


@dataclass
class Size:
    width: int


class Names(TypedDict):
    first: str


class NoForm(BaseModel, arbitrary_types_allowed=True):
    thread: threading.Thread


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [(Point, {"x": 1}, Point(x=1)), (Size, {"width": 2}, Size(2)), (Names, {"first": "a"}, {"first": "a"})],
)
async def test_a_single_object_type_is_the_input_itself(kind: Any, raw: Any, value: Any) -> None:
    def take(item: Any, ctx: ActionContext) -> Any:
        return item

    take.__annotations__["item"] = kind
    tool = tool_action(take)
    assert tool.input_type is kind
    assert await tool(value) == value
    assert await tool(raw) == value
    assert await tool(tool_input(tool, raw)) == value


async def test_a_single_plain_parameter_is_a_field() -> None:
    tool = tool_action(lambda text: text, name="echo")
    assert tool.input_schema is not None
    assert list(tool.input_schema["properties"]) == ["text"]
    assert await tool({"text": {"any": "thing"}}) == {"any": "thing"}


async def test_absent_arguments_are_an_empty_object() -> None:
    tool = tool_action(lambda: "ok", name="ping")
    assert await tool(tool_input(tool, None)) == "ok"
    assert await tool(None) == "ok"


@pytest.mark.parametrize("place", ["first", "last", "keyword", "annotated"])
async def test_the_context_is_passed_where_it_is_asked_for(place: str) -> None:
    def first(ctx: ActionContext, a: int) -> Any:
        return ctx.context, a

    def last(a: int, ctx: Any) -> Any:
        return ctx.context, a

    def keyword(a: int, *, ctx: ActionContext) -> Any:
        return ctx.context, a

    def annotated(a: int, who: ActionContext) -> Any:
        return who.context, a

    tool = tool_action(locals()[place])
    assert tool.input_schema is not None
    assert list(tool.input_schema["properties"]) == ["a"]
    assert await tool({"a": 1}, context={"user": "ada"}) == ({"user": "ada"}, 1)


async def test_positional_only_parameters_and_awkward_names_work() -> None:
    def awkward(schema: int, model_config: int, _x: int, copy: int, /, *, json: int = 5) -> list[int]:
        return [schema, model_config, _x, copy, json]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tool = tool_action(awkward)
    assert tool.input_schema is not None
    assert list(tool.input_schema["properties"]) == ["schema", "model_config", "_x", "copy", "json"]
    arguments = {"schema": 1, "model_config": 2, "_x": 3, "copy": 4}
    assert await tool(tool_input(tool, arguments)) == [1, 2, 3, 4, 5]


async def test_a_sync_function_runs_beside_the_event_loop_and_an_async_one_in_it() -> None:
    async def here() -> int:
        return threading.get_ident()

    assert await tool_action(lambda: threading.get_ident(), name="there")({}) != threading.get_ident()
    assert await tool_action(here)({}) == threading.get_ident()


async def test_defaults_may_be_fields_and_mutable_defaults_are_not_shared() -> None:
    def collect(item: str = Field(description="One."), into: list[str] = []) -> list[str]:  # noqa: B006
        into.append(item)
        return into

    tool = tool_action(collect)
    assert tool.input_schema is not None
    assert tool.input_schema["properties"]["item"] == {"type": "string", "description": "One."}
    assert await tool({"item": "a"}) == ["a"]
    assert await tool({"item": "b"}) == ["b"]


async def test_methods_partials_and_callable_objects_are_functions_too() -> None:
    class Shop:
        def price(self, item: str) -> str:
            return f"{item}: 1"

        async def __call__(self, item: str) -> str:
            return f"called with {item}"

    async def scaled(factor: int, n: int) -> int:
        return factor * n

    assert await tool_action(Shop().price)({"item": "tea"}) == "tea: 1"
    assert await tool_action(Shop(), name="shop")({"item": "tea"}) == "called with tea"
    assert await tool_action(functools.partial(scaled, 3))({"n": 2}) == 6


async def test_name_description_and_input_type_may_be_given() -> None:
    given = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    tool = tool_action(lambda value: value["q"], name="plugin/ask", description="Asks.", input_type=given)
    definition = tool_definition(tool)
    assert definition.to_wire() == {
        "name": "ask",
        "key": "/tool/plugin/ask",
        "description": "Asks.",
        "inputSchema": given,
        "metadata": {"originalName": "plugin/ask"},
    }
    assert await tool(tool_input(tool, {"q": "x"})) == "x"
    with pytest.raises(GenkitError, match=r"\$"):
        tool_input(tool, {})


async def test_other_tool_actions_have_a_definition_as_well() -> None:
    async def run(value: Any, ctx: ActionContext) -> Any:
        return value

    action = Action[Any, Any, None]("tool", "remote/x", run, description="Far away.")
    assert tool_definition(action).to_wire() == {
        "name": "x",
        "key": "/tool/remote/x",
        "description": "Far away.",
        "metadata": {"originalName": "remote/x"},
    }
    assert tool_input(action, None) is None


def test_output_types_without_a_json_form_are_left_out() -> None:
    def opaque() -> threading.Thread: ...  # type: ignore[empty-body]

    def documents() -> list[Document]: ...  # type: ignore[empty-body]

    assert tool_action(opaque).output_schema is None
    shown = tool_action(documents).output_schema
    assert shown is not None
    assert shown["type"] == "array"


def test_functions_that_cannot_be_tools_are_refused_with_the_fix() -> None:
    def star(*words: str) -> None: ...
    def double(**words: str) -> None: ...
    def live(thread: threading.Thread) -> None: ...
    def whole(thing: NoForm) -> None: ...
    def hook(then: Callable[[], None]) -> None: ...
    def lost(thing: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for fn, problem in (
        (star, "needs names"),
        (double, "needs names"),
        (live, "JSON form"),
        (whole, "JSON form"),
        (hook, "JSON form"),
        (lost, "resolve"),
    ):
        with pytest.raises(GenkitError) as caught:
            tool_action(fn)
        assert caught.value.status == "INVALID_ARGUMENT"
        assert problem in caught.value.message
        assert caught.value.hint
    with pytest.raises(GenkitError, match="name"):
        tool_action(lambda: 1)
    with pytest.raises(GenkitError, match="one parameter"):
        tool_action(lambda a, b: 1, name="two", input_type={})


def test_a_plain_function_is_made_a_tool_once() -> None:
    def once() -> int:
        return 1

    made = to_tool(once)

    @functools.wraps(once)
    def wrapper() -> int:
        return 2

    assert to_tool(once) is made
    assert to_tool(wrapper).fn is wrapper
    assert made.definition is made.definition


def test_short_names() -> None:
    assert [short_name(name) for name in ("a", "p/a", "p/q/a")] == ["a", "a", "a"]
