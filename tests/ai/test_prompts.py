"""Prompts as a caller uses them: call, stream, render, offer as a tool, list."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from genkit_rag import Genkit, GenkitError, Message, Part
from genkit_rag._core.context import ActionContext
from genkit_rag._generation.generate import GenerateOptions
from genkit_rag._generation.prompt import ExecutablePrompt, PromptKwargs, RunKwargs, load_prompt_dir
from genkit_rag._generation.prompt.options import OWN_NAMES
from genkit_rag.testing import ScriptedModel

pytest.importorskip("dotpromptz_handlebars")


class App:
    """An application with one model that echoes what the last user said."""

    def __init__(self) -> None:
        self.ai = Genkit(model="test/echo")
        self.model = ScriptedModel("test/echo", [lambda request: request.messages[-1].text] * 50)
        self.ai.registry.register(self.model.action)


@pytest.fixture
def app() -> App:
    return App()


def wire(request: Any) -> list[dict[str, Any]]:
    return [message.to_wire() for message in request.messages]


class Person(BaseModel):
    name: str
    age: int = 3


async def test_a_call_renders_and_asks_the_model(app: App) -> None:
    prompt = app.ai.define_prompt(
        "greet", "Hello {{name}}, {{age}}", system="Be {{mood}}", input_schema=Person, config={"temperature": 1}
    )
    response = await prompt({"name": "Ada"}, context={})
    assert response.text == "Hello Ada, 3"
    assert wire(app.model.requests[0]) == [
        {"role": "system", "content": [{"text": "Be "}]},
        {"role": "user", "content": [{"text": "Hello Ada, 3"}]},
    ]
    assert (await prompt(Person(name="B", age=7))).text == "Hello B, 7"


async def test_a_call_streams(app: App) -> None:
    prompt = app.ai.define_prompt("say", "one two {{x}}")
    running = prompt.stream({"x": "three"})
    assert [chunk.text async for chunk in running.stream] == ["one", " two", " three"]
    assert (await running.response).text == "one two three"


async def test_render_gives_the_request_that_a_call_sends_and_asks_nobody(app: App) -> None:
    prompt = app.ai.define_prompt(
        "ask", 'Of these:\n{{section "context"}}{{q}}', docs=["A passage."], output_schema=Person
    )
    request = await prompt.render({"q": "Why?"})
    assert app.model.requests == []
    await prompt({"q": "Why?"})
    assert app.model.requests[0].to_wire() == request.to_wire()
    parts = request.messages[-1].content
    assert "A passage." in (parts[1].text or "")
    assert parts[1].metadata == {"purpose": "context"}
    assert parts[2].text == "Why?"


async def test_overrides_win_and_config_is_merged(app: App) -> None:
    other = app.ai.registry.register(ScriptedModel("test/other", ["other"]).action)
    prompt = app.ai.define_prompt(
        "set", "x", config={"temperature": 0.1, "maxOutputTokens": 5, "own": 1}, max_turns=1, docs=["mine"]
    )
    assert (await prompt(model=other.name)).text == "other"
    options = await prompt.options(config={"max_output_tokens": 9, "topK": 2}, max_turns=7, docs=["yours"])
    assert options.config == {"temperature": 0.1, "own": 1, "max_output_tokens": 9, "topK": 2}
    assert (options.max_turns, options.docs) == (7, ["yours"])
    assert (await prompt.options()).config == {"temperature": 0.1, "maxOutputTokens": 5, "own": 1}


async def test_code_wins_over_the_front_matter_of_its_template(app: App) -> None:
    source = (
        "---\nmodel: test/other\nconfig: {temperature: 1, topK: 3}\ninput: {default: {a: 1, b: 1}}\n---\n{{a}}{{b}}"
    )
    prompt = app.ai.define_prompt(
        "set", template=source, model="test/echo", config={"temperature": 0}, input_default={"b": 2}
    )
    response = await prompt()
    assert response.text == "12"
    assert response.request is not None
    assert response.request.config == {"topK": 3, "temperature": 0}


async def test_every_field_of_front_matter_reaches_the_generation(app: App) -> None:
    source = """---
model: test/echo
config:
  temperature: 0.5
tools: [look]
toolChoice: required
maxTurns: 2
returnToolRequests: true
docs: [A passage.]
use: [logged, {name: other, config: {a: 1}}]
output:
  format: json
  schema:
    a: string
  contentType: application/json
  constrained: false
  instructions: As JSON.
---
x"""
    options = await app.ai.define_prompt("all", template=source).options()
    assert (options.model, options.config, options.tools) == ("test/echo", {"temperature": 0.5}, ["look"])
    assert (options.tool_choice, options.max_turns, options.return_tool_requests) == ("required", 2, True)
    assert options.docs == ["A passage."]
    assert [getattr(item, "name", item) for item in options.use] == ["logged", "other"]
    assert (options.output_format, options.output_content_type) == ("json", "application/json")
    assert (options.output_constrained, options.output_instructions) == (False, "As JSON.")
    assert options.output_schema["properties"] == {"a": {"type": "string"}}


async def test_messages_of_the_conversation_stand_between_system_and_prompt(app: App) -> None:
    prompt = app.ai.define_prompt("chat", "{{q}}", system="s", messages=[Message.user("few"), Message.model("shot")])
    request = await prompt.render({"q": "now"}, messages=[Message.user("a"), Message.model("b")])
    assert [message.text for message in request.messages] == ["s", "few", "shot", "a", "b", "now"]
    marked = app.ai.define_prompt("marked", messages='{{history}}{{role "user"}}then', prompt="{{q}}")
    request = await marked.render({"q": "now"}, messages=[Message.user("a")])
    assert [message.text for message in request.messages] == ["a", "then", "now"]


async def test_the_context_of_the_call_or_of_the_running_action_is_read(app: App) -> None:
    prompt = app.ai.define_prompt("who", "{{@auth.uid}}{{@secret}}!")
    assert (await prompt(context={"auth": {"uid": "u1"}})).text == "u1!"

    @app.ai.flow
    async def flow(_input: Any) -> str:
        return (await prompt()).text

    assert await flow(None, context={"auth": {"uid": "u2"}}) == "u2!"


async def test_functions_give_messages_that_are_no_templates(app: App) -> None:
    def system(person: Person) -> str:
        return f"{{{{role}}}} {person.name}"

    async def prompt(person: Person, ctx: ActionContext) -> list[str | Part]:
        return ["{{name}}", Part(text=f" {ctx.context.get('x')} {len(ctx.metadata['messages'])}")]

    made = app.ai.define_prompt("fn", prompt, system=system, input_schema=Person)
    request = await made.render({"name": "{{x}}"}, context={"x": 1}, messages=[Message.user("a")])
    assert wire(request) == [
        {"role": "system", "content": [{"text": "{{role}} {{x}}"}]},
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "user", "content": [{"text": "{{name}}"}, {"text": " 1 1"}]},
    ]


async def test_a_decorated_function_is_a_prompt(app: App) -> None:
    @app.ai.prompt
    def joke(about: Person) -> str:
        """Tells a joke.

        Or tries to.
        """
        return f"A joke about {about.name}"

    @app.ai.prompt(name="ask/twice", variant="loud", config={"temperature": 1})
    async def twice(input: dict[str, str], ctx: ActionContext) -> list[Message]:
        return [Message.system("s"), Message.user(input["q"])]

    assert isinstance(joke, ExecutablePrompt)
    assert joke.description == "Tells a joke."
    assert (await joke({"name": "cats"})).text == "A joke about cats"
    found = await app.ai.get_prompt("ask/twice", "loud")
    assert found is twice
    assert [message.text for message in (await found.render({"q": "Q"})).messages] == ["s", "Q"]
    with pytest.raises(GenkitError, match=r"\$\.name"):
        await joke({"nam": "x"})


async def test_a_function_may_give_options_of_generate(app: App) -> None:
    @app.ai.prompt(config={"temperature": 1, "topK": 1}, max_turns=3)
    def both(input: dict[str, str]) -> GenerateOptions:
        return GenerateOptions(system="s", prompt=input["q"], config={"temperature": 2}, max_turns=4)

    options = await both.options({"q": "Q"}, messages=[Message.user("a")], max_turns=9)
    assert [message.text for message in options.messages] == ["s", "a", "Q"]
    assert (options.config, options.max_turns) == ({"topK": 1, "temperature": 2}, 9)


@pytest.mark.parametrize("value", [3, {"a": 1}, [Message.user("a"), "b"]])
async def test_a_function_that_gives_something_else_is_named(app: App, value: Any) -> None:
    prompt = app.ai.define_prompt("fn", lambda _input: value)
    with pytest.raises(GenkitError, match="`prompt` of `fn`") as caught:
        await prompt()
    assert caught.value.status == "INVALID_ARGUMENT"


# -- input


async def test_input_is_checked_with_its_defaults(app: App) -> None:
    front = "input:\n  schema:\n    name: string\n    at(object):\n      n: integer\n  default:\n    name: you"
    source = f"---\n{front}\n---\n{{{{name}}}}{{{{at.n}}}}"
    prompt = app.ai.define_prompt("checked", template=source)
    assert (await prompt({"at": {"n": 1}})).text == "you1"
    for input, path in (
        ({"at": {"n": "x"}}, "$.at.n"),
        ({}, "'at' is a required property"),
        ({"at": {"n": 1}, "nam": 1}, "nam"),
    ):
        with pytest.raises(GenkitError) as caught:
            await prompt(input)
        assert caught.value.status == "INVALID_ARGUMENT"
        assert path in caught.value.message
        assert "`checked`" in caught.value.message
    assert len(app.model.requests) == 1


async def test_a_prompt_without_schema_takes_any_data(app: App) -> None:
    prompt = app.ai.define_prompt("free", "{{this}}")
    assert (await prompt("text")).text == "text"
    assert (await prompt(["a", "b"])).text == "a,b"


# -- definitions


def test_wrong_definitions_are_refused_when_they_are_made(app: App) -> None:
    define: Any = app.ai.define_prompt
    define("taken", "x")
    for arguments, options, word in (
        (("taken", "x"), {}, "ALREADY_EXISTS"),
        (("a",), {}, "has no text"),
        (("a", "x"), {"template": "y"}, "template"),
        (("a", "{{#if x}}"), {}, "`prompt` of `a`, line 1"),
        (("a", "x"), {"modle": "m"}, "Did you mean `model`?"),
        (("a", "x"), {"input_schema": {"type": "nonsense"}}, "JSON Schema"),
        (("a", "x"), {"input_schema": "Nobody"}, "`Nobody`"),
        (("a", 3), {}, "`prompt` of `a`"),
        (("a b", "x"), {}, "name"),
    ):
        with pytest.raises(GenkitError) as caught:
            define(*arguments, **options)
        assert word in str(caught.value), arguments
    app.ai.define_helper("mine", len)
    app.ai.define_schema("Mine", Person)
    app.ai.define_partial("mine", "x")
    for call in (
        lambda: app.ai.define_helper("mine", len),
        lambda: app.ai.define_helper("json", len),
        lambda: app.ai.define_helper("no name", len),
        lambda: app.ai.define_helper("number", 3),  # type: ignore[arg-type]
        lambda: app.ai.define_schema("Mine", Person),
        lambda: app.ai.define_schema("string", Person),
        lambda: app.ai.define_partial("mine", "x"),
    ):
        with pytest.raises(GenkitError):
            call()


async def test_wrong_calls_are_refused(app: App) -> None:
    prompt: Any = app.ai.define_prompt("a", "x")
    with pytest.raises(GenkitError, match="Did you mean `max_turns`"):
        await prompt(max_turn=3)
    with pytest.raises(GenkitError, match="`messages`"):
        await prompt(messages="hello")
    roles = app.ai.define_prompt("roles", system='a{{role "user"}}b', prompt="x")
    with pytest.raises(GenkitError, match="must not contain other roles"):
        await roles()


# -- tools and actions


async def test_a_prompt_is_a_tool(app: App) -> None:
    plain = app.ai.define_prompt("mail/sum.short", "Sum up {{text}}", input_schema=Text, description="Sums up.")
    tool = plain.as_tool()
    assert (tool.name, tool.description) == ("mail/sum_short", "Sums up.")
    assert tool.input_schema is not None
    assert tool.input_schema["required"] == ["text"]
    assert await tool({"text": "this"}) == "Sum up this"
    typed = app.ai.define_prompt("typed", '{"text": "{{x}}"}', output_schema=Text).as_tool(name="other")
    assert typed.name == "other"
    assert await typed({"x": "y"}) == Text(text="y")


class Text(BaseModel):
    text: str


async def test_prompts_are_actions_on_the_wire(app: App) -> None:
    app.ai.define_prompt(
        "mail",
        "To {{name}} {{@auth.uid}}",
        variant="short",
        input_schema=Person,
        input_default={"name": "you"},
        config={"temperature": 1, "apiKey": "SECRET"},
        metadata={"team": "us"},
        description="Writes.",
    )
    registry = app.ai.registry
    rendering, running = [await registry.get(kind, "mail.short") for kind in ("prompt", "executable-prompt")]
    request = await rendering.run_json({}, context={"auth": {"uid": "u"}})
    assert request["messages"] == [{"role": "user", "content": [{"text": "To you u"}]}]
    assert app.model.requests == []
    chunks: list[Any] = []
    response = await running.run_json({"name": "Ada"}, on_chunk=chunks.append)
    assert response["message"]["content"] == [{"text": "To Ada "}]
    assert "".join(chunk["content"][0]["text"] for chunk in chunks) == "To Ada "
    with pytest.raises(GenkitError, match=r"\$\.age"):
        await running.run_json({"age": "old"})
    shown = rendering.metadata
    assert running.metadata == {**shown, "type": "executablePrompt"}
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["type"], shown["team"]) == ("prompt", "us")
    prompt = shown["prompt"]
    assert (prompt["name"], prompt["variant"], prompt["config"]) == ("mail", "short", {"temperature": 1})
    assert prompt["template"] == "To {{name}} {{@auth.uid}}"
    assert prompt["input"]["default"] == {"name": "you"}
    assert "required" not in prompt["input"]["schema"]
    assert rendering.description == "Writes."


async def test_metadata_and_extensions_of_a_file_are_listed(app: App, tmp_path: Path) -> None:
    (tmp_path / "a.prompt").write_text("---\nmetadata: {team: us}\nacme.owner: me\ndescription: A.\n---\nx")
    load_prompt_dir(app.ai.registry, tmp_path)
    [item] = [item for item in await app.ai.registry.list_actions() if item.kind == "prompt"]
    assert item.description == "A."
    assert item.metadata is not None
    assert item.metadata["team"] == "us"
    assert item.metadata["prompt"]["ext"] == {"acme": {"owner": "me"}}


# -- the house


def test_a_prompt_takes_every_option_of_generate() -> None:
    names = {field.name for field in dataclasses.fields(GenerateOptions)} - {"prompt", "system", "messages"}
    assert set(RunKwargs.__annotations__) == names
    assert set(PromptKwargs.__annotations__) == names | set(OWN_NAMES)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_the_extra_only_templates_are_refused() -> None:
    said = run(
        "import asyncio, sys\n"
        "sys.modules['dotpromptz_handlebars'] = sys.modules['yaml'] = None\n"
        "from genkit_rag import Genkit\n"
        "ai = Genkit()\n"
        "prompt = ai.define_prompt('plain', 'Hello', system=lambda input: 'Be nice')\n"
        "print([message.text for message in asyncio.run(prompt.options()).messages])\n"
        "for source in ('Hello {{name}}', '---\\nmodel: x\\n---\\nHello'):\n"
        "    try: ai.define_prompt('tags', template=source)\n"
        "    except ImportError as error: print(type(error).__name__, error)\n"
    )
    first, *errors = said.splitlines()
    assert first == "['Be nice', 'Hello']"
    assert len(errors) == 2
    assert all(line.startswith("MissingExtra") and 'pip install "genkit-rag[prompts]"' in line for line in errors)


def test_importing_the_framework_loads_no_template_engine() -> None:
    loaded = run("import sys, genkit_rag; print(*sys.modules)").split()
    assert not {"dotpromptz_handlebars", "yaml", "dotpromptz", "jsonschema"} & set(loaded)
