from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genkit_rag import Document, Genkit, GenkitError
from genkit_rag.testing import FakeEmbedder, ScriptedModel
from genkit_rag_memory import Memory
from genkit_rag_parents import Parents
from genkit_rag_router import ROUTER_PROMPT, ByEmbedding, ByModel, RouteConfig, Router

ROUTES = {
    "manuals": RouteConfig("memory/manuals", "printer paper tray toner", examples=["which error is E42"]),
    "people": RouteConfig("memory/people", "colleagues phone office"),
}


async def made(choose: Any, *answers: Any, routes: dict[str, RouteConfig] | None = None, **settings: Any) -> Genkit:
    ai = Genkit(
        plugins=[
            FakeEmbedder(),
            Memory(["manuals", "people"], embedder="fake/words"),
            Router(routes or ROUTES, choose=choose, **settings),
        ]
    )
    ai.registry.register(ScriptedModel("judge", answers).action)

    @ai.retriever("broken")
    async def broken(query: Document) -> list[Document]:
        raise RuntimeError("out of order")

    await ai.index("memory/manuals", [Document("fill the paper tray", {"kind": "step"}, id="tray")])
    await ai.index("memory/people", [Document("ann has the phone 42", {"kind": "fact"}, id="ann")])
    return ai


async def test_a_function_chooses_and_the_route_answers_as_it_is() -> None:
    def choose(query: Document) -> str:
        return "people" if "phone" in query.text else "manuals"

    ai = await made(choose)
    found = await ai.retrieve("router", "the phone of ann")
    alone = await ai.retrieve("memory/people", "the phone of ann")
    assert [(d.id, d.score, d.retriever) for d in found] == [(d.id, d.score, "memory/people") for d in alone]
    assert found.notices == ["ROUTES: people (by function)"]


async def test_several_routes_are_joined() -> None:
    async def choose(query: Document) -> list[str]:
        return ["manuals", "people", "manuals"]

    found = await (await made(choose)).retrieve("router", "phone")
    assert {d.id for d in found} == {"tray", "ann"}
    assert {stage for d in found for stage in d.scores or {}} == {"manuals", "manuals/rank", "people", "people/rank"}
    assert all(d.retriever == "router" for d in found)


async def test_the_nearest_description_or_example_is_chosen() -> None:
    ai = await made(ByEmbedding("fake/words"))
    found = await ai.retrieve("router", "which error is E42")
    assert [d.id for d in found] == ["tray"]
    assert found.notices[0].startswith("ROUTES: manuals (manuals 1.000, people ")
    assert [d.id for d in await ai.retrieve("router", "office phone")] == ["ann"]
    assert len(await (await made(ByEmbedding("fake/words", most=2))).retrieve("router", "phone")) == 2


async def test_descriptions_are_embedded_once() -> None:
    embedder = FakeEmbedder()
    ai = Genkit(
        plugins=[
            embedder,
            Memory(["manuals", "people"], embedder="fake/words"),
            Router(ROUTES, choose=ByEmbedding("fake/words")),
        ]
    )
    for query in ("one", "two"):
        await ai.retrieve("router", query)
    assert sum("colleagues phone office" in call for call in embedder.calls) == 1


async def test_a_query_far_from_every_route_goes_to_the_fallback_or_raises() -> None:
    far = ByEmbedding("fake/words", least=0.9)
    found = await (await made(far, fallback="people")).retrieve("router", "weather")
    assert [d.id for d in found] == ["ann"]
    assert found.notices[0].startswith("NO_ROUTE: no route fits (")
    assert found.notices[0].endswith("); asked instead: people")
    everywhere = await (await made(far)).retrieve("router", "weather")
    assert {d.id for d in everywhere} == {"tray", "ann"}
    with pytest.raises(GenkitError, match="no route fits") as caught:
        await (await made(far, on_no_route="raise")).retrieve("router", "weather")
    assert caught.value.status == "NOT_FOUND"


async def test_a_model_chooses() -> None:
    ai = await made(ByModel("judge"), "<think>a phone...</think>`people`")
    found = await ai.retrieve("router", "who?")
    assert [d.id for d in found] == ["ann"]
    assert found.notices == ["ROUTES: people (judge said '`people`')"]


async def test_a_model_reads_the_descriptions_and_values_never_become_templates() -> None:
    model = ScriptedModel("reader", ["people"])
    ai = await made(ByModel("reader", most=2))
    ai.registry.register(model.action)
    await ai.retrieve("router", "{routes}")
    sent = model.requests[0].messages[0].text
    assert "- manuals: printer paper tray toner\n- people: colleagues phone office\n" in sent
    assert "Question: {routes}" in sent
    assert "2 at most" in sent
    assert "{query}" in ROUTER_PROMPT


@pytest.mark.parametrize("answer", ["none", "", "the weather service", "manual"])
async def test_a_model_that_names_no_route_leads_to_the_fallback(answer: str) -> None:
    found = await (await made(ByModel("judge"), answer, fallback="manuals")).retrieve("router", "who?")
    assert [d.id for d in found] == ["tray"]
    assert found.notices[0].startswith("NO_ROUTE: no route fits (judge said ")


async def test_unknown_names_of_a_function_are_left_out_and_said_or_raise() -> None:
    def choose(query: Document) -> list[str]:
        return ["peeple", "people"]

    found = await (await made(choose)).retrieve("router", "x")
    assert found.notices == ["NO_ROUTE: there is no route 'peeple'; it is left out", "ROUTES: people (by function)"]
    with pytest.raises(GenkitError, match="peeple"):
        await (await made(choose, on_no_route="raise")).retrieve("router", "x")
    assert (await (await made(lambda query: None)).retrieve("router", "x")).notices[0].startswith("NO_ROUTE")


async def test_a_failing_choice_or_route_raises_unless_it_may_degrade() -> None:
    with pytest.raises(RuntimeError, match="judge is ill"):
        await (await made(ByModel("judge"), RuntimeError("judge is ill"))).retrieve("router", "x")
    ai = await made(ByModel("judge"), RuntimeError("judge is ill"), fallback="people", on_error="degrade")
    found = await ai.retrieve("router", "x")
    assert found.notices == ["CHOICE_FAILED: judge is ill; asked instead: people"]
    routes = {**ROUTES, "broken": RouteConfig("broken", "x")}
    ai = await made(lambda query: ["broken", "people"], routes=routes, on_error="degrade")
    found = await ai.retrieve("router", "x")
    assert [d.id for d in found] == ["ann"]
    assert found.notices[-1] == "SUB_RETRIEVER_FAILED: `broken` gave nothing: out of order"
    ai = await made(lambda query: "broken", routes=routes, on_error="degrade")
    with pytest.raises(GenkitError, match="Every leg failed") as caught:
        await ai.retrieve("router", "x")
    assert caught.value.status == "UNAVAILABLE"


async def test_the_caller_may_name_the_routes() -> None:
    ai = await made(ByModel("judge"))
    assert [d.id for d in await ai.retrieve("router", "x", {"routes": ["people"]})] == ["ann"]
    with pytest.raises(GenkitError, match="peeple"):
        await ai.retrieve("router", "x", {"routes": ["peeple"]})


async def test_options_go_to_the_route_and_what_it_fixes_stays() -> None:
    routes = {"steps": RouteConfig("memory/manuals", "x", options={"filter": {"kind": "step"}, "mode": "text"})}
    ai = await made(lambda query: "steps", routes=routes)
    assert [d.id for d in await ai.retrieve("router", "paper", {"mode": "vector"})] == ["tray"]
    assert await ai.retrieve("router", "nothing shared") == []
    assert await ai.retrieve("router", "paper", {"filter": {"kind": "fact"}}) == []
    assert await ai.retrieve("router", "paper", {"k": 0}) == []
    assert (await ai.retrieve("router", " ")).notices[0].startswith("EMPTY_QUERY")


async def test_retrievers_nest_to_any_depth() -> None:
    from genkit_rag_hybrid import Hybrid

    plugins = [
        FakeEmbedder(),
        Memory(["docs"], embedder="fake/words"),
        Parents({"docs": "memory/docs"}),
        Hybrid({"docs": ["parents/docs"]}),
        Router({"docs": RouteConfig("hybrid/docs")}, choose=lambda query: "docs"),
    ]
    ai = Genkit(plugins=plugins)
    await ai.index(
        "memory/docs",
        [
            Document("first part", {"source": "s", "chunk": 0, "start": 0, "end": 10}),
            Document("second part", {"source": "s", "chunk": 1, "start": 11, "end": 22}),
        ],
    )
    found = await ai.retrieve("router", "second", {"k": 1})
    assert found[0].text == "first part\nsecond part"
    assert set(found[0].scores or {}) == {"parents/docs", "parents/docs/memory/docs"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"routes": {}},
        {"routes": {"a": "memory/a"}},
        {"routes": {"a": RouteConfig("router", "x")}},
        {"fallback": "nowhere"},
        {"on_no_route": "x"},
        {"on_error": "x"},
        {"choose": "model"},
        {"routes": {"a": RouteConfig("b")}},
    ],
)
def test_wrong_settings_are_refused_when_the_plugin_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(GenkitError) as caught:
        Router(**{"routes": ROUTES, "choose": ByEmbedding("fake/words"), **wrong})
    assert caught.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ByEmbedding("e", most=0),
        lambda: ByEmbedding("e", least=2),
        lambda: ByModel("m", most=0),
        lambda: ByModel("m", prompt="{query} {nope}"),
        lambda: RouteConfig("r", examples="one"),
    ],
)
def test_wrong_choosers_are_refused_when_they_are_made(wrong: Any) -> None:
    with pytest.raises(GenkitError):
        wrong()


@given(answer=st.text() | st.text(alphabet='ab []",\n1.-*{}', max_size=40))
def test_reading_a_models_choice_never_fails(answer: str) -> None:
    from genkit_rag_router._choose import parse_routes

    names = parse_routes(answer, ("a", "b", "a-b"))
    assert set(names) <= {"a", "b", "a-b"}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "answer",
    [
        "b\na",
        '["b", "a"]',
        "1. b\n2. a",
        "- `b`\n- **a**",
        "b, a",
        'Sure: ["b", "a"].',
        "I would ask b, then a.",
        "B\nA",
    ],
)
def test_a_choice_is_read_in_whatever_form_it_comes(answer: str) -> None:
    from genkit_rag_router._choose import parse_routes

    assert parse_routes(answer, ("a", "b")) == ["b", "a"]
