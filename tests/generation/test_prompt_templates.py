"""Templates: what they render to, that values stay values, and that a rendering ends."""

from __future__ import annotations

import logging
from datetime import date
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError, Message
from genkit_rag._generation.prompt.template import MAX_CHARACTERS, MAX_STEPS

pytest.importorskip("dotpromptz_handlebars")


async def messages(
    template: str,
    input: Any = None,
    *,
    ai: Genkit | None = None,
    history: list[Message] | None = None,
    context: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Returns the messages of a template, in wire form."""
    prompt = (ai or Genkit()).define_prompt("case", template=template)
    options = await prompt.options(input, messages=history or [], context=context or {})
    return [message.to_wire() for message in options.messages]


async def text(template: str, input: Any = None, **more: Any) -> str:
    """Returns the text of a template that renders to one user message of one part."""
    [message] = await messages(template, input, **more)
    assert message["role"] == "user"
    [part] = message["content"]
    assert set(part) == {"text"}
    return str(part["text"])


async def failure(template: str, input: Any = None, **more: Any) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        await messages(template, input, **more)
    return caught.value


# -- values


@pytest.mark.parametrize(
    ("template", "input", "expected"),
    [
        ("{{a}}", {"a": 1}, "1"),
        ("{{a}}", {"a": 1.0}, "1"),
        ("{{a}}", {"a": 2.5}, "2.5"),
        ("{{a}}!", {"a": True}, "true!"),
        ("{{a}}!", {"a": None}, "!"),
        ("{{a}}!", {}, "!"),
        ("{{a.b.c}}!", {"a": 3}, "!"),
        ("{{a.[0].b}}", {"a": [{"b": "x"}]}, "x"),
        ("{{a}}", {"a": ["x", "y"]}, "x,y"),
        ("{{this.role}}", {"role": "x"}, "x"),
        ("{{{a}}} {{&a}} {{a}}", {"a": '<b> & "'}, '<b> & " <b> & " <b> & "'),
        ("\\{{a}}", {"a": 1}, "{{a}}"),
        ("{{#each a}}{{@index}}{{@key}}{{this}}{{#unless @last}},{{/unless}}{{/each}}", {"a": ["x", "y"]}, "00x,11y"),
        ("{{#each a}}{{@key}}={{this}};{{/each}}", {"a": {"x": 1, "y": 2}}, "x=1;y=2;"),
        ("{{#each a}}-{{else}}none{{/each}}", {"a": []}, "none"),
        ("{{#each a as |item at|}}{{at}}{{item}}{{../b}}{{/each}}", {"a": ["x"], "b": "z"}, "0xz"),
        ("{{#with a}}{{b}}{{/with}}", {"a": {"b": "x"}}, "x"),
        ("{{#if a}}yes{{else if b}}maybe{{else}}no{{/if}}", {"b": 1}, "maybe"),
        ("{{#if a}}yes{{else}}no{{/if}}", {"a": 0}, "no"),
        ("{{#if a}}yes{{else}}no{{/if}}", {"a": ""}, "no"),
        ("{{#if a}}yes{{else}}no{{/if}}", {"a": []}, "no"),
        ("{{#unless a}}no{{/unless}}", {}, "no"),
        ("{{lookup a b}}", {"a": {"x": 1}, "b": "x"}, "1"),
        ("{{lookup a 1}}", {"a": ["x", "y"]}, "y"),
        ("{{lookup a 1}}!", {"a": "text"}, "!"),
        ("{{@root.a}}{{#with b}}{{@root.a}}{{/with}}", {"a": 1, "b": {"c": 1}}, "11"),
        ("a{{! a comment }}b{{!-- another {{x}} --}}c", {}, "abc"),
        ("{{{{raw}}}}{{x}}{{{{/raw}}}}", {"x": 1}, "{{x}}"),
        ("🎉 {{naïve}} {{名}}", {"naïve": "é", "名": "👩‍👩‍👧"}, "🎉 é 👩‍👩‍👧"),
        ("{{#each 項}}{{名}};{{/each}}", {"項": [{"名": "α"}, {"名": "β"}]}, "α;β;"),
    ],
)
async def test_tags_render_as_in_handlebars(template: str, input: Any, expected: str) -> None:
    assert await text(template, input) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {{~x}} b", "aX b"),
        ("a {{x~}} b", "a Xb"),
        ("a\n\n{{~x~}}\n\nb", "aXb"),
        ("a {{x}} b", "a X b"),
        ("a\n{{#if x}}\nb\n{{/if}}\nc", "a\nb\nc"),
        ("a {{#if x~}} b {{~/if}} c", "a b c"),
        ("a\r\n{{#if x}}\r\nb\r\n{{/if}}\r\nc", "a\r\nb\r\nc"),
        ("a {{~!-- gone --~}} b", "ab"),
        ("{{#if x}} {{x}}{{/if}}", " X"),
        ("{{#if x~}} {{x}}{{/if}}", "X"),
        ("{{#if x}}a{{/if}} {{#if x}}b{{/if}}", "a b"),
        ("a\n{{#if x}} {{#if x}}b{{/if}} {{/if}}\nc", "a\n b \nc"),
        ("{{{x}}} {{{x}}}\t{{x}}", "X X\tX"),
    ],
)
async def test_tildes_and_tags_alone_on_a_line_take_the_blank_space_around_them(template: str, expected: str) -> None:
    assert await text(template, {"x": "X"}) == expected


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (5, 5, True),
        (5, 5.0, True),
        (5, "5", False),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (True, "true", False),
        (None, None, True),
        (None, 0, False),
        (None, "", False),
        ("a", "a", True),
        ("a", "A", False),
        ("", "", True),
        ([1], [1], True),
    ],
)
async def test_if_equals_and_unless_equals_compare_without_converting_types(a: Any, b: Any, equal: bool) -> None:
    template = "{{#ifEquals a b}}same{{else}}other{{/ifEquals}} {{#unlessEquals a b}}other{{else}}same{{/unlessEquals}}"
    word = "same" if equal else "other"
    assert await text(template, {"a": a, "b": b}) == f"{word} {word}"


async def test_equality_compares_with_literals() -> None:
    template = (
        '{{#ifEquals kind "a"}}A{{/ifEquals}}{{#ifEquals n 3}}three{{/ifEquals}}{{#ifEquals on true}}on{{/ifEquals}}'
    )
    assert await text(template, {"kind": "a", "n": 3, "on": True}) == "Athreeon"


@pytest.mark.parametrize(
    ("tag", "value", "expected"),
    [
        ("{{json v}}", {"a": {"b": [1, "x", None, True]}}, '{"a":{"b":[1,"x",null,true]}}'),
        ("{{json v}}", [], "[]"),
        ("{{json v}}", 'é "quoted" </b>', '"é \\"quoted\\" </b>"'),
        ("{{json v}}", float("nan"), "null"),
        ("{{json v}}", 1.0, "1"),
        ("{{json v indent=2}}", {"a": [1]}, '{\n  "a": [\n    1\n  ]\n}'),
        ('{{json v indent="4"}}', {"a": 1}, '{\n    "a": 1\n}'),
        ("{{json v indent=0}}", {"a": 1}, '{"a":1}'),
        ("{{json missing}}", 1, "null"),
    ],
)
async def test_json_is_written_as_in_javascript(tag: str, value: Any, expected: str) -> None:
    assert await text(tag, {"v": value}) == expected


# -- roles, history, sections, media


async def test_roles_begin_messages_and_empty_ones_are_left_out() -> None:
    template = '{{role "system"}}be nice{{role "model"}}  {{role "user"}}hi{{role "user"}}you'
    assert await messages(template) == [
        {"role": "system", "content": [{"text": "be nice"}]},
        {"role": "user", "content": [{"text": "hi"}]},
        {"role": "user", "content": [{"text": "you"}]},
    ]


async def test_history_stands_where_the_template_says() -> None:
    history = [Message.user("a"), Message.model("b")]
    assert await messages('{{role "system"}}s{{history}}{{role "user"}}q', history=history) == [
        {"role": "system", "content": [{"text": "s"}]},
        {"role": "user", "content": [{"text": "a"}], "metadata": {"purpose": "history"}},
        {"role": "model", "content": [{"text": "b"}], "metadata": {"purpose": "history"}},
        {"role": "user", "content": [{"text": "q"}]},
    ]
    assert history[0].metadata is None


async def test_what_follows_the_history_without_a_role_is_said_by_the_model() -> None:
    assert [message["role"] for message in await messages("q{{history}}a", history=[Message.user("x")])] == [
        "user",
        "user",
        "model",
    ]


@pytest.mark.parametrize(
    ("template", "roles"),
    [
        ("q", ["model", "user"]),
        ('{{role "system"}}s', ["system", "model"]),
        ('{{role "system"}}s{{role "user"}}q', ["system", "model", "user"]),
        ('q{{role "model"}}a', ["user", "model", "model"]),
        ("", ["model"]),
    ],
)
async def test_history_without_a_marker_stands_before_a_last_user_message(template: str, roles: list[str]) -> None:
    found = await messages(template, history=[Message.model("earlier")])
    assert [message["role"] for message in found] == roles
    assert not any("metadata" in message for message in found)


async def test_sections_are_pending_parts() -> None:
    assert await messages('a{{section "context"}}b{{section "output"}}') == [
        {
            "role": "user",
            "content": [
                {"text": "a"},
                {"metadata": {"purpose": "context", "pending": True}},
                {"text": "b"},
                {"metadata": {"purpose": "output", "pending": True}},
            ],
        }
    ]


async def test_media_stand_between_texts_and_an_absent_one_is_nothing() -> None:
    template = "see {{media url=image contentType=type}}{{#each more}}{{media url=this}}{{/each}}{{media url=none}} ok"
    found = await messages(
        template, {"image": "data:image/png;base64,AA==", "type": "image/png", "more": ["http://a/ b"]}
    )
    assert found[0]["content"] == [
        {"text": "see "},
        {"media": {"url": "data:image/png;base64,AA==", "contentType": "image/png"}},
        {"media": {"url": "http://a/ b"}},
        {"text": " ok"},
    ]


@pytest.mark.parametrize("tag", ['{{role "wizard"}}', "{{role}}", "{{role x}}", "{{section}}"])
async def test_a_marker_without_sense_is_refused(tag: str) -> None:
    error = await failure(f"\n{tag}", {"x": "root"})
    assert error.status == "INVALID_ARGUMENT"
    assert "line 2" in error.message


# -- the context


async def test_the_context_is_read_with_an_at_sign() -> None:
    context = {"auth": {"uid": "u1"}, "state": {"n": 0}, "database": object()}
    assert await text("{{@auth.uid}} {{@state.n}} {{@nobody.x}}!", context=context) == "u1 0 !"


async def test_the_context_cannot_stand_for_the_input_or_a_partial() -> None:
    ai = Genkit()
    ai.define_partial("box", "[{{> @partial-block}}]")
    context = {"root": {"a": "false root"}, "partial-block": "false block"}
    assert await text("{{@root.a}} {{#> box}}true block{{/box}}", {"a": "true root"}, ai=ai, context=context) == (
        "true root [true block]"
    )


# -- partials and helpers


async def test_partials_take_a_context_arguments_and_a_fallback() -> None:
    ai = Genkit()
    ai.define_partial("who", "{{name}}{{#if title}}, {{title}}{{/if}}")
    ai.define_partial("outer", "<{{> who}}>")
    template = '{{> who person title="Dr"}} {{> outer name="B"}} {{#> none}}fallback{{/none}} {{> (lookup . "which")}}'
    found = await text(template, {"person": {"name": "A"}, "name": "C", "which": "who"}, ai=ai)
    assert found == "A, Dr <B> fallback C"


async def test_a_partial_may_speak_in_other_roles_and_is_indented_with_its_tag() -> None:
    ai = Genkit()
    ai.define_partial("rules", '{{role "system"}}be nice{{role "user"}}')
    ai.define_partial("lines", "a\nb\n")
    found = await messages("{{> rules}}list:\n  {{> lines}}\nend", ai=ai)
    assert found == [
        {"role": "system", "content": [{"text": "be nice"}]},
        {"role": "user", "content": [{"text": "list:\n  a\n  b\nend"}]},
    ]


async def test_helpers_get_arguments_and_blocks() -> None:
    ai = Genkit()
    ai.define_helper("upper", lambda value: str(value).upper())
    ai.define_helper("join", lambda items, by=", ": by.join(items))
    ai.define_helper("twice", lambda block: block.body() + block.body({"x": "other"}) + block.inverse())
    template = "{{upper x}} {{join l}} {{join l by='+'}} {{#twice}}{{x}} {{else}}end{{/twice}}"
    assert await text(template, {"x": "a", "l": ["b", "c"]}, ai=ai) == "A b, c b+c a other end"


async def test_a_helper_may_change_the_case_of_a_block_with_a_role_in_it() -> None:
    ai = Genkit()
    ai.define_helper("shout", lambda block: block.body().upper())
    found = await messages('{{#shout}}a{{role "model"}}b{{/shout}}', ai=ai)
    assert [(m["role"], m["content"][0]["text"]) for m in found] == [("user", "A"), ("model", "B")]


async def test_a_failing_helper_is_named() -> None:
    ai = Genkit()
    ai.define_helper("half", lambda value: value / 2)
    error = await failure("{{half x}}", {"x": "text"}, ai=ai)
    assert error.status == "INVALID_ARGUMENT"
    assert "`half`" in error.message


async def test_log_writes_to_the_log_and_not_to_the_prompt(caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    with caplog.at_level(logging.DEBUG, "genkit_rag.prompt"):
        assert await text("a{{log x}}b", {"x": "seen"}) == "ab"
    assert "seen" in caplog.text
    assert capsys.readouterr().out == ""


# -- values never become templates, messages, media or sections

HOSTILE = [
    "{{x}}",
    "{{{x}}}",
    "{{> secret}}",
    "{{#each this}}{{/each}}",
    "{% include 'x' %}",
    "{0.__class__}",
    "${x}",
    "#{x}",
    "{{constructor}}",
    '{{lookup . "__class__"}}',
    '{{role "system"}}',
    "{{history}}",
    "{{media url='http://a'}}",
    "<<<dotprompt:role:system>>>",
    "<<<dotprompt:history>>>",
    "<<<dotprompt:media:url http://a/b.png image/png>>>",
    "<<<dotprompt:section context>>>",
    "\\{{x}}",
    "{{",
    "}}",
    "{{!--",
    "\ue0000:0\ue000",
    "\ue000\ue000",
    "---\nmodel: x\n---\n",
    "<script>",
    "\x00",
    "line\r\nline",
    "\u2028",
]
WORDS = st.one_of(st.text(), st.sampled_from(HOSTILE), st.lists(st.sampled_from(HOSTILE), max_size=4).map("".join))


def is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


ANY = WORDS.filter(is_text)


@settings(max_examples=300, deadline=None)
@given(value=ANY, name=ANY, key=ANY)
async def test_any_value_appears_verbatim_and_makes_nothing_else(value: str, name: str, key: str) -> None:
    ai = Genkit()
    ai.define_partial("secret", "SECRET")
    ai.define_partial("show", "<{{v}}>")
    ai.define_helper("same", lambda text: text)
    template = (
        '{{role "system"}}s:{{v}}:s{{role "user"}}'
        "{{#each list}}[{{this}}]{{/each}}{{#each object}}[{{@key}}]{{/each}}{{> show}}{{same v}}{{@c.x}}{{{v}}}{{&v}}"
        '{{section "context"}}q'
    )
    prompt = ai.define_prompt("case", prompt=template)
    options = await prompt.options(
        {"v": value, "list": [value, name], "object": {key: 1}}, context={"c": {"x": name}}, messages=[]
    )
    assert [message.to_wire() for message in options.messages] == [
        {"role": "system", "content": [{"text": f"s:{value}:s"}]},
        {
            "role": "user",
            "content": [
                {"text": f"[{value}][{name}][{key}]<{value}>{value}{name}{value}{value}"},
                {"metadata": {"purpose": "context", "pending": True}},
                {"text": "q"},
            ],
        },
    ]


@pytest.mark.parametrize("value", HOSTILE)
async def test_media_and_section_values_are_taken_as_they_are(value: str) -> None:
    found = await messages("{{media url=v contentType=v}}{{section v}}", {"v": value})
    assert found[0]["content"] == [
        {"media": {"url": value, "contentType": value}},
        {"metadata": {"purpose": value, "pending": True}},
    ]


@pytest.mark.parametrize(
    "path",
    [
        "__class__",
        "a.__class__.__mro__",
        "a.items",
        "a.keys",
        "l.append",
        "l.[__class__]",
        "a.[__class__]",
        "this.__dict__",
        "m.model_dump",
        "m.model_config",
        "@c.__class__",
        "f.__globals__",
    ],
)
async def test_attributes_cannot_be_reached(path: str) -> None:
    class Model(Message):
        pass

    input = {"a": {"b": 1}, "l": [1], "m": Model.user("x")}
    assert await text(f"[{{{{{path}}}}}]", input, context={"c": {"x": 1}}) == "[]"


async def test_models_documents_and_plain_python_values_are_data() -> None:
    class Colour(StrEnum):
        RED = "red"

    values = [Colour.RED, Document("hi", {"a": 1}), Message.user("you"), date(2020, 1, 2), (1, 2.0), {"x"}]
    input = dict(zip("abcdef", values, strict=True))
    template = "{{a}} {{b.content.[0].text}} {{b.metadata.a}} {{c.role}} {{d}} {{json e}} {{json f}}"
    assert await text(template, input) == 'red hi 1 user 2020-01-02 [1,2] ["x"]'


async def test_what_is_no_data_is_refused() -> None:
    for value in (object(), print, b"\xff\xfe"):
        error = await failure("{{x}}", {"x": value})
        assert error.status == "INVALID_ARGUMENT"
    circle: list[Any] = []
    circle.append(circle)
    assert (await failure("{{x}}", {"x": circle})).status == "INVALID_ARGUMENT"


# -- errors and bounds


@pytest.mark.parametrize(
    ("template", "line", "word"),
    [
        ("a\n{{b", 2, "unclosed"),
        ("{{#if a}}\n{{/each}}", 2, "each"),
        ("a\n{{#if a}}\n{{#each b}}\n{{/each}}\n", 2, "unclosed block"),
        ("{{! {{x}} }}\n{{!-- {{y}} --}}\n{{/if}}", 3, "closing"),
        ("\n\n{{}}", 3, "empty"),
        ("a\n{{else}}", 2, "else"),
        ("---\nmodel: x\n---\n\n\n{{#if a}}", 6, "unclosed block"),
        ("a\nb {{shout x}}", 2, "shout"),
        ("a\nb {{> nobody}}", 2, "nobody"),
        ("a\n{{#if}}x{{/if}}", 2, "#if"),
    ],
)
async def test_a_wrong_tag_is_named_with_its_line(template: str, line: int, word: str) -> None:
    error = await failure(template)
    assert error.status == "INVALID_ARGUMENT"
    assert f"the prompt `case`, line {line}: " in error.message
    assert word in error.message


PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{{{",
        "}}}",
        "{{#if a}}",
        "{{/if}}",
        "{{else}}",
        "{{#each b}}",
        "{{/each}}",
        "{{> p}}",
        "{{#> p}}",
        "{{/p}}",
        "{{a}}",
        "{{a.b}}",
        "{{../a}}",
        "{{@root}}",
        "{{role 'x'}}",
        '{{role "user"}}',
        "{{history}}",
        "{{json a indent=b}}",
        "{{#*inline 'p'}}",
        "{{/inline}}",
        "{{{{raw}}}}",
        "{{{{/raw}}}}",
        "{{!--",
        "--}}",
        "{{lookup b 0}}",
        "(",
        ")",
        "|",
        "as |x|",
        "~",
        "=",
        "'",
        '"',
        "\\",
        "---\n",
        "\n",
        " ",
        "x",
        "{{.}}",
        "{{[}}",
        "{{#}}",
        "{{/}}",
        "{{>}}",
        "{{^a}}",
        "{{*d}}",
        "{{1.}}",
        "{{section a}}",
        "{{media url=a}}",
        "{{> (a)}}",
        "{{#with b}}",
        "{{/with}}",
        "{{#ifEquals a}}",
        "{{/ifEquals}}",
        "{{log a}}",
    ]
)


def assert_is_refusal(error: GenkitError) -> None:
    assert error.status == "INVALID_ARGUMENT", error
    assert "case" in error.message or "partial" in error.message
    assert error.hint


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.one_of(PIECES, st.text(max_size=5).filter(is_text)), max_size=12))
async def test_any_template_renders_or_is_refused(pieces: list[str]) -> None:
    ai = Genkit()
    ai.define_partial("p", "{{a}}{{> @partial-block}}")
    try:
        await messages("".join(pieces), {"a": "x", "b": [1, {"a": 2}]}, ai=ai)
    except GenkitError as error:
        assert_is_refusal(error)


async def test_a_partial_that_includes_itself_ends() -> None:
    ai = Genkit()
    ai.define_partial("loop", "{{> loop}}")
    error = await failure("{{> loop}}", ai=ai)
    assert error.status == "INVALID_ARGUMENT"
    assert "deep" in error.message


async def test_a_partial_may_include_itself_for_a_tree() -> None:
    ai = Genkit()
    ai.define_partial("node", "({{name}}{{#each children}}{{> node}}{{/each}})")
    tree = {"name": "a", "children": [{"name": "b"}, {"name": "c", "children": [{"name": "d"}]}]}
    assert await text("{{> node}}", tree, ai=ai) == "(a(b)(c(d)))"


async def test_partials_that_double_their_text_end() -> None:
    ai = Genkit()
    ai.define_partial("p0", "ha")
    for number in range(1, 60):
        ai.define_partial(f"p{number}", f"{{{{> p{number - 1}}}}}" * 2)
    assert (await failure("{{> p59}}", ai=ai)).status == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("template", "input"),
    [
        ("{{#each a}}{{#each ../a}}{{#each ../../a}}x{{/each}}{{/each}}{{/each}}", {"a": [1] * 1000}),
        ("{{#each a}}{{/each}}", {"a": [1] * (MAX_STEPS + 1)}),
        ("{{#each a}}{{../b}}{{/each}}", {"a": [1] * 1000, "b": "x" * (MAX_CHARACTERS // 900)}),
        ("{{#each a}}{{json ../b}}{{/each}}", {"a": [1] * 1000, "b": "x" * (MAX_CHARACTERS // 900)}),
        ("{{#each a}}{{same ../b}}{{/each}}", {"a": [1] * 1000, "b": "x" * (MAX_CHARACTERS // 900)}),
        ("{{#each a}}" + "x" * 20_000 + "{{/each}}", {"a": [1] * 1000}),
    ],
    ids=["loops", "long", "values", "json", "helper", "text"],
)
async def test_a_rendering_without_bounds_ends(template: str, input: Any) -> None:
    ai = Genkit()
    ai.define_helper("same", lambda text: text)
    error = await failure(template, input, ai=ai)
    assert error.status == "RESOURCE_EXHAUSTED"
    assert "case" in error.message


async def test_a_long_rendering_within_bounds_is_whole() -> None:
    found = await text("{{#each a}}{{this}};{{/each}}", {"a": list(range(20_000))})
    assert found == "".join(f"{number};" for number in range(20_000))


async def test_deep_nesting_and_long_sources_are_refused() -> None:
    for template in ("{{#if a}}" * 5000, "{{x " + "(" * 5000 + "}}", "x{{a}}" * 400_000):
        assert (await failure(template)).status == "INVALID_ARGUMENT"
