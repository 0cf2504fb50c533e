"""Prompt sources: front matter, picoschema, folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from genkit_rag import Genkit, GenkitError
from genkit_rag._generation.prompt import load_prompt_dir
from genkit_rag._generation.prompt.files import MAX_FILE_BYTES
from genkit_rag._generation.prompt.front_matter import parse_source

pytest.importorskip("dotpromptz_handlebars")
pytest.importorskip("yaml")


def schema_of(picoschema: str, **named: Any) -> Any:
    """Returns the input schema that a front matter's picoschema becomes."""
    ai = Genkit()
    for name, schema in named.items():
        ai.define_schema(name, schema)
    lines = "\n".join(f"    {line}" for line in picoschema.splitlines())
    return ai.define_prompt("case", template=f"---\ninput:\n  schema:\n{lines}\n---\n").input_schema


def fields(**properties: Any) -> dict[str, Any]:
    required = [name for name in properties if not name.endswith("_")]
    found = {
        "type": "object",
        "properties": {name.rstrip("_"): schema for name, schema in properties.items()},
        "additionalProperties": False,
    }
    return {**found, "required": required} if required else found


# -- picoschema


@pytest.mark.parametrize("scalar", ["string", "number", "integer", "boolean", "null"])
def test_a_scalar_is_its_type(scalar: str) -> None:
    assert schema_of(f'"{scalar}"') == {"type": scalar}
    assert schema_of(f"a: {scalar}") == fields(a={"type": scalar})


@pytest.mark.parametrize("written", ["string, a text", "string,a text", "string,   a text  "])
def test_what_follows_the_first_comma_describes(written: str) -> None:
    assert schema_of(written) == {"type": "string", "description": "a text"}
    assert schema_of(f"a: {written}") == fields(a={"type": "string", "description": "a text"})


def test_any_takes_anything() -> None:
    assert schema_of("any") == {}
    assert schema_of("any, whatever") == {"description": "whatever"}
    assert schema_of("a: any\nb?: any, whatever") == fields(a={}, b_={"description": "whatever"})


def test_a_question_mark_makes_a_field_optional_and_lets_it_be_null() -> None:
    assert schema_of("a: string\nb?: integer, a number") == fields(
        a={"type": "string"}, b_={"type": ["integer", "null"], "description": "a number"}
    )
    assert "required" not in schema_of("a?: string")


def test_arrays_objects_and_enums() -> None:
    found = schema_of(
        "tags(array, the (short) tags): string, one\n"
        "more?(array):\n  x: number\n"
        "home(object, where):\n  street?: string\n"
        "work?(object): \n  street: string\n"
        "colour(enum, which): [RED, yes, 3]\n"
        "tone?(enum): [LOUD]\n"
    )
    assert found == {
        **fields(
            tags={
                "type": "array",
                "items": {"type": "string", "description": "one"},
                "description": "the (short) tags",
            },
            more_={"type": ["array", "null"], "items": fields(x={"type": "number"})},
            home={**fields(street_={"type": ["string", "null"]}), "description": "where"},
            work_={**fields(street={"type": "string"}), "type": ["object", "null"]},
            colour={"enum": ["RED", "yes", 3], "description": "which"},
            tone_={"enum": ["LOUD", None]},
        ),
    }


def test_a_wildcard_allows_further_fields() -> None:
    assert schema_of("(*): number, lucky") == {
        "type": "object",
        "properties": {},
        "additionalProperties": {"type": "number", "description": "lucky"},
    }
    assert schema_of("a: string\n(*): any")["additionalProperties"] == {}


def test_json_schema_stays_what_it_is() -> None:
    assert schema_of("type: string\nmaxLength: 3") == {"type": "string", "maxLength": 3}
    assert schema_of("properties:\n  a: {type: string}\nrequired: [a]") == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
    }
    assert schema_of("type: object\nproperties:\n  a: {type: string}") == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
    }


def test_named_schemas_are_put_in_and_stay_as_they_are() -> None:
    foo = {"type": "number", "description": "a foo"}
    assert schema_of("Foo", Foo=foo) == foo
    assert schema_of("Foo, mine", Foo=foo) == {"type": "number", "description": "mine"}
    assert schema_of("a?: Foo\nb(array): Foo", Foo=foo) == fields(
        a_={"type": ["number", "null"], "description": "a foo"}, b={"type": "array", "items": foo}
    )
    assert foo == {"type": "number", "description": "a foo"}


class Dish(BaseModel):
    title: str
    minutes: int = 10


def test_a_python_type_may_be_named() -> None:
    found = schema_of("dish: Dish", Dish=Dish)
    assert found["properties"]["dish"]["required"] == ["title"]


async def test_a_prompt_whose_output_is_a_named_type_gives_that_type() -> None:
    ai = Genkit()
    ai.define_schema("Dish", Dish)
    prompt = ai.define_prompt("cook", template="---\noutput:\n  schema: Dish\n---\nCook.")
    assert (await prompt.options()).output_schema is Dish


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("a: strin", "`strin`"),
        ("a: [x]", "$.a"),
        ("a(list): string", "'list'"),
        ("a(enum): x", "list"),
        ("(a): string", "$.(a)"),
        ("a:\n  b:\n    c: 3", "$.a.b.c"),
        ("- string", "object of fields"),
        ("type: string\npattern: '['", "JSON Schema"),
        ("\n".join("  " * n + "a:" for n in range(60)) + " string", "deep"),
    ],
)
def test_a_wrong_schema_is_named_with_file_line_and_field(written: str, word: str) -> None:
    with pytest.raises(GenkitError) as caught:
        schema_of(written)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.message.startswith("the prompt `case`, line 3: `input.schema`: ")
    assert word in caught.value.message
    assert caught.value.details["argument"] == "input.schema"


# -- front matter


def test_front_matter_may_follow_blank_lines_and_comments() -> None:
    for head in ("", "\n\n", "# Licence\n# of it\n\n", "\ufeff", "\ufeff# x\n"):
        source = parse_source(f"{head}---\nmodel: m\n---\n\n  body  \n", "case")
        assert (source.fields.model, source.template) == ("m", "body")
        assert source.line == head.count("\n") + 5


def test_any_line_ends_are_taken() -> None:
    for end in ("\n", "\r\n", "\r"):
        source = parse_source(end.join(["---", "model: m", "config:", "  temperature: 1", "---  ", "a", "b"]), "case")
        assert source.fields.config == {"temperature": 1}
        assert source.template == f"a{end}b"


@pytest.mark.parametrize(
    "source", ["", "text", "a\n---\nb\n---\n", "-- -\n", "text ---\n", "----\nmodel: x\n----\n", " ---\n"]
)
def test_a_source_without_front_matter_is_all_template(source: str) -> None:
    assert parse_source(source, "case").template == source


def test_empty_front_matter_and_empty_templates_are_fine() -> None:
    for source in ("---\n---\n", "---\n---", "---\n# nothing\n---\n"):
        assert parse_source(source, "case").template == ""


def test_keys_with_dots_are_extensions_and_unknown_keys_are_kept() -> None:
    found = parse_source("---\nacme.owner: me\nacme.team: us\nacme.sub.x: 1\ncustom: [1]\n---\n", "case")
    assert found.ext == {"acme": {"owner": "me", "team": "us"}, "acme.sub": {"x": 1}}
    assert found.raw["custom"] == [1]


def test_yaml_is_that_of_version_1_2() -> None:
    config = "{a: yes, b: no, c: on, d: 010, e: 2020-01-01, f: 1:30, g: true, h: ~, i: 0x1f, j: 1.5e3, on: 1, 1: x}"
    assert parse_source(f"---\nconfig: {config}\n---\n", "case").fields.config == {
        "a": "yes",
        "b": "no",
        "c": "on",
        "d": 10,
        "e": "2020-01-01",
        "f": "1:30",
        "g": True,
        "h": None,
        "i": 31,
        "j": 1500.0,
        "on": 1,
        "1": "x",
    }


@pytest.mark.parametrize(
    ("front", "line", "word"),
    [
        ("model: 3", 2, "`model`"),
        ("config:\n  - 1", 2, "`config`"),
        ("model: x\nmaxTurns: -1", 3, "`maxTurns`"),
        ("model: x\ntools: [a, 3]", 3, "`tools.1`"),
        ("toolChoice: always", 2, "`toolChoice`"),
        ("output:\n  format: [x]", 3, "`output.format`"),
        ("use:\n  - nam: x", 3, "`use.0"),
        ("input: 3", 2, "`input`"),
        ("a: &x 1\nb: *x", 2, "anchors"),
        ("a: !!python/object:os.system x", 2, "tags"),
        ("a: 1\na: 2", 3, "twice"),
        ("? [x]\n: 1", 2, "keys"),
        ("a: [1", 3, "YAML"),
        ("- a", 2, "object"),
        ("a: \x07", 2, "YAML"),
        ("[" * 5000, 2, "deep"),
    ],
)
def test_wrong_front_matter_is_named_with_its_line(front: str, line: int, word: str) -> None:
    with pytest.raises(GenkitError) as caught:
        parse_source(f"---\n{front}\n---\n", "a.prompt")
    assert caught.value.status == "INVALID_ARGUMENT"
    assert caught.value.message.startswith(f"a.prompt, line {line}: ")
    assert word in caught.value.message


def test_front_matter_that_is_not_closed_is_refused() -> None:
    with pytest.raises(GenkitError, match=r"a\.prompt, line 2: the front matter is not closed"):
        parse_source("\n---\nmodel: x\n", "a.prompt")


YAML = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "---\n",
                "model: x\n",
                "input:\n",
                "  schema:\n",
                "    a: string\n",
                "    b?(array): Foo\n",
                "config: {",
                "}\n",
                "- ",
                "? ",
                "&a ",
                "*a ",
                "!!x ",
                "'",
                '"',
                "|\n",
                ">\n",
                "{{a}}",
                "\t",
                "#",
                ": ",
                "%",
                "@",
            ]
        ),
        st.text(max_size=6).filter(lambda text: text.isprintable() or "\n" in text),
    ),
    max_size=14,
).map("".join)


def assert_is_refusal(error: GenkitError) -> None:
    assert error.status == "INVALID_ARGUMENT", error
    assert "case" in error.message


@settings(max_examples=400, deadline=None)
@given(source=YAML)
async def test_any_source_renders_or_is_refused(source: str) -> None:
    ai = Genkit()
    try:
        prompt = ai.define_prompt("case", template=source)
        await prompt.options({"a": "x"})
    except GenkitError as error:
        assert_is_refusal(error)


# -- folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "prompts"
    made.mkdir()
    return made


def opened(folder: Path) -> Genkit:
    ai = Genkit()
    load_prompt_dir(ai.registry, folder)
    return ai


async def said(ai: Genkit, name: str, variant: str | None = None, input: Any = None) -> str:
    prompt = await ai.get_prompt(name, variant)
    return "".join(message.text for message in (await prompt.options(input)).messages)


async def test_files_are_prompts_with_variants_folders_and_partials(folder: Path) -> None:
    (folder / "mail" / "short").mkdir(parents=True)
    (folder / "hello.prompt").write_text("Hello {{> sign}}")
    (folder / "hello.formal.prompt").write_text("Good day {{> mail/sign}}")
    (folder / "mail" / "reply.prompt").write_text("Reply")
    (folder / "mail" / "short" / "reply.de.prompt").write_text("Antwort")
    (folder / "_sign.prompt").write_text("Me")
    (folder / "mail" / "_sign.prompt").write_text("We")
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.prompt").write_text("none")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.prompt").write_text("none")
    ai = opened(folder)
    assert await said(ai, "hello") == "Hello Me"
    assert await said(ai, "hello", "formal") == await said(ai, "hello.formal") == "Good day We"
    assert await said(ai, "mail/reply") == "Reply"
    prompt = await ai.get_prompt("mail/short/reply", "de")
    assert (prompt.name, prompt.variant, prompt.key) == ("mail/short/reply", "de", "mail/short/reply.de")
    listed = [item.key for item in await ai.registry.list_actions() if item.kind == "prompt"]
    assert listed == [f"/prompt/{n}" for n in ("hello", "hello.formal", "mail/reply", "mail/short/reply.de")]


async def test_nothing_is_read_before_the_first_look_up(folder: Path) -> None:
    ai = opened(folder / "later")
    ai.define_prompt("early", "{{x}}")
    assert await said(ai, "early", input={"x": "no folder yet"}) == "no folder yet"
    (folder / "later").mkdir()
    (folder / "later" / "a.prompt").write_text("A")
    assert await said(ai, "a") == "A"


async def test_prompts_in_code_use_partials_in_files_and_win_over_files(folder: Path) -> None:
    (folder / "a.prompt").write_text("file")
    (folder / "_p.prompt").write_text("partial")
    (folder / "_q.prompt").write_text("file")
    ai = opened(folder)
    ai.define_partial("q", "code")
    ai.define_prompt("a", "code {{> p}} {{> q}}")
    assert await said(ai, "a") == "code partial code"


async def test_a_missing_prompt_says_which_there_are(folder: Path) -> None:
    (folder / "greeting.prompt").write_text("hi")
    ai = opened(folder)
    ai.define_prompt("other", "x")
    with pytest.raises(GenkitError) as caught:
        await ai.get_prompt("greetin")
    assert caught.value.status == "NOT_FOUND"
    assert "Did you mean `greeting`?" in str(caught.value)
    assert caught.value.details["names"] == ["greeting", "other"]


async def test_a_wrong_file_is_named_and_harms_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "good.prompt").write_text("good")
    (folder / "bad.prompt").write_text("---\nmodel: x\n---\n\nHi {{#if x}}")
    (folder / "latin.prompt").write_bytes("ok\né".encode("latin-1"))
    (folder / "long.prompt").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    (folder / "_part.prompt").write_text("{{/if}}")
    (folder / "uses.prompt").write_text("{{> part}}")
    (folder / "fifo.prompt").mkdir()
    ai = opened(folder)
    assert await said(ai, "good") == "good"
    for name, place in (("bad", "bad.prompt, line 5"), ("latin", "latin.prompt, line 2"), ("long", "long.prompt")):
        with pytest.raises(GenkitError, match=place) as caught:
            await ai.get_prompt(name)
        assert caught.value.status == "INVALID_ARGUMENT"
    with pytest.raises(GenkitError, match=r"_part\.prompt, line 1"):
        await said(ai, "uses")
    listed = [item.name for item in await ai.registry.list_actions() if item.kind == "prompt"]
    assert listed == ["good", "uses"]
    assert "bad.prompt, line 5" in caplog.text


async def test_a_byte_order_mark_and_crlf_are_no_part_of_a_file(folder: Path) -> None:
    (folder / "a.prompt").write_bytes(b"\xef\xbb\xbf---\r\nconfig: {temperature: 1}\r\n---\r\n{{> p}}\r\nHi\r\n")
    (folder / "_p.prompt").write_bytes(b"\xef\xbb\xbfpart")
    prompt = await opened(folder).get_prompt("a")
    options = await prompt.options()
    assert options.messages[0].text == "partHi"
    assert options.config == {"temperature": 1}


async def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    inside = folder / "inside.prompt"
    inside.write_text("inside")
    (folder / "out.prompt").symlink_to(secret)
    (folder / "dangling.prompt").symlink_to(tmp_path / "nothing")
    (folder / "again.prompt").symlink_to(inside)
    (folder / "_part.prompt").symlink_to(secret)
    (folder / "uses.prompt").write_text("{{> part}}")
    (folder / "way").symlink_to(tmp_path, target_is_directory=True)
    ai = opened(folder)
    assert await said(ai, "again") == "inside"
    with pytest.raises(GenkitError) as caught:
        await ai.get_prompt("out")
    assert caught.value.status == "PERMISSION_DENIED"
    assert "SECRET" not in str(caught.value)
    with pytest.raises(GenkitError, match=r"dangling\.prompt"):
        await ai.get_prompt("dangling")
    with pytest.raises(GenkitError, match=r"_part\.prompt"):
        await said(ai, "uses")
    with pytest.raises(GenkitError, match="Unknown prompt `way/secret`"):
        await ai.get_prompt("way/secret")


TRAVERSALS = [
    "../a",
    "..",
    ".",
    "a/../b",
    "/etc/passwd",
    "a//b",
    "a/",
    "..\\a",
    "C:\\a",
    "C:/a",
    "\\\\host\\a",
    "a\x00",
    "....//a",
    "a b",
    "~",
    "",
    "./a",
    "a/.b",
    "a.",
    "%2e%2e/a",
    "con|x",
    "a\n",
    "..%2fa",
    "%252e",
]


@pytest.mark.parametrize("name", TRAVERSALS)
async def test_names_that_lead_elsewhere_are_refused_and_nothing_is_opened(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = folder.parent / "a.prompt"
    outside.write_text("SECRET")
    ai = opened(folder)
    await ai.registry.list_actions()
    monkeypatch.setattr(os, "open", lambda *a, **k: pytest.fail("a file was opened"))
    monkeypatch.setattr(Path, "open", lambda *a, **k: pytest.fail("a file was opened"))
    with pytest.raises(GenkitError) as caught:
        await ai.get_prompt(name)
    assert caught.value.status == ("NOT_FOUND" if name == "~" else "INVALID_ARGUMENT")
    if name != "~":
        for define in (ai.define_prompt, ai.define_partial):
            with pytest.raises(GenkitError):
                define(name, "x")


async def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match="prompt_dir"):
        await opened(tmp_path / "nowhere").get_prompt("a")


async def test_look_ups_at_once_give_one_prompt(folder: Path) -> None:
    import asyncio

    (folder / "a.prompt").write_text("A {{x}}")
    ai = opened(folder)
    found = await asyncio.gather(*(ai.get_prompt("a") for _ in range(20)), ai.registry.list_actions())
    assert len({id(prompt) for prompt in found[:-1]}) == 1
